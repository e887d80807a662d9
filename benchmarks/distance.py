# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Chunks of 100 with the database 1 ms away, beside bare processes."""
import contextlib
import os
import socket
import sys
from collections import defaultdict

from devel.process import Process, free_port, wait_for

from .figures import Figure, Sample, table
from .ground import fill
from .rivals import FLOOR, OURS, Runner

SECONDS = 0.001
RECORDS, SIZE = 50_000, 100
BAR = 1.15


class Distant:
    "A PostgreSQL server as its clients see it from afar."

    def __init__(self, server, port):
        self.server = server
        self.uri = 'postgresql://postgres@127.0.0.1:%s/' % port

    def __getattr__(self, name):
        return getattr(self.server, name)


@contextlib.contextmanager
def away(server, directory, seconds):
    "Give the server, further away by the seconds."
    port = free_port()
    relay = Process([
            sys.executable, '-m', 'benchmarks.relay', str(port),
            str(server.port), str(seconds)],
        log=os.path.join(directory, 'relay.log'), cwd=os.getcwd())
    try:
        wait_for(lambda: answers(port), 10, "start the relay")
        yield Distant(server, port)
    finally:
        relay.stop()


def answers(port):
    with contextlib.suppress(OSError):
        socket.create_connection(('127.0.0.1', port)).close()
        return True


def measure(ground, options):
    records = max(int(RECORDS * options.scale), 2 * SIZE)
    times = defaultdict(Sample)
    with away(ground.postgresql, ground.postgresql.directory, SECONDS) \
            as distant, ground.site(postgresql=distant) as site:
        run = Runner(ground, site, [OURS, FLOOR])
        fill(site, records)
        for _ in range(options.repeats):
            for name in [OURS, FLOOR]:
                times[name].append(
                    run(name, records, SIZE, 0) / (records / SIZE))
    ratio = times[OURS].ratio_to(times[FLOOR])
    table(['rival', 'chunks', 'ms a chunk', 'ours to it'], [
            [name, records // SIZE, times[name].shown(1000),
                '%.2f' % times[OURS].ratio_to(times[name])]
            for name in [OURS, FLOOR]])
    return [Figure('chunks of %s against %s, database 1 ms away' % (
                SIZE, FLOOR), ratio, BAR)]

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""It says running, and nothing runs: then it is said why."""
import contextlib
import os
import select
import signal
from pathlib import Path

from scene import Scene

from devel.process import POLL, wait_for


def children(pid):
    return [
        int(child) for child in Path(
            '/proc/%s/task/%s/children' % (pid, pid)).read_text().split()]


def test_a_worker_that_takes_messages_and_begins_with_none_is_named(
        postgresql, redis):
    with Scene(postgresql=postgresql, redis=redis) as scene:
        worker = scene.worker(2)
        scene.records(10)
        stopped = set()

        def stop():
            # The worker replaces those that hang
            for pid in children(worker.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                    stopped.add(pid)

        stop()
        command = scene.start_batch('ok')
        try:
            said = []

            def is_named():
                stop()
                if select.select([command.stderr], [], [], 0)[0]:
                    said.append(os.read(command.stderr.fileno(), 4096))
                return b'holds messages but processes none' in b''.join(said)

            # A process that was just started must not begin with a task
            wait_for(is_named, 50, "name the worker", slow=POLL)
        finally:
            for pid in stopped.intersection(children(worker.pid)):
                os.kill(pid, signal.SIGCONT)
        assert command.wait(60) == 0
        assert scene.treated() == {i: 1 for i in range(1, 11)}

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Two databases that share a root_dir: python -m benchmarks.sharing.

In each round both run, at once, a batch that writes two files for each chunk,
under the same names, while the processes of their workers die at random:
before, between and after what a commit consists of, and from outside.  Then
each file that a ledger says is committed has to be there, with its content,
and no hidden one.

Exit status: 0 if it is so in each round; else 1.
"""
import argparse
import contextlib
import json
import os
import random
import signal
import sys
import threading
from collections import Counter
from pathlib import Path

from devel.servers import PostgreSQL, Redis, Site

from .ground import children

BATCH = 'batch.scenario.gambling'
RECORDS, SIZE, PROCESSES = 40, 5, 2
#: that a process dies in one attempt at a chunk
RISK = 0.3
#: how many more die from outside, and seconds between them
KILLS, DEATHS = 3, (0.2, 1.5)
#: seconds after which a round has failed
LIMIT = 120


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description="Kill what writes files into one directory, and count "
        "them.", allow_abbrev=False)
    parser.add_argument('--rounds', type=int, default=50, metavar='N',
        help="how often (default: %(default)s)")
    options = parser.parse_args(arguments)
    with PostgreSQL(settings={'fsync': 'off'}) as postgresql, \
            Redis() as redis:
        counts = play(postgresql, redis, options.rounds)
    print('%s rounds: %s' % (options.rounds, ', '.join(
                '{:,} {}'.format(counts[n], n) for n in COUNTS)))
    missed = counts['lost'] or counts['wrong'] or counts['hidden']
    return 1 if missed else 0


#: committed: files; lost: those not there; wrong: those with another content;
#: hidden: what is left of no use; deaths: of processes
COUNTS = 'committed', 'lost', 'wrong', 'hidden', 'deaths'


def play(postgresql, redis, rounds):
    "Return a Counter of what became of the files in so many rounds."
    counts = Counter()
    with Site(postgresql=postgresql, redis=redis) as first, \
            Site(postgresql=postgresql, redis=redis) as second:
        second.out_dir = first.out_dir
        sites = [first, second]
        for site in sites:
            site.configure({'default': {
                        'split_size': SIZE, 'concurrency': 2 * PROCESSES}})
            site.init('batch_scenarios', template='scenarios')
            site.execute("""
                INSERT INTO batch_scenario_record (id, name, treated)
                SELECT i, 'record', 0 FROM generate_series(1, %s) AS i""",
                [RECORDS])
        workers = [site.worker(PROCESSES) for site in sites]
        for _ in range(rounds):
            commands = [
                site.start_coop('batch', BATCH, '--risk', str(RISK), '--quiet')
                for site in sites]
            with killing(workers):
                for command in commands:
                    command.communicate(timeout=LIMIT)
            for site in sites:
                counts += count(site)
        counts['hidden'] = sum(
            len(hidden) for _, _, names in os.walk(first.out_dir)
            if (hidden := [n for n in names if n.startswith('.')]))
        for worker in workers:
            counts['deaths'] += Path(worker.log_file).read_text().count(
                'worker lost (signal 9)')
    return counts


@contextlib.contextmanager
def killing(workers):
    "Kill processes of the workers, now and then, for the time of the body."
    over = threading.Event()

    def kill():
        for _ in range(KILLS):
            if over.wait(random.uniform(*DEATHS)):
                return
            processes = [p for w in workers for p in children(w.pid)]
            with contextlib.suppress(IndexError, ProcessLookupError):
                os.kill(random.choice(processes), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def count(site):
    "Return what became of the files of the last execution."
    counts = Counter()
    (state,), = site.execute(
        'SELECT state FROM batch_execution ORDER BY id DESC LIMIT 1')
    assert state in {'succeeded', 'failed'}, state
    for units, files in site.execute(
            "SELECT units, files FROM batch_execution_chunk WHERE execution "
            "= (SELECT MAX(id) FROM batch_execution) AND state = 'done'"):
        text = ''.join('%s\n' % id for id in json.loads(units))
        files = json.loads(files)
        assert len(files) == 2
        for path in map(Path, files):
            counts['committed'] += 1
            if not path.is_file():
                counts['lost'] += 1
            elif path.read_text() != text:
                counts['wrong'] += 1
    return counts


if __name__ == '__main__':
    sys.exit(main())

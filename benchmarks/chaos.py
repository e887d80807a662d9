# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Whatever dies: python -m benchmarks.chaos [--records N] [--runs N].

A batch runs once in peace.  Then it runs, and nobody follows it, while
processes of its workers are killed every few hundred milliseconds, now and
then a whole worker, while each message comes three times, Redis is emptied
twice and away for 10 seconds once, and PostgreSQL restarted once.  What was
done is counted in the database.

Exit status: 0 if no unit was done twice, lost or failed; else 1.
"""
import argparse
import contextlib
import json
import os
import random
import signal
import sys
import threading
import time

import psycopg

from devel.process import StartError, wait_for
from devel.servers import PostgreSQL, Redis, Site

from .ground import children

BATCH = 'batch.scenario.slow'
TRIPLE = 'trytond.modules.batch_scenarios.triple'
#: workers, and the processes of each
WORKERS, PROCESSES = 2, 2
#: seconds between two deaths of a process
DEATHS = 0.1, 0.5
#: one death of so many takes the whole worker along
WHOLE = 12
#: shares of the units after which something happens to a server
FLUSHES, RESTART, AWAY = (0.2, 0.8), 0.4, 0.6
#: seconds for which Redis is away
AWAY_FOR = 10
#: seconds after which a run has failed
LIMIT = 600
COUNTS = 'selected', 'once', 'twice', 'lost', 'failed'


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description="Kill whatever runs a batch, and count what was done.",
        allow_abbrev=False)
    parser.add_argument('--records', type=int, default=10_000, metavar='N',
        help="units of a run (default: %(default)s)")
    parser.add_argument('--runs', type=int, default=1, metavar='N',
        help="runs in chaos (default: %(default)s)")
    parser.add_argument('--size', type=int, default=20, metavar='N',
        help="units in a chunk (default: %(default)s)")
    parser.add_argument('--seconds', default='0', metavar='S',
        help="time that a unit takes on top of its work (default: none)")
    parser.add_argument('--seed', type=int, metavar='N',
        help="of the random numbers that choose who dies")
    options = parser.parse_args(arguments)
    seed = options.seed if options.seed is not None \
        else random.randrange(1 << 30)
    print('%s records in chunks of %s, %s workers of %s processes, seed %s' % (
            format(options.records, ','), options.size, WORKERS, PROCESSES,
            seed))
    missed = False
    # What is lost when the machine dies is no loss here
    with PostgreSQL(settings={'fsync': 'off'}) as postgresql, \
            Redis() as redis:
        calm = run(postgresql, redis, options)
        show('in peace', calm)
        for number in range(1, options.runs + 1):
            monkey = Monkey(random.Random(seed + number))
            result = run(postgresql, redis, options, monkey)
            show('chaos %s' % number, result, calm)
            print('%s processes and %s workers killed, %s flushes, '
                '%s restarts, Redis away %s times' % (
                    monkey.processes, monkey.workers, monkey.flushes,
                    monkey.restarts, monkey.outages), flush=True)
            missed |= any(result[n] for n in ['twice', 'lost', 'failed'])
    print('the bar is missed' if missed else 'the bar is reached')
    return 1 if missed else 0


def show(title, result, calm=None):
    print('%-9s %s, %.1f s%s' % (
            title, ', '.join(
                '{:,} {}'.format(result[n], n) for n in COUNTS),
            result['seconds'],
            ', %.1f times as long as in peace' % (
                result['seconds'] / calm['seconds']) if calm else ''),
        flush=True)
    for line in result['told']:
        print('    ' + line)


def run(postgresql, redis, options, monkey=None):
    "Run the batch on a new database; return what was counted."
    celery = {'config': TRIPLE} if monkey else {}
    with Site(postgresql=postgresql, redis=redis,
            sections={'celery': celery}) as site:
        site.redis = redis
        site.configure({BATCH: {'split_size': options.size}})
        site.init('batch_scenarios', template='chaos')
        site.execute("""
            INSERT INTO batch_scenario_record (id, name, treated)
            SELECT i, 'record', 0 FROM generate_series(1, %s) AS i""",
            [options.records])
        workers = [site.worker(PROCESSES) for _ in range(WORKERS)]
        started = time.monotonic()
        site.coop('batch', BATCH, '--seconds', options.seconds, '--detach',
            check=True)
        told = []
        with contextlib.ExitStack() as stack:
            if monkey:
                stack.enter_context(monkey.at(
                        site, workers, options.records))
            try:
                wait_for(lambda: is_over(site), LIMIT, "end the execution")
            except TimeoutError as error:
                told.append(str(error))
        result = count(site)
        result['seconds'] = time.monotonic() - started
        shown = json.loads(site.coop('show', '1', '--json').stdout or '{}')
        if shown.get('state') != 'succeeded' \
                or shown.get('done') != result['once']:
            told.append('coop show says something else: %s' % {
                    k: shown.get(k) for k in [
                        'state', 'done', 'failed', 'left', 'message']})
        result['told'] = told
        return result


def is_over(site):
    try:
        return site.execute(
            'SELECT id FROM batch_execution WHERE ended_at IS NOT NULL')
    except psycopg.OperationalError:
        # It is being restarted
        return False


def count(site):
    "Return how many records were treated how often, as the database has it."
    def ask(sql):
        (value,), = site.execute(sql)
        return int(value or 0)

    result = {
        'selected': ask('SELECT MAX(selected) FROM batch_execution'),
        'once': ask(
            'SELECT COUNT(*) FROM batch_scenario_record WHERE treated = 1'),
        'twice': ask(
            'SELECT COUNT(*) FROM batch_scenario_record WHERE treated > 1'),
        'failed': ask(
            "SELECT SUM(size) FROM batch_execution_chunk "
            "WHERE state = 'failed'"),
        }
    result['lost'] = result['selected'] - result['failed'] - ask(
        'SELECT COUNT(*) FROM batch_scenario_record WHERE treated > 0')
    return result


class Monkey:
    "Kills processes of workers at random, and troubles their servers."

    def __init__(self, random):
        self.random = random
        self.processes = self.workers = self.flushes = self.restarts = 0
        self.outages = 0
        self._outage = None
        self._over = threading.Event()

    @contextlib.contextmanager
    def at(self, site, workers, records):
        "Be at it, in a thread, for the time of the body."
        self._starting = []
        self._over.clear()
        thread = threading.Thread(
            target=self.play, args=[site, workers, records])
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
            for starting in self._starting:
                starting.join()

    def play(self, site, workers, records):
        troubles = sorted([
                *((share, 'flush') for share in FLUSHES),
                (RESTART, 'restart'), (AWAY, 'away')])
        while not self._over.wait(self.random.uniform(*DEATHS)):
            done = self.done(site) / records
            if (troubles and done >= troubles[0][0]
                    and not (self._outage and self._outage.is_alive())):
                getattr(self, troubles.pop(0)[1])(site)
            if self.random.randrange(WHOLE):
                self.kill_process(workers)
            else:
                self.kill_worker(site, workers)

    def done(self, site):
        (done,), = site.execute(
            'SELECT COUNT(*) FROM batch_scenario_record WHERE treated > 0')
        return done

    def flush(self, site):
        site.redis.flush()
        self.flushes += 1

    def restart(self, site):
        site.postgresql.restart(crash=True)
        self.restarts += 1

    def away(self, site):
        def outage():
            site.redis.stop()
            self._over.wait(AWAY_FOR)
            site.redis.start()

        self.outages += 1
        self._outage = threading.Thread(target=outage)
        self._outage.start()
        self._starting.append(self._outage)

    def kill_process(self, workers):
        processes = [p for w in workers if w for p in children(w.pid)]
        if processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.random.choice(processes), signal.SIGKILL)
                self.processes += 1

    def kill_worker(self, site, workers):
        alive = [i for i, worker in enumerate(workers) if worker]
        # One of them is always there
        if len(alive) == len(workers):
            place = self.random.choice(alive)
            workers[place].stop(timeout=0, stop_signal=signal.SIGKILL)
            workers[place] = None
            self.workers += 1
            starting = threading.Thread(
                target=self.start_worker, args=[site, workers, place])
            starting.start()
            self._starting.append(starting)

    def start_worker(self, site, workers, place):
        # It may not start while PostgreSQL does
        def start():
            with contextlib.suppress(StartError):
                return site.worker(PROCESSES)
        workers[place] = wait_for(start, LIMIT, "start a worker")


if __name__ == '__main__':
    sys.exit(main())

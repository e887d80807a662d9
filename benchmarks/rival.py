# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What one would write without this module, run in the environment of a site:

    python -m benchmarks.rival NAME RECORDS SIZE SECONDS

Treats the records 1 to RECORDS in chunks of SIZE and prints the seconds from
the first chunk that is handed out to the last that is known to be done.
"""
import multiprocessing
import os
import sys
import time

import trytond.config as config

config.update_etc([os.environ['TRYTOND_CONFIG']])

from celery import Celery, group  # noqa: E402

from trytond import backend  # noqa: E402
from trytond.pool import Pool  # noqa: E402
from trytond.transaction import Transaction  # noqa: E402

DATABASE = os.environ['TRYTOND_DATABASE_NAMES']
MODEL = 'batch.scenario.record'
PROCESSES = 2

app = Celery('rival', broker=os.environ.get('RIVAL_BROKER'),
    backend=os.environ.get('RIVAL_RESULTS'))


def load():
    if DATABASE not in Pool.database_list():
        with Transaction().start(DATABASE, 0, readonly=True):
            Pool(DATABASE).init()


@app.task(name='rival.treat')
def treat(ids, seconds):
    "A chunk in a transaction."
    load()
    with Transaction().start(DATABASE, 0):
        Record = Pool(DATABASE).get(MODEL)
        Record.work(Record.browse(ids), seconds)
    return len(ids)


def chunks(records, size):
    return [
        list(range(i, min(i + size, records + 1)))
        for i in range(1, records + 1, size)]


def run_processes(records, size, seconds):
    "Each of the processes treats every other chunk."
    load()
    # A connection is not for two processes
    backend.Database(DATABASE).close()
    context = multiprocessing.get_context('fork')
    barrier = context.Barrier(PROCESSES + 1)
    todo = chunks(records, size)

    def work(number):
        with Transaction().start(DATABASE, 0, readonly=True):
            Pool(DATABASE).get(MODEL).search([], limit=1)
        barrier.wait()
        for ids in todo[number::PROCESSES]:
            treat(ids, seconds)
        barrier.wait()

    for number in range(PROCESSES):
        context.Process(target=work, args=[number]).start()
    barrier.wait()
    started = time.monotonic()
    barrier.wait()
    return time.monotonic() - started


def run_celery(records, size, seconds):
    "A task for each chunk, and their results collected."
    # The connections, as our command has them too
    treat.delay([], 0).get()
    started = time.monotonic()
    result = group(
        treat.s(ids, seconds) for ids in chunks(records, size)).apply_async()
    assert sum(result.get()) == records
    return time.monotonic() - started


def run_queue(records, size, seconds):
    "A task of Tryton's own queue for each chunk, until all are finished."
    load()
    started = time.monotonic()
    with Transaction().start(DATABASE, 0) as transaction:
        Record = Pool(DATABASE).get(MODEL)
        with transaction.set_context(queue_batch=size):
            Record.__queue__.work(
                Record.browse(range(1, records + 1)), seconds)
    left = 1
    while left:
        time.sleep(0.01)
        with Transaction().start(DATABASE, 0, readonly=True) as transaction:
            cursor = transaction.connection.cursor()
            cursor.execute(
                'SELECT COUNT(*) FROM ir_queue WHERE finished_at IS NULL')
            left, = cursor.fetchone()
    return time.monotonic() - started


def run_cursor(records, size, seconds):
    "The ids are only read, with a cursor of the server."
    with Transaction().start(DATABASE, 0, readonly=True) as transaction:
        started = time.monotonic()
        with transaction.connection.cursor(name='bare') as cursor:
            cursor.execute('SELECT id FROM batch_scenario_record ORDER BY id')
            while rows := cursor.fetchmany(10_000):
                records -= len(rows)
        assert not records
        return time.monotonic() - started


if __name__ == '__main__':
    _, name, records, size, seconds = sys.argv
    print(globals()['run_' + name](int(records), int(size), float(seconds)))

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The life of a chunk: what generate does.

Knows no Celery: ``send(execution, chunk)`` is handed in.  On workers it gives
a message to the broker, in the process itself it appends to a list.
"""
import time
from functools import partial

from trytond.model import ModelSQL
from trytond.model.exceptions import AccessError
from trytond.pool import Pool
from trytond.transaction import inactive_records

from . import chunking, definition, ledger
from . import logging as batch_logging
from . import output
from . import parameters as parameters_
from . import report, suspects, tally, units
from .batch import BatchRoot, record_id
from .config import failures_allowed
from .engine import hooks
from .engine.errors import describe, exc_info, one_line, write_down
from .engine.time_limit import time_limit
from .exceptions import StateError, TransactionEndedError, WorkerLostError
from .job import close, configure_logs, load_job
from .transaction import is_order, is_outage, load_pool, transact

__all__ = ['TURN', 'lost', 'turn']

#: seconds for which a task goes on with the successors of its chunk, before
#: it hands the next one to the broker: small chunks cost no trip through it,
#: and nobody holds a worker for long
TURN = 0.2
#: how many deaths of a process a chunk causes before it is taken apart
DEATHS = 2
#: how many alike failures, and no success, stop an execution
ALIKE = 20


class _Rehearsed(Exception):
    "Raised at the end of the work of a dry run, so that it is rolled back."

    def __init__(self, chunk, numbers):
        self.chunk = chunk
        self.numbers = numbers


class _DeliveredBefore(Exception):
    "Raised when a chunk has to be begun with care."

    def __init__(self, chunk):
        self.chunk = chunk


def turn(database, execution, chunk, *, send, again=False,
        clock=time.monotonic):
    """Treat a chunk and, while the turn lasts, the ones that it queues.

    :param send: called with (execution, chunk)
    :param again: whether the broker says that it delivered this before
    :param clock: gives seconds
    """
    configure_logs()
    load_pool(database)
    job = load_job(database, execution)
    if job is None:
        # A message that outlived its execution
        return
    deadline = clock() + TURN
    while (chunk := treat(job, chunk, again)) is not None:
        again = False
        if clock() < deadline:
            continue
        try:
            send(execution, chunk)
        except Exception as error:
            # Without the broker the lane goes on here: later, not never
            with job.run():
                job.logger.warning(
                    "the broker takes no message, going on without it: %s",
                    one_line(error))
        else:
            return
    close(database, execution)


def treat(job, chunk_id, again=False):
    """Treat one chunk; return the id of the chunk that it queued, or None.

    None also where the chunk has ended before, or somebody else has it.
    """
    try:
        return attempt(job, chunk_id, careful=again)
    except _DeliveredBefore as error:
        chunk = error.chunk
    if chunk.deaths >= DEATHS:
        return give_up(job, chunk)
    if not transact(job.database, lambda transaction: begin(
                transaction, job, chunk)):
        return None
    return attempt(job, chunk_id, begun=True)


def begin(transaction, job, chunk):
    cursor = transaction.connection.cursor()
    if ledger.take(cursor, job.execution, chunk.id) is None:
        return False
    ledger.begin(cursor, chunk)
    return True


def attempt(job, chunk_id, careful=False, begun=False, gone=frozenset()):
    """Do the work of a chunk and its ``done`` in one commit, or fail it.

    :param careful: raise _DeliveredBefore whatever the ledger says
    :param begun: whether the ledger says that we begin with it
    :param gone: ids of records that are not there any more
    """
    started_at, started = ledger.now(), time.monotonic()
    # What Tryton begins anew by TransactionError is the same attempt
    chunk, objects, attempts = None, None, 1

    def work(transaction):
        nonlocal chunk, objects
        cursor = transaction.connection.cursor()
        chunk = ledger.take(cursor, job.execution, chunk_id)
        if chunk is None:
            # If the connection was lost after our commit, what we queued by
            # it is still to be sent
            return ledger.at_work(cursor, chunk_id) if attempts > 1 else None
        if not begun and (careful or chunk.begun is not None):
            raise _DeliveredBefore(chunk)
        guard = hooks.Guard(
            job.batch, chunk.transaction, check_later=not job.dry_run)
        with job.run(chunk), time_limit(job.settings['time_limit']), guard:
            objects, ids = convert(job, chunk, gone)
            numbers = {}
            if ids or not gone:
                numbers = execute(job, objects, ids)
            numbers = definition.check_numbers(job.batch, numbers)
        if job.dry_run:
            raise _Rehearsed(chunk, numbers)
        try:
            return ledger.done(
                cursor, chunk, started_at, attempts,
                [str(f) for f in transaction.join(output.Outputs()).files],
                numbers)
        except StateError:
            guard.check()
            raise

    def on_retry(error, count):
        nonlocal attempts
        attempts += 1
        with job.run(chunk):
            job.logger.warning(
                "the database refused for now, trying again (%s of %s): %s",
                count, job.settings['retry'], one_line(error))

    try:
        successor = transact(
            job.database, work, user=job.user, context=job.context,
            retry=job.settings['retry'], on_retry=on_retry)
    except _DeliveredBefore:
        raise
    except _Rehearsed as error:
        successor = transact(job.database, partial(
                record_rehearsal, job=job, chunk=error.chunk,
                numbers=error.numbers, started_at=started_at,
                attempts=attempts))
    except BaseException as error:
        # A hook may raise whatever there is, and call sys.exit()
        if chunk is None or is_outage(error) or is_order(error):
            # No unit is to blame: the chunk stays queued
            raise
        if not gone and (gone := find_gone(job, chunk, error)):
            return attempt(job, chunk_id, begun=True, gone=gone)
        return fail(job, chunk, started_at, attempts, error, objects)
    if chunk is not None:
        with job.run(chunk):
            job.logger.info("%s done in %s", units_of(chunk),
                report.duration(time.monotonic() - started))
    return successor


def record_rehearsal(transaction, job, chunk, numbers, started_at, attempts):
    cursor = transaction.connection.cursor()
    chunk = ledger.take(cursor, job.execution, chunk.id)
    if chunk is not None:
        return ledger.done(
            cursor, chunk, started_at, attempts, numbers=numbers)


def find_gone(job, chunk, error):
    """Return the ids of the chunk's records that were deleted meanwhile.

    Only where the error may come from that, and only where ids are known to
    be those of the main model: nothing else may be left out.
    """
    Batch = Pool(job.database).get(job.batch)
    if (chunk.units is None or not issubclass(type(error), AccessError)
            or Batch.convert_to_instances.__func__
            is not BatchRoot.convert_to_instances.__func__):
        return frozenset()

    def search(transaction):
        Model = Pool().get(Batch.get_batch_main_model_name())
        ids = {record_id(id) for id, _ in flattened(chunk)}
        if not issubclass(Model, ModelSQL):
            return frozenset()
        with inactive_records():
            return frozenset(ids.difference(map(int, Model.search(
                            [('id', 'in', list(ids))]))))

    gone = transact(job.database, search)
    if gone:
        with job.run(chunk):
            job.logger.warning("left out, as deleted since the selection: %s",
                batch_logging.get_print_infos(sorted(gone), 'record'))
    return gone


def convert(job, chunk, gone=frozenset()):
    "Return what ``execute`` is given: objects and ids."
    if chunk.units is None:
        return [], []
    if isinstance(chunk.units, units.Unreadable):
        raise chunk.units.error
    Batch = Pool().get(job.batch)
    ids = [
        id for id, _ in flattened(chunk)
        if not gone or record_id(id) not in gone]
    objects = parameters_.call(
        Batch, 'convert_to_instances', job.parameters, ids)
    if isinstance(objects, list):
        objects = suspects.Watched(objects)
    return objects, ids


def execute(job, objects, ids):
    return parameters_.call(
        Pool().get(job.batch), 'execute', job.parameters, objects, ids)


def flattened(chunk):
    "Yield each id of the chunk with the index of its unit."
    for index, unit in enumerate(chunk.units):
        for id in unit if isinstance(unit, list) else [unit]:
            yield id, index


def fail(job, chunk, started_at, attempts, error, objects=None):
    """Log why a chunk failed and replace it by its parts, or fail it.

    Returns the id of the chunk that is queued in its place, or None.
    """
    # What is wrong with the class is wrong for each of its units
    is_ended = issubclass(type(error), TransactionEndedError)

    def record(transaction, details):
        cursor = transaction.connection.cursor()
        if ledger.take(cursor, job.execution, chunk.id) is None:
            return None, None, None
        parts = suspect = repeated = None
        if is_divisible(job, chunk) and not is_ended:
            *parent, trust = ledger.lineage(cursor, chunk)
            repeated = parent == [details['error_type'], details['error']]
            if trust:
                suspect = find_suspect(chunk, objects, error)
            parts = chunking.parts(
                chunk.units, suspect, job.settings['concurrency'] == 1)
            first = ledger.split(
                cursor, chunk, parts, started_at, attempts, details,
                suspect=None if suspect is None
                else parts.index([chunk.units[suspect]]))
        else:
            first = ledger.fail(
                cursor, chunk, started_at, attempts, details)
            stop_if_hopeless(cursor, job, is_ended)
        return first, parts, repeated

    with job.run(chunk):
        first, parts, repeated = write_down(error, lambda details: transact(
                job.database, partial(record, details=details)))
        if repeated:
            # The traceback stands with the parent's line
            job.logger.warning("%s failed again%s: %s",
                units_of(chunk), end_of(chunk, parts), one_line(error),
                extra={'error': error})
        else:
            job.logger.exception("%s failed%s: %s",
                units_of(chunk), end_of(chunk, parts), one_line(error),
                exc_info=exc_info(error), extra={'error': error})
        return first


def is_divisible(job, chunk):
    return (chunk.units is not None and len(chunk.units) > 1
        and job.settings['split_size'] != 1)


def find_suspect(chunk, objects, error):
    indexes = [index for _, index in flattened(chunk)]
    if type(objects) is suspects.Watched and len(objects) == len(indexes):
        return suspects.find(error, objects, indexes)


def units_of(chunk):
    if chunk.units is None:
        return 'the batch'
    if len(chunk.units) == 1:
        return 'unit %s' % units.shown(chunk.units[0])
    return '{:,} units'.format(len(chunk.units))


def end_of(chunk, parts):
    if parts:
        return "; replaced by parts of %s" % ', '.join(
            str(len(part)) for part in parts)
    if chunk.units is None or len(chunk.units) > 1:
        return ", all of it, as it is not to be split"
    return " alone"


def stop_if_hopeless(cursor, job, is_ended=False):
    """Stop the execution if a release is broken, or max_failures is passed.

    :param is_ended: whether a hook ended its transaction
    """
    row = ledger.read(cursor, job.execution, 'selected', 'stopping')
    if row['stopping']:
        return
    setting = job.settings['max_failures']
    allowed = failures_allowed(setting, row['selected'])
    if is_ended:
        reason = 'a hook ends its transaction, as it would in each chunk'
    elif (allowed is not None
            and tally.failed_units(cursor, job.execution) > allowed):
        reason = 'max_failures = %s was passed' % setting
    elif fingerprint := tally.alike(cursor, job.execution, ALIKE):
        reason = 'the last %s failures are alike (%s) and nothing ' \
            'succeeded since the first of them: this looks like a broken ' \
            'release, not like bad data' % (ALIKE, fingerprint)
    else:
        return
    if ledger.stop(cursor, job.execution, 'failed', 'stopped: ' + reason):
        job.logger.error("stopped: %s", reason)


# A process that died

def lost(database, execution, chunk_id, cause, blame):
    """Write that the process of a task died; return the id to send, or None.

    :param chunk_id: the chunk that the task was given
    :param cause: how it died, such as ``signal 9 (SIGKILL)``
    :param blame: whether what it was working on is to blame
    """
    def record(transaction):
        cursor = transaction.connection.cursor()
        id = ledger.at_work(cursor, chunk_id)
        if id is None:
            return None, None
        chunk = ledger.take(cursor, execution, id)
        if chunk is not None:
            ledger.died(cursor, chunk, blame, 'worker lost (%s)' % cause)
        return chunk, ledger.read(cursor, execution, 'batch')

    chunk, row = transact(database, record)
    if chunk is None:
        close(database, execution)
        return None
    batch_logging.get_logger(row['batch']).error(
        "%s worker lost (%s) at %s%s", chunk.label, cause, units_of(chunk),
        "" if blame else "; nothing of it is to blame")
    return chunk.id


def give_up(job, chunk):
    "Take apart a chunk whose processes died, or fail the one unit."
    error = WorkerLostError(chunk.error or 'worker lost')

    def record(transaction):
        cursor = transaction.connection.cursor()
        if ledger.take(cursor, job.execution, chunk.id) is None:
            return None, None
        now = ledger.now()
        if is_divisible(job, chunk):
            parts = chunking.parts_of_lost(chunk.units)
            return ledger.split(
                cursor, chunk, parts, now, chunk.deaths, describe(error),
                begun=''), parts
        first = ledger.fail(cursor, chunk, now, chunk.deaths, describe(error))
        stop_if_hopeless(cursor, job)
        return first, None

    with job.run(chunk):
        first, parts = transact(job.database, record)
        job.logger.error("%s failed%s: %s",
            units_of(chunk), end_of(chunk, parts), error,
            extra={'error': error})
        return first

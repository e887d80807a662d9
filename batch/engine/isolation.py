# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What becomes of a chunk that failed, or whose process died.

It is replaced by its parts, until the unit that is to blame fails alone.
"""
import json
from functools import partial

from .. import ledger
from ..context import Work, working
from ..exceptions import TransactionEndedError, WorkerLostError
from ..ledger import units
from ..ledger.states import ExecutionState
from ..logging import get_logger
from ..settings import failures_allowed
from ..transaction import transact
from . import bisection, suspects
from .ending import close
from .errors import describe, exc_info, one_line, write_down
from .records import model_of_units

__all__ = [
    'chunk_died', 'fail_or_bisect', 'flattened', 'give_up', 'is_divisible',
    'units_of']

#: how many alike failures, and no success, stop an execution
ALIKE = 20


def flattened(chunk):
    "Yield each id of the chunk with the index of its unit."
    for index, unit in enumerate(chunk.units):
        for id in unit if isinstance(unit, list) else [unit]:
            yield id, index


def fail_or_bisect(job, chunk, attempts, error, objects=None):
    """Log why a chunk failed and replace it by its parts, or fail it.

    Returns the id of the chunk that is queued in its place, or None.
    """
    # What is wrong with the class is wrong for each of its units
    is_ended = issubclass(type(error), TransactionEndedError)
    model = model_of_units(job)

    def record(cursor, details):
        if ledger.chunks.claim(cursor, job.execution, chunk.id) is None:
            return None, None, None
        parts = suspect = repeated = None
        if is_ended:
            ledger.executions.update(
                cursor, job.execution, hooks_committed=True)
        if is_divisible(job, chunk) and not is_ended:
            *parent, trust = ledger.failures.lineage(cursor, chunk)
            repeated = parent == [details['error_type'], details['error']]
            if trust:
                suspect = find_suspect(chunk, objects, error)
            parts = bisection.parts(
                chunk.units, suspect, job.settings['concurrency'] == 1)
            first = ledger.chunks.replace_by_parts(
                cursor, chunk, parts, attempts, details,
                suspect=None if suspect is None
                else parts.index([chunk.units[suspect]]))
        else:
            first = ledger.chunks.fail(
                cursor, chunk, attempts, details, model, job.dry_run)
            stop_if_hopeless(cursor, job, is_ended)
        return first, parts, repeated

    with job.working(chunk):
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
        return 'unit %s' % units.shown_unit(chunk.units[0])
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
    row = ledger.executions.columns(
        cursor, job.execution, 'selected', 'stopping')
    if row['stopping']:
        return
    setting = job.settings['max_failures']
    allowed = failures_allowed(setting, row['selected'])
    if is_ended:
        reason = 'a hook ends its transaction, as it would in each chunk'
    elif (allowed is not None
            and ledger.failures.failed_units(cursor, job.execution) > allowed):
        reason = 'max_failures = %s was passed' % setting
    elif fingerprint := ledger.failures.alike(cursor, job.execution, ALIKE):
        reason = 'the last %s failures are alike (%s) and nothing ' \
            'succeeded since the first of them: this looks like a broken ' \
            'release, not like bad data' % (ALIKE, fingerprint)
    else:
        return
    if ledger.executions.stop(
            cursor, job.execution, ExecutionState.FAILED,
            'stopped: ' + reason):
        job.logger.error("stopped: %s", reason)


def chunk_died(database, execution, chunk_id, cause, blame):
    """Write that the process of a task died; return whether it is written.

    Not where somebody has the lock of what it was working on: the server may
    not know yet that its client is gone.

    :param chunk_id: the chunk that the task was given
    :param cause: how it died, such as ``signal 9``
    :param blame: whether what it was working on is to blame
    :return: (whether it is written, id of the chunk to send or None)
    """
    def record(cursor):
        row = ledger.executions.columns(
            cursor, execution, 'batch', 'settings', 'stopping')
        concurrency, _ = json.loads(row['settings'])['concurrency']
        id = ledger.chunks.first_open_in_lane(
            cursor, execution, chunk_id, concurrency)
        if id is None:
            return True, None, None
        chunk = ledger.chunks.claim(cursor, execution, id)
        if chunk is None:
            return bool(row['stopping']), None, None
        ledger.chunks.died(cursor, chunk, blame, 'worker lost (%s)' % cause)
        return True, chunk, row

    written, chunk, row = transact(database, record)
    if chunk is None:
        if written:
            close(database, execution)
        return written, None
    with working(Work(
                row['batch'], execution, chunk.number, database=database)):
        get_logger(row['batch']).error(
            "worker lost (%s) at %s%s", cause, units_of(chunk),
            "" if blame else "; nothing of it is to blame")
    return True, chunk.id


def give_up(job, chunk):
    "Take apart a chunk whose processes died, or fail the one unit."
    error = WorkerLostError(chunk.error or 'worker lost')
    model = model_of_units(job)

    def record(cursor):
        if ledger.chunks.claim(cursor, job.execution, chunk.id) is None:
            return None, None
        if is_divisible(job, chunk):
            parts = bisection.parts_of_lost(chunk.units)
            return ledger.chunks.replace_by_parts(
                cursor, chunk, parts, chunk.deaths, describe(error),
                careful=True), parts
        first = ledger.chunks.fail(
            cursor, chunk, chunk.deaths, describe(error), model, job.dry_run)
        stop_if_hopeless(cursor, job)
        return first, None

    with job.working(chunk):
        first, parts = transact(job.database, record)
        job.logger.error("%s failed%s: %s",
            units_of(chunk), end_of(chunk, parts), error,
            extra={'error': error})
        return first

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What becomes of a chunk that failed, or whose process died.

It is replaced by its parts, until the unit that causes it fails alone.
"""
from functools import partial
from typing import Any, TypeAlias

from .. import ledger
from ..aliases import Cursor, Unit
from ..context import Work, working
from ..exceptions import TransactionEndedError, WorkerLostError
from ..ledger import units
from ..ledger.chunks import Chunk, Queued
from ..ledger.rows import Details, ExecutionRow, values_of
from ..ledger.states import ExecutionState
from ..logging import get_logger
from ..settings import failures_allowed
from ..transaction import transact
from . import bisection, suspects
from .ending import close
from .errors import describe, exc_info, one_line, write_down
from .records import model_of_units
from .running import Job
from .watched import Watched

__all__ = [
    'chunk_died', 'fail_or_bisect', 'give_up', 'is_divisible',
    'stop_debugged', 'units_of']

Parts: TypeAlias = list[list[Unit]]

#: how many alike failures without a success in between stop an execution
ALIKE = 20


def fail_or_bisect(
        job: Job, chunk: Chunk, attempts: int, error: BaseException,
        objects: Any = None) -> Queued | None:
    """Log why a chunk failed, and replace it by its parts or fail it.

    Returns the chunk that is queued next, LANE_END, or None where another
    process has ended the chunk.

    :param objects: what ``execute`` was given
    """
    # Not to be split: each of its units would do the same
    is_ended = issubclass(type(error), TransactionEndedError)
    model = model_of_units(job)

    def record(
            cursor: Cursor,
            details: Details) -> tuple[Queued | None, Parts | None, bool]:
        # No parts: it failed; None: another process has ended it
        if ledger.chunks.claim(cursor, job.execution, chunk.id) is None:
            return None, None, False
        parts = suspect = None
        repeated = False
        if is_ended:
            ledger.executions.update(
                cursor, job.execution, hooks_committed=True)
        if chunk.units and is_divisible(job, chunk) and not is_ended:
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
            first, parts = ledger.chunks.fail(
                cursor, chunk, attempts, details, model, job.dry_run), []
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
        if parts == []:
            job.failed.append(chunk.label)
        return first


def is_divisible(job: Job, chunk: Chunk) -> bool:
    "Return whether a chunk may be replaced by parts."
    return (chunk.units is not None and len(chunk.units) > 1
        and job.settings['isolate'] and job.settings['split_size'] != 1)


def find_suspect(
        chunk: Chunk, objects: Any, error: BaseException) -> int | None:
    "Return the index of the unit that the error is about, or None."
    indexes = [index for _, index in units.flattened(chunk.units)]
    if type(objects) is Watched and len(objects) == len(indexes):
        return suspects.find(error, objects, indexes)
    return None


def unit_at(chunk: Chunk, reached: int | None) -> int | None:
    """Return the index of the unit of an object, None if it is not known.

    :param reached: index of the object, where there is one for each id
    """
    if reached is None or not isinstance(chunk.units, list):
        return None
    indexes = [index for _, index in units.flattened(chunk.units)]
    return indexes[reached] if reached < len(indexes) else None


def units_of(chunk: Chunk) -> str:
    "Return what a chunk holds, for a log: unit 5, 100 units."
    if chunk.units is None:
        return 'the batch'
    if len(chunk.units) == 1:
        return 'unit %s' % units.shown_unit(chunk.units[0])
    return '{:,} units'.format(len(chunk.units))


def end_of(chunk: Chunk, parts: Parts | None) -> str:
    "Return what a log says of the end of a chunk that failed."
    if parts:
        return "; replaced by parts of %s" % ', '.join(
            str(len(part)) for part in parts)
    if chunk.units is None or len(chunk.units) > 1:
        return " as a whole, because it is never split"
    return " alone"


def stop_if_hopeless(cursor: Cursor, job: Job, is_ended: bool = False) -> None:
    """Stop the execution if ALIKE failures are alike or max_failures passed.

    :param is_ended: stop it in any case, as a hook ended its transaction
    """
    row = ledger.executions.existing(
        cursor, job.execution, 'selected', 'stopping')
    if row['stopping']:
        return
    setting = job.settings['max_failures']
    allowed = failures_allowed(setting, row['selected'] or 0)
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


def stop_debugged(job: Job, chunk: Chunk) -> None:
    """Stop the execution, as its debugger was quit: no unit is to blame.

    The chunk stays queued, until the execution is resumed.
    """
    stopped = 'stopped: a debugger was quit in #%s.%s' % (
        job.execution, chunk.number)
    transact(job.database, lambda cursor: ledger.executions.stop(
            cursor, job.execution, ExecutionState.FAILED, stopped))
    with job.working(chunk):
        job.logger.error("%s; a resume executes the chunk again", stopped)


def chunk_died(
        database: str, execution: int, chunk_id: int, cause: str,
        blame: bool, reached: int | None = None) -> tuple[bool, int | None]:
    """Write that the process of a task died.

    Not while the chunk that it executed is still locked: the server may not
    have noticed yet that its client is gone.

    :param chunk_id: the chunk that it executed, or that of its message
    :param cause: how it died, such as ``signal 9``
    :param blame: whether to count it as a death of the chunk
    :param reached: index of the object that its iteration was at
    :return: (whether it is written, id of the chunk to send or None)
    """
    def record(cursor: Cursor) -> tuple[bool, Chunk | None, ExecutionRow]:
        row = ledger.executions.existing(
            cursor, execution, 'batch', 'settings', 'stopping')
        queued = ledger.open_chunks.first_open_in_lane(
            cursor, execution, chunk_id,
            values_of(row['settings'])['concurrency'], directly=True)
        if queued is None:
            return True, None, row
        chunk = ledger.chunks.claim(cursor, execution, queued.id)
        if chunk is None:
            return bool(row['stopping']), None, row
        ledger.chunks.died(
            cursor, chunk, blame, 'worker lost (%s)' % cause,
            unit_at(chunk, reached)
            if queued.id == chunk_id else None)
        return True, chunk, row

    written, chunk, row = transact(database, record)
    if chunk is None:
        if written:
            close(database, execution)
        return written, None
    with working(Work(
                row['batch'], execution, chunk.number, database=database)):
        at = None if chunk.id != chunk_id else unit_at(chunk, reached)
        get_logger(row['batch']).error(
            "worker lost (%s) at %s%s%s", cause, units_of(chunk),
            "" if at is None or chunk.size == 1 or chunk.units is None
            else '; its iteration was at unit %s'
            % units.shown_unit(chunk.units[at]),
            "" if blame else "; this does not count as a death")
    return True, chunk.id


def give_up(job: Job, chunk: Chunk) -> Queued | None:
    "Split a chunk whose processes died, or fail it; return as fail_or_bisect."
    error = WorkerLostError(chunk.error or 'worker lost')
    model = model_of_units(job)

    def record(cursor: Cursor) -> tuple[Queued | None, Parts | None]:
        if ledger.chunks.claim(cursor, job.execution, chunk.id) is None:
            return None, None
        if chunk.units and is_divisible(job, chunk):
            suspect = chunk.reached if chunk.reached is not None \
                and ledger.failures.lineage(cursor, chunk)[2] else None
            parts = bisection.parts_of_lost(chunk.units) \
                if suspect is None else bisection.parts(
                    chunk.units, suspect, job.settings['concurrency'] == 1)
            return ledger.chunks.replace_by_parts(
                cursor, chunk, parts, chunk.deaths, describe(error),
                suspect=None if suspect is None
                else parts.index([chunk.units[suspect]]),
                careful=True), parts
        first = ledger.chunks.fail(
            cursor, chunk, chunk.deaths, describe(error), model, job.dry_run)
        stop_if_hopeless(cursor, job)
        return first, []

    with job.working(chunk):
        first, parts = transact(job.database, record)
        job.logger.error("%s failed%s: %s",
            units_of(chunk), end_of(chunk, parts), error,
            extra={'error': error})
        if parts == []:
            job.failed.append(chunk.label)
        return first

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The execution of a chunk."""
import bdb
import contextlib
import time
from functools import partial
from typing import Any, TypeAlias

from trytond.pool import Pool
from trytond.transaction import Transaction

from .. import ledger, output, positions, tracing
from ..aliases import Cursor, Unit
from ..batch import record_id
from ..class_checks import check_numbers
from ..exceptions import OutageError, StateError
from ..ledger import units
from ..ledger.chunks import Chunk, Queued
from ..ledger.claimants import claimant, process_of
from ..outcome import duration
from ..signatures import call_hook
from ..transaction import (
    before_leaving, find_outage, is_broken, is_shutdown, is_unique_race,
    transact)
from . import hooks
from .closing import WindowClosed, close_window, refuse_late
from .errors import describe, one_line
from .isolation import (
    fail_or_bisect, give_up, is_divisible, stop_debugged, units_of)
from .output_files import note_appeared
from .records import find_gone, given_ids, has_records
from .running import Job
from .time_limit import call_within
from .watched import Watched

__all__ = ['treat']

#: what ``execute`` returned, to be summed up
Numbers: TypeAlias = dict[str, float] | None

#: how many processes may die executing a chunk before it is split
MAX_DEATHS = 2
#: records that Tryton reads at once, of a chunk that was planned
WHOLE = 500
#: those of a part, as another one may fail too: what is read behind that one
#: is read for nothing
PART = 100


class _Rehearsed(Exception):
    "Raised at the end of the work of a dry run, so that it is rolled back."

    def __init__(self, chunk: Chunk, numbers: Numbers) -> None:
        self.chunk = chunk
        self.numbers = numbers


class _DeliveredBefore(Exception):
    "Raised when a chunk may have been begun before: begin() comes first."

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk


def treat(job: Job, chunk_id: int, again: bool = False) -> Queued | None:
    """Execute one chunk; return the chunk to go on with, or LANE_END.

    None where another process executes it, or it can not be executed now.
    """
    try:
        return attempt(job, chunk_id, careful=again)
    except _DeliveredBefore as error:
        chunk = error.chunk
    if chunk.deaths >= MAX_DEATHS:
        return give_up(job, chunk)
    if not transact(
            job.database, lambda cursor: begin(cursor, job, chunk)):
        return None
    try:
        return attempt(job, chunk_id, begun=True)
    except BaseException as error:
        if is_shutdown(error):
            before_leaving(job.database, partial(
                    ledger.claimants.give_back, execution=job.execution,
                    chunk=chunk_id))
        raise


def begin(cursor: Cursor, job: Job, chunk: Chunk) -> bool:
    "Write that this process begins; return whether the chunk is free."
    if ledger.chunks.claim(cursor, job.execution, chunk.id) is None:
        return False
    if chunk.begun_by and chunk.begun_by != claimant():
        # Nobody may have told of its death yet
        with job.working(chunk):
            job.logger.warning(
                "begun by %s, which did not end it: begun again",
                process_of(chunk.begun_by))
    ledger.chunks.begin(cursor, chunk)
    return True


def attempt(
        job: Job, chunk_id: int, careful: bool = False, begun: bool = False,
        gone: frozenset[int] = frozenset(),
        repeated: bool = False) -> Queued | None:
    """Execute a chunk and write ``done`` in the same commit, or fail it.

    Returns the chunk to go on with, LANE_END or None.  Raises OutageError
    where the database is away, _DeliveredBefore where begin() has to be
    called first, and whatever shuts the process down.

    :param careful: raise _DeliveredBefore whatever the ledger says
    :param begun: whether begin() was called
    :param gone: ids of records that were deleted, to leave out
    :param repeated: whether a constraint has refused it before
    """
    started = time.monotonic()
    chunk: Chunk | None = None
    objects: Any = None
    outputs: output.Outputs | None = None
    # What Tryton begins again by TransactionError is the same attempt
    attempts = 1
    broken: bool | None = None
    span: tracing.Span = None

    def work(cursor: Cursor) -> Queued | ledger.done.Done | None:
        nonlocal chunk, outputs, broken, span
        transaction = Transaction()
        chunk = ledger.chunks.claim(cursor, job.execution, chunk_id)
        if chunk is None:
            return go_on(cursor, job, chunk_id)
        if chunk.execution != job.execution:
            job.logger.error(
                "a message of #%s with the chunk %s is refused",
                job.execution, chunk.label)
            chunk = None
            return None
        if not begun:
            refuse_late(cursor, job, chunk)
        if not begun and (careful or chunk.careful):
            raise _DeliveredBefore(chunk)
        span = span or tracing.begin_chunk(
            job.database, job.batch, job.execution, job.started_at,
            chunk.number, chunk.size)
        outputs = transaction.join(output.Outputs(job.tag))
        guard = hooks.Guard(
            job.batch, chunk.transaction, check_later=not job.dry_run)
        try:
            with job.working(chunk, outputs=outputs), guard, \
                    tracing.attempt(span, attempts):
                numbers = call_within(
                    job.settings['time_limit'], partial(call_hooks, chunk))
        except BaseException:
            broken = is_broken(transaction)
            raise
        if job.dry_run:
            raise _Rehearsed(chunk, numbers)
        if ledger.tables.is_shared():
            transaction.last = ledger.done.Done(
                chunk, attempts, outputs.identities, numbers,
                guard.check_refused)
            return transaction.last
        try:
            return ledger.chunks.done(
                cursor, chunk, attempts, outputs.identities, numbers)
        except StateError:
            guard.check()
            raise

    def call_hooks(chunk: Chunk) -> Numbers:
        nonlocal objects
        positions.begin_chunk(chunk.id)
        objects, ids = convert(job, chunk, gone)
        numbers = execute(job, objects, ids) if ids or not gone else {}
        return check_numbers(job.batch, numbers)

    def on_retry(error: BaseException, count: int) -> None:
        nonlocal attempts
        attempts += 1
        with job.working(chunk):
            job.logger.warning(
                "transient error of the database, trying again (%s of %s): %s",
                count, job.settings['retry'], one_line(error))

    try:
        successor = transact(
            job.database, work, user=job.user, context=job.context,
            retry=job.settings['retry'], on_retry=on_retry)
    except _DeliveredBefore:
        raise
    except WindowClosed as error:
        close_window(job, error.closes_at)
        return None
    except _Rehearsed as error:
        successor = transact(job.database, partial(
                record_rehearsal, job=job, chunk=error.chunk,
                numbers=error.numbers, attempts=attempts))
    except BaseException as error:
        # A hook may raise whatever there is, and call sys.exit()
        tracing.end_chunk(span, error)
        if is_shutdown(error):
            raise
        outage = find_outage(error, job.database, is_whole=broken is False)
        if broken or outage is not None:
            # Whatever was raised where the connection broke
            outage = error if outage is None else outage
            wait(job, chunk_id, chunk, outage)
            raise OutageError(one_line(outage)) from error
        if chunk is None:
            raise
        if issubclass(type(error), bdb.BdbQuit):
            stop_debugged(job, chunk)
            return None
        if not gone and (gone := find_gone(job, chunk, error)):
            return attempt(job, chunk_id, begun=True, gone=gone)
        if (not repeated and is_unique_race(error)
                and not is_divisible(job, chunk)):
            with job.working(chunk):
                job.logger.warning(
                    "a unique constraint rejected %s, trying once more: %s",
                    units_of(chunk), one_line(error))
            return attempt(
                job, chunk_id, begun=True, gone=gone, repeated=True)
        return fail_or_bisect(job, chunk, attempts, error, objects)
    if chunk is not None:
        tracing.end_chunk(span)
        note_appeared(job.database, job.execution, outputs, chunk.id)
        with job.working(chunk):
            job.logger.info("%s done in %s", units_of(chunk),
                duration(time.monotonic() - started))
    if isinstance(successor, ledger.done.Done):
        # Where the answer to the commit was lost, the ledger knows it
        return successor.queued or transact(job.database, lambda cursor: (
                go_on(cursor, job, chunk_id)))
    return successor


def go_on(cursor: Cursor, job: Job, chunk_id: int) -> Queued | None:
    """Return the queued chunk of the lane, if it is another one.

    Whoever ended this chunk may have died before it sent the next one.
    """
    queued = ledger.open_chunks.first_open_in_lane(
        cursor, job.execution, chunk_id, job.settings['concurrency'])
    # This one is locked: another process executes it
    return None if queued is None or queued.id == chunk_id else queued


def wait(
        job: Job, chunk_id: int, chunk: Chunk | None,
        error: BaseException) -> None:
    "Write and log why a chunk waits for the database; it does not fail."
    with contextlib.suppress(Exception):
        # Where the database can do at least that
        transact(job.database, lambda cursor: ledger.chunks.note_trouble(
                cursor, chunk_id,
                describe(error)['error']), retry=0)
    with job.working(chunk):
        job.logger.warning("waits for the database: %s", one_line(error))


def record_rehearsal(
        cursor: Cursor, job: Job, chunk: Chunk, numbers: Numbers,
        attempts: int) -> Queued | None:
    "End a chunk of a dry run; return its successor, LANE_END or None."
    claimed = ledger.chunks.claim(cursor, job.execution, chunk.id)
    if claimed is None:
        return None
    return ledger.chunks.done(cursor, claimed, attempts, numbers=numbers)


def convert(
        job: Job, chunk: Chunk,
        gone: frozenset[int] = frozenset()) -> tuple[Any, list[Unit]]:
    "Return (objects, ids) for ``execute``; raises UnitsError."
    if chunk.units is None:
        return [], []
    if isinstance(chunk.units, units.Unreadable):
        raise chunk.units.error
    Batch = Pool().get(job.batch)
    ids = given_ids(Batch, (
            id for id, _ in units.flattened(chunk.units)
            if not gone or record_id(id) not in gone))
    objects = call_hook(
        Batch, 'convert_to_instances', job.parameters, ids)
    if isinstance(objects, list):
        # Whoever reads it after a death knows the units of the chunk only
        is_one_each = not gone and len(objects) == len(ids)
        place = positions.own() if is_one_each else None
        piece = WHOLE if chunk.parent is None else PART
        if len(ids) > piece and has_records(Batch):
            Model = Pool().get(Batch.get_batch_main_model_name())
            objects = Watched(objects, place, Model.browse, piece)
        else:
            objects = Watched(objects, place)
    return objects, ids


def execute(job: Job, objects: Any, ids: list[Unit]) -> Any:
    "Return what the hook ``execute`` returns."
    return call_hook(
        Pool().get(job.batch), 'execute', job.parameters, objects, ids)

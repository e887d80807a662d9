# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The life of a chunk: claimed, ended, and its successor queued.

A queued chunk is being worked on while a transaction has the lock of its row.
"""
import datetime as dt
import json
import time
from dataclasses import dataclass, field

from sql import Literal, Null, Select, With
from sql.conditionals import Coalesce
from sql.operators import Exists

from .. import transaction
from ..exceptions import StateError
from .claimants import GONE, claimant, has_died, worker_name
from .failed_units import insert_failures
from .planning import insert_chunks
from .states import CHUNK, OPEN_CHUNKS, ChunkState
from .tables import (
    Hole, TransactionId, chunk_, clock, execute_written, execution_,
    for_update, has_not_ended, is_shared, written)
from .units import dump_units, load_units

__all__ = [
    'Chunk', 'LOOKS', 'begin', 'cancel_open', 'claim', 'died', 'done', 'fail',
    'first_open_in_lane', 'has_open', 'list_queued', 'mark_deserted',
    'note_trouble', 'replace_by_parts', 'requeue']

#: seconds before each look at a row that is locked
LOOKS = 0, 0.02, 0.05


@dataclass(frozen=True)
class Chunk:
    "The units that one transaction treats."
    id: int
    execution: int
    number: str
    #: None: the batch selects nothing, and is executed once
    units: list | None
    size: int
    parent: int | None
    successor: str | None
    #: whether it may have been begun before: then who begins writes so first
    careful: bool
    #: who wrote so last, see claimants.py
    begun_by: str | None
    #: how many processes are known to have died at it
    deaths: int
    #: how the last of them died
    error: str | None
    #: time of the database at which it was claimed
    claimed_at: dt.datetime = field(compare=False)
    #: id of the transaction that has the lock; None on SQLite
    transaction: int | None = None

    @property
    def label(self):
        return '#%s.%s' % (self.execution, self.number)


def list_queued(cursor, execution, lock=True):
    """Return the ids of the queued chunks, in order.

    :param lock: whether of those only that nobody works on; they are locked,
        so what is written of them is true until the commit
    """
    cursor.execute(*chunk_.select(
            chunk_.id,
            where=has_not_ended(execution)
            & (chunk_.state == ChunkState.QUEUED),
            for_=for_update() if lock else None))
    # PostgreSQL might go through all chunks in their order
    return sorted(id for id, in cursor.fetchall())


def claim(cursor, execution, chunk, sleep=time.sleep):
    """Lock the chunk if it is queued and nobody has it; return it, or None.

    None also where the execution is stopping.

    The lock is held until the transaction ends, and is what "running" means.
    A follower that asks for locks holds them for a moment: so a second look
    comes before the conclusion that somebody works on it.
    """
    key = {'execution': execution, 'chunk': chunk}
    if not is_shared():
        # The first write takes the lock of the whole database
        execute_written(cursor, written(_touch), **key)
    for delay in LOOKS:
        if delay:
            # Even sleep(0) gives the processor away
            sleep(delay)
        execute_written(cursor, written(_claim), **key)
        if row := cursor.fetchone():
            id, execution, number, units, *others = row[:13]
            if not is_shared():
                others[-1] = clock()
            return Chunk(id, execution, number, load_units(units), *others)
        cursor.execute(*chunk_.select(Literal(1), where=_is_free(**key)))
        if not cursor.fetchone():
            return None


def _is_free(execution=Hole('execution'), chunk=Hole('chunk')):
    # Not by the execution too: right after a plan, PostgreSQL would take all
    # of its chunks for as quickly found as the one that has the id
    return (chunk_.id == chunk) & (chunk_.state == ChunkState.QUEUED) \
        & Exists(execution_.select(
            Literal(1),
            where=(execution_.id == execution)
            & (execution_.stopping == Null)))


def _touch():
    return chunk_.update([chunk_.state], [ChunkState.QUEUED], where=_is_free())


def _claim():
    return chunk_.select(
        chunk_.id, chunk_.execution, chunk_.number, chunk_.units,
        chunk_.size, chunk_.parent, chunk_.successor,
        Coalesce(chunk_.careful, Literal(False)), chunk_.begun_by,
        Coalesce(chunk_.deaths, 0), chunk_.error,
        *([clock(), TransactionId()] if is_shared() else [Literal(None)]),
        # In the same trip to the server, as this is in the way of every chunk
        *transaction.client_checks(),
        where=_is_free(), for_=for_update())


def done(cursor, chunk, attempts, files=None, numbers=None):
    """queued -> done; returns the id of the successor it queues, or None.

    :param files: path -> identity, see ledger/outputs.py
    """
    return _end(cursor, chunk, ChunkState.DONE, chunk.successor, attempts,
        files=json.dumps(files) if files else None,
        numbers=json.dumps(numbers) if numbers else None)


def fail(cursor, chunk, attempts, error, model=None, dry_run=False):
    """queued -> failed; returns the id of the successor it queues, or None.

    Each of its units becomes a failure.

    :param model: name of the model of the records that the units stand for
    """
    successor = _end(
        cursor, chunk, ChunkState.FAILED, chunk.successor, attempts,
        **error)
    insert_failures(cursor, chunk, error['fingerprint'], model, dry_run)
    return successor


def replace_by_parts(
        cursor, chunk, parts, attempts, error, suspect=None,
        careful=False):
    """queued -> split; the parts take its place.  Returns the first's id.

    The parts come one behind the other, the last before the successor.

    :param suspect: index of the part that is the suspect
    :param careful: of the parts, see Chunk
    """
    numbers = ['%s.%s' % (chunk.number, i + 1) for i in range(len(parts))]
    _end(cursor, chunk, ChunkState.SPLIT, None, attempts,
        suspect=numbers[suspect] if suspect is not None else None, **error)
    insert_chunks(cursor, [
            [chunk.execution, number, dump_units(part), len(part),
                ChunkState.WAITING, successor, 0, 0, chunk.claimed_at]
            for number, successor, part in zip(
                numbers, numbers[1:] + [chunk.successor], parts)],
        parent=chunk.id, careful=careful)
    return _queue(cursor, chunk.execution, numbers[0])


def _end(cursor, chunk, state, successor, attempts, **values):
    """End the chunk and queue its successor; return the id of that, or None.

    :param successor: number, None to queue nothing
    """
    assert (ChunkState.QUEUED, state) in CHUNK, state
    values = {
        'state': state, 'started_at': chunk.claimed_at, 'ended_at': clock(),
        'attempts': attempts, 'worker': worker_name(), **values}
    key = {
        'chunk': chunk.id, 'execution': chunk.execution, 'number': successor,
        'transaction': chunk.transaction if state == ChunkState.DONE else None}
    if is_shared():
        # One trip to the server, as this is in the way of every chunk
        execute_written(cursor, written(_write_both, *values), **key, **values)
        ended, queued = cursor.fetchone()
    else:
        execute_written(cursor, written(_write_end, *values), **key, **values)
        ended = cursor.rowcount
        queued = _queue(cursor, chunk.execution, successor)
    if not ended:
        raise StateError(chunk.label, state)
    return queued


def _write_both(*names):
    ended, queued = map(With, ['id', 'id'])
    ended.query, queued.query = _write_end(*names), _write_queued()
    for update in [ended.query, queued.query]:
        update.returning = [chunk_.id]
    return Select(
        [ended.select(ended.id), queued.select(queued.id)],
        with_=[ended, queued])


def _write_end(*names):
    return chunk_.update(
        [getattr(chunk_, n) for n in names],
        [clock() if n == 'ended_at' and is_shared() else Hole(n)
            for n in names],
        where=(chunk_.id == Hole('chunk'))
        & (chunk_.state == ChunkState.QUEUED)
        # A hook may have ended the transaction that had the lock
        & (TransactionId() == Coalesce(
                Hole('transaction'), TransactionId())
            if is_shared() else Literal(True)))


def _queue(cursor, execution, number):
    execute_written(
        cursor, written(_write_queued), execution=execution, number=number)
    if not cursor.rowcount:
        return None
    cursor.execute(*chunk_.select(
            chunk_.id, where=(chunk_.execution == execution)
            & (chunk_.number == number)))
    id, = cursor.fetchone()
    return id


def _write_queued():
    return chunk_.update(
        [chunk_.state], [ChunkState.QUEUED],
        where=(chunk_.execution == Hole('execution'))
        & (chunk_.number == Hole('number'))
        & (chunk_.state == ChunkState.WAITING))


def begin(cursor, chunk):
    """Write that this process begins with a chunk delivered before.

    Who wrote that before us, and has not the lock, may have died.
    """
    died = has_died(cursor, chunk.begun_by)
    cursor.execute(*chunk_.update(
            [chunk_.careful, chunk_.begun_by, chunk_.deaths, chunk_.error],
            [True, claimant(), chunk.deaths + died,
                GONE if died else chunk.error],
            where=chunk_.id == chunk.id))


def died(cursor, chunk, blame, error=None):
    """Write that whoever had the chunk is gone; it is begun with care now.

    :param blame: whether its process is known to have died at it
    """
    cursor.execute(*chunk_.update(
            [chunk_.careful, chunk_.begun_by, chunk_.deaths, chunk_.error],
            [True, None, chunk.deaths + bool(blame), error or chunk.error],
            where=chunk_.id == chunk.id))


def mark_deserted(cursor, chunks):
    """Let the chunks be begun with care, as their messages may be lost.

    A process that wrote that it begins, and is gone, has died.

    :param chunks: ids; the caller has their locks
    """
    if not chunks:
        return
    cursor.execute(*chunk_.select(
            chunk_.id, chunk_.careful, chunk_.begun_by,
            Coalesce(chunk_.deaths, 0),
            where=chunk_.id.in_(chunks) & (chunk_.state == ChunkState.QUEUED)))
    for id, careful, begun_by, deaths in cursor.fetchall():
        values = {'careful': True, 'begun_by': None}
        if has_died(cursor, begun_by):
            values['deaths'] = deaths + 1
            values['error'] = GONE
        if begun_by or not careful:
            cursor.execute(*chunk_.update(
                    [getattr(chunk_, n) for n in values],
                    list(values.values()), where=chunk_.id == id))


def note_trouble(cursor, chunk, error):
    "Keep why a chunk waits, which nobody is at."
    cursor.execute(*chunk_.update(
            [chunk_.error], [error],
            where=(chunk_.id == chunk) & (chunk_.state == ChunkState.QUEUED)))


def first_open_in_lane(cursor, execution, chunk, concurrency):
    """Return the id of the queued chunk of the lane of a chunk, or None.

    A task goes along a lane: past what has ended, to what is queued.

    :param concurrency: how many lanes the execution was planned with
    """
    cursor.execute(*chunk_.select(
            chunk_.number, chunk_.execution, where=chunk_.id == chunk))
    row = cursor.fetchone()
    if row is None or row[1] != execution:
        return None
    number, _ = row
    cursor.execute(*chunk_.select(
            chunk_.id, chunk_.number,
            where=has_not_ended(execution)
            & (chunk_.state == ChunkState.QUEUED)))
    lane = _place(number) % concurrency
    return next((
            id for id, other in cursor.fetchall()
            if _place(other) % concurrency == lane), None)


def _place(number):
    "Return the place in the plan of a chunk, or of what it is a part of."
    return int(number.split('.')[0])


def cancel_open(cursor, execution):
    """waiting or queued -> cancelled; returns how many chunks.

    Only where nobody works on one.
    """
    cursor.execute(*chunk_.update(
            [chunk_.state], [ChunkState.CANCELLED],
            where=(chunk_.execution == execution)
            & chunk_.state.in_(OPEN_CHUNKS)))
    return cursor.rowcount


def requeue(cursor, execution):
    """cancelled -> waiting, and queue what no open chunk will queue.

    A lane whose chunks all wait has nobody to queue it: its first chunk is.
    """
    cursor.execute(*chunk_.update(
            [chunk_.state], [ChunkState.WAITING],
            where=(chunk_.execution == execution)
            & (chunk_.state == ChunkState.CANCELLED)))
    cursor.execute(*chunk_.select(
            chunk_.id, chunk_.number, chunk_.successor, chunk_.state,
            where=has_not_ended(execution) & chunk_.state.in_(OPEN_CHUNKS),
            order_by=chunk_.id))
    rows = cursor.fetchall()
    expected = {successor for _, _, successor, _ in rows}
    for id, number, _, state in rows:
        if state == ChunkState.WAITING and number not in expected:
            _queue(cursor, execution, number)


def has_open(cursor, execution):
    "Return whether a chunk of the execution still has to be treated."
    cursor.execute(*chunk_.select(
            Literal(1),
            where=has_not_ended(execution) & chunk_.state.in_(OPEN_CHUNKS),
            limit=1))
    return cursor.fetchone() is not None

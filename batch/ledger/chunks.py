# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The life of a chunk: claimed, ended, and its successor queued.

A queued chunk is being worked on while a transaction has the lock of its row.
"""
import datetime as dt
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sql import Literal, Null, Select, With
from sql.conditionals import Coalesce
from sql.operators import Exists

from .. import transaction
from ..aliases import Cursor, Identities, Unit, Units
from ..connections import read_ahead
from ..exceptions import StateError
from .claimants import GONE, claimant, has_died, worker_name
from .failed_units import insert_failures
from .planning import insert_chunks
from .rows import Details
from .states import CHUNK, ChunkState
from .tables import (
    Hole, TransactionId, chunk_, clock, execute_written, execution_,
    for_update, is_shared, written)
from .units import dump_units, load_units

__all__ = [
    'Chunk', 'LOOKS', 'Queued', 'begin', 'claim', 'claim_successor', 'died',
    'done', 'done_values', 'ending', 'fail', 'mark_deserted', 'note_trouble',
    'queue', 'replace_by_parts', 'write_both']

#: seconds before each look at a row that is locked
LOOKS = 0, 0.02, 0.05


class Queued(NamedTuple):
    "A chunk that is queued, and has to be sent or executed next."
    id: int
    number: str


#: instead of one, where a chunk has ended and nothing follows in its lane
LANE_END = Queued(0, '')


@dataclass(frozen=True)
class Chunk:
    "A chunk as it was claimed."
    id: int
    execution: int
    #: place in the plan, and in what it is a part of: 7, 7.1, 7.1.2
    number: str
    units: Units
    size: int
    #: id of the chunk that it is a part of
    parent: int | None
    #: number of the chunk that is queued when this one ends
    successor: str | None
    #: whether it may have been begun before: then begin() is called first
    careful: bool
    #: the process for which begin() was called last, see claimants.py
    begun_by: str | None
    #: how many processes are known to have died while executing it
    deaths: int
    #: how the last of them died
    error: str | None
    #: index of the unit that it was at, None if that is not known
    reached: int | None
    #: time of the database at which it was claimed
    claimed_at: dt.datetime = field(compare=False)
    #: id of the transaction that has the lock; None on SQLite
    transaction: int | None = None

    @property
    def label(self) -> str:
        "As in messages: #42.7."
        return '#%s.%s' % (self.execution, self.number)


def claim(
        cursor: Cursor, execution: int, chunk: int,
        sleep: Callable[[float], object] = time.sleep) -> Chunk | None:
    """Lock the chunk until the transaction ends, and return it.

    None if it is not queued, its execution is stopping, or another
    transaction has its lock: that one executes it.  As list_queued() takes
    locks too, for a moment, the lock is tried for several times.
    """
    key = {'execution': execution, 'chunk': chunk}
    if not is_shared():
        # The first write takes the lock of the whole database
        execute_written(cursor, written(_touch), **key)
    row = read_ahead(cursor)
    if row and row[0] == chunk:
        return _claimed(row)
    for delay in LOOKS:
        if delay:
            # Even sleep(0) gives the processor away
            sleep(delay)
        execute_written(cursor, written(_claim), **key)
        if row := cursor.fetchone():
            return _claimed(row)
        cursor.execute(*chunk_.select(Literal(1), where=_is_free(**key)))
        if not cursor.fetchone():
            break
    return None


def _claimed(row: Sequence[Any]) -> Chunk:
    id, execution, number, units, *others = row[:14]
    if not is_shared():
        others[-1] = clock()
    return Chunk(id, execution, number, load_units(units), *others)


def _is_free(
        execution: int | Hole = Hole('execution'),
        chunk: int | Hole = Hole('chunk')) -> Any:
    # Not by the execution too: right after the planning, PostgreSQL would
    # read all of its chunks instead of the one with the id
    return (chunk_.id == chunk) & _may_begin(execution)


def _may_begin(execution: int | Hole) -> Any:
    return (chunk_.state == ChunkState.QUEUED) & Exists(execution_.select(
            Literal(1),
            where=(execution_.id == execution)
            & (execution_.stopping == Null)))


def _touch() -> Any:
    return chunk_.update([chunk_.state], [ChunkState.QUEUED], where=_is_free())


def _claim() -> Any:
    return _lock(_is_free())


def claim_successor() -> Any:
    return _lock(_has_number() & _may_begin(Hole('execution')))


def _lock(where: Any) -> Any:
    return chunk_.select(
        chunk_.id, chunk_.execution, chunk_.number, chunk_.units,
        chunk_.size, chunk_.parent, chunk_.successor,
        Coalesce(chunk_.careful, Literal(False)), chunk_.begun_by,
        Coalesce(chunk_.deaths, 0), chunk_.error, chunk_.reached,
        *([clock(), TransactionId()] if is_shared() else [Literal(None)]),
        # In the same round trip, as each chunk waits for it
        *transaction.client_checks(),
        where=where, for_=for_update())


def done(
        cursor: Cursor, chunk: Chunk, attempts: int,
        files: Identities | None = None,
        numbers: Mapping[str, float] | None = None) -> Queued:
    """queued -> done; returns the successor that it queues, or LANE_END.

    Raises StateError if the chunk is not queued, or not locked by this
    transaction any more.

    :param numbers: what ``execute`` returned
    """
    return _end(cursor, chunk, ChunkState.DONE, chunk.successor, attempts,
        **done_values(files, numbers))


def done_values(
        files: Identities | None,
        numbers: Mapping[str, float] | None) -> dict[str, str | None]:
    return {
        'files': json.dumps(files) if files else None,
        'numbers': json.dumps(numbers) if numbers else None}


def fail(
        cursor: Cursor, chunk: Chunk, attempts: int, error: Details,
        model: str | None = None,
        dry_run: bool | None = False) -> Queued:
    """queued -> failed; returns the successor that it queues, or LANE_END.

    Each of its units becomes a failure.  Raises StateError if the chunk is
    not queued.

    :param model: name of the model of the records that the units are
    """
    successor = _end(
        cursor, chunk, ChunkState.FAILED, chunk.successor, attempts,
        **error)
    insert_failures(cursor, chunk, error['fingerprint'], model, dry_run)
    return successor


def replace_by_parts(
        cursor: Cursor, chunk: Chunk, parts: list[list[Unit]], attempts: int,
        error: Details, suspect: int | None = None,
        careful: bool = False) -> Queued:
    """queued -> split, and insert its parts; return the first of them.

    The first is queued, and each part is the successor of the one before; that
    of the last is the successor of the chunk.  Raises StateError if the chunk
    is not queued.

    :param suspect: index of the part that is the suspect
    :param careful: of the parts, see Chunk
    """
    numbers = ['%s.%s' % (chunk.number, i + 1) for i in range(len(parts))]
    _end(cursor, chunk, ChunkState.SPLIT, None, attempts,
        suspect=numbers[suspect] if suspect is not None else None, **error)
    insert_chunks(cursor, [
            [chunk.execution, number, dump_units(part), len(part),
                ChunkState.WAITING if i else ChunkState.QUEUED, successor,
                0, 0, chunk.claimed_at]
            for i, (number, successor, part) in enumerate(zip(
                    numbers, numbers[1:] + [chunk.successor], parts))],
        parent=chunk.id, careful=careful)
    return _queued(cursor, chunk.execution, numbers[0])


def _end(
        cursor: Cursor, chunk: Chunk, state: ChunkState, successor: str | None,
        attempts: int, **values: Any) -> Queued:
    """End the chunk and queue its successor; return that, or LANE_END.

    :param successor: number, None to queue nothing
    """
    values, key = ending(chunk, state, successor, attempts, **values)
    if is_shared():
        # One round trip, as each chunk waits for it
        execute_written(cursor, written(write_both, *values), **key, **values)
        ended, id = cursor.fetchone()
        queued = None if id is None or successor is None \
            else Queued(id, successor)
    else:
        execute_written(cursor, written(_write_end, *values), **key, **values)
        ended = cursor.rowcount
        queued = queue(cursor, chunk.execution, successor)
    if not ended:
        raise StateError(chunk.label, state)
    return queued or LANE_END


def ending(
        chunk: Chunk, state: ChunkState, successor: str | None, attempts: int,
        **values: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    "Return the values to write, and those that tell where, by name."
    assert (ChunkState.QUEUED, state) in CHUNK, state
    values = {
        'state': state, 'started_at': chunk.claimed_at, 'ended_at': clock(),
        'attempts': attempts, 'worker': worker_name(), **values}
    key = {
        'chunk': chunk.id, 'execution': chunk.execution, 'number': successor,
        'transaction': chunk.transaction if state == ChunkState.DONE else None}
    return values, key


def write_both(*names: str) -> Any:
    ended, queued = map(With, ['id', 'id'])
    ended.query, queued.query = _write_end(*names), _write_queued()
    for update in [ended.query, queued.query]:
        update.returning = [chunk_.id]
    return Select(
        [ended.select(ended.id), queued.select(queued.id)],
        with_=[ended, queued])


def _write_end(*names: str) -> Any:
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


def queue(
        cursor: Cursor, execution: int, number: str | None) -> Queued | None:
    "waiting -> queued; returns it, None without such a waiting chunk."
    execute_written(
        cursor, written(_write_queued), execution=execution, number=number)
    if not cursor.rowcount or number is None:
        return None
    return _queued(cursor, execution, number)


def _queued(cursor: Cursor, execution: int, number: str) -> Queued:
    cursor.execute(*chunk_.select(
            chunk_.id, where=(chunk_.execution == execution)
            & (chunk_.number == number)))
    id, = cursor.fetchone()
    return Queued(id, number)


def _write_queued() -> Any:
    return chunk_.update(
        [chunk_.state], [ChunkState.QUEUED],
        where=_has_number() & (chunk_.state == ChunkState.WAITING))


def _has_number() -> Any:
    return (chunk_.execution == Hole('execution')) \
        & (chunk_.number == Hole('number'))


def begin(cursor: Cursor, chunk: Chunk) -> None:
    """Write that this process begins with a chunk delivered before.

    The process that wrote that last has no lock any more: if it is known to
    have died, that is counted.
    """
    died = has_died(cursor, chunk.begun_by)
    cursor.execute(*chunk_.update(
            [chunk_.careful, chunk_.begun_by, chunk_.deaths, chunk_.error],
            [True, claimant(), chunk.deaths + died,
                GONE if died else chunk.error],
            where=chunk_.id == chunk.id))


def died(
        cursor: Cursor, chunk: Chunk, blame: bool,
        error: str | None = None, reached: int | None = None) -> None:
    """Make the chunk careful, as the process that had it is gone.

    :param blame: whether to count that as a death while executing it
    :param reached: index of the unit that it was at
    """
    cursor.execute(*chunk_.update(
            [chunk_.careful, chunk_.begun_by, chunk_.deaths, chunk_.error,
                chunk_.reached],
            [True, None, chunk.deaths + bool(blame), error or chunk.error,
                reached],
            where=chunk_.id == chunk.id))


def mark_deserted(cursor: Cursor, chunks: list[int]) -> None:
    """Make the chunks careful, as their messages may be lost.

    Where a process wrote that it begins and is known to have died, that is
    counted.

    :param chunks: ids; the caller has their locks
    """
    if not chunks:
        return
    cursor.execute(*chunk_.select(
            chunk_.id, chunk_.careful, chunk_.begun_by,
            Coalesce(chunk_.deaths, 0),
            where=chunk_.id.in_(chunks) & (chunk_.state == ChunkState.QUEUED)))
    for id, careful, begun_by, deaths in cursor.fetchall():
        values: dict[str, Any] = {'careful': True, 'begun_by': None}
        if has_died(cursor, begun_by):
            values['deaths'] = deaths + 1
            values['error'] = GONE
        if begun_by or not careful:
            cursor.execute(*chunk_.update(
                    [getattr(chunk_, n) for n in values],
                    list(values.values()), where=chunk_.id == id))


def note_trouble(cursor: Cursor, chunk: int, error: str) -> None:
    "Write why a queued chunk could not be executed for now."
    cursor.execute(*chunk_.update(
            [chunk_.error], [error],
            where=(chunk_.id == chunk) & (chunk_.state == ChunkState.QUEUED)))

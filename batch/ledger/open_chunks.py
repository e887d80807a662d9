# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The chunks of an execution that still have to be treated."""
import random
from typing import Any

from sql import Literal, Null, Select
from sql.operators import Exists

from ..aliases import Cursor
from .chunks import Queued, queue
from .states import OPEN_CHUNKS, ChunkState
from .tables import chunk_, execution_, for_update, has_not_ended

__all__ = [
    'begin_lanes', 'cancel_open', 'first_open_in_lane', 'halve_lane',
    'has_open', 'list_numbers', 'list_queued', 'queue_orphans', 'requeue']

#: numbers of chunks that are looked at in one statement, at most
LOOK = 16


def list_queued(
        cursor: Cursor, execution: int, lock: bool = True) -> list[int]:
    """Return the ids of the queued chunks, ascending.

    :param lock: whether only those that no transaction has locked; they are
        locked until the commit
    """
    cursor.execute(*chunk_.select(
            chunk_.id,
            where=has_not_ended(execution)
            & (chunk_.state == ChunkState.QUEUED),
            for_=for_update() if lock else None))
    # PostgreSQL might go through all chunks in their order
    return sorted(id for id, in cursor.fetchall())


def list_numbers(cursor: Cursor, execution: int) -> dict[int, str]:
    "Return the number of each queued chunk, by its id."
    cursor.execute(*chunk_.select(
            chunk_.id, chunk_.number,
            where=has_not_ended(execution)
            & (chunk_.state == ChunkState.QUEUED)))
    return dict(cursor.fetchall())


def has_open(cursor: Cursor, execution: int) -> bool:
    "Return whether a chunk of the execution still has to be treated."
    cursor.execute(*chunk_.select(
            Literal(1),
            where=has_not_ended(execution) & chunk_.state.in_(OPEN_CHUNKS),
            limit=1))
    return cursor.fetchone() is not None


def first_open_in_lane(
        cursor: Cursor, execution: int, chunk: int, concurrency: int,
        directly: bool = False) -> Queued | None:
    """Return a chunk if it is queued, else one that follows in its lane.

    None if there is none.  A lane is a chunk of the plan with its successors
    and the parts of all; where it was halved, it has several queued ones.

    :param concurrency: how many lanes the execution was planned with
    :param directly: whether only what the end of the chunk has queued
    """
    cursor.execute(*chunk_.select(
            chunk_.number, chunk_.successor, chunk_.execution,
            where=chunk_.id == chunk))
    row = cursor.fetchone()
    if row is None or row[2] != execution:
        return None
    number, successor, _ = row
    cursor.execute(*chunk_.select(
            chunk_.id, chunk_.number,
            where=has_not_ended(execution)
            & (chunk_.state == ChunkState.QUEUED)))
    # Right after the chunk is what the process queued that ended it
    return min((
            Queued(id, other) for id, other in cursor.fetchall()
            if id == chunk or _place(other) >= _place(number)
            and (_place(other) - _place(number)) % concurrency == 0
            and (not directly or other == successor
                or other.startswith(number + '.'))),
        key=lambda queued: (queued.id != chunk, _place(queued.number)),
        default=None)


def begin_lanes(
        cursor: Cursor, execution: int, firsts: list[str],
        count: int = 1) -> list[Queued]:
    """waiting -> queued of the first chunks of lanes; returns these chunks.

    None if the execution is stopping.

    :param firsts: the numbers of the first chunks, see planning.firsts(); they
        are begun in this order, unless others begin some, too, and removed
        where they have begun.  Not where another process has locked them: it
        may not come to commit that
    :param count: how many to begin, at most
    """
    lanes: list[Queued] = []
    cursor.execute(*execution_.select(
            Literal(1), where=(execution_.id == execution)
            & (execution_.stopping == Null)))
    if cursor.fetchone() is None:
        return lanes
    left, size = list(firsts), 1
    while left and len(lanes) < count:
        # Most begin with the first one, but the last one looks at all
        looked_at, left = left[:size], left[size:]
        size = min(2 * size, LOOK)
        states = _states(cursor, execution, looked_at)
        for number, state in zip(looked_at, states):
            if state is None:
                # There are less chunks than lanes
                firsts[:], left = (
                    [n for n in numbers if int(n) < int(number)]
                    for numbers in (firsts, left))
            elif state != ChunkState.WAITING:
                firsts.remove(number)
            elif len(lanes) < count:
                cursor.execute(*chunk_.select(
                        chunk_.id, where=_numbered(execution, number)
                        & (chunk_.state == ChunkState.WAITING),
                        for_=for_update()))
                if row := cursor.fetchone():
                    lanes.append(Queued(row[0], number))
                else:
                    # Who has locked it goes on to the next one, too
                    random.shuffle(left)
    if lanes:
        cursor.execute(*chunk_.update(
                [chunk_.state], [ChunkState.QUEUED],
                where=chunk_.id.in_([lane.id for lane in lanes])))
    return lanes


def halve_lane(
        cursor: Cursor, execution: int, concurrency: int) -> Queued | None:
    """waiting -> queued of the middle of what waits in a lane; return it.

    Whoever works on the lane ends it at that chunk.  The one that has come the
    least far is taken, and None returned if none has two chunks that wait.
    The caller has ended a lane, so that no more chunks are queued than
    ``concurrency``.  Raises backend.DatabaseOperationalError where others
    halve the same one.

    :param concurrency: how many lanes the execution was planned with
    """
    cursor.execute(*chunk_.select(
            chunk_.number,
            where=has_not_ended(execution)
            & (chunk_.state == ChunkState.WAITING)
            & (chunk_.parent == Null)
            & Exists(execution_.select(
                    Literal(1), where=(execution_.id == execution)
                    & (execution_.stopping == Null))),
            # Of more than there are lanes, two follow each other
            limit=concurrency + 1))
    waiting = sorted(int(number) for number, in cursor.fetchall())
    for first in waiting:
        def number(steps: int) -> str:
            return str(first + steps * concurrency)

        def waits(steps: int) -> bool:
            state, = _states(cursor, execution, [number(steps)])
            return state == ChunkState.WAITING

        if len(waiting) <= concurrency and first + concurrency not in waiting \
                or not waits(1):
            continue
        steps = 1
        while waits(2 * steps):
            steps *= 2
        # Where it was halved before, others follow what does not wait
        middle = max(1, steps // 2)
        while middle > 1 and not waits(middle - 1):
            middle //= 2
        # The one before it must not begin until we commit: the transaction of
        # a chunk that has begun would conflict with ours as it ends
        before = _lock_waiting(cursor, execution, number(middle - 1))
        id = _lock_waiting(cursor, execution, number(middle))
        if before is None or id is None:
            continue
        cursor.execute(*chunk_.update(
                [chunk_.state], [ChunkState.QUEUED], where=chunk_.id == id))
        return Queued(id, number(middle))
    return None


def _lock_waiting(
        cursor: Cursor, execution: int, number: str) -> int | None:
    "Lock a chunk that waits, wait for who has locked it; return its id."
    cursor.execute(*chunk_.select(
            chunk_.id, where=_numbered(execution, number)
            & (chunk_.state == ChunkState.WAITING),
            for_=for_update(wait=True)))
    row = cursor.fetchone()
    return row and row[0]


def _states(
        cursor: Cursor, execution: int, numbers: list[str],
        ) -> list[str | None]:
    "Return the state of each chunk, None for one that is not there."
    # For all numbers in one condition PostgreSQL may read all chunks
    cursor.execute(*Select([
                chunk_.select(chunk_.state, where=_numbered(execution, number))
                for number in numbers]))
    return list(cursor.fetchone())


def _numbered(execution: int, number: str) -> Any:
    return (chunk_.execution == execution) & (chunk_.number == number)


def _place(number: str) -> int:
    "Return the place in the plan: 7 for 7, 7.1, 7.1.2."
    return int(number.split('.')[0])


def cancel_open(cursor: Cursor, execution: int) -> int:
    """waiting or queued -> cancelled; returns how many chunks.

    The caller knows by is_over() that none of them is being executed.
    """
    cursor.execute(*chunk_.update(
            [chunk_.state], [ChunkState.CANCELLED],
            where=(chunk_.execution == execution)
            & chunk_.state.in_(OPEN_CHUNKS)))
    return cursor.rowcount


def requeue(cursor: Cursor, execution: int) -> None:
    "cancelled -> waiting, and queue_orphans()."
    cursor.execute(*chunk_.update(
            [chunk_.state], [ChunkState.WAITING],
            where=(chunk_.execution == execution)
            & (chunk_.state == ChunkState.CANCELLED)))
    queue_orphans(cursor, execution)


def queue_orphans(cursor: Cursor, execution: int) -> list[Queued]:
    """waiting -> queued of what no open chunk is going to queue; return that.

    That is the first chunk of each lane in which all wait.
    """
    cursor.execute(*chunk_.select(
            chunk_.id, chunk_.number, chunk_.successor, chunk_.state,
            where=has_not_ended(execution) & chunk_.state.in_(OPEN_CHUNKS),
            order_by=chunk_.id))
    rows = cursor.fetchall()
    expected = {successor for _, _, successor, _ in rows}
    orphans = [
        Queued(id, number) for id, number, _, state in rows
        if state == ChunkState.WAITING and number not in expected]
    for orphan in orphans:
        queue(cursor, execution, orphan.number)
    return orphans

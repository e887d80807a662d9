# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The chunks of an execution that still have to be treated."""
from bisect import bisect_left
from typing import Any

from sql import Literal, Null

from ..aliases import Cursor
from .chunks import Queued, queue
from .states import OPEN_CHUNKS, ChunkState
from .tables import chunk_, execution_, for_update, has_not_ended

__all__ = [
    'begin_lanes', 'cancel_open', 'first_open_in_lane', 'has_open',
    'list_numbers', 'list_queued', 'requeue']


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
        cursor: Cursor, execution: int, chunk: int,
        concurrency: int) -> Queued | None:
    """Return the queued chunk in the lane of a chunk, or None.

    A lane is a chunk of the plan with its successors and the parts of all.

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
            Queued(id, other) for id, other in cursor.fetchall()
            if _place(other) % concurrency == lane), None)


def begin_lanes(
        cursor: Cursor, execution: int, firsts: list[str],
        count: int = 1) -> list[Queued]:
    """waiting -> queued of the first chunks of lanes; returns these chunks.

    None if the execution is stopping.

    :param firsts: the numbers of the first chunks, see planning.firsts(); they
        are begun in this order
    :param count: how many to begin, at most
    """
    lanes: list[Queued] = []
    cursor.execute(*execution_.select(
            Literal(1), where=(execution_.id == execution)
            & (execution_.stopping == Null)))
    if cursor.fetchone() is None:
        return lanes
    # One by one, as for all numbers together PostgreSQL may read all chunks
    next_one = bisect_left(firsts, True, key=lambda number: _state(
            cursor, execution, number) in {None, ChunkState.WAITING})
    for number in firsts[next_one:]:
        if len(lanes) == count:
            break
        cursor.execute(*chunk_.select(
                chunk_.id, where=_numbered(execution, number)
                & (chunk_.state == ChunkState.WAITING), for_=for_update()))
        if row := cursor.fetchone():
            lanes.append(Queued(row[0], number))
        elif _state(cursor, execution, number) is None:
            break
    if lanes:
        cursor.execute(*chunk_.update(
                [chunk_.state], [ChunkState.QUEUED],
                where=chunk_.id.in_([lane.id for lane in lanes])))
    return lanes


def _state(cursor: Cursor, execution: int, number: str) -> str | None:
    cursor.execute(*chunk_.select(
            chunk_.state, where=_numbered(execution, number)))
    row = cursor.fetchone()
    return row and row[0]


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
    """cancelled -> waiting, and queue what no open chunk is going to queue.

    That is the first chunk of each lane in which all wait.
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
            queue(cursor, execution, number)

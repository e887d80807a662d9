# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What an execution came to, summed up; and which executions there are."""
import datetime as dt
import json
from typing import TypedDict

from sql import Literal, Null
from sql.aggregate import Count, Sum

from ..aliases import Cursor
from .failed_units import count_open
from .rows import ExecutionRow, execution_row
from .states import OPEN_CHUNKS, ChunkState, ExecutionState
from .tables import chunk_, execution_

__all__ = [
    'Counts', 'ExecutionFigures', 'batches', 'counts', 'had_deaths',
    'history', 'numbers', 'planned_chunks']


class Counts(TypedDict):
    "What the chunks of an execution sum up to."
    # Units
    done: int
    failed: int
    #: neither done nor failed, cancelled ones included
    left: int
    cancelled: int
    # Chunks, parts included
    chunks: int
    split: int
    #: attempts of all chunks
    transactions: int


class ExecutionFigures(ExecutionRow, total=False):
    "An execution as history() gives it."
    #: how many of its failures are open
    open: int


def batches(cursor: Cursor) -> set[str]:
    "Return the set of the names of batches that were executed."
    cursor.execute(*execution_.select(
            execution_.batch, group_by=execution_.batch))
    return {name for name, in cursor.fetchall()}


def counts(cursor: Cursor, execution: int) -> Counts:
    "Return the Counts of an execution as they are now."
    cursor.execute(*chunk_.select(
            chunk_.state, Sum(chunk_.size), Count(chunk_.id),
            Sum(chunk_.attempts),
            where=chunk_.execution == execution, group_by=chunk_.state))
    units: dict[str, int] = {}
    chunks: dict[str, int] = {}
    transactions = 0
    for state, size, count, attempts in cursor.fetchall():
        units[state] = int(size or 0)
        chunks[state] = count
        transactions += int(attempts or 0)
    return {
        'done': units.get('done', 0),
        'failed': units.get('failed', 0),
        'left': sum(
            units.get(s, 0) for s in [*OPEN_CHUNKS, ChunkState.CANCELLED]),
        'cancelled': units.get('cancelled', 0),
        'chunks': sum(chunks.values()),
        'split': chunks.get('split', 0),
        'transactions': transactions,
        }


def planned_chunks(cursor: Cursor, execution: int) -> int:
    "Return how many chunks of the plan have ended; parts do not count."
    cursor.execute(*chunk_.select(
            Count(chunk_.id),
            where=(chunk_.execution == execution) & (chunk_.parent == Null)
            & chunk_.state.in_([
                    ChunkState.DONE, ChunkState.SPLIT, ChunkState.FAILED])))
    return cursor.fetchone()[0]


def numbers(cursor: Cursor, execution: int) -> dict[str, float]:
    "Return the sums of what the chunks returned, by name."
    cursor.execute(*chunk_.select(
            chunk_.numbers,
            where=(chunk_.execution == execution)
            & (chunk_.numbers != Null)))
    sums: dict[str, float] = {}
    for text, in cursor.fetchall():
        for name, value in json.loads(text).items():
            sums[name] = sums.get(name, 0) + value
    return sums


def history(
        cursor: Cursor, batch: str | None = None, limit: int = 20,
        failed: bool = False,
        since: dt.datetime | None = None) -> list[ExecutionFigures]:
    """Return the last executions, the newest first.

    :param batch: only those of this batch
    :param limit: how many at most
    :param failed: only those that failed or were cancelled
    :param since: only those that ran at this moment or later
    """
    names = ['id', 'batch', 'state', 'selected', 'done', 'failed', 'left',
        'started_at', 'ended_at', 'dry_run', 'retry_of', 'exit_status',
        'message']
    where = Literal(True)
    if failed:
        where &= execution_.state.in_(
            [ExecutionState.FAILED, ExecutionState.CANCELLED])
    if since:
        where &= (execution_.ended_at == Null) | (execution_.ended_at >= since)
    if batch:
        where &= execution_.batch == batch
    cursor.execute(*execution_.select(
            *[getattr(execution_, n) for n in names], where=where,
            order_by=execution_.id.desc, limit=limit))
    rows = [execution_row(names, row) for row in cursor.fetchall()]
    open_ = count_open(cursor, [row['id'] for row in rows])
    return [{**row, 'open': open_.get(row['id'], 0)} for row in rows]


def had_deaths(cursor: Cursor, execution: int) -> bool:
    "Return whether a process may have died at a chunk of the execution."
    cursor.execute(*chunk_.select(
            Literal(1),
            where=(chunk_.execution == execution)
            & (chunk_.careful == Literal(True)),
            limit=1))
    return cursor.fetchone() is not None

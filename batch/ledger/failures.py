# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Chunks that failed, that wait after an error, and that others are parts of.
"""
from collections.abc import Iterator
from typing import Any

from sql import Literal, Null, Table
from sql.aggregate import Sum

from ..aliases import Cursor
from .chunks import Chunk
from .failed_units import settled_in
from .rows import streamed
from .states import ChunkState
from .tables import chunk_, has_ended, has_not_ended
from .units import load_units

__all__ = ['alike', 'failed_units', 'lineage', 'list_failures', 'waits']


def lineage(
        cursor: Cursor, chunk: Chunk) -> tuple[str | None, str | None, bool]:
    """Return (error_type, error, trust) of the chunk that chunk is a part of.

    trust is whether no suspect was wrong so far: the last one failed alone,
    or none was found.  Without a parent (None, None, True).
    """
    if chunk.parent is None:
        return None, None, True
    cursor.execute(*chunk_.select(
            chunk_.error_type, chunk_.error, chunk_.suspect, chunk_.parent,
            where=chunk_.id == chunk.parent))
    error_type, error, suspect, grandparent = cursor.fetchone()
    trust = True
    if suspect is not None:
        cursor.execute(*chunk_.select(
                chunk_.state, where=(chunk_.execution == chunk.execution)
                & (chunk_.number == suspect)))
        row = cursor.fetchone()
        trust = row is not None and row[0] == ChunkState.FAILED
    elif grandparent is not None:
        # Halved: because none was found, or because one had lied
        trust = not _lied(cursor, chunk.execution, grandparent)
    return error_type, error, trust


def _lied(cursor: Cursor, execution: int, ancestor: int | None) -> bool:
    "Return whether a suspect of the ancestor, or of one above, did not fail."
    other = Table('batch_execution_chunk')
    while ancestor is not None:
        cursor.execute(*chunk_
            .join(other, 'LEFT', condition=(other.execution == execution)
                & (other.number == chunk_.suspect))
            .select(chunk_.suspect, other.state, chunk_.parent,
                where=chunk_.id == ancestor))
        suspect, state, ancestor = cursor.fetchone()
        if suspect is not None and state != ChunkState.FAILED:
            return True
    return False


def list_failures(
        cursor: Cursor, execution: int, limit: int | None = None,
        details: bool = False) -> Iterator[tuple[Any, ...]]:
    """Yield (number, units, error_type, error) of each failed chunk, by id.

    :param limit: how many at most
    :param details: whether two more items are its traceback and what became
        of its failures, see failed_units.settled_in
    """
    columns = [
        chunk_.id, chunk_.number, chunk_.units, chunk_.error_type,
        chunk_.error]
    if details:
        columns.append(chunk_.traceback)
    query = chunk_.select(
        *columns,
        where=has_ended(execution) & (chunk_.state == ChunkState.FAILED),
        # As an expression: PostgreSQL would go through all chunks in their
        # order, until it has found as many as the limit
        order_by=chunk_.id + 0, limit=limit)
    for rows in streamed(cursor, query, 100 if details else 1000):
        settled = settled_in(
            cursor, [row[0] for row in rows]) if details else {}
        for id, number, units, *error in rows:
            if details:
                error.append(settled.get(id, []))
            yield number, load_units(units), *error


def waits(
        cursor: Cursor, execution: int,
        limit: int = 3) -> list[tuple[str, str]]:
    """Return (number, error) of queued chunks that an error has put off.

    :param limit: how many at most
    """
    cursor.execute(*chunk_.select(
            chunk_.number, chunk_.error,
            where=has_not_ended(execution)
            & (chunk_.state == ChunkState.QUEUED)
            & (chunk_.error != Null),
            order_by=chunk_.id, limit=limit))
    return cursor.fetchall()


def failed_units(cursor: Cursor, execution: int) -> int:
    "Return how many units failed so far."
    cursor.execute(*chunk_.select(
            Sum(chunk_.size),
            where=has_ended(execution) & (chunk_.state == ChunkState.FAILED)))
    return int(cursor.fetchone()[0] or 0)


def alike(cursor: Cursor, execution: int, count: int) -> str | None:
    """Return the fingerprint that the last count failures have in common.

    None if they differ, are fewer, or a chunk succeeded since the first.
    """
    cursor.execute(*chunk_.select(
            chunk_.fingerprint, chunk_.ended_at,
            where=has_ended(execution) & (chunk_.state == ChunkState.FAILED),
            order_by=chunk_.ended_at.desc, limit=count))
    rows = cursor.fetchall()
    fingerprints = {fingerprint for fingerprint, _ in rows}
    if len(rows) < count or len(fingerprints) > 1:
        return None
    cursor.execute(*chunk_.select(
            Literal(1),
            where=has_ended(execution) & (chunk_.state == ChunkState.DONE)
            & (chunk_.ended_at > rows[-1][1]),
            order_by=chunk_.ended_at, limit=1))
    return None if cursor.fetchone() else fingerprints.pop()

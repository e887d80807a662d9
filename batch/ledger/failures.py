# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What failed, what waits for a reason, and what a chunk is a part of."""

from sql import Literal, Null, Table
from sql.aggregate import Sum

from .failed_units import settled_in
from .rows import streamed
from .states import ChunkState
from .tables import chunk_, has_ended, has_not_ended
from .units import load_units

__all__ = ['alike', 'failed_units', 'lineage', 'list_failures', 'waits']


def lineage(cursor, chunk):
    """Return (error_type, error, trust) from what chunk is a part of.

    trust: whether the suspects were right so far: the last one did fail
    alone, or there was none to find.
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


def _lied(cursor, execution, ancestor):
    "Return whether a suspect of the ancestor or of those above was innocent."
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


def list_failures(cursor, execution, limit=None, details=False):
    """Yield (number, units, type, error) of each failed chunk, by its id.

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
        order_by=chunk_.id, limit=limit)
    for rows in streamed(cursor, query, 100 if details else 1000):
        settled = settled_in(
            cursor, [row[0] for row in rows]) if details else {}
        for id, number, units, *error in rows:
            if details:
                error.append(settled.get(id, []))
            yield number, load_units(units), *error


def waits(cursor, execution, limit=3):
    """Return the (number, error) of chunks that wait after some trouble.

    :param limit: how many at most
    """
    cursor.execute(*chunk_.select(
            chunk_.number, chunk_.error,
            where=has_not_ended(execution)
            & (chunk_.state == ChunkState.QUEUED)
            & (chunk_.error != Null),
            order_by=chunk_.id, limit=limit))
    return cursor.fetchall()


def failed_units(cursor, execution):
    cursor.execute(*chunk_.select(
            Sum(chunk_.size),
            where=has_ended(execution) & (chunk_.state == ChunkState.FAILED)))
    return int(cursor.fetchone()[0] or 0)


def alike(cursor, execution, count):
    """Return the fingerprint of the last count failures, else None.

    None where they differ, or where something succeeded since the first.
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

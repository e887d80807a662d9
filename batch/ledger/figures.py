# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What an execution came to, summed up; and which executions there are."""
import json

from sql import Literal, Null, Table
from sql.aggregate import Count, Sum
from sql.operators import Exists

from .failed_units import count_open
from .states import OPEN_CHUNKS, ChunkState, ExecutionState, FailureState
from .tables import chunk_, execution_, failure_

__all__ = [
    'batches', 'counts', 'had_deaths', 'history', 'numbers', 'planned_chunks',
    'settled', 'units_of']


def batches(cursor):
    "Return the set of the names of batches that were executed."
    cursor.execute(*execution_.select(
            execution_.batch, group_by=execution_.batch))
    return {name for name, in cursor.fetchall()}


def counts(cursor, execution):
    "Return units by state of their chunk, with chunks and transactions."
    cursor.execute(*chunk_.select(
            chunk_.state, Sum(chunk_.size), Count(chunk_.id),
            Sum(chunk_.attempts),
            where=chunk_.execution == execution, group_by=chunk_.state))
    units, chunks, transactions = {}, {}, 0
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


def units_of(cursor, executions):
    """Return units by state of their chunk, of each execution that has any.

    In one statement, for the list that a client shows.
    """
    units = {}
    cursor.execute(*chunk_.select(
            chunk_.execution, chunk_.state, Sum(chunk_.size),
            where=chunk_.execution.in_(executions),
            group_by=[chunk_.execution, chunk_.state]))
    for execution, state, size in cursor.fetchall():
        units.setdefault(execution, {})[state] = int(size or 0)
    return units


def planned_chunks(cursor, execution):
    "Return how many chunks of the plan were treated, in whatever parts."
    cursor.execute(*chunk_.select(
            Count(chunk_.id),
            where=(chunk_.execution == execution) & (chunk_.parent == Null)
            & chunk_.state.in_([
                    ChunkState.DONE, ChunkState.SPLIT, ChunkState.FAILED])))
    return cursor.fetchone()[0]


def numbers(cursor, execution):
    "Return the sums of what the chunks returned, by name."
    cursor.execute(*chunk_.select(
            chunk_.numbers,
            where=(chunk_.execution == execution)
            & (chunk_.numbers != Null)))
    sums = {}
    for text, in cursor.fetchall():
        for name, value in json.loads(text).items():
            sums[name] = sums.get(name, 0) + value
    return sums


def history(cursor, batch=None, limit=20):
    """Return the last executions, the newest first, as dicts.

    ``open``: how many of their failures nobody has dealt with.
    """
    names = ['id', 'batch', 'state', 'selected', 'done', 'failed', 'left',
        'started_at', 'ended_at', 'dry_run', 'message']
    where = Literal(True)
    if batch:
        where &= execution_.batch == batch
    cursor.execute(*execution_.select(
            *[getattr(execution_, n) for n in names], where=where,
            order_by=execution_.id.desc, limit=limit))
    rows = [dict(zip(names, row)) for row in cursor.fetchall()]
    open_ = count_open(cursor, [row['id'] for row in rows])
    return [{**row, 'open': open_.get(row['id'], 0)} for row in rows]


def had_deaths(cursor, execution):
    "Return whether a process may have died at a chunk of the execution."
    cursor.execute(*chunk_.select(
            Literal(1),
            where=(chunk_.execution == execution)
            & (chunk_.careful == Literal(True)),
            limit=1))
    return cursor.fetchone() is not None


def settled():
    """Return the query of the ids of executions that nobody has to look at.

    All is done, or its failures were retried or dismissed.  Where nothing was
    selected, a later execution of the batch has come so far.
    """
    later = Table('batch_execution')
    is_open = failure_.select(
        failure_.execution,
        where=(failure_.state == FailureState.OPEN)
        & (failure_.retried_by == Null))
    has_later = Exists(later.select(
            Literal(1),
            where=(later.batch == execution_.batch)
            & (later.id > execution_.id) & (later.selected != Null)))
    return execution_.select(
        execution_.id,
        where=(execution_.ended_at != Null)
        & ((execution_.left == Null) | (execution_.left == 0))
        & ((execution_.failed > 0) | has_later
            | (execution_.state != ExecutionState.FAILED))
        & (execution_.missing == Null)
        & ~execution_.id.in_(is_open))

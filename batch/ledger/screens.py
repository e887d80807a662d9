# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What lists of executions show: each in one statement for the whole list."""
import datetime as dt
from collections.abc import Iterable
from typing import Any, NamedTuple

from sql import Literal, Null, Table
from sql.aggregate import Count, Min, Sum
from sql.conditionals import Coalesce
from sql.operators import Exists

from trytond.tools import grouped_slice

from ..aliases import Cursor
from .failed_units import BULK, is_free
from .rows import ExecutionRow, execution_row
from .states import ChunkState, ExecutionState, FailureState, Finish
from .tables import chunk_, execution_, failure_, has_ended, has_not_ended

__all__ = [
    'FailureRow', 'count_free', 'failures_of', 'first_chunks',
    'first_failures', 'is_unsettled', 'kinds_of', 'rows_of', 'units_of',
    'unsettled']


class FailureRow(NamedTuple):
    "What lists show of a failure."
    batch: str
    unit: str | None
    #: "model,id"
    record: str | None
    state: str
    retried_by: int | None
    error: str | None
    ended_at: dt.datetime | None


def rows_of(
        cursor: Cursor, executions: Iterable[int],
        *names: str) -> dict[int, ExecutionRow]:
    "Return the named columns of executions, by id."
    rows: dict[int, ExecutionRow] = {}
    names = ('id', *names)
    for ids in grouped_slice(list(executions), BULK):
        cursor.execute(*execution_.select(
                *[getattr(execution_, name) for name in names],
                where=execution_.id.in_(list(ids))))
        for row in cursor.fetchall():
            rows[row[0]] = execution_row(names, row)
    return rows


def failures_of(
        cursor: Cursor, failures: Iterable[int]) -> dict[int, FailureRow]:
    "Return what lists show of failures, by id."
    rows: dict[int, FailureRow] = {}
    for ids in grouped_slice(list(failures), BULK):
        cursor.execute(*failure_
            .join(chunk_, condition=failure_.chunk == chunk_.id)
            .join(execution_, condition=failure_.execution == execution_.id)
            .select(
                failure_.id, execution_.batch, failure_.unit, failure_.record,
                failure_.state, failure_.retried_by, chunk_.error,
                chunk_.ended_at, where=failure_.id.in_(list(ids))))
        rows.update(
            (id, FailureRow(*row)) for id, *row in cursor.fetchall())
    return rows


def first_failures(cursor: Cursor, execution: int, limit: int) -> list[int]:
    "Return the ids of the first failures, the open ones before the others."
    found: list[int] = []
    # One statement for each state, which reads as many rows as it returns
    for state in FailureState:
        if len(found) < limit:
            cursor.execute(*failure_.select(
                    failure_.id,
                    where=(failure_.execution == execution)
                    & (failure_.state == state),
                    order_by=failure_.id, limit=limit - len(found)))
            found.extend(id for id, in cursor.fetchall())
    return found


def first_chunks(cursor: Cursor, execution: int, limit: int) -> list[int]:
    """Return the ids of some chunks: those that failed before all others.

    Then those that are queued, that wait, that are split and that are done.
    """
    found: list[int] = []
    for state in [
            ChunkState.FAILED, ChunkState.QUEUED, ChunkState.WAITING,
            ChunkState.CANCELLED, ChunkState.SPLIT, ChunkState.DONE]:
        # By the indexes of chunks that have ended, and of those that have not:
        # in the order of the ids, PostgreSQL might read all chunks
        for has_state, order in [
                (has_ended(execution), chunk_.ended_at),
                (has_not_ended(execution), None)]:
            if len(found) < limit:
                cursor.execute(*chunk_.select(
                        chunk_.id, where=has_state & (chunk_.state == state),
                        order_by=order, limit=limit - len(found)))
                found.extend(sorted(id for id, in cursor.fetchall()))
    return found


def kinds_of(cursor: Cursor, execution: int) -> list[tuple[Any, ...]]:
    """Return the kinds of errors of an execution, the most frequent first.

    Each is (fingerprint, count, id of a failure, error_type, error).
    """
    kinds = failure_.select(
        failure_.fingerprint, Count(Literal(1)).as_('count'),
        Min(failure_.id).as_('failure'),
        where=failure_.execution == execution, group_by=failure_.fingerprint)
    example = Table('batch_failure')
    cursor.execute(*kinds
        .join(example, condition=example.id == kinds.failure)
        .join(chunk_, condition=chunk_.id == example.chunk)
        .select(
            kinds.fingerprint, kinds.count, kinds.failure, chunk_.error_type,
            chunk_.error, order_by=[kinds.count.desc, kinds.failure]))
    return cursor.fetchall()


def units_of(
        cursor: Cursor, executions: list[int]) -> dict[int, dict[str, int]]:
    "Return units by state of their chunk, of each execution that has any."
    units: dict[int, dict[str, int]] = {}
    cursor.execute(*chunk_.select(
            chunk_.execution, chunk_.state, Sum(chunk_.size),
            where=chunk_.execution.in_(executions),
            group_by=[chunk_.execution, chunk_.state]))
    for execution, state, size in cursor.fetchall():
        units.setdefault(execution, {})[state] = int(size or 0)
    return units


def count_free(cursor: Cursor, executions: Iterable[int]) -> dict[int, int]:
    "Return how many failures nobody retried or dismissed, where there are."
    counts: dict[int, int] = {}
    for ids in grouped_slice(list(executions), BULK):
        cursor.execute(*failure_.select(
                failure_.execution, Count(Literal(1)),
                where=failure_.execution.in_(list(ids)) & is_free(),
                group_by=failure_.execution))
        counts.update(cursor.fetchall())
    return counts


def unsettled() -> Any:
    "Return the query of the ids of executions that somebody has to look at."
    return execution_.select(execution_.id, where=is_unsettled())


def is_unsettled() -> Any:
    """The condition of an execution that somebody has to look at.

    Something runs, is left, missing or not finished, or a failure was neither
    retried nor dismissed.  Where nothing was selected, no later execution of
    the batch has come further.
    """
    later = Table('batch_execution')
    has_later = Exists(later.select(
            Literal(1),
            where=(later.batch == execution_.batch)
            & (later.id > execution_.id) & (later.selected != Null)))
    has_free = Exists(failure_.select(
            Literal(1),
            where=(failure_.execution == execution_.id) & is_free()))
    return (execution_.ended_at == Null) \
        | (execution_.left > 0) \
        | (execution_.missing != Null) \
        | (execution_.finish == Finish.FAILED) \
        | ((execution_.state == ExecutionState.FAILED)
            & (Coalesce(execution_.failed, 0) == 0) & ~has_later) \
        | has_free

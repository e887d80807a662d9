# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What lists of executions show: each in one statement for the whole list."""
from collections.abc import Iterable
from typing import Any

from sql import Literal, Null, Table
from sql.aggregate import Count, Sum
from sql.operators import Exists

from trytond.tools import grouped_slice

from ..aliases import Cursor
from .failed_units import is_free
from .states import ExecutionState, Finish
from .tables import chunk_, execution_, failure_

__all__ = ['count_free', 'is_settled', 'settled', 'units_of']


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
    for ids in grouped_slice(list(executions)):
        cursor.execute(*failure_.select(
                failure_.execution, Count(Literal(1)),
                where=failure_.execution.in_(list(ids)) & is_free(),
                group_by=failure_.execution))
        counts.update(cursor.fetchall())
    return counts


def settled() -> Any:
    "Return the query of the ids of executions that nobody has to look at."
    return execution_.select(execution_.id, where=is_settled())


def is_settled() -> Any:
    """The condition of an execution that nobody has to look at; may be NULL.

    All is done and finished, or its failures were retried or dismissed.  Where
    nothing was selected, a later execution of the batch has come so far.
    """
    later = Table('batch_execution')
    has_later = Exists(later.select(
            Literal(1),
            where=(later.batch == execution_.batch)
            & (later.id > execution_.id) & (later.selected != Null)))
    return (
        (execution_.ended_at != Null)
        & ((execution_.left == Null) | (execution_.left == 0))
        & ((execution_.failed > 0) | has_later
            | (execution_.state != ExecutionState.FAILED))
        & (execution_.missing == Null)
        & ((execution_.finish == Null)
            | (execution_.finish != Finish.FAILED))
        & ~execution_.id.in_(
            failure_.select(failure_.execution, where=is_free())))

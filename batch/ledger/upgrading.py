# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What an earlier version did not write, made from what it did."""
from collections.abc import Iterator
from typing import Any

from sql import Null

from ..aliases import Cursor
from .failed_units import insert_rows, texts_of
from .rows import streamed
from .settling import solve
from .states import (
    ENDED_EXECUTIONS, OPEN_EXECUTIONS, ChunkState, ExecutionState,
    FailureState)
from .tables import chunk_, execution_, failure_
from .units import load_units

__all__ = ['fill_failures']


def fill_failures(cursor: Cursor) -> None:
    """Make the failures of the chunks that failed.

    The first version retried all failures of an execution, or none.  They
    have no records, as the models are not known yet.
    """
    insert_rows(cursor, _rows(cursor))
    cursor.execute(*execution_.select(
            execution_.id, execution_.retry_of, execution_.state,
            where=(execution_.retry_of != Null)
            & ((execution_.selected > 0)
                | execution_.state.in_(OPEN_EXECUTIONS)),
            order_by=execution_.id))
    for retry, execution, state in cursor.fetchall():
        is_planned = state != ExecutionState.SELECTING
        cursor.execute(*failure_.update(
                [failure_.retried_by, failure_.state],
                [retry, FailureState.RETRIED if is_planned
                    else FailureState.OPEN],
                where=failure_.execution == execution))
        if state in ENDED_EXECUTIONS:
            solve(cursor, retry)


def _rows(cursor: Cursor) -> Iterator[list[Any]]:
    query = chunk_.join(
        execution_, condition=chunk_.execution == execution_.id).select(
        chunk_.id, chunk_.execution, chunk_.units, chunk_.fingerprint,
        chunk_.ended_at, execution_.dry_run,
        where=chunk_.state == ChunkState.FAILED, order_by=chunk_.id)
    for rows in streamed(cursor, query, 1000):
        for id, execution, units, fingerprint, ended_at, dry_run in rows:
            state = FailureState.DISMISSED if dry_run else FailureState.OPEN
            for text, record in texts_of(load_units(units)):
                yield [
                    execution, id, text, record, fingerprint, state,
                    ended_at, 0]

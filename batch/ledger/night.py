# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What ran in a period, and what is usual: for the digest.

Without dry runs.
"""
import datetime as dt
from typing import Any

from sql import Literal, Null
from sql.aggregate import Min

from ..aliases import Cursor
from .rows import ExecutionRow, execution_row
from .states import OPEN_EXECUTIONS, ExecutionState
from .tables import execution_, is_real

__all__ = [
    'first_start', 'list_ended', 'list_running', 'list_starts', 'seconds',
    'started_between']

#: the columns of the executions that are listed
NAMES = [
    'id', 'batch', 'state', 'admission', 'started_at', 'ended_at', 'done',
    'failed', 'left', 'message']


def is_planned(batch: str) -> Any:
    "Return the condition for the executions of a batch that are no retries."
    return (execution_.batch == batch) & is_real() \
        & (execution_.retry_of == Null)


def list_ended(
        cursor: Cursor, since: dt.datetime,
        until: dt.datetime) -> list[ExecutionRow]:
    "Return the executions that ended in a period, the oldest first."
    return _listed(
        cursor, (execution_.ended_at >= since) & (execution_.ended_at < until))


def list_running(cursor: Cursor) -> list[ExecutionRow]:
    "Return the executions that are not over, the oldest first."
    return _listed(
        cursor, (execution_.ended_at == Null)
        & execution_.state.in_(OPEN_EXECUTIONS))


def _listed(cursor: Cursor, where: Any) -> list[ExecutionRow]:
    cursor.execute(*execution_.select(
            *[getattr(execution_, n) for n in NAMES],
            where=where & is_real(), order_by=execution_.id))
    return [execution_row(NAMES, row) for row in cursor.fetchall()]


def list_starts(
        cursor: Cursor, batch: str, until: dt.datetime,
        limit: int) -> list[dt.datetime]:
    "Return when a batch was started last before a moment, the newest first."
    cursor.execute(*execution_.select(
            execution_.started_at,
            where=is_planned(batch) & (execution_.started_at < until),
            order_by=execution_.id.desc, limit=limit))
    return sorted((at for at, in cursor.fetchall()), reverse=True)


def first_start(cursor: Cursor, batch: str) -> dt.datetime:
    "Return the first start of a batch that the ledger knows."
    cursor.execute(*execution_.select(
            Min(execution_.started_at), where=is_planned(batch)))
    (at,), = cursor.fetchall()
    # SQLite knows no type of what is computed
    return dt.datetime.fromisoformat(at) if isinstance(at, str) else at


def started_between(
        cursor: Cursor, batch: str, since: dt.datetime,
        until: dt.datetime) -> bool:
    "Return whether a batch was started after one moment until another."
    cursor.execute(*execution_.select(
            Literal(1), where=is_planned(batch)
            & (execution_.started_at > since)
            & (execution_.started_at <= until), limit=1))
    return cursor.fetchone() is not None


def seconds(
        cursor: Cursor, batch: str, before: dt.datetime,
        limit: int) -> list[float]:
    "Return how long the last successes took that ended before a moment."
    cursor.execute(*execution_.select(
            execution_.started_at, execution_.ended_at,
            where=(execution_.batch == batch) & is_real()
            & (execution_.state == ExecutionState.SUCCEEDED)
            & (execution_.done > 0) & (execution_.ended_at < before),
            order_by=execution_.id.desc, limit=limit))
    return [(end - start).total_seconds() for start, end in cursor.fetchall()]

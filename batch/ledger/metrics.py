# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the executions of each batch came to, for monitoring.

Each statement reads all batches at once, and of the chunks only those that an
index finds: there may be millions.  Dry runs do not count.
"""
import datetime as dt
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sql import Literal, Null, Window
from sql.aggregate import Count, Max, Min, Sum
from sql.functions import RowNumber

from ..aliases import Cursor
from .rows import ExecutionRow, execution_row
from .screens import is_unsettled
from .states import (
    ENDED_EXECUTIONS, OPEN_EXECUTIONS, Admission, ChunkState, ExecutionState,
    FailureState)
from .tables import chunk_, execution_, failure_, has_not_ended, is_real

__all__ = ['BatchMetrics', 'read_metrics']

#: the columns of the execution that ended last
LAST = [
    'id', 'state', 'started_at', 'ended_at', 'selected', 'done', 'failed',
    'left', 'settings']


@dataclass
class BatchMetrics:
    "What the executions of one batch came to."
    #: columns of the execution that ended last; None if none has ended
    last: ExecutionRow | None = None
    #: end of the last execution that was admitted and succeeded
    succeeded_at: dt.datetime | None = None
    #: how many executions somebody has to look at
    failed: int = 0
    open_failures: int = 0
    #: how many processes died that executed a chunk, or selected
    deaths: int = 0
    #: of the open executions: their number and the start of the oldest
    running: int = 0
    running_since: dt.datetime | None = None
    #: the last time at which one of them started, or ended a chunk
    progress_at: dt.datetime | None = None
    #: when the oldest of their queued chunks was made
    waiting_since: dt.datetime | None = None
    #: the queues of the executions that are open, and of the last one
    queues: set[str] = field(default_factory=set)


def read_metrics(cursor: Cursor) -> dict[str, BatchMetrics]:
    "Return the metrics of each batch that has executions, by its name."
    found: dict[str, BatchMetrics] = defaultdict(BatchMetrics)
    for batch, *row in _last_ended(cursor):
        found[batch].last = last = execution_row(LAST, row)
        found[batch].queues.update(_queue_in(last['settings']))
    for batch, succeeded_at in _successes(cursor):
        found[batch].succeeded_at = _moment(succeeded_at)
    for batch, count in _failed_executions(cursor):
        found[batch].failed = count
    for batch, count in _open_failures(cursor):
        found[batch].open_failures = count
    for batch, count in _deaths(cursor).items():
        found[batch].deaths = count
    for batch, started_at, settings, waiting_since, *ends in _open(cursor):
        metrics = found[batch]
        metrics.queues.update(_queue_in(settings))
        metrics.running += 1
        metrics.running_since = _of(
            min, metrics.running_since, started_at)
        metrics.progress_at = _of(
            max, metrics.progress_at, started_at, *ends)
        metrics.waiting_since = _of(
            min, metrics.waiting_since, waiting_since)
    return dict(found)


def _of(
        function: Callable[..., Any],
        *moments: Any) -> dt.datetime | None:
    "Return the min or max of the moments that there are, or None."
    return function(filter(None, map(_moment, moments)), default=None)


def _moment(value: Any) -> dt.datetime | None:
    "Return a moment; SQLite gives the text of one that is an expression."
    return dt.datetime.fromisoformat(value) \
        if isinstance(value, str) else value


def _queue_in(settings: str | None) -> list[str]:
    "Return the queue in the column settings, which is empty until admitted."
    found = json.loads(settings or '{}').get('queue')
    return [found[0]] if found else []


def _last_ended(cursor: Cursor) -> list[Any]:
    # Without the long columns, which would be sorted, too
    ended = execution_.select(
        execution_.id,
        RowNumber(window=Window(
                [execution_.batch],
                order_by=[execution_.ended_at.desc, execution_.id.desc])
            ).as_('place'),
        where=execution_.state.in_(ENDED_EXECUTIONS)
        & (execution_.ended_at != Null) & is_real())
    cursor.execute(*execution_.select(
            execution_.batch, *[getattr(execution_, n) for n in LAST],
            where=execution_.id.in_(
                ended.select(ended.id, where=ended.place == 1))))
    return cursor.fetchall()


def _successes(cursor: Cursor) -> list[Any]:
    # One that was skipped or disabled did nothing
    cursor.execute(*execution_.select(
            execution_.batch, Max(execution_.ended_at),
            where=(execution_.state == ExecutionState.SUCCEEDED)
            & (execution_.admission == Admission.ADMITTED) & is_real(),
            group_by=execution_.batch))
    return cursor.fetchall()


def _failed_executions(cursor: Cursor) -> list[Any]:
    cursor.execute(*execution_.select(
            execution_.batch, Count(Literal(1)),
            where=execution_.state.in_(
                [ExecutionState.FAILED, ExecutionState.CANCELLED])
            & is_real()
            & is_unsettled(),
            group_by=execution_.batch))
    return cursor.fetchall()


def _open_failures(cursor: Cursor) -> list[Any]:
    cursor.execute(*failure_
        .join(execution_, condition=failure_.execution == execution_.id)
        .select(execution_.batch, Count(Literal(1)),
            where=(failure_.state == FailureState.OPEN),
            group_by=execution_.batch))
    return cursor.fetchall()


def _deaths(cursor: Cursor) -> Counter[str]:
    cursor.execute(*chunk_
        .join(execution_, condition=chunk_.execution == execution_.id)
        .select(execution_.batch, Sum(chunk_.deaths),
            # Named, as the index is on the rows that have it
            where=(chunk_.deaths != Null) & is_real(),
            group_by=execution_.batch))
    deaths = Counter({batch: int(count) for batch, count in cursor.fetchall()})
    cursor.execute(*execution_.select(
            execution_.batch, Sum(execution_.deaths),
            where=(execution_.deaths != Null) & is_real(),
            group_by=execution_.batch))
    deaths.update({batch: int(count) for batch, count in cursor.fetchall()})
    return deaths


def _open(cursor: Cursor) -> list[Any]:
    """Return a row for each open execution.

    Its batch, start, settings, when its oldest queued chunk was made, and
    when the last chunk came to each of the states in which it has ended.
    """
    cursor.execute(*execution_.select(
            execution_.batch, execution_.started_at, execution_.settings,
            chunk_.select(
                Min(chunk_.create_date),
                where=has_not_ended(execution_.id)
                & (chunk_.state == ChunkState.QUEUED)),
            *[_last_end(state) for state in [
                    ChunkState.DONE, ChunkState.SPLIT, ChunkState.FAILED]],
            where=(execution_.ended_at == Null)
            & execution_.state.in_(OPEN_EXECUTIONS) & is_real(),
            order_by=execution_.id))
    return cursor.fetchall()


def _last_end(state: ChunkState) -> Any:
    # By the index, and not of all chunks of the execution
    return chunk_.select(
        chunk_.ended_at,
        where=(chunk_.execution == execution_.id) & (chunk_.state == state)
        & (chunk_.ended_at != Null),
        order_by=chunk_.ended_at.desc, limit=1)

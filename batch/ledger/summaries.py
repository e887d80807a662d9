# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Executions summed up: by night, and by batch; which batch is overdue.

Runs that change nothing and retries are left out of it.
"""
import datetime as dt
from typing import Any, NamedTuple

from sql import Cast, Literal, Null, Window, With
from sql.aggregate import Count, Max, Sum
from sql.conditionals import Case, Coalesce
from sql.functions import Extract, Function, Lag, RowNumber

from ..aliases import Cursor
from .states import Admission, ExecutionState
from .tables import clock, execution_, is_shared

__all__ = ['Overdue', 'by_batch', 'by_night', 'list_overdue']

#: starts of a batch that are looked at, the last ones
STARTS = 11
#: gaps between starts, without which a batch is not regular
GAPS = 3
#: seconds: what starts more often than that is started by hand
SHORTEST = 600
#: gaps after which a batch is overdue, and after which nobody expects it
LATE, FORGOTTEN = 1.5, 10


class Overdue(NamedTuple):
    "A batch that did not start when it usually does."
    batch: str
    #: id of its last execution
    execution: int
    started_at: dt.datetime
    #: seconds between two of its starts, usually
    gap: float


class _Date(Function):
    "DATE of SQLite, which takes a difference."
    __slots__ = ()
    _function = 'DATE'


class _JulianDay(Function):
    "JULIANDAY of SQLite, which has no differences of times."
    __slots__ = ()
    _function = 'JULIANDAY'


def _night(at: Any) -> Any:
    "Return the date at whose noon the night of a time began."
    if is_shared():
        return Cast(at - dt.timedelta(hours=12), 'DATE')
    return _Date(at, '-12 hours')


def _seconds(start: Any, end: Any) -> Any:
    "Return the seconds between two times."
    if is_shared():
        return Cast(Extract('EPOCH', end - start), 'DOUBLE PRECISION')
    return (_JulianDay(end) - _JulianDay(start)) * 86400


def _is_real() -> Any:
    return (Coalesce(execution_.dry_run, False) == Literal(False)) \
        & (execution_.started_at != Null)


def by_night() -> Any:
    """Return the query of the nights.

    Columns: id, night, executions, failed (executions), failed_units.
    """
    rows = execution_.select(
        execution_.id, execution_.state, execution_.failed,
        _night(execution_.started_at).as_('night'), where=_is_real())
    return rows.select(
        Max(rows.id).as_('id'), rows.night.as_('night'),
        Count(Literal(1)).as_('executions'),
        Sum(Case((rows.state == ExecutionState.FAILED, 1), else_=0)).as_(
            'failed'),
        Sum(Coalesce(rows.failed, 0)).as_('failed_units'),
        group_by=rows.night)


def by_batch() -> Any:
    """Return the query of the batches that were ever executed.

    Columns: id (of the last execution), batch, started_at, seconds (that the
    last one took, until now if it runs), usual_seconds, gap (seconds between
    starts, usually) and is_overdue.  What is usual is the median of the last
    STARTS.
    """
    names = ['id', 'batch', 'started_at', 'ended_at', 'admission']
    age = RowNumber(window=Window(
            [execution_.batch], order_by=[execution_.id.desc]))
    newest = execution_.select(
        *[getattr(execution_, name) for name in names], age.as_('age'),
        where=_is_real() & (execution_.retry_of == Null))
    last = newest.select(
        *[getattr(newest, name) for name in [*names, 'age']],
        where=newest.age <= STARTS)
    took = _seconds(last.started_at, Coalesce(last.ended_at, clock()))
    before = Lag(last.started_at, window=Window(
            [last.batch], order_by=[last.id]))
    recent = With(query=last.select(
            last.id, last.batch, last.started_at, last.age,
            # What was skipped took no time
            Case((last.admission == Admission.ADMITTED, took)).as_('seconds'),
            _seconds(before, last.started_at).as_('gap')))
    gaps, seconds = _median(recent, 'gap'), _median(recent, 'seconds')
    since = _seconds(recent.started_at, clock())
    return recent.join(
        gaps, 'LEFT', condition=gaps.batch == recent.batch).join(
        seconds, 'LEFT', condition=seconds.batch == recent.batch).select(
        recent.id, recent.batch, recent.started_at, recent.seconds,
        seconds.median.as_('usual_seconds'), gaps.median.as_('gap'),
        Coalesce(
            (gaps.count >= GAPS) & (gaps.median >= SHORTEST)
            & (since > gaps.median * LATE)
            & (since < gaps.median * FORGOTTEN), False).as_('is_overdue'),
        where=recent.age == 1, with_=[recent])


def _median(recent: Any, name: str) -> Any:
    "Return the query of (batch, median, count) of the values of a column."
    value = getattr(recent, name)
    rows = recent.select(
        recent.batch, value.as_('value'),
        RowNumber(window=Window(
                [recent.batch], order_by=[value])).as_('place'),
        Count(Literal(1), window=Window([recent.batch])).as_('count'),
        where=value != Null)
    # One of them, the lower of the two in the middle
    return rows.select(
        rows.batch, rows.value.as_('median'), rows.count.as_('count'),
        where=rows.place == (rows.count + 1) / 2)


def list_overdue(cursor: Cursor) -> list[Overdue]:
    "Return the batches that are overdue, by name."
    rows = by_batch()
    cursor.execute(*rows.select(
            rows.batch, rows.id, rows.started_at, rows.gap,
            where=rows.is_overdue == Literal(True), order_by=rows.batch))
    return [Overdue(*row) for row in cursor.fetchall()]

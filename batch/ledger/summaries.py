# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Executions summed up: by night, and by batch.

Runs that change nothing and retries are left out of it.
"""
import datetime as dt
from typing import Any

from sql import Cast, Literal, Null, Window, With
from sql.aggregate import Count, Max, Sum
from sql.conditionals import Case, Coalesce
from sql.functions import Extract, Function, RowNumber

from .states import Admission, ExecutionState
from .tables import clock, execution_, is_real, is_shared

__all__ = ['by_batch', 'by_night']

#: starts of a batch that are looked at, the last ones
STARTS = 11


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


def by_night() -> Any:
    """Return the query of the nights.

    Columns: id, night, executions, failed (executions), failed_units.
    """
    rows = execution_.select(
        execution_.id, execution_.state, execution_.failed,
        _night(execution_.started_at).as_('night'),
        where=is_real() & (execution_.started_at != Null))
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
    last one took, until now if it runs) and usual_seconds, the median of the
    last STARTS.
    """
    names = ['id', 'batch', 'started_at', 'ended_at', 'admission']
    age = RowNumber(window=Window(
            [execution_.batch], order_by=[execution_.id.desc]))
    newest = execution_.select(
        *[getattr(execution_, name) for name in names], age.as_('age'),
        where=is_real() & (execution_.started_at != Null)
        & (execution_.retry_of == Null))
    last = newest.select(
        *[getattr(newest, name) for name in [*names, 'age']],
        where=newest.age <= STARTS)
    took = _seconds(last.started_at, Coalesce(last.ended_at, clock()))
    recent = With(query=last.select(
            last.id, last.batch, last.started_at, last.age,
            # What was skipped took no time
            Case((last.admission == Admission.ADMITTED, took)).as_('seconds')))
    seconds = _median(recent)
    return recent.join(
        seconds, 'LEFT', condition=seconds.batch == recent.batch).select(
        recent.id, recent.batch, recent.started_at, recent.seconds,
        seconds.median.as_('usual_seconds'),
        where=recent.age == 1, with_=[recent])


def _median(recent: Any) -> Any:
    "Return the query of (batch, median) of the seconds."
    rows = recent.select(
        recent.batch, recent.seconds.as_('value'),
        RowNumber(window=Window(
                [recent.batch], order_by=[recent.seconds])).as_('place'),
        Count(Literal(1), window=Window([recent.batch])).as_('count'),
        where=recent.seconds != Null)
    # One of them, the lower of the two in the middle
    return rows.select(
        rows.batch, rows.value.as_('median'),
        where=rows.place == (rows.count + 1) / 2)

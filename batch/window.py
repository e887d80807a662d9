# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The end of the window in which a batch may work: the setting ``until``.

Imports nothing of Tryton or Celery.
"""
import datetime as dt

__all__ = ['window_end']


def window_end(
        until: str | None, start: dt.datetime,
        zone: dt.tzinfo | None = None) -> dt.datetime | None:
    """Return the first time of day ``until`` after start, None without one.

    Both are datetimes in UTC without a zone, as the ledger has them.

    :param until: as ``06:00``, or None
    :param start: of the execution, or of its resume
    :param zone: the ZoneInfo in which until is meant, None for the local one
    """
    if until is None:
        return None
    start = start.replace(tzinfo=dt.timezone.utc)
    time = dt.time.fromisoformat(until)
    day = start.astimezone(zone).date()
    while True:
        end = dt.datetime.combine(day, time, zone).astimezone(dt.timezone.utc)
        if end > start:
            return end.replace(tzinfo=None)
        day += dt.timedelta(1)

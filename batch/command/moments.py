# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The moments that options of commands name."""
import argparse
import datetime as dt
import re

from ..logging import server_zone
from ..texts import EXCERPT, clean

__all__ = ['moment_of']

#: units of a length of time, in seconds
UNITS = {'m': 60, 'h': 3600, 'd': 86400}


def moment_of(text):
    """Return the moment that an option names, in UTC and without a zone.

    As the ledger has them.  Raises ArgumentTypeError.
    """
    try:
        at = _parse(text).astimezone(dt.timezone.utc)
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(
            'is "%s", expected yesterday, today, a date as YYYY-MM-DD, a time '
            'as YYYY-MM-DDTHH:MM, or so long ago as 12h or 7d'
            % clean(text, EXCERPT)) from None
    if at > dt.datetime.now(dt.timezone.utc):
        raise argparse.ArgumentTypeError(
            'is "%s", expected a moment that has passed'
            % clean(text, EXCERPT))
    return at.replace(tzinfo=None)


def _parse(text):
    "Return a datetime; one without a zone is of the server's."
    if found := re.fullmatch('([1-9][0-9]{0,4})([mhd])', text):
        return dt.datetime.now(dt.timezone.utc) - dt.timedelta(
            seconds=int(found[1]) * UNITS[found[2]])
    zone = server_zone()
    if text in {'yesterday', 'today'}:
        date = dt.datetime.now(zone).date() \
            - dt.timedelta(days=text == 'yesterday')
        return dt.datetime.combine(date, dt.time(), zone)
    at = dt.datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=zone)

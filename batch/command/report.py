# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The command report: the night on one page."""
import argparse
import datetime as dt
import re

from ..exceptions import BatchError
from ..logging import server_zone
from ..texts import escape
from .environment import pool_of
from .streams import written

__all__ = ['moment_of', 'report']

#: units of a length of time, in seconds
UNITS = {'m': 60, 'h': 3600, 'd': 86400}


def report(options):
    from .. import ledger
    from ..digest import Digest
    from ..digest_text import as_html, as_text, label_of
    from ..mailing import Mail, send
    with pool_of(options) as transaction:
        cursor = transaction.connection.cursor()
        digest = Digest.load(cursor, options.since, ledger.tables.now(cursor))
        text, label = as_text(digest), label_of(digest)
        html = as_html(digest) if options.html else None
    if not options.mail:
        print(text if html is None else html, end='')
        return written()
    problems = [
        'to "%s": %s: %s' % (mail.to, type(error).__name__, error)
        for mail, error in send(
            Mail(to, label, text, html) for to in options.mail)]
    if problems:
        raise BatchError('the report was not sent %s; check [email] uri of '
            'trytond.conf' % '; '.join(problems))
    print('sent to %s' % ', '.join(options.mail))
    return written()


def moment_of(text):
    "Return the moment that --since names: a datetime in UTC, without a zone."
    try:
        at = _parse(text).astimezone(dt.timezone.utc)
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(
            'is "%s", expected yesterday, today, a date as YYYY-MM-DD, '
            'a time as YYYY-MM-DDTHH:MM, or so long ago as 12h or 7d'
            % escape(text)) from None
    if at > dt.datetime.now(dt.timezone.utc):
        raise argparse.ArgumentTypeError(
            'is "%s", expected a moment that has passed' % escape(text))
    return at.replace(tzinfo=None)


def _parse(text):
    "Return a datetime with a zone; raises ValueError."
    if found := re.fullmatch('([1-9][0-9]{0,4})([mhd])', text):
        return dt.datetime.now(dt.timezone.utc) - dt.timedelta(
            seconds=int(found[1]) * UNITS[found[2]])
    zone = server_zone()
    if text in {'yesterday', 'today'}:
        at = dt.datetime.combine(
            dt.datetime.now(zone).date()
            - dt.timedelta(days=text == 'yesterday'), dt.time())
    else:
        at = dt.datetime.fromisoformat(text)
    # That of the server, if the text names none
    return at if at.tzinfo or zone is None else at.replace(tzinfo=zone)

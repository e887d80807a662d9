# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Which batches were not started as they usually are.

Read from the ledger alone: nobody has to say when a batch is expected.
"""
import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass

from . import ledger
from .aliases import Cursor

__all__ = ['FEWEST', 'LAST', 'Overdue', 'list_overdue', 'rhythm']

WEEK = dt.timedelta(weeks=1)
#: starts, or durations, of which the usual one is the median; and the fewest
LAST, FEWEST = 20, 3
#: how much later than usual a batch may start: a part of its usual gap, and
#: at most so much
SLACK_PART, SLACK = 8, dt.timedelta(hours=1)
#: usual gaps after which nobody waits for a batch any more
GIVEN_UP = 8


@dataclass
class Overdue:
    "A batch that has not been started as it usually is."
    batch: str
    last: dt.datetime
    expected: dt.datetime


def list_overdue(
        cursor: Cursor, until: dt.datetime,
        batches: Collection[str] | None = None) -> list[Overdue]:
    """Return the batches that are overdue at a moment, by name.

    :param batches: only these; None for all
    """
    found = (
        find_overdue(cursor, batch, until)
        for batch in sorted(ledger.figures.batches(cursor))
        if batches is None or batch in batches)
    return [overdue for overdue in found if overdue is not None]


def rhythm(
        starts: list[dt.datetime]) -> tuple[dt.timedelta, dt.timedelta] | None:
    """Return the usual gap between two starts, and how late one may be.

    None if there are too few, or they are not regular: at least three of four
    gaps are the usual one.

    :param starts: the newest first
    """
    gaps = [later - earlier for later, earlier in zip(starts, starts[1:])]
    if len(gaps) < FEWEST:
        return None
    # The median
    usual = sorted(gaps)[len(gaps) // 2]
    slack = min(SLACK, usual / SLACK_PART)
    if 4 * sum(abs(gap - usual) <= slack for gap in gaps) < 3 * len(gaps):
        return None
    return usual, slack


def find_overdue(
        cursor: Cursor, batch: str, until: dt.datetime) -> Overdue | None:
    """Return the batch as Overdue, None if it is not.

    Not if it was silent in the same hours of a week ago: it does not run at
    the weekend.
    """
    starts = ledger.night.list_starts(cursor, batch, until, LAST)
    if (found := rhythm(starts)) is None:
        return None
    (usual, slack), last = found, starts[0]
    if not last + usual + slack < until < last + GIVEN_UP * usual:
        return None
    if (ledger.night.first_start(cursor, batch) <= last - WEEK + slack
            and not ledger.night.started_between(
                cursor, batch, last - WEEK + slack, until - WEEK)):
        return None
    return Overdue(batch, last, last + usual)

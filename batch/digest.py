# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The night on one page: what ran, failed, is overdue, and was left out.

Read from the ledger alone: nobody has to say when a batch is expected.
"""
import datetime as dt
import statistics
from collections.abc import Collection
from dataclasses import dataclass, field

from . import ledger
from .aliases import Cursor
from .ledger.rows import ExecutionRow
from .ledger.states import Admission, ExecutionState
from .outcome import Outcome

__all__ = ['DAY', 'Digest', 'Late', 'Ran', 'Slow', 'rhythm']

DAY, WEEK = dt.timedelta(days=1), dt.timedelta(weeks=1)
#: starts, or durations, of which the usual one is the median; and the fewest
LAST, FEWEST = 20, 3
#: how much later than usual a batch may start: a part of its usual gap, and
#: at most so much
SLACK_PART, SLACK = 8, dt.timedelta(hours=1)
#: usual gaps after which nobody waits for a batch any more
GIVEN_UP = 8
#: an execution is slow that took longer, and more than so many times the usual
SLOW, TIMES = 60, 2
#: failed executions that are told in full
TOLD = 20
#: executions that began no work
IDLE = {Admission.SKIPPED, Admission.DISABLED, Admission.REFUSED}


@dataclass
class Ran:
    "The executions of a batch that ended in the period."
    batch: str
    executions: int = 0
    succeeded: int = 0
    done: int = 0
    failed: int = 0
    left: int = 0
    seconds: float = 0

    def add(self, row: ExecutionRow) -> None:
        "Add an execution."
        self.executions += 1
        self.succeeded += row['state'] == ExecutionState.SUCCEEDED
        self.done += row['done'] or 0
        self.failed += row['failed'] or 0
        self.left += row['left'] or 0
        self.seconds += seconds_of(row)


@dataclass
class Late:
    "A batch that has not been started as it usually is."
    batch: str
    last: dt.datetime
    expected: dt.datetime


@dataclass
class Slow:
    "An execution that took unusually long, or takes."
    execution: ExecutionRow
    seconds: float
    usual: float


@dataclass
class Digest:
    "What happened in a period; its moments are in UTC, as in the ledger."
    since: dt.datetime
    until: dt.datetime
    ran: list[Ran] = field(default_factory=list)
    #: those that failed or were cancelled, and of the first of them all
    failed: list[ExecutionRow] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    overdue: list[Late] = field(default_factory=list)
    #: skipped, disabled or refused, or ended before all units were treated
    left_out: list[ExecutionRow] = field(default_factory=list)
    slow: list[Slow] = field(default_factory=list)
    running: list[ExecutionRow] = field(default_factory=list)

    @classmethod
    def load(
            cls, cursor: Cursor, since: dt.datetime, until: dt.datetime,
            batches: Collection[str] | None = None) -> 'Digest':
        """Return the digest of a period that ends now or has ended.

        :param batches: only these; None for all
        """
        def of_batches(rows: list[ExecutionRow]) -> list[ExecutionRow]:
            return [
                row for row in rows
                if batches is None or row['batch'] in batches]

        self = cls(since, until)
        ended = of_batches(ledger.night.list_ended(cursor, since, until))
        self.running = of_batches(ledger.night.list_running(cursor))
        by_batch: dict[str, Ran] = {}
        for row in ended:
            if row['admission'] in IDLE:
                self.left_out.append(row)
                continue
            by_batch.setdefault(row['batch'], Ran(row['batch'])).add(row)
            if row['state'] != ExecutionState.SUCCEEDED:
                self.failed.append(row)
            if row['left']:
                self.left_out.append(row)
        self.ran = [ran for _, ran in sorted(by_batch.items())]
        for row in self.failed[:TOLD]:
            if outcome := Outcome.load(cursor, row['id']):
                self.outcomes.append(outcome)
        self.overdue = [
            late for batch in sorted(ledger.figures.batches(cursor))
            if batches is None or batch in batches
            for late in find_late(cursor, batch, until)]
        self.slow = find_slow(cursor, ended + self.running, since, until)
        return self

    @property
    def executions(self) -> int:
        "How many executions ended that had begun to work."
        return sum(ran.executions for ran in self.ran)


def seconds_of(row: ExecutionRow, until: dt.datetime | None = None) -> float:
    "Return how long an execution took, or has taken until a moment."
    ended_at = row['ended_at'] or until
    assert ended_at is not None
    return (ended_at - row['started_at']).total_seconds()


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


def find_late(
        cursor: Cursor, batch: str, until: dt.datetime) -> list[Late]:
    """Return the batch as Late, if it is overdue; else nothing.

    Not if it was silent in the same hours of a week ago: it does not run at
    the weekend.
    """
    starts = ledger.night.list_starts(cursor, batch, until, LAST)
    if (found := rhythm(starts)) is None:
        return []
    (usual, slack), last = found, starts[0]
    if not last + usual + slack < until < last + GIVEN_UP * usual:
        return []
    if (ledger.night.first_start(cursor, batch) <= last - WEEK + slack
            and not ledger.night.started_between(
                cursor, batch, last - WEEK + slack, until - WEEK)):
        return []
    return [Late(batch, last, last + usual)]


def find_slow(
        cursor: Cursor, rows: list[ExecutionRow], since: dt.datetime,
        until: dt.datetime) -> list[Slow]:
    "Return those of the executions that took unusually long."
    usual: dict[str, float | None] = {}
    slow = []
    for row in rows:
        batch, seconds = row['batch'], seconds_of(row, until)
        if seconds <= SLOW or row['admission'] in IDLE:
            continue
        if batch not in usual:
            last = ledger.night.seconds(cursor, batch, since, LAST)
            usual[batch] = statistics.median(last) \
                if len(last) >= FEWEST else None
        if (median := usual[batch]) is not None and seconds > TIMES * median:
            slow.append(Slow(row, seconds, median))
    return slow

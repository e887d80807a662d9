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
from .overdue import FEWEST, LAST, Overdue, list_overdue

__all__ = ['DAY', 'Digest', 'Ran', 'Slow']

DAY = dt.timedelta(days=1)
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
    overdue: list[Overdue] = field(default_factory=list)
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
        self.overdue = list_overdue(cursor, until, batches)
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

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What an execution came to, in words: the end of its log and of the command.
"""
import datetime as dt
import heapq
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import exceptions, ledger
from .aliases import Cursor, Unit, Units
from .ledger.failed_units import Settled
from .ledger.states import Admission, ExecutionState, FailureState, Finish
from .ledger.units import shown_unit
from .logging import server_zone
from .masking import mask_value
from .texts import escape, excerpt

__all__ = [
    'Failures', 'Outcome', 'as_json', 'duration', 'failure_as_dict',
    'missing_files', 'moment', 'stamp']

#: units named per kind of error in the summary
NAMED = 3
#: kinds of errors in the summary, and those that are told apart for it
GROUPS, KINDS = 20, 1000
#: characters of a kind of error, and of a unit, in the summary
KIND, UNIT = 300, 60
#: failed chunks that JSON has unless told otherwise
FIRST = 100


def duration(seconds: float) -> str:
    "Return seconds as text: 0.4s, 41s, 6m41s, 3h07m."
    if seconds < 10:
        return '%.1fs' % seconds
    minutes, seconds = divmod(int(seconds), 60)
    if not minutes:
        return '%ds' % seconds
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return '%dm%02ds' % (minutes, seconds)
    return '%dh%02dm' % (hours, minutes)


def moment(timestamp: dt.datetime) -> str:
    "Return a timestamp of the ledger in the time zone of the server."
    return timestamp.replace(tzinfo=dt.timezone.utc).astimezone(
        server_zone()).isoformat(' ', 'seconds')


def stamp(timestamp: dt.datetime | None) -> str | None:
    "Return a timestamp of the ledger, which is in UTC, for JSON."
    if timestamp is None:
        return None
    return timestamp.replace(tzinfo=dt.timezone.utc).isoformat()


@dataclass
class Group:
    "Failures of one kind."
    text: str
    #: how many units, and the first of them
    count: int = 0
    units: list[Unit] = field(default_factory=list)

    def add(self, units: Units) -> None:
        "Add units, or one failure without units."
        self.count += len(units) if units is not None else 1
        try:
            self.units = heapq.nsmallest(NAMED, [*self.units, *(units or ())])
        except TypeError:
            # They have no order
            self.units = [*self.units, *(units or ())][:NAMED]


class Failures:
    "Groups failures by kind, in bounded memory."

    def __init__(self) -> None:
        #: how many chunks failed
        self.count = 0
        #: (number, units, type, error) of the first of them
        self.first: list[tuple[str, Units, str, str]] = []
        self._groups: dict[tuple[str, str], Group] = {}
        self._others = Group('other errors')

    def add(self, number: str, units: Units, type_: str, error: str) -> None:
        "Add a failed chunk, as ledger.failures.list_failures yields it."
        self.count += 1
        if len(self.first) < FIRST:
            self.first.append((number, units, type_, error))
        error = excerpt(error, KIND)
        # The same error of two records differs in names and numbers
        key = type_, re.sub(r'"[^"]*"|\d+', '', error)
        group = self._groups.get(key, self._others)
        if group is self._others and len(self._groups) < KINDS:
            group = self._groups[key] = Group(
                error if type_ == exceptions.WorkerLostError.__name__
                else excerpt(': '.join(filter(None, [type_, error])), KIND))
        group.add(units)

    def groups(self) -> list[Group]:
        "Return a Group per kind of error, the largest first."
        groups = sorted(self._groups.values(), key=lambda g: -g.count)
        rest = sum(g.count for g in [*groups[GROUPS:], self._others])
        return groups[:GROUPS] + (
            [Group(self._others.text, rest)] if rest else [])


def missing_files(execution: int, missing: Mapping[str, str]) -> str:
    """Return one line on committed files that are missing.

    :param missing: path -> why
    """
    path, why = next(iter(missing.items()))
    more = ' (and {:,} more)'.format(len(missing) - 1) \
        if len(missing) > 1 else ''
    return 'the committed file "%s" is missing%s: %s; coop resume %s looks ' \
        'for it again' % (path, more, why, execution)


def shown_number(value: float) -> str:
    "Return a sum as text."
    try:
        return '%.12g' % value
    except OverflowError:
        # A sum of whole numbers has no limit
        return excerpt(value)


@dataclass
class Outcome:
    "An execution as the ledger has it."
    id: int
    batch: str
    state: str
    started_at: dt.datetime
    ended_at: dt.datetime | None
    selected: int
    duplicates: int
    message: str | None
    admission: str | None
    #: of its command; None as long as it is not over
    exit_status: int | None
    #: whether a hook committed, where it may not
    hooks_committed: bool | None
    traceback: str | None = field(repr=False)
    dry_run: bool | None
    #: paths of committed files
    missing: list[str]
    #: whether that hook was called; None if it is not to be
    finish: str | None
    #: whether its command executes it, and no worker
    local: bool | None
    counts: ledger.figures.Counts
    #: how many chunks of the plan have ended
    planned: int
    numbers: dict[str, float]
    failures: Failures = field(repr=False)
    #: how many failures there are in each state
    failure_states: dict[str, int]
    #: whether a retry could take up some of them
    can_be_retried: bool
    #: time of the database
    read_at: dt.datetime = field(repr=False)

    @classmethod
    def load(cls, cursor: Cursor, execution: int) -> 'Outcome | None':
        "Return the outcome of the execution, None without such a one."
        names = ['id', 'batch', 'state', 'started_at', 'ended_at',
            'selected', 'duplicates', 'message', 'admission', 'exit_status',
            'hooks_committed', 'dry_run', 'traceback', 'missing', 'finish',
            'local']
        row = ledger.executions.columns(cursor, execution, *names)
        if row is None:
            return None
        columns: dict[str, Any] = {
            **row,
            'selected': row['selected'] or 0,
            'duplicates': row['duplicates'] or 0,
            'missing': json.loads(row['missing'] or '[]')}
        failures = Failures()
        for failure in ledger.failures.list_failures(cursor, execution):
            failures.add(*failure)
        return cls(
            counts=ledger.figures.counts(cursor, execution),
            planned=ledger.figures.planned_chunks(cursor, execution),
            numbers=ledger.figures.numbers(cursor, execution),
            failures=failures,
            failure_states=ledger.failed_units.count_by_state(
                cursor, execution) if failures.count else {},
            can_be_retried=bool(failures.count)
            and ledger.failed_units.has_free(cursor, execution),
            read_at=ledger.tables.now(cursor), **columns)

    @property
    def seconds(self) -> float:
        "How long it took, or takes until now."
        return ((self.ended_at or self.read_at)
            - self.started_at).total_seconds()

    @property
    def succeeded(self) -> bool:
        "Whether it ended in the state succeeded."
        return self.state == ExecutionState.SUCCEEDED

    @property
    def open_failures(self) -> int:
        "How many units failed that were neither retried nor dismissed."
        return self.failure_states.get(FailureState.OPEN, 0)

    @property
    def is_refused(self) -> bool:
        "Whether the start was refused; the message says why."
        return self.admission == Admission.REFUSED

    def text(
            self, name: str, log: str | None = None,
            details: bool = True) -> str:
        """Return the summary; its first line says it all.

        :param name: what it begins with
        :param log: path of the log
        :param details: whether to say where they are
        """
        counts, name = self.counts, escape(name)
        lines: list[str] = []
        if self.message and not counts['chunks']:
            lines.append('%s: %s' % (name, escape(self.message)))
        else:
            lines.append(
                '%s: %s, %s done, %s failed, %s left, %s' % (
                    name,
                    '{:,} selected'.format(self.selected) if self.selected
                    else '0 selected (nothing to do)',
                    *map('{:,}'.format, [
                            counts['done'], counts['failed'],
                            counts['left']]),
                    duration(self.seconds)))
        if self.dry_run:
            lines.append('  a dry run: %s was rolled back' % (
                    'all but what hooks committed'
                    if self.hooks_committed else 'all of it'))
        if self.numbers:
            lines.append('  ' + ', '.join(
                    '%s: %s' % (escape(name), shown_number(value))
                    for name, value in sorted(self.numbers.items())))
        for group in self.failures.groups():
            named = ', '.join(shown_unit(u, UNIT) for u in group.units)
            if named and group.count > NAMED:
                named += ' ... (+%s)' % (group.count - NAMED)
            lines.append(('  %s x %s    %s' % (
                        group.count, group.text, named)).rstrip())
        if self.message and counts['chunks']:
            lines.append('  ' + escape(self.message))
        extra = counts['transactions'] - self.planned
        if counts['split'] and extra > 0:
            lines.append('  isolated in %s extra transactions' % extra)
        if not self.succeeded and not self.is_refused:
            if log:
                lines.append('  log: %s' % escape(log))
            hints = [
                '%s: coop %s %s' % (why, command, self.id)
                for why, command, wanted in [
                    ('details', 'show', details),
                    ('again', 'retry', self.ended_at and self.can_be_retried),
                    ('go on', 'resume', (self.ended_at or self.local)
                        and (counts['left'] or self.missing
                            or self.finish == Finish.FAILED))]
                if wanted]
            if hints:
                lines.append('  ' + '    '.join(hints))
        return '\n'.join(lines)

    def figures(self) -> dict[str, Any]:
        "Return what the last line of a log has in JSON."
        names = ['state', 'selected', 'done', 'failed', 'left', 'seconds']
        told = self.as_dict()
        return {name: told[name] for name in names}

    def as_dict(self) -> dict[str, Any]:
        "Return what ``--json`` prints."
        return {
            'execution': self.id,
            'batch': self.batch,
            'state': self.state,
            'dry_run': bool(self.dry_run),
            'started_at': stamp(self.started_at),
            'ended_at': stamp(self.ended_at),
            'selected': self.selected,
            'duplicates': self.duplicates,
            'done': self.counts['done'],
            'failed': self.counts['failed'],
            'open': self.open_failures,
            'left': self.counts['left'],
            'seconds': round(self.seconds, 3),
            'numbers': self.numbers,
            'message': self.message,
            'missing': self.missing,
            'more_failures': self.failures.count - len(self.failures.first),
            'failures': [failure_as_dict(*f) for f in self.failures.first],
            }


def failure_as_dict(
        number: str, units: Units, type_: str, error: str,
        settled: Iterable[Settled] | None = None) -> dict[str, Any]:
    """Return what JSON has of a failed chunk.

    :param settled: of ledger.failed_units.settled_in
    """
    found = {
        'chunk': number, 'units': mask_value(None, units),
        'error_type': type_, 'error': error}
    if settled is not None:
        found['settled'] = [
            dict(zip(['state', 'retried_by', 'reason', 'units'], row))
            for row in settled]
    return found


def as_json(value: Any) -> str:
    "Return the JSON that ``--json`` prints."
    return json.dumps(value, default=str, indent=2)

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What an execution came to, in words: the end of its log and of the command.
"""
import datetime as dt
import json
import re
from dataclasses import dataclass, field

from . import exceptions, ledger
from . import logging as batch_logging
from . import tally
from .exceptions import TransactionEndedError
from .masking import mask_value
from .texts import escape, excerpt
from .units import shown

__all__ = ['Outcome', 'as_json', 'duration', 'moment']

#: units named per kind of error in the summary
NAMED = 3
#: characters of a kind of error in the summary
KIND = 300


def duration(seconds):
    "Return seconds as an operator reads them: 0.4s, 41s, 6m41s, 3h07m."
    if seconds < 10:
        return '%.1fs' % seconds
    minutes, seconds = divmod(int(seconds), 60)
    if not minutes:
        return '%ds' % seconds
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return '%dm%02ds' % (minutes, seconds)
    return '%dh%02dm' % (hours, minutes)


def moment(timestamp):
    "Return a timestamp of the ledger in the time zone of the server."
    return timestamp.replace(tzinfo=dt.timezone.utc).astimezone(
        batch_logging.server_zone()).isoformat(' ', 'seconds')


def shown_number(value):
    try:
        return '%.12g' % value
    except OverflowError:
        # A sum of whole numbers has no limit
        return excerpt(value)


def in_order(failures):
    "Return the failures by unit, where units have an order."
    try:
        return sorted(failures, key=lambda failure: failure[1])
    except TypeError:
        return failures


@dataclass
class Outcome:
    "An execution as the ledger has it."
    id: int
    batch: str
    state: str
    started_at: object
    ended_at: object
    selected: int
    duplicates: int
    message: str | None
    error_type: str | None
    traceback: str | None = field(repr=False)
    dry_run: bool | None
    counts: dict
    planned: int
    numbers: dict
    failures: list = field(repr=False)

    @classmethod
    def read(cls, cursor, execution):
        "Return the outcome of the execution, None without such a one."
        names = ['id', 'batch', 'state', 'started_at', 'ended_at',
            'selected', 'duplicates', 'message', 'error_type', 'dry_run',
            'traceback']
        row = ledger.read(cursor, execution, *names)
        if row is None:
            return None
        row['selected'] = row['selected'] or 0
        row['duplicates'] = row['duplicates'] or 0
        return cls(
            counts=tally.counts(cursor, execution),
            planned=tally.planned_chunks(cursor, execution),
            numbers=tally.numbers(cursor, execution),
            failures=in_order(tally.failures(cursor, execution)), **row)

    @property
    def seconds(self):
        return ((self.ended_at or ledger.now())
            - self.started_at).total_seconds()

    @property
    def succeeded(self):
        return self.state == 'succeeded'

    @property
    def is_refused(self):
        "Whether the start was refused, which its message tells whole."
        return bool(self.error_type) and not self.traceback

    @property
    def exit_status(self):
        "0: all was done; 2: the command line was wrong; 1: any other end."
        if self.succeeded:
            return 0
        error = self.is_refused and getattr(exceptions, self.error_type, None)
        return getattr(error, 'exit_status', 1)

    def groups(self):
        "Return the failures by kind of error: (count, text, units)."
        groups = {}
        for _, units, type_, error, _ in self.failures:
            # The same error of two records differs in names and numbers
            key = type_, re.sub(r'"[^"]*"|\d+', '', error)
            group = groups.setdefault(key, [
                    0, error if type_ == exceptions.WorkerLostError.__name__
                    else ': '.join(filter(None, [type_, error])), []])
            group[0] += len(units) if units is not None else 1
            group[2].extend(units or ())
        return sorted(groups.values(), key=lambda g: -g[0])

    def text(self, name, log=None, details=True):
        """Return the summary; its first line says it all.

        :param name: what it begins with
        :param log: path of the log
        :param details: whether to say where they are
        """
        counts = self.counts
        lines, name = [], escape(name)
        if self.message and not counts['chunks']:
            lines.append('%s: %s' % (name, escape(self.message)))
        else:
            lines.append(
                '%s: %s, %s done, %s failed, %s left, %s' % (
                    name,
                    '{:,} selected'.format(self.selected) if self.selected
                    else '0 selected (nothing to do)',
                    *('{:,}'.format(counts[n])
                        for n in ['done', 'failed', 'left']),
                    duration(self.seconds)))
        if self.dry_run:
            lines.append('  a dry run: %s was rolled back' % (
                    'all but what hooks committed'
                    if TransactionEndedError.__name__ in {
                        self.error_type, *(f[2] for f in self.failures)}
                    else 'all of it'))
        if self.numbers:
            lines.append('  ' + ', '.join(
                    '%s: %s' % (escape(name), shown_number(value))
                    for name, value in sorted(self.numbers.items())))
        for count, text, units in self.groups():
            named = ', '.join(map(shown, units[:NAMED]))
            if len(units) > NAMED:
                named += ' ... (+%s)' % (len(units) - NAMED)
            lines.append(('  %s x %s    %s' % (
                        count, excerpt(text, KIND), named)).rstrip())
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
                    ('again', 'retry',
                        counts['failed'] and not self.dry_run),
                    ('go on', 'resume', counts['left'])] if wanted]
            if hints:
                lines.append('  ' + '    '.join(hints))
        return '\n'.join(lines)

    def as_dict(self):
        "Return what ``--json`` prints."
        return {
            'execution': self.id,
            'batch': self.batch,
            'state': self.state,
            'dry_run': bool(self.dry_run),
            'selected': self.selected,
            'duplicates': self.duplicates,
            'done': self.counts['done'],
            'failed': self.counts['failed'],
            'left': self.counts['left'],
            'seconds': round(self.seconds, 3),
            'numbers': self.numbers,
            'message': self.message,
            'failures': [
                {'chunk': number, 'units': mask_value(None, units),
                    'error_type': type_, 'error': error}
                for number, units, type_, error, _ in self.failures],
            }


def as_json(value):
    return json.dumps(value, default=str, indent=2)

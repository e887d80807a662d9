# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The table of settings: what each takes, its default and what it does.

Imports nothing of Tryton or Celery.
"""
import json
import math
import os
import re
import textwrap
from dataclasses import dataclass
from datetime import datetime, time
from fractions import Fraction
from typing import Any, Callable

from .masking import mask_value

__all__ = [
    'BOOLEANS', 'PLACEHOLDERS', 'SETTINGS', 'Setting', 'example',
    'failures_allowed', 'shown']
#: what filepath_template may hold, written as %{NAME}
PLACEHOLDERS = (
    'BATCHNAME', 'DATABASE', 'FILENAME', 'TIMESTAMP', 'EXECUTION', 'CHUNK')
#: the words for yes and no, in batch.conf and on the command line
BOOLEANS = {
    'true': True, 'yes': True, 'on': True, '1': True,
    'false': False, 'no': False, 'off': False, '0': False}
#: what it means that a value is none of a setting
REFUSALS = KeyError, OverflowError, RecursionError, TypeError, ValueError
#: characters of a wrong value that are shown
SHOWN = 200


@dataclass(frozen=True)
class Setting:
    "A row of the table of settings."
    name: str
    #: a JSON value; the text "none" stands for it where it is None
    default: Any
    #: from a text or a value of Python to a JSON value, or any of REFUSALS
    parse: Callable
    #: ends the sentence "expected ..."
    form: str
    #: what it does, in a few words
    help: str

    def value_of(self, value):
        """Return the JSON value of a text or of a value of Python.

        Raises ValueError, whose message says what was expected.
        """
        if isinstance(value, str):
            value = value.strip()
        if self.default is None and str(value).lower() == 'none':
            return None
        try:
            return self.parse(value)
        except REFUSALS:
            got = ('"%s"' % mask_value(self.name, ' '.join(value.split()))
                if isinstance(value, str) else repr(value))
            if len(got) > SHOWN:
                got = got[:SHOWN] + '...'
            raise ValueError(
                'expected %s, got %s' % (self.form, got)) from None


def _refuse_unless(condition):
    if not condition:
        raise ValueError


def _choice(*choices):
    return lambda value: choices[choices.index(value)]


def _whole(minimum, maximum):
    "Return how to parse a whole number, and its form."
    def parse(value):
        # True is an int for Python, and a slip of the pen for us
        _refuse_unless(type(value) in {int, str})
        _refuse_unless(minimum <= int(value) <= maximum)
        return int(value)
    return parse, 'a whole number from %s to %s' % (minimum, maximum)


def _failures(value):
    value = str(value if type(value) is int else _text(value))
    _refuse_unless(
        re.fullmatch(r'[0-9]{1,9}|[0-9]{1,3}(\.[0-9]{1,9})?%', value))
    _refuse_unless(value[-1] != '%' or Fraction(value[:-1]) <= 100)
    return value


def _seconds(minimum, maximum):
    "Return how to parse seconds, and their form."
    def parse(value):
        _refuse_unless(not isinstance(value, bool))
        _refuse_unless(minimum <= float(value) <= maximum)
        return int(value) if float(value).is_integer() else float(value)
    return parse, 'a number of seconds from %s to %s' % (minimum, maximum)


def _or_none(parse, form):
    return parse, form + ', or none'


def _text(value):
    # A line break comes from an indented line, which was meant to be a key
    _refuse_unless(isinstance(value, str) and value and '\n' not in value)
    return value


def _context(value):
    value = json.loads(value if isinstance(value, str) else json.dumps(value))
    _refuse_unless(isinstance(value, dict))
    # The ledger stores it, and PostgreSQL has no NaN
    json.dumps(value, allow_nan=False)
    return value


def _boolean(value):
    return (value if isinstance(value, bool)
        else BOOLEANS[_text(value).lower()])


def _directory(value):
    path = os.path.expanduser(_text(os.fspath(value)))
    _refuse_unless(os.path.isabs(path))
    return path


def _template(value):
    names = re.findall(r'%\{([^{}]*)\}', _text(value))
    _refuse_unless(
        'FILENAME' in names and set(names) <= set(PLACEHOLDERS)
        and value.count('%{') == len(names)
        and not os.path.isabs(value) and '..' not in value.split('/'))
    return value


def _time(value):
    _refuse_unless(re.fullmatch(r'[0-9]{1,2}:[0-9]{2}', _text(value)))
    return time(*map(int, value.split(':'))).strftime('%H:%M')


def _timestamp(value):
    # strftime leaves what it does not know as it is
    stamp = datetime(2000, 1, 1).strftime(_text(value).replace('%%', ''))
    _refuse_unless('%' not in stamp)
    return value


SETTINGS = {setting.name: setting for setting in [
        Setting('split_mode', 'number', _choice('number', 'divide'),
            'number or divide',
            'How the units become chunks. number: chunks of split_size units;'
            ' divide: split_size chunks, balanced.'),
        Setting('split_size', 100, *_whole(1, 1000000),
            'Units of a chunk, or number of chunks: see split_mode. 1: a'
            ' chunk that fails is never split.'),
        Setting('isolate', True, _boolean, 'yes or no',
            'no: a chunk that fails is never split, whatever its size: all of'
            ' it fails.'),
        Setting('concurrency', 64, *_whole(1, 10000),
            'Chunks in flight at once. 1: strictly one after the other, in'
            ' order.'),
        Setting('retry', None, *_or_none(*_whole(0, 1000)),
            'Attempts more on a transient error: a conflict in the database, a'
            ' lost connection. none: the retry of [database] in'
            ' trytond.conf.'),
        Setting('max_failures', None, _failures,
            'a number of units as 10, a percentage as 5%, or none',
            'Stop the execution once more units than this have failed, or more'
            ' than this percentage of those selected. none: never stop.'),
        Setting('time_limit', None, *_or_none(*_seconds(0.1, 1000000)),
            'Seconds for a chunk; past it, the chunk has failed. none: no'
            ' limit.'),
        Setting('until', None, *_or_none(_time, 'a time of day as 06:00'),
            'The end of its window, in the time zone of the server: the first'
            ' such time after the start. No chunk begins after it, and what'
            ' is left waits for "coop resume". none: no end.'),
        Setting('queue', 'celery', _text, 'the name of a queue',
            'The Celery queue of the tasks.'),
        Setting('user', 'root', _text, 'the login of a user',
            'Login of the Tryton user who does the work.'),
        Setting('context', {}, _context,
            'a JSON object as {"company": 1}',
            'Merged into the context: company, language and so on.'),
        Setting('overlap', 'fail', _choice('fail', 'skip', 'wait', 'allow'),
            'fail, skip, wait or allow',
            'What to do while another execution of the batch is running. fail:'
            ' nothing, exit status 1; skip: nothing, say so, exit status 0;'
            ' wait: until it has ended; allow: run beside it.'),
        Setting('disabled', False, _boolean, 'yes or no',
            'yes: run nothing, say so, exit status 0.'),
        Setting('root_dir', None, _directory, 'an absolute path, or none',
            'The directory of the outputs; a batch that writes needs it.'),
        Setting('filepath_template', '%{BATCHNAME}/%{FILENAME}', _template,
            'a path below root_dir with %{FILENAME} in it, and of other'
            ' placeholders only '
            + ', '.join('%%{%s}' % name for name in PLACEHOLDERS
                if name != 'FILENAME'),
            'The place of an output below root_dir. %{FILENAME} is needed;'
            ' %{BATCHNAME}, %{DATABASE}, %{TIMESTAMP}, %{EXECUTION} and'
            ' %{CHUNK} are allowed.'),
        Setting('filepath_timestamp_format', '%Y%m%d_%Hh%Mm%Ss', _timestamp,
            'a format of strftime as %Y-%m-%d',
            'What %{TIMESTAMP} looks like, in the codes of strftime.'),
        ]}


def failures_allowed(text, selected):
    """Return how many units may fail before the execution is stopped.

    text is a value of the setting max_failures and selected the number of
    units selected; None is for no limit.
    """
    if text is None:
        return None
    if text.endswith('%'):
        return math.floor(Fraction(text[:-1]) * selected / 100)
    return int(text)


def shown(value):
    "Return the text that stands in batch.conf for the value of a setting."
    if isinstance(value, str):
        return value
    text = json.dumps(value)
    return {'null': 'none', 'false': 'no', 'true': 'yes'}.get(text, text)


def example():
    "Return the text of batch.conf.example."
    lines = [
        '# The configuration of batches.  Name this file as config_file in',
        '# the section [batch] of trytond.conf.',
        '#',
        '# A setting is taken from the section with the name of the batch,',
        '# else from [default], else from the class of the batch, else it is',
        '# as shown here.  "coop batch NAME --help" says what holds for one.',
        '', '[default]']
    for setting in SETTINGS.values():
        lines += ['']
        for text in [setting.help, 'Expected: %s.' % setting.form]:
            lines += textwrap.wrap(
                text, 77, initial_indent='# ', subsequent_indent='# ')
        lines.append('#%s = %s' % (setting.name, shown(setting.default)))
    lines += [
        '', '# Settings of one batch, and defaults of its parameters:',
        '#[contract.renew]', '#split_size = 20', '#treatment_date = 2026-12-31'
        ]
    return '\n'.join(lines) + '\n'

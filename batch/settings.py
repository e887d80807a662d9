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
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any, TypeAlias

from .masking import mask_value

#: from a text or a value of Python to a JSON value, or any of REFUSALS
Parse: TypeAlias = Callable[[Any], Any]

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
#: what parsing raises if a value is none of the setting
REFUSALS = KeyError, OverflowError, RecursionError, TypeError, ValueError
#: characters of a wrong value that are shown
SHOWN = 200


@dataclass(frozen=True)
class Setting:
    "A row of the table of settings."
    name: str
    #: a JSON value; the text "none" stands for it where it is None
    default: Any
    parse: Parse
    #: ends the sentence "expected ..."
    form: str
    #: what it does, in a few words
    help: str

    def value_of(self, value: Any) -> Any:
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


def _refuse_unless(condition: object) -> None:
    if not condition:
        raise ValueError


def _choice(*choices: str) -> Parse:
    return lambda value: choices[choices.index(value)]


def _whole(minimum: int, maximum: int) -> tuple[Parse, str]:
    "Return how to parse a whole number, and its form."
    def parse(value: Any) -> int:
        # True is an int for Python, and a slip of the pen for us
        _refuse_unless(type(value) in {int, str})
        _refuse_unless(minimum <= int(value) <= maximum)
        return int(value)
    return parse, 'a whole number from %s to %s' % (minimum, maximum)


def _failures(value: Any) -> str:
    value = str(value if type(value) is int else _text(value))
    _refuse_unless(
        re.fullmatch(r'[0-9]{1,9}|[0-9]{1,3}(\.[0-9]{1,9})?%', value))
    _refuse_unless(value[-1] != '%' or Fraction(value[:-1]) <= 100)
    return value


def _seconds(minimum: float, maximum: float) -> tuple[Parse, str]:
    "Return how to parse seconds, and their form."
    def parse(value: Any) -> float:
        _refuse_unless(not isinstance(value, bool))
        _refuse_unless(minimum <= float(value) <= maximum)
        return int(value) if float(value).is_integer() else float(value)
    return parse, 'a number of seconds from %s to %s' % (minimum, maximum)


def _or_none(parse: Parse, form: str) -> tuple[Parse, str]:
    return parse, form + ', or none'


def _text(value: Any) -> str:
    # A line break comes from an indented line, which was meant to be a key
    _refuse_unless(isinstance(value, str) and value and '\n' not in value)
    return value


def _context(value: Any) -> dict[str, Any]:
    value = json.loads(value if isinstance(value, str) else json.dumps(value))
    _refuse_unless(isinstance(value, dict))
    # The ledger stores it, and PostgreSQL has no NaN
    json.dumps(value, allow_nan=False)
    return value


def _boolean(value: Any) -> bool:
    return (value if isinstance(value, bool)
        else BOOLEANS[_text(value).lower()])


def _directory(value: Any) -> str:
    path = os.path.expanduser(_text(os.fspath(value)))
    _refuse_unless(os.path.isabs(path))
    return path


def _template(value: Any) -> str:
    names = re.findall(r'%\{([^{}]*)\}', _text(value))
    _refuse_unless(
        'FILENAME' in names and set(names) <= set(PLACEHOLDERS)
        and value.count('%{') == len(names)
        and not os.path.isabs(value) and '..' not in value.split('/'))
    return value


def _timestamp(value: Any) -> str:
    # strftime leaves what it does not know as it is
    stamp = datetime(2000, 1, 1).strftime(_text(value).replace('%%', ''))
    _refuse_unless('%' not in stamp)
    return value


SETTINGS = {setting.name: setting for setting in [
        Setting('split_mode', 'number', _choice('number', 'divide'),
            'number or divide',
            'How units are split into chunks. number: chunks of split_size'
            ' units; divide: split_size chunks of almost equal size.'),
        Setting('split_size', 100, *_whole(1, 1000000),
            'The number of units in a chunk, or of chunks: see split_mode. 1:'
            ' a failed chunk is never split.'),
        Setting('concurrency', 64, *_whole(1, 10000),
            'How many chunks are queued or running at the same time. 1:'
            ' strictly one after the other, in order.'),
        Setting('retry', None, *_or_none(*_whole(0, 1000)),
            'How often a chunk is tried again after a transient error: a'
            ' conflict in the database, a lost connection. none: the retry of'
            ' [database] in trytond.conf.'),
        Setting('max_failures', None, _failures,
            'a number of units as 10, a percentage as 5%, or none',
            'Stop the execution when more units than this have failed, or more'
            ' than this percentage of the selected units. none: no limit.'),
        Setting('time_limit', None, *_or_none(*_seconds(0.1, 1000000)),
            'The longest time for one attempt of a chunk, in seconds; after'
            ' it, the chunk fails. none: no limit.'),
        Setting('queue', 'celery', _text, 'the name of a queue',
            'The Celery queue of the batch.'),
        Setting('user', 'root', _text, 'the login of a user',
            'The login of the Tryton user that the batch runs as.'),
        Setting('context', {}, _context,
            'a JSON object as {"company": 1}',
            'Values that are added to the context: company, language and so'
            ' on.'),
        Setting('overlap', 'fail', _choice('fail', 'skip', 'wait', 'allow'),
            'fail, skip, wait or allow',
            'What to do if another execution of the batch is running. fail:'
            ' run nothing, exit status 1; skip: run nothing, say so, exit'
            ' status 0; wait: wait until it has ended; allow: run at the same'
            ' time.'),
        Setting('disabled', False, _boolean, 'yes or no',
            'yes: run nothing, say so, exit status 0.'),
        Setting('root_dir', None, _directory, 'an absolute path, or none',
            'The directory of the output files. A batch that writes files'
            ' needs it.'),
        Setting('filepath_template', '%{BATCHNAME}/%{FILENAME}', _template,
            'a path below root_dir with %{FILENAME} in it, and of other'
            ' placeholders only '
            + ', '.join('%%{%s}' % name for name in PLACEHOLDERS
                if name != 'FILENAME'),
            'The path of an output file below root_dir. It must contain'
            ' %{FILENAME}; %{BATCHNAME}, %{DATABASE}, %{TIMESTAMP},'
            ' %{EXECUTION} and %{CHUNK} are optional.'),
        Setting('filepath_timestamp_format', '%Y%m%d_%Hh%Mm%Ss', _timestamp,
            'a format of strftime as %Y-%m-%d',
            'The format of %{TIMESTAMP}, in the codes of strftime.'),
        ]}


def failures_allowed(text: str | None, selected: int) -> int | None:
    """Return how many units may fail before the execution is stopped.

    None for no limit.

    :param text: the value of the setting max_failures
    :param selected: how many units
    """
    if text is None:
        return None
    if text.endswith('%'):
        return math.floor(Fraction(text[:-1]) * selected / 100)
    return int(text)


def shown(value: Any) -> str:
    "Return the text that stands in batch.conf for the value of a setting."
    if isinstance(value, str):
        return value
    text = json.dumps(value)
    return {'null': 'none', 'false': 'no', 'true': 'yes'}.get(text, text)


def example() -> str:
    "Return the text of batch.conf.example."
    lines = [
        '# The configuration of batches.  Name this file as config_file in',
        '# the section [batch] of trytond.conf.',
        '#',
        '# The value of a setting comes from the section with the name of the',
        '# batch, else from [default], else from the class of the batch, else',
        '# it is the default shown here.  "coop batch NAME --help" shows the',
        '# values of a batch.',
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

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""batch.conf: one table of settings, and the layers that give their values.

Imports nothing of Tryton or Celery.
"""
import configparser
import copy
import errno
import json
import math
import os
import re
import stat
import textwrap
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any, Callable

from .exceptions import ConfigError, DefinitionError, nearest
from .masking import mask_line, mask_value

__all__ = [
    'BOOLEANS', 'BatchConfig', 'PLACEHOLDERS', 'SETTINGS', 'Setting',
    'example', 'failures_allowed', 'open_regular', 'shown']

#: the section whose settings hold for every batch
DEFAULT = 'default'
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

    def read(self, value):
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


class BatchConfig:
    """The content of batch.conf, its settings already typed.

    file is its path or None, and texts a dictionary of each section's keys
    and texts.  Raises ConfigError for a malformed value of a setting.
    """

    def __init__(self, file=None, texts=()):
        self.file = file
        self.texts = dict(texts)
        self._values = {
            section: {
                key: self._read(section, key, text)
                for key, text in items.items() if key in SETTINGS}
            for section, items in self.texts.items()}

    @classmethod
    def load(cls, path=None):
        """Return the configuration of the file at path, empty without one.

        Raises ConfigError if the file can not be read, is no configuration
        file, or has a malformed value of a setting.  check() finds the rest.
        """
        if path is None:
            return cls()
        path = os.path.expanduser(path)
        # [default] is a section like others: its keys must not show up in
        # them, or nobody could say where a value came from.
        parser = configparser.ConfigParser(
            interpolation=None, default_section='',
            empty_lines_in_values=False)
        # The name of a parameter is a name of Python, where case counts
        parser.optionxform = str
        text = cls._text(path)
        try:
            parser.read_string(text, path)
        except configparser.DuplicateSectionError as error:
            problem = 'stands twice (again in line %s); merge the two' % (
                error.lineno)
            raise ConfigError(path, problem, error.section) from None
        except configparser.DuplicateOptionError as error:
            problem = 'stands twice (again in line %s); remove one' % (
                error.lineno)
            raise ConfigError(
                path, problem, error.section, error.option) from None
        except configparser.ParsingError as error:
            no_header = isinstance(
                error, configparser.MissingSectionHeaderError)
            number = error.lineno if no_header else error.errors[0][0]
            raise ConfigError(path, 'line %s: "%s" %s' % (
                    number, mask_line(text.split('\n')[number - 1].strip()),
                    'stands before any section; put [default] or the name of a'
                    ' batch in brackets above it' if no_header else
                    'is neither a [section] nor "key = value"')) from None
        return cls(path, {name: dict(parser[name])
                for name in parser.sections()})

    @staticmethod
    def _text(path):
        try:
            with open_regular(path) as file:
                content = file.read()
            text = content.decode('utf-8-sig')
        except OSError as error:
            raise ConfigError(path, 'can not be read (%s); see config_file in'
                ' [batch] of trytond.conf' % error.strerror) from error
        except UnicodeDecodeError as error:
            raise ConfigError(path, 'line %s is not UTF-8; save the file as'
                ' UTF-8' % (error.object.count(b'\n', 0, error.start) + 1)
                ) from error
        if '\0' in text:
            raise ConfigError(path, 'line %s has a character NUL; write the '
                'file anew' % (text.count('\n', 0, text.index('\0')) + 1))
        return text

    def _read(self, section, key, text):
        try:
            return SETTINGS[key].read(text)
        except ValueError as error:
            hint = ('; an indented line continues the one above it'
                if '\n' in text else '')
            raise ConfigError(
                self.file, '%s%s' % (error, hint), section, key) from None

    def check(self, batches):
        """Raise ConfigError for a section or a key that means nothing.

        batches is a dictionary of the names of all batches, each with the
        names of its parameters.
        """
        every = [name for names in batches.values() for name in names]
        for section, items in self.texts.items():
            if section == DEFAULT:
                names, whose = every, 'any batch'
                where = 'batch.conf.example shows the settings'
            elif section in batches:
                names, whose = batches[section], 'this batch'
                where = '"coop batch %s --help" shows them' % section
            else:
                raise ConfigError(self.file, 'no batch has this name%s'
                    ' ("coop list" shows the batches)' % nearest(
                        section.lower(), [DEFAULT, *batches]), section)
            for key in items:
                if key not in SETTINGS and key not in names:
                    raise ConfigError(self.file, 'is no setting, and no'
                        ' parameter of %s%s (%s)' % (
                            whose, nearest(key.lower(), [*SETTINGS, *names]),
                            where), section, key)

    def resolve(self, batch, defaults=(), fixed=(), retry=5):
        """Return {name: (value, origin)} of all settings of a batch.

        defaults and fixed are the class's default_config_items and
        fixed_config_items, and retry is that of [database] in trytond.conf.
        An origin is a text that an operator understands.

        Raises DefinitionError if defaults or fixed are malformed, and
        ConfigError if the section of the batch contradicts fixed.
        """
        defaults = _of_class(batch, 'default_config_items', defaults)
        fixed = _of_class(batch, 'fixed_config_items', fixed)
        own = self._values.get(batch, {})
        for name, value in fixed.items():
            if own.get(name, value) != value:
                raise ConfigError(self.file, 'is %s, but the batch is only'
                    ' right with %s; remove this line' % (
                        shown(own[name]), shown(value)), batch, name)
        # A [default] was not written for this batch: fixed just wins over it
        layers = [
            (fixed, 'fixed by the class'),
            (own, self._origin(batch)),
            (self._values.get(DEFAULT, {}), self._origin(DEFAULT)),
            (defaults, 'the class'),
            ({setting.name: setting.default for setting in SETTINGS.values()},
                'default')]
        resolved = {
            name: next((copy.deepcopy(layer[name]), origin)
                for layer, origin in layers if name in layer)
            for name in SETTINGS}
        if resolved['retry'][0] is None:
            resolved['retry'] = retry, '[database] of trytond.conf'
        return resolved

    def parameter(self, batch, name):
        """Return (text, origin) of a parameter of a batch, or None."""
        for section in [batch, DEFAULT]:
            if name in self.texts.get(section, {}):
                return self.texts[section][name], self._origin(section)

    def _origin(self, section):
        return '[%s] of %s' % (section, self.file)


def _of_class(batch, attribute, items):
    values = {}
    for name, value in dict(items).items():
        if name not in SETTINGS:
            raise DefinitionError(batch, 'unknown setting "%s"%s' % (
                    name, nearest(name, SETTINGS)
                    or '; there are %s' % ', '.join(SETTINGS)), attribute)
        try:
            values[name] = SETTINGS[name].read(value)
        except ValueError as error:
            raise DefinitionError(
                batch, '"%s": %s' % (name, error), attribute) from None
    return values


def open_regular(path):
    """Return a file opened to read bytes; raises OSError.

    Also for what is no regular file, as a FIFO would wait for its writer for
    ever; but for those of /dev, which a shell makes.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode) or path.startswith('/dev/'):
        os.set_blocking(descriptor, True)
        return open(descriptor, 'rb')
    os.close(descriptor)
    raise OSError(errno.EINVAL, 'Is a directory' if stat.S_ISDIR(mode)
        else 'Is no regular file', path)


def shown(value):
    "Return the text that stands in batch.conf for the value of a setting."
    text = value if isinstance(value, str) else json.dumps(value)
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

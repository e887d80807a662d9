# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""batch.conf, and the layers that give a setting its value.

Imports nothing of Tryton or Celery.
"""
import configparser
import copy
import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO, TypeAlias

from .aliases import Resolved, Settings
from .exceptions import ConfigError, DefinitionError, SettingError, nearest
from .given import COMMAND_LINE
from .masking import mask_line
from .retired import instead_of_setting, instead_of_value
from .settings import SETTINGS, shown

__all__ = ['BatchConfig', 'DEFAULT', 'open_regular']

#: name of a batch -> names of its parameters
Declared: TypeAlias = Mapping[str, Iterable[str]]

#: the section whose settings hold for every batch
DEFAULT = 'default'


class BatchConfig:
    """The content of batch.conf, its settings already parsed.

    :param file: its path
    :param texts: section -> key -> text
    :param wrong: a list to which a ConfigError is added for each malformed
        value of a setting; without it, the first one is raised
    """

    def __init__(
            self, file: str | None = None,
            texts: Mapping[str, Mapping[str, str]] | None = None,
            wrong: list[ConfigError] | None = None) -> None:
        self.file = file
        self.texts = dict(texts or {})
        self._values: dict[str, dict[str, Any]] = {}
        for section, items in self.texts.items():
            values = self._values[section] = {}
            for key, text in items.items():
                if key not in SETTINGS:
                    continue
                try:
                    values[key] = self._read(section, key, text)
                except ConfigError as error:
                    if wrong is None:
                        raise
                    wrong.append(error)

    @classmethod
    def load(
            cls, path: str | None = None,
            wrong: list[ConfigError] | None = None) -> 'BatchConfig':
        """Return the configuration of the file at path, empty without one.

        Raises ConfigError if the file can not be read, is no configuration
        file, or has a malformed value of a setting.  check() finds the rest.

        :param wrong: a list to which each error is added that only concerns
            some lines; without it, the first one is raised
        """
        if path is None:
            return cls()
        path = os.path.expanduser(path)
        lines = cls._text(path).split('\n')
        while True:
            # [default] is a section like others: its keys must not appear in
            # them, or the origin of a value would be lost.
            parser = configparser.ConfigParser(
                interpolation=None, default_section='',
                empty_lines_in_values=False)
            # Names of parameters are case-sensitive
            parser.optionxform = str  # type: ignore[assignment, method-assign]
            try:
                parser.read_string('\n'.join(lines), path)
                break
            except configparser.Error as error:
                problem, bad = _structural(path, lines, error)
                if wrong is None:
                    raise problem from None
                wrong.append(problem)
                for number in bad:
                    lines[number - 1] = ''
        return cls(path, {name: dict(parser[name])
                for name in parser.sections()}, wrong)

    @staticmethod
    def _text(path: str) -> str:
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

    def _read(self, section: str, key: str, text: str) -> Any:
        try:
            return SETTINGS[key].value_of(text)
        except ValueError as error:
            hint = instead_of_value(key, text) or (
                'an indented line continues the one above it'
                if '\n' in text else None)
            raise ConfigError(
                self.file, '; '.join(filter(None, [str(error), hint])),
                section, key) from None

    def check(
            self, batches: Declared,
            installed: Callable[[], Declared] = dict) -> None:
        "Raise the first of unknown()."
        for error in self.unknown(batches, installed):
            raise error

    def unknown(
            self, batches: Declared,
            installed: Callable[[], Declared] = dict) -> Iterator[ConfigError]:
        """Yield a ConfigError for each unknown section or key.

        :param batches: name of each batch of the database -> names of its
            parameters
        :param installed: returns the same of all installed modules, as the
            file may serve several databases; called only if a name is none
            of this database
        """
        names: Iterable[str]
        others: Declared = {}
        for section, items in self.texts.items():
            # What only has settings says nothing of parameters
            keys = [key for key in items if key not in SETTINGS]
            if section == DEFAULT:
                names, whose = [
                    name for names in batches.values() for name in names
                    ] if keys else [], 'any batch'
                where = 'batch.conf.example shows the settings'
            elif section in batches:
                names, whose = batches[section] if keys else [], 'this batch'
                where = '"coop batch %s --help" shows them' % section
            else:
                others = others or installed()
                if section not in others:
                    yield ConfigError(self.file, 'no batch has this name%s'
                        ' ("coop list" shows the batches)' % nearest(
                            section.lower(), [DEFAULT, *batches, *others]),
                        section)
                continue
            for key in keys:
                if key in names:
                    continue
                if section == DEFAULT:
                    others = others or installed()
                    if any(key in names for names in others.values()):
                        continue
                yield ConfigError(self.file, instead_of_setting(
                        key, items[key]) or 'is no setting, and no parameter'
                    ' of %s%s (%s)' % (
                        whose, nearest(key.lower(), [*SETTINGS, *names]),
                        where), section, key)

    def resolve(
            self, batch: str, defaults: Settings | None = None,
            fixed: Settings | None = None, retry: int = 5,
            given: Settings | None = None) -> Resolved:
        """Return {name: (value, origin)} of all settings of a batch.

        An origin is a text for the operator, such as "[default] of FILE".
        Raises DefinitionError if defaults or fixed are malformed, ConfigError
        if the section of the batch contradicts fixed, and SettingError if
        given does.

        :param defaults: the class's default_config_items
        :param fixed: the class's fixed_config_items
        :param retry: that of [database] in trytond.conf
        :param given: JSON values for one run
        """
        given = given or {}
        defaults = _of_class(batch, 'default_config_items', defaults or {})
        fixed = _of_class(batch, 'fixed_config_items', fixed or {})
        own = self._values.get(batch, {})
        for error in self.contradictions(batch, fixed):
            raise error
        for name, value in fixed.items():
            if given.get(name, value) != value:
                raise SettingError(batch, name, 'is %s, but the batch is only '
                    'right with %s; leave it out' % (
                        shown(given[name]), shown(value)))
        # Nearest first.  What [default] says against fixed is no error, as it
        # is not about this batch
        layers = [
            (fixed, 'fixed by the class'),
            (given, COMMAND_LINE),
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

    def contradictions(
            self, batch: str, fixed: Settings) -> Iterator[ConfigError]:
        "Yield a ConfigError for each line that changes what a class fixed."
        fixed = _of_class(batch, 'fixed_config_items', fixed)
        own = self._values.get(batch, {})
        for name, value in fixed.items():
            if own.get(name, value) != value:
                yield ConfigError(self.file, 'is %s, but the batch is only'
                    ' right with %s; remove this line' % (
                        shown(own[name]), shown(value)), batch, name)

    def parameter(self, batch: str, name: str) -> tuple[str, str] | None:
        "Return (text, origin) of a parameter of a batch, or None."
        for section in [batch, DEFAULT]:
            if name in self.texts.get(section, {}):
                return self.texts[section][name], self._origin(section)
        return None

    def _origin(self, section: str) -> str:
        return '[%s] of %s' % (section, self.file)


def _structural(
        path: str, lines: list[str],
        error: configparser.Error) -> tuple[ConfigError, Iterable[int]]:
    """Return a ConfigError for a line that is malformed, or stands twice.

    And the numbers of the lines without which the rest can be read.
    """
    if isinstance(error, configparser.DuplicateSectionError):
        first = error.lineno or 1
        end = next((
                number for number, line in enumerate(lines, 1)
                if number > first and line.startswith('[')),
            len(lines) + 1)
        return ConfigError(path, 'stands twice (again in line %s); merge the '
            'two' % first, error.section), range(first, end)
    if isinstance(error, configparser.DuplicateOptionError):
        number = error.lineno or 1
        return ConfigError(path, 'stands twice (again in line %s); remove one'
            % number, error.section, error.option), [number]
    if not isinstance(error, configparser.ParsingError):
        raise error
    no_header = isinstance(error, configparser.MissingSectionHeaderError)
    number = getattr(error, 'lineno', None) or error.errors[0][0]
    return ConfigError(path, 'line %s: "%s" %s' % (
            number, mask_line(lines[number - 1].strip()),
            'stands before any section; put [default] or the name of a'
            ' batch in brackets above it' if no_header else
            'is neither a [section] nor "key = value"')), [number]


def _of_class(batch: str, attribute: str, items: Settings) -> dict[str, Any]:
    values = {}
    for name, value in dict(items).items():
        if name not in SETTINGS:
            raise DefinitionError(
                batch, unknown_setting(name, value), attribute)
        try:
            values[name] = SETTINGS[name].value_of(value)
        except ValueError as error:
            raise DefinitionError(batch, '"%s": %s' % (
                    name, '; '.join(filter(None, [
                                str(error), instead_of_value(name, value)]))),
                attribute) from None
    return values


def unknown_setting(name: str, value: Any) -> str:
    "Return what to do about an item of a class that is no setting."
    if instead := instead_of_setting(name, value):
        return '"%s" %s' % (name, instead)
    if hint := nearest(name, SETTINGS):
        return 'unknown setting "%s"%s' % (name, hint)
    return 'unknown setting "%s"; what a batch needs of its own is a ' \
        'parameter: make it an argument of "execute" with a default (%s=%r)' \
        % (name, name, value)


def open_regular(path: str) -> BinaryIO:
    """Return a file opened to read bytes; raises OSError.

    Also if it is no regular file, as a FIFO without a writer would block, but
    not if it is one of /dev, as a shell's <(...) is.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode) or path.startswith('/dev/'):
        os.set_blocking(descriptor, True)
        return open(descriptor, 'rb')
    os.close(descriptor)
    raise OSError(errno.EINVAL, 'Is a directory' if stat.S_ISDIR(mode)
        else 'Is no regular file', path)

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
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

from .aliases import Resolved, Settings
from .exceptions import ConfigError, DefinitionError, nearest
from .masking import mask_line
from .settings import SETTINGS, shown

__all__ = ['BatchConfig', 'DEFAULT', 'open_regular']

#: the section whose settings hold for every batch
DEFAULT = 'default'


class BatchConfig:
    """The content of batch.conf, its settings already parsed.

    Raises ConfigError for a malformed value of a setting.

    :param file: its path
    :param texts: section -> key -> text
    """

    def __init__(
            self, file: str | None = None,
            texts: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self.file = file
        self.texts = dict(texts or {})
        self._values = {
            section: {
                key: self._read(section, key, text)
                for key, text in items.items() if key in SETTINGS}
            for section, items in self.texts.items()}

    @classmethod
    def load(cls, path: str | None = None) -> 'BatchConfig':
        """Return the configuration of the file at path, empty without one.

        Raises ConfigError if the file can not be read, is no configuration
        file, or has a malformed value of a setting.  check() finds the rest.
        """
        if path is None:
            return cls()
        path = os.path.expanduser(path)
        # [default] is a section like others: its keys must not appear in
        # them, or the origin of a value would be lost.
        parser = configparser.ConfigParser(
            interpolation=None, default_section='',
            empty_lines_in_values=False)
        # Names of parameters are case-sensitive
        parser.optionxform = str  # type: ignore[assignment, method-assign]
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
            number = getattr(error, 'lineno', None) or error.errors[0][0]
            raise ConfigError(path, 'line %s: "%s" %s' % (
                    number, mask_line(text.split('\n')[number - 1].strip()),
                    'stands before any section; put [default] or the name of a'
                    ' batch in brackets above it' if no_header else
                    'is neither a [section] nor "key = value"')) from None
        return cls(path, {name: dict(parser[name])
                for name in parser.sections()})

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
            hint = ('; an indented line continues the one above it'
                if '\n' in text else '')
            raise ConfigError(
                self.file, '%s%s' % (error, hint), section, key) from None

    def check(self, batches: Mapping[str, Iterable[str]]) -> None:
        """Raise ConfigError for an unknown section or key.

        :param batches: name of each batch -> names of its parameters
        """
        every = [name for names in batches.values() for name in names]
        names: Iterable[str]
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

    def resolve(
            self, batch: str, defaults: Settings | None = None,
            fixed: Settings | None = None, retry: int = 5) -> Resolved:
        """Return {name: (value, origin)} of all settings of a batch.

        An origin is a text for the operator, such as "[default] of FILE".
        Raises DefinitionError if defaults or fixed are malformed, and
        ConfigError if the section of the batch contradicts fixed.

        :param defaults: the class's default_config_items
        :param fixed: the class's fixed_config_items
        :param retry: that of [database] in trytond.conf
        """
        defaults = _of_class(batch, 'default_config_items', defaults or {})
        fixed = _of_class(batch, 'fixed_config_items', fixed or {})
        own = self._values.get(batch, {})
        for name, value in fixed.items():
            if own.get(name, value) != value:
                raise ConfigError(self.file, 'is %s, but the batch is only'
                    ' right with %s; remove this line' % (
                        shown(own[name]), shown(value)), batch, name)
        # Nearest first.  What [default] says against fixed is no error, as it
        # is not about this batch
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

    def parameter(self, batch: str, name: str) -> tuple[str, str] | None:
        "Return (text, origin) of a parameter of a batch, or None."
        for section in [batch, DEFAULT]:
            if name in self.texts.get(section, {}):
                return self.texts[section][name], self._origin(section)
        return None

    def _origin(self, section: str) -> str:
        return '[%s] of %s' % (section, self.file)


def _of_class(batch: str, attribute: str, items: Settings) -> dict[str, Any]:
    values = {}
    for name, value in dict(items).items():
        if name not in SETTINGS:
            raise DefinitionError(batch, 'unknown setting "%s"%s' % (
                    name, nearest(name, SETTINGS)
                    or '; there are %s' % ', '.join(SETTINGS)), attribute)
        try:
            values[name] = SETTINGS[name].value_of(value)
        except ValueError as error:
            raise DefinitionError(
                batch, '"%s": %s' % (name, error), attribute) from None
    return values


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

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The form of a batch's parameters: from their declarations to fields.

And from what somebody entered back to the texts of a command line.

Imports nothing of Tryton or Celery.
"""
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any

from .masking import is_secret
from .parameters import TODAY, Parameter, dump, parse

__all__ = ['Entry', 'entries_of', 'given_by']

#: the type of the field of the client, by that of the parameter.  A datetime
#: is a text: a client turns it into UTC, and the command takes it as typed
FIELDS: dict[Any, str] = {
    int: 'integer', float: 'float', Decimal: 'numeric', bool: 'boolean',
    date: 'date', dict: 'text'}


@dataclass(frozen=True)
class Entry:
    "A parameter as a field of a form."
    #: as declared
    parameter: Parameter
    #: of the field in the client
    type: str
    #: (value, shown) where the type is a selection
    selection: tuple[tuple[str, str], ...]
    #: what stands in the field at first
    default: Any
    #: the same as the text of a command line, None without
    text: str | None
    #: where that comes from
    origin: str
    is_secret: bool
    #: whether the batch may derive it from others
    may_be_derived: bool = False

    @property
    def field(self) -> str:
        "The name of the field; no other one of the form begins so."
        return 'parameter_' + self.parameter.name

    @property
    def string(self) -> str:
        "Its label."
        return self.parameter.name.replace('_', ' ').strip().capitalize()

    @property
    def help(self) -> str:
        return 'Expected: %s.' % self.parameter.form

    @property
    def is_required(self) -> bool:
        "Whether it can not be left empty."
        if self.parameter.optional or self.type == 'boolean':
            return False
        if self.text is None and self.may_be_derived \
                or self.text is not None and self.is_secret:
            return False
        return self.parameter.required and self.text is None \
            or not self.may_be_empty

    @property
    def may_be_empty(self) -> bool:
        "Whether an empty text is a value."
        return self.parameter.type is str \
            or typing.get_origin(self.parameter.type) is list


def entries_of(
        batch: str, declared: Mapping[str, Parameter],
        config_lookup: Callable[[str], tuple[str, str] | None],
        today: Callable[[], date], complete: bool = True) -> list[Entry]:
    """Return an Entry for each declared parameter.

    :param config_lookup: returns (text, origin) of a name in batch.conf
    :param today: returns a date
    :param complete: whether all that is required must be entered
    """
    return [
        replace(
            _entry(batch, parameter, config_lookup(parameter.name), today),
            may_be_derived=not complete)
        for parameter in declared.values()]


def _entry(
        batch: str, parameter: Parameter, found: tuple[str, str] | None,
        today: Callable[[], date]) -> Entry:
    text: str | None
    text, origin = found or (None, 'default')
    if not found and not parameter.required:
        value = parameter.default
        text = dump(parameter, today() if value is TODAY else value)
    selection: tuple[tuple[str, str], ...] = ()
    choices: list[str] = []
    type_ = FIELDS.get(parameter.type, 'char')
    if typing.get_origin(parameter.type) is typing.Literal:
        choices = list(map(str, typing.get_args(parameter.type)))
    elif isinstance(parameter.type, type) and issubclass(parameter.type, Enum):
        choices = list(parameter.type.__members__)
    if choices:
        type_ = 'selection'
        selection = (('', ''), *((c, c) for c in choices))
    secret = is_secret(parameter.name)
    if secret:
        type_ = 'char'
    default = None
    if text is not None and not secret:
        default = parse(parameter, text, batch)
        if default is not None and type_ in {'char', 'text', 'selection'}:
            default = text
    return Entry(
        parameter, type_, selection, default, text, origin, secret)


def given_by(
        entries: list[Entry], values: Mapping[str, Any]) -> dict[str, str]:
    """Return what a command line would give: texts by name.

    What was left as it stood there is not given: its origin stays.

    :param values: by the name of the field
    """
    given: dict[str, str] = {}
    text: str | None
    for entry in entries:
        value = values.get(entry.field)
        if entry.type == 'boolean':
            value = bool(value)
        if value is None or value == '':
            text = _empty(entry)
        elif entry.type in {'char', 'text', 'selection'}:
            text = value
        else:
            text = dump(entry.parameter, value)
        if text is not None and text != entry.text:
            given[entry.parameter.name] = text
    return given


def _empty(entry: Entry) -> str | None:
    "Return the text of a field that was left empty, None for its default."
    parameter = entry.parameter
    if entry.is_secret and entry.text is not None:
        # It was not shown
        return None
    if parameter.optional:
        return 'none'
    if parameter.required and entry.text is None:
        # Whoever resolves it says what is missing
        return None
    # Of most types this is no value, and is refused
    return ''

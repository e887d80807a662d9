# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The types of parameters: what texts each takes, and makes of its values.

Imports nothing of Tryton or Celery.
"""
import csv
import io
import json
import typing
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Flag
from pathlib import Path
from typing import Any, NamedTuple

from .settings import BOOLEANS

__all__ = ['KINDS', 'SUPPORTED', 'kind_of']

SUPPORTED = (
    'str, int, float, bool, Decimal, date, datetime, Path, dict, Literal of'
    ' texts and whole numbers, an Enum, list[...] or Optional[...] of these')


class Kind(NamedTuple):
    "A type of parameters."
    #: ends the sentence "expected ..."
    form: str
    #: from a text to a value; raises what parameters.parse() handles
    parse: Callable[[str], Any]
    #: from a value to the text that parse makes the same value of
    dump: Callable[[Any], str]


def _number(type_: type) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        number = type_(text)
        # NaN is not even equal to itself
        if number != number:
            raise ValueError
        return number
    return parse


def _date(text: str) -> date:
    # From 3.11 on fromisoformat takes forms that 3.10 does not know
    day = date.fromisoformat(text)
    if day.isoformat() != text:
        raise ValueError
    return day


def _path(text: str) -> Path:
    if not text:
        raise ValueError
    return Path(text)


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError
    # NaN and the infinities are not JSON
    json.dumps(value, allow_nan=False)
    return value


KINDS: dict[Any, Kind] = {
    str: Kind('a text', str, str),
    int: Kind('a whole number', int, str),
    float: Kind('a number', _number(float), repr),
    Decimal: Kind('a decimal number', _number(Decimal), str),
    bool: Kind('yes or no', lambda text: BOOLEANS[text.strip().lower()],
        lambda value: 'yes' if value else 'no'),
    date: Kind('a date as YYYY-MM-DD', lambda text: _date(text.strip()),
        date.isoformat),
    datetime: Kind('a date and time as YYYY-MM-DDTHH:MM:SS',
        lambda text: datetime.fromisoformat(text.strip()),
        datetime.isoformat),
    Path: Kind('a path', _path, str),
    dict: Kind('a JSON object as {"key": 1}', _object, json.dumps),
    }


def _one_of(choices: Mapping[str, Any], dump: Callable[[Any], str]) -> Kind:
    *first, last = choices
    return Kind('%s or %s' % (', '.join(first), last) if first else last,
        choices.__getitem__, dump)


def _list(item: Kind) -> Kind:
    # A line of CSV, so that a text may hold commas and quotes
    def parse(text: str) -> list[Any]:
        rows = list(csv.reader(
                io.StringIO(text, ''), skipinitialspace=True, strict=True))
        # A line break comes from an indented line, which was meant as a key
        if len(rows) > 1:
            raise ValueError
        return [item.parse(field) for row in rows for field in row]

    def dump(values: list[Any]) -> str:
        fields = [item.dump(value) for value in values]
        buffer = io.StringIO(newline='')
        csv.writer(buffer, quoting=csv.QUOTE_ALL
            if any(field[:1].isspace() for field in fields)
            else csv.QUOTE_MINIMAL).writerow(fields)
        return buffer.getvalue().removesuffix('\r\n')
    return Kind(
        'a comma separated list, each %s' % item.form, parse, dump)


def kind_of(type_: Any) -> Kind | None:
    "Return the Kind of a type, None if it is not supported."
    if typing.get_origin(type_) is list:
        item, = typing.get_args(type_)
        kind = None if typing.get_origin(item) is list else kind_of(item)
        return kind and _list(kind)
    if typing.get_origin(type_) is typing.Literal:
        values = typing.get_args(type_)
        choices = {str(value): value for value in values}
        if len(choices) == len(values) and {
                *map(type, values)} <= {str, int}:
            return _one_of(choices, str)
    elif isinstance(type_, type):
        members = getattr(type_, '__members__', None)
        if members and not issubclass(type_, Flag):
            return _one_of(members, lambda value: value.name)
        return KINDS.get(type_)
    return None

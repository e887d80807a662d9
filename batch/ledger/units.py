# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Units as the ledger stores them: JSON, from which each comes back as it was.

Dates, Decimals and the like are encoded as in trytond's own protocol, and
what that does not keep in a way of our own.
"""
import datetime as dt
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Any

from .. import texts
from ..aliases import Unit, Units
from ..exceptions import UnitsError
from ..masking import mask_value

__all__ = [
    'Unreadable', 'dump_units', 'flattened', 'load_units', 'names',
    'shown_unit']

#: the types that are the same in JSON
PLAIN = {bool, float, int, str, type(None)}
#: the types of which trytond's protocol keeps everything
KEPT = {Decimal, bytes, dt.date, dt.datetime, dt.time}
#: characters of a unit that are shown
SHOWN = texts.EXCERPT


class Unreadable(list):
    """Units that can not be loaded; their chunk fails as a whole.

    Its only item is a text that shows them, ``error`` says what is wrong.
    """

    def __init__(self, text: str, error: Exception) -> None:
        super().__init__([texts.excerpt(text)])
        #: as the ledger has them
        self.text = text
        self.error = UnitsError('%s: %s' % (
                texts.name_of(type(error)), texts.excerpt(error)))


def dump_units(units: Units) -> str | None:
    """Return the JSON of units, from which load_units() makes equal ones.

    Ids are plain numbers; groups, rows and dicts are marked.  Raises TypeError
    for what would not come back equal, ValueError or RecursionError for what
    is too long or too deep.
    """
    if units is None:
        return None
    types = list(map(type, units))
    if types.count(int) == len(types):
        # Ids are most of all units, and their text most of a plan's time
        return _ids(len(units)) % tuple(units)
    if not PLAIN.issuperset(types):
        units = [_mark(u) for u in units]
    return json.dumps(units, separators=(',', ':'))


@lru_cache(maxsize=8)
def _ids(count: int) -> str:
    "Return the format of so many ids, as JSON."
    return '[%s]' % ','.join(['%s'] * count)


def flattened(units: Units) -> Iterator[tuple[Unit, int]]:
    "Yield (item, index of its unit), groups flattened."
    for index, unit in enumerate(units or ()):
        for item in unit if isinstance(unit, list) else [unit]:
            yield item, index


def load_units(text: str | None) -> Units:
    "Return what dump_units() was given, or an Unreadable; raises nothing."
    if text is None:
        return None
    try:
        if '{' not in text:
            return list(json.loads(text))
        from trytond.protocols.jsonrpc import JSONDecoder
        decode = JSONDecoder()
        units = json.loads(text, object_hook=lambda found: (
                UNPACK.get(str(found.get('__class__')), decode)(found)))
        if not isinstance(units, list):
            raise TypeError('no list')
        return [_unmark(u) for u in units]
    except Exception as error:
        return Unreadable(text, error)


def names(text: str) -> Iterator[tuple[Unit, bool]]:
    """Yield (first value, whether it is a row) of each unit of an input file.

    The other values of a row are not decoded, as there may be millions.
    Yields nothing for units that can not be loaded.

    :param text: of dump_units()
    """
    try:
        for unit in json.loads(text):
            members = unit.get('group') if isinstance(unit, dict) else None
            for member in [unit] if members is None else members:
                if isinstance(member, dict) and member.get('row'):
                    yield member['row'][0], True
                else:
                    yield member, False
    except (TypeError, ValueError, RecursionError):
        pass


def shown_unit(unit: Unit, limit: int = SHOWN) -> str:
    "Return the text of a unit for people: 5, (5, 2026-01-31), [5, 6]."
    return texts.clean(_text(unit), limit)


def _text(unit: Unit) -> str:
    if isinstance(unit, tuple):
        return '(%s)' % ', '.join(map(str, mask_value(None, unit[:SHOWN])))
    if isinstance(unit, list):
        return '[%s]' % ', '.join(map(_text, unit[:SHOWN]))
    return str(mask_value(None, unit))


# The marks.  A group, a row and a dict are marked as such, and a value in them
# where JSON, or trytond's protocol, would not return an equal one.

def _mark(unit: Unit) -> Any:
    if isinstance(unit, list):
        return {'group': [_mark(u) for u in unit]}
    if isinstance(unit, tuple):
        return {'row': [_pack(v) for v in unit]}
    if isinstance(unit, dict):
        return {'dict': _pack(unit)}
    return _pack(unit)


def _unmark(unit: Any) -> Unit:
    if not isinstance(unit, dict):
        return unit
    (mark, value), = unit.items()
    if mark == 'group':
        return [_unmark(u) for u in value]
    if mark == 'row':
        return tuple(value)
    if mark != 'dict':
        raise ValueError('unknown mark "%s"' % mark)
    return value


def _pack(value: Any) -> Any:
    type_ = type(value)
    if type_ in PLAIN:
        return value
    if type_ in KEPT and getattr(value, 'tzinfo', None) is None:
        return _encoder().default(value)
    if isinstance(value, list):
        return [_pack(v) for v in value]
    if isinstance(value, dict):
        if all(type(k) is str and k != '__class__' for k in value):
            return {k: _pack(v) for k, v in value.items()}
        return {
            '__class__': 'batch.dict',
            'items': [[_pack(k), _pack(v)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {
            '__class__': 'batch.tuple', 'items': [_pack(v) for v in value]}
    if type_ is dt.timedelta:
        return {
            '__class__': 'batch.timedelta', 'days': value.days,
            'seconds': value.seconds, 'microseconds': value.microseconds}
    if type_ in {dt.datetime, dt.time}:
        return {
            '__class__': 'batch.%s' % type_.__name__,
            'text': value.isoformat()}
    if isinstance(value, (str, int, float)):
        # An Enum of these is equal to its value
        return value
    return _pack_by_protocol(value)


def _pack_by_protocol(value: Any) -> Any:
    "Return what trytond's protocol makes of a value, if it comes back so."
    from trytond.protocols.jsonrpc import JSONDecoder
    packed = _encoder().default(value)
    loaded = JSONDecoder()(packed) if isinstance(packed, dict) else packed
    if type(loaded) is not type(value) or loaded != value:
        raise TypeError('%s would come back as %s' % (
                texts.name_of(type(value)), texts.name_of(type(loaded))))
    return packed


@lru_cache
def _encoder() -> Any:
    from trytond.protocols.jsonrpc import JSONEncoder
    return JSONEncoder()


UNPACK: dict[str, Callable[[Any], Any]] = {
    'batch.dict': lambda found: dict(found['items']),
    'batch.tuple': lambda found: tuple(found['items']),
    'batch.timedelta': lambda found: dt.timedelta(
        found['days'], found['seconds'], found['microseconds']),
    'batch.datetime': lambda found: dt.datetime.fromisoformat(found['text']),
    'batch.time': lambda found: dt.time.fromisoformat(found['text']),
    }

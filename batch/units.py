# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Units as the ledger stores them: JSON, from which each comes back as it was.

Dates, Decimals and the like are encoded as in trytond's own protocol.
"""
import json

__all__ = ['dump_units', 'load_units', 'names', 'shown']


def dump_units(units):
    """Return the JSON of units; ids, the usual, are plain numbers.

    A group, a row and a dict are marked, so that each comes back as it was.
    """
    if units is None:
        return None
    if set(map(type, units)) == {int}:
        return repr(units).replace(' ', '')
    return json.dumps(
        [_mark(u) for u in units], default=_encode, separators=(',', ':'))


def load_units(text):
    if text is None:
        return None
    units = json.loads(text)
    if all(type(u) is int for u in units):
        return units
    from trytond.protocols.jsonrpc import JSONDecoder
    units = json.loads(text, object_hook=JSONDecoder())
    return [_unmark(u) for u in units]


def names(text):
    """Yield (first value, whether it is a row) of each unit of an input file.

    For millions of them: what else is in a row is not decoded.
    """
    for unit in json.loads(text):
        members = unit.get('group') if isinstance(unit, dict) else None
        for member in [unit] if members is None else members:
            if isinstance(member, dict) and member.get('row'):
                yield member['row'][0], True
            else:
                yield member, False


def shown(unit):
    "Return the text of a unit for people: 5, (5, 2026-01-31), [5, 6]."
    if isinstance(unit, tuple):
        return '(%s)' % ', '.join(map(str, unit))
    if isinstance(unit, list):
        return '[%s]' % ', '.join(map(shown, unit))
    return str(unit)


def _mark(unit):
    if isinstance(unit, list):
        return {'group': [_mark(u) for u in unit]}
    if isinstance(unit, tuple):
        return {'row': list(unit)}
    if isinstance(unit, dict):
        return {'dict': unit}
    return unit


def _unmark(unit):
    if not isinstance(unit, dict):
        return unit
    (mark, value), = unit.items()
    if mark == 'group':
        return [_unmark(u) for u in value]
    if mark == 'row':
        return tuple(value)
    return value


def _encode(value):
    from trytond.protocols.jsonrpc import JSONEncoder
    return JSONEncoder().default(value)

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Pure functions: from the units of a selection to chunks.

Selections are read as streams, one chunk in memory at once; only ``divide``,
which has to count the units, reads all of them.

Imports nothing of Tryton or Celery.
"""
import operator
from array import array
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from .aliases import Unit
from .texts import calls_hooks

__all__ = ['Distinct', 'split', 'unit_of']

#: ids covered by one bitmap of Distinct (8 KiB each)
_PAGE = 1 << 16
#: items that Distinct looks at together, at most
_BLOCK = 1 << 10
#: what an array can hold
_MAX = (1 << 63) - 1


def unit_of(item: Any, keep_rows: bool = False) -> Unit:
    """Return the unit that an item of a selection is.

    A row of one column, as ``cursor.fetchall()`` gives it, becomes its value,
    also in a list, which is a group.

    :param keep_rows: whether it stays a row
    """
    if isinstance(item, list):
        return [unit_of(member, keep_rows) for member in item]
    if isinstance(item, tuple) and len(item) == 1 and not keep_rows:
        return item[0]
    return item


class Distinct:
    """Iterate over the units of a selection, dropping the ones met before.

    Ids are remembered in bitmaps of 65,536, so that millions of them take
    a few MiB, not hundreds.  As long as they ascend, none can be a duplicate:
    they are kept in blocks, which is faster.

    :param known: whether they are distinct: then nothing is remembered
    :param keep_rows: as of unit_of
    """

    def __init__(
            self, items: Iterable[Any], known: bool = False,
            keep_rows: bool = False) -> None:
        self._items = iter(items)
        self._keep_rows = keep_rows
        self._known = known
        self._highest = -1
        self._ascending: list[Iterable[int]] = []
        self._pages: dict[int, bytearray] = {}
        self._others: set[str] = set()
        #: how many units were given so far, without the duplicates
        self.count = 0
        #: how many were dropped so far
        self.duplicates = 0

    def __iter__(self) -> Iterator[Unit]:
        # By C from one list to the next: a generator costs as much for each
        # unit as all the rest
        return chain.from_iterable(self._blocks())

    @calls_hooks
    def _blocks(self) -> Iterator[Iterable[Unit]]:
        # Small at first, so that the first units do not wait for many others
        size = 1
        while block := list(islice(self._items, size)):
            size = min(2 * size, _BLOCK)
            if not self._known and self._ascends(block):
                self._keep(block)
            else:
                block = self._units(block)
            self.count += len(block)
            yield block

    def _units(self, items: list[Any]) -> list[Unit]:
        units = [unit_of(item, self._keep_rows) for item in items]
        if self._known:
            return units
        self._remember()
        new = [unit for unit in units if self._is_new(unit)]
        self.duplicates += len(units) - len(new)
        return new

    def _ascends(self, block: list[Any]) -> bool:
        return (list(map(type, block)).count(int) == len(block)
            and block[0] > self._highest and block[-1] <= _MAX
            and all(map(operator.lt, block, islice(block, 1, None))))

    def _keep(self, block: list[int]) -> None:
        first, self._highest = block[0], block[-1]
        self._ascending.append(
            range(first, self._highest + 1)
            if self._highest - first == len(block) - 1
            else array('q', block))

    def _remember(self) -> None:
        for ids in self._ascending:
            for id in ids:
                self._is_new(id)
        self._ascending.clear()

    def _is_new(self, unit: Unit) -> bool:
        # Also what Found gives, whose type is another one
        if isinstance(unit, int) and type(unit) is not bool and unit >= 0:
            self._highest = max(unit, self._highest)
            number, bit = divmod(unit, _PAGE)
            page = self._pages.get(number)
            if page is None:
                page = self._pages[number] = bytearray(_PAGE // 8)
            mask = 1 << (bit & 7)
            known = page[bit >> 3] & mask
            page[bit >> 3] |= mask
            return not known
        key = _key(unit)
        if key in self._others:
            return False
        self._others.add(key)
        return True


def _key(value: Any) -> str:
    "Return a text that only this value has: 1, '1' and True have their own."
    if isinstance(value, dict):
        return 'dict %s' % sorted(
            '%s: %s' % (_key(k), _key(v)) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return '%s %s' % (
            'list' if isinstance(value, list) else 'tuple',
            list(map(_key, value)))
    return repr(value)


def split(units: Iterable[Unit], mode: str, size: int) -> Iterator[list[Unit]]:
    """Yield the chunks of units.

    :param mode: ``number``: chunks of size units; ``divide``: size chunks,
        whose sizes differ by 1 at most, none empty
    :param size: 1 or more
    """
    if mode == 'divide':
        units = list(units)
        count = min(size, len(units))
        for i in range(count):
            yield units[len(units) * i // count:len(units) * (i + 1) // count]
        return
    units = iter(units)
    while chunk := list(islice(units, size)):
        yield chunk

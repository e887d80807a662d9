# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The list of objects that ``execute`` is given.

Imports nothing of Tryton or Celery.
"""
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any

from ..positions import AT, NOWHERE, UNUSED, Place

__all__ = ['Watched']

#: records that an iteration makes at once
PIECE = 100
#: the methods of a list that need all of its items
FILLING = [
    '__add__', '__contains__', '__delitem__', '__eq__', '__ge__',
    '__getitem__', '__gt__', '__iadd__', '__imul__', '__le__', '__lt__',
    '__mul__', '__ne__', '__reduce_ex__', '__repr__', '__reversed__',
    '__rmul__', '__setitem__', 'append', 'clear', 'copy', 'count', 'extend',
    'index', 'insert', 'pop', 'remove', 'reverse', 'sort']


class Watched(list):
    """A list that remembers how far it is being iterated.

    ``place[AT]`` is the index of the item that an iteration last gave, NOWHERE
    before the first and after the last.

    The records of a list that makes each when it is asked for, as ``browse``
    gives it, are made by the iteration, a piece at once: a hook that fails at
    the first of 1,000 does not wait for the others.  Whatever else is done
    with this list makes all of them first.  The list of ``browse`` itself is
    none for hooks: ``records[-1]`` of it raises IndexError, ``records.pop()``
    returns None.

    :param place: where the worker can read it after a death; a list of its
        own if None
    :param browse: what gave such items, to give each piece as a list of its
        own: Tryton looks at all ids of a list for each record that it makes,
        and reads all records that follow in the list
    :param piece: records of a piece
    """

    def __init__(
            self, items: Iterable[Any] = (), place: Place | None = None,
            browse: Callable[[list[int]], list[Any]] | None = None,
            piece: int = PIECE) -> None:
        super().__init__()
        self.place = UNUSED[:] if place is None else place
        #: what makes the records, None where all are in this list
        self.lazy: Any = items if isinstance(items, list) \
            and list.__len__(items) < len(items) \
            and hasattr(items, 'ids') else None
        self._pieces: Iterator[list[Any]] = iter([])
        if self.lazy is None:
            super().extend(items)
            return
        lazy, starts = self.lazy, range(0, len(self.lazy), piece)
        if browse is None:
            # Without self, which would refer to itself then
            self._pieces = (lazy[i:i + piece] for i in starts)
        else:
            ids = lazy.ids
            # At once, as the context may change
            self._pieces = iter([browse(ids[i:i + piece]) for i in starts])

    def __iter__(self) -> Iterator[Any]:
        place, at = self.place, 0
        while True:
            items = super().__iter__()
            items.__setstate__(at)  # type: ignore[attr-defined]
            for item in items:
                place[AT] = at
                at += 1
                yield item
            if not self.make(at + 1):
                break
        place[AT] = NOWHERE

    def __len__(self) -> int:
        return super().__len__() if self.lazy is None else len(self.lazy)

    def __radd__(self, other: Any) -> Any:
        # Without it, list.__add__ would read the memory of this list
        return other + list.copy(self.filled()) \
            if isinstance(other, list) else NotImplemented

    def make(self, end: int | None = None) -> bool:
        """Make the records before an index; return whether it made some.

        :param end: the index, None to make all
        """
        before = super().__len__()
        for piece in self._pieces:
            super().extend(piece[:])
            if end is not None and super().__len__() >= end:
                break
        else:
            self.lazy = None
        return super().__len__() > before

    def filled(self) -> 'Watched':
        "Make all records; return self."
        self.make()
        return self

    @property
    def at(self) -> int | None:
        "The index, or None."
        at = self.place[AT]
        return None if at == NOWHERE else at


def _filling(name: str) -> Any:
    "Return the method of a list, which makes all records first."
    method = getattr(list, name)

    @wraps(method)
    def fill_and_call(self: Watched, *args: Any, **kwargs: Any) -> Any:
        for other in args:
            if isinstance(other, Watched):
                # Its memory is read, too
                other.filled()
        return method(self.filled(), *args, **kwargs)
    return fill_and_call


for _name in FILLING:
    setattr(Watched, _name, _filling(_name))

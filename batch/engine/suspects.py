# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Which unit of a failed chunk an exception was about.

It is guessed from the local variables of the frames that the exception went
through, from the innermost out, and from how far an iteration over the objects
had come.  Both may be wrong: a left-over loop variable is the last record,
a call for many records names the first.

Imports nothing of Tryton or Celery.
"""
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, wraps
from typing import Any

from ..positions import AT, NOWHERE, UNUSED, Place
from ..texts import attribute_of, causes

__all__ = ['Watched', 'find']

#: values of these types name no record: a counter may equal an id by chance
NO_EVIDENCE = (
    str, bytes, int, float, list, tuple, dict, set, type(None), type)
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
    gives it, are made by the iteration: a hook that fails at the first of
    1,000 does not wait for the others.  Whatever else is done with this list
    makes all of them first.

    :param place: where the worker can read it after a death; a list of its
        own if None
    """

    def __init__(
            self, items: Iterable[Any] = (),
            place: Place | None = None) -> None:
        super().__init__()
        self.place = UNUSED[:] if place is None else place
        #: what makes the records, None where all are in this list
        self.lazy = items if isinstance(items, list) \
            and type(items) is not list and hasattr(items, 'ids') else None
        if self.lazy is None:
            super().extend(items)

    def __iter__(self) -> Iterator[Any]:
        place, at = self.place, 0
        while True:
            items = super().__iter__()
            items.__setstate__(at)  # type: ignore[attr-defined]
            for item in items:
                place[AT] = at
                at += 1
                yield item
            if not self.make(at + PIECE):
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
        if self.lazy is None:
            return False
        made = self.lazy[super().__len__():end]
        super().extend(made)
        if super().__len__() == len(self.lazy):
            self.lazy = None
        return bool(made)

    def filled(self) -> 'Watched':
        "Make all records; return self."
        self.make()
        return self

    def keys(self) -> Iterator[list[Any]]:
        "Yield the keys of each item, without making it."
        if self.lazy is not None and len(self.lazy):
            name = type(self.lazy[0]).__name__
            for id in self.lazy.ids:
                yield [(name, id)]
        else:
            yield from map(_keys, super().__iter__())

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
        return method(self.filled(), *args, **kwargs)
    return fill_and_call


for _name in FILLING:
    setattr(Watched, _name, _filling(_name))


def find(
        error: BaseException, objects: Watched,
        units_of: Sequence[int]) -> int | None:
    """Return the index of the suspected unit, or None.

    Raises nothing, whatever the error and the variables do.

    :param error: the exception, with its traceback
    :param objects: what ``execute`` was given, a Watched
    :param units_of: for each object the index of its unit
    """
    keys: dict[Any, int] = {}
    for position, of_item in enumerate(objects.keys()):
        for key in of_item:
            keys.setdefault(key, position)
    at = objects.at
    for variables in _frames(error):
        found = []
        for value in variables:
            for key in _keys(value):
                if key in keys:
                    found.append(keys[key])
                    break
        if found:
            # Of several, the one that the iteration is at; else the last,
            # as variables stand in the order of their first assignment
            return units_of[found[-1] if at not in found else at]
    return None if at is None else units_of[at]


def _frames(error: BaseException) -> Iterator[list[Any]]:
    """Yield the values of the variables of each frame, the innermost first.

    The frames of the causes of an error come before its own.
    """
    traces = []
    for other in causes(error):
        trace = attribute_of(other, '__traceback__')
        while trace is not None:
            traces.append(trace)
            trace = trace.tb_next
    while traces:
        try:
            yield list(traces.pop().tb_frame.f_locals.values())
        except Exception:
            # A guess is never worth an error
            pass


def _keys(value: Any) -> list[Any]:
    """Return a list of the key of a value; empty for NO_EVIDENCE.

    That of a record is its model and id, of another object its id().  A list
    of one record, as Tryton writes it, has the key of the record.
    """
    try:
        if type(value) in {list, Watched, tuple} and len(value) == 1:
            value, = value
        cls: type = type(value)
        # By their class: a value may lie about itself, or raise
        if issubclass(cls, NO_EVIDENCE):
            return []
        if not _is_record(cls):  # type: ignore[arg-type]
            return [id(value)]
        # A record of Tryton; browsed again it is another object
        key = cls.__name__, value.id
        hash(key)
        return [key]
    except BaseException:
        return []


@lru_cache(maxsize=1000)
def _is_record(cls: type) -> bool:
    # Once per class: dir() of a model takes as long as to read a record
    return {'_values', '__name__'}.issubset(dir(cls))

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Which unit of a failed chunk an exception was about.

It is guessed from the local variables of the frames that the exception went
through, from the innermost out, and from how far an iteration over the objects
had come.  Both may be wrong: a left-over loop variable is the last record,
a call for many records names the first.

Imports nothing of Tryton or Celery.
"""
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from ..texts import attribute_of, causes
from .watched import Watched

__all__ = ['find']

#: values of these types name no record: a counter may equal an id by chance
NO_EVIDENCE = (
    str, bytes, int, float, list, tuple, dict, set, type(None), type)


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
    for position, of_item in enumerate(_keys_of_all(objects)):
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


def _keys_of_all(objects: Watched) -> Iterator[list[Any]]:
    "Yield the keys of each object; none is made for it but the first."
    if objects.lazy is None:
        yield from map(_keys, list.__iter__(objects))
        return
    name = type(objects.lazy[0]).__name__
    for id in objects.lazy.ids:
        yield [(name, id)]


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

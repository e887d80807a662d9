# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Which unit of a failed chunk an exception was about.

Two witnesses: the local variables of the frames that the exception went
through, from the innermost out, and how far an iteration over the objects had
come.  Either may lie (a left-over loop variable names the last record, a bulk
call the first): ``chunking`` takes a suspect for a guess.

Imports nothing of Tryton or Celery.
"""
from functools import lru_cache

__all__ = ['Watched', 'find']


class Watched(list):
    """A list that remembers how far it is being iterated.

    ``at`` is the index of the item that an iteration last gave, None before
    the first and after the last.
    """
    at = None

    def __iter__(self):
        for self.at, item in enumerate(super().__iter__()):
            yield item
        self.at = None


def find(error, objects, units_of):
    """Return the index of the suspected unit, or None.

    :param error: the exception, with its traceback
    :param objects: what ``execute`` was given, a Watched
    :param units_of: for each object the index of its unit
    """
    keys = {}
    for position, item in enumerate(list.__iter__(objects)):
        for key in _keys(item):
            keys.setdefault(key, position)
    at = objects.at
    for variables in reversed(list(_frames(error))):
        found = []
        for value in variables:
            for key in _keys(value):
                if key in keys:
                    found.append(keys[key])
                    break
        if found:
            # Of several, the one that the iteration is at; else the last,
            # as variables stand in the order of their first assignment
            return units_of[at if at in found else found[-1]]
    return None if at is None else units_of[at]


def _frames(error):
    """Yield the values of the variables of each frame, the outermost first.

    An error that was raised because of another one has that one's behind.
    """
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        trace = error.__traceback__
        while trace is not None:
            try:
                yield list(trace.tb_frame.f_locals.values())
            except Exception:
                # A guess is never worth an error
                yield []
            trace = trace.tb_next
        error = error.__cause__ or error.__context__


def _keys(value):
    """Yield by what a record is recognized: its model and id, else itself.

    Numbers and texts are no evidence: a counter may equal an id by chance.
    A list of one record, such as Tryton writes at once, is as good as it.
    """
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    if isinstance(value, (str, bytes, int, float, list, tuple, dict, set)) \
            or value is None or isinstance(value, type):
        return
    cls = type(value)
    if _is_record(cls):
        # A record of Tryton; browsed again it is another object
        try:
            yield cls.__name__, value.id
        except Exception:
            pass
        return
    yield id(value)


@lru_cache(maxsize=1000)
def _is_record(cls):
    # Once per class: dir() of a model takes as long as to read a record
    return {'_values', '__name__'}.issubset(dir(cls))

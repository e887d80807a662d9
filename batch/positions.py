# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""How far each process of a worker has come with the units of its chunk.

A process that is killed leaves no traceback.  So it writes the position of its
iteration over the objects into memory that the worker made before it forked,
and where the worker can still read it.

Imports nothing of Tryton or Celery.
"""
import hashlib
import mmap
from typing import TypeAlias

__all__ = [
    'AT', 'NOWHERE', 'Place', 'UNUSED', 'begin_chunk', 'begin_task', 'find',
    'own', 'share', 'take']

#: the numbers of one process: its task, its chunk, and the index of the object
#: that an iteration last gave, NOWHERE outside of an iteration
Place: TypeAlias = list[int] | memoryview

TASK, CHUNK, AT = range(3)
NOWHERE = -1
#: what a process without a place in the shared memory writes to
UNUSED: list[int] = [0, 0, NOWHERE]
#: a process beyond these has no place; the pages of unused places need no
#: memory
COUNT = 1024

_all: memoryview | None = None
_own: Place = UNUSED


def share() -> None:
    "Make the memory; to be called before the processes are forked."
    global _all
    if _all is None:
        _all = memoryview(mmap.mmap(-1, COUNT * len(UNUSED) * 8)).cast('q')


def take(index: int | None) -> None:
    """Give this process its place.

    :param index: which process of the pool it is
    """
    global _own
    _own = UNUSED
    if _all is not None and index is not None and 0 <= index < COUNT:
        size = len(UNUSED)
        _own = _all[index * size:(index + 1) * size]
        _own[TASK], _own[CHUNK], _own[AT] = UNUSED


def own() -> Place:
    "Return the place of this process."
    return _own


def begin_task(id: str) -> None:
    "Write which task this process executes."
    _own[TASK], _own[CHUNK], _own[AT] = _number_of(id), 0, NOWHERE


def begin_chunk(id: int) -> None:
    "Write which chunk this process executes."
    _own[CHUNK], _own[AT] = id, NOWHERE


def find(task: str) -> tuple[int | None, int | None]:
    """Return (chunk, index of the object) that the process of a task is at.

    Both are None where they are not known.
    """
    if _all is not None:
        number, size = _number_of(task), len(UNUSED)
        for start in range(0, len(_all), size):
            if _all[start + TASK] == number:
                chunk, at = _all[start + CHUNK], _all[start + AT]
                return chunk or None, None if at == NOWHERE else at
    return None, None


def _number_of(task: str) -> int:
    "Return a number of 56 bits for the id of a task."
    return int.from_bytes(
        hashlib.blake2b(task.encode(), digest_size=7).digest(), 'big')

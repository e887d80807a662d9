# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What becomes of the units that failed: retried, solved or dismissed."""
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from trytond.tools import grouped_slice

from ..aliases import Cursor, Units
from .failed_units import BULK, free, texts_of
from .rows import streamed
from .states import FAILURE, FailureState
from .tables import chunk_, failure_, has_not_ended
from .units import dump_units, load_units, names

__all__ = [
    'dismiss', 'give_back', 'list_taken', 'note_planned', 'solve', 'take_up']


def _update(
        cursor: Cursor, where: Any, ids: list[int] | None = None,
        **values: Any) -> int:
    "Write columns of failures; return how many.  Locks their rows."
    assert 'state' not in values or values['state'] in {
        new for old, new in FAILURE if old is not None}
    count = 0
    slices: Iterable[Any] = [None] if ids is None \
        else grouped_slice(ids, BULK)
    for some in slices:
        cursor.execute(*failure_.update(
                [getattr(failure_, n) for n in values], list(values.values()),
                where=where if some is None
                else where & failure_.id.in_(list(some))))
        count += cursor.rowcount
    return count


def take_up(
        cursor: Cursor, execution: int, retry: int,
        ids: list[int] | None = None) -> int:
    """Give free failures to a retry, which still has to select them.

    Returns how many.  They are open until it has planned them.

    :param ids: only those
    """
    return _update(cursor, free(execution), ids, retried_by=retry)


def give_back(cursor: Cursor, retry: int) -> None:
    "Free what a retry took up and will not plan."
    _update(cursor, _taken(retry, FailureState.OPEN), retried_by=None)


def list_taken(cursor: Cursor, retry: int) -> Iterator[Units]:
    "Yield the units that a retry took up, as load_units() gives them."
    query = failure_.select(
        failure_.unit, where=_taken(retry, FailureState.OPEN),
        order_by=[failure_.chunk, failure_.id])
    for rows in streamed(cursor, query):
        for text, in rows:
            yield load_units(text)


def note_planned(cursor: Cursor, retry: int) -> None:
    "open -> retried"
    _update(cursor, _taken(retry, FailureState.OPEN),
        state=FailureState.RETRIED)


def _taken(retry: int, state: FailureState) -> Any:
    return (failure_.retried_by == retry) & (failure_.state == state)


def dismiss(
        cursor: Cursor, execution: int, reason: str | None,
        ids: list[int] | None = None) -> int:
    """open -> dismissed; returns how many.

    :param reason: text, or None
    :param ids: only those
    """
    return _update(
        cursor, free(execution), ids, state=FailureState.DISMISSED,
        reason=reason)


def solve(cursor: Cursor, retry: int) -> None:
    """retried -> solved, of what a retry that has ended has done.

    A file that was read again is done when all of its rows are.
    """
    undone: set[bytes] = set()
    for rows in streamed(cursor, failure_.select(
                failure_.unit, where=failure_.execution == retry)):
        for text, in rows:
            undone.update(_digests(text))
    for rows in streamed(cursor, chunk_.select(
                chunk_.units, where=has_not_ended(retry))):
        for units, in rows:
            for text, _ in texts_of(load_units(units)):
                undone.update(_digests(text))
    where = _taken(retry, FailureState.RETRIED)
    solved = None
    if undone:
        solved = [
            id for rows in streamed(cursor, failure_.select(
                    failure_.id, failure_.unit, where=where))
            for id, text in rows if _digest(text) not in undone]
    _update(cursor, where, solved, state=FailureState.SOLVED)


def _digests(text: str | None) -> Iterator[bytes]:
    "Yield what tells a unit, and the file that it is a row of."
    yield _digest(text)
    for name, is_row in names(text or ''):
        if is_row and isinstance(name, str):
            yield _digest(dump_units([name]))


def _digest(text: str | None) -> bytes:
    # Rows of a file may be long, and there may be many
    return hashlib.blake2b((text or '').encode(), digest_size=16).digest()

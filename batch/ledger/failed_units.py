# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The units that failed, a row for each.

A row is written with the end of its chunk, which has the text of the error
and the traceback: these are long, and stored once.
"""
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from sql import Literal, Null
from sql.aggregate import Count

from trytond.tools import grouped_slice

from ..aliases import Cursor, Unit, Units
from .rows import insert_many, streamed
from .states import FAILURE, FailureState
from .tables import Hole, chunk_, execute_written, failure_, written
from .units import Unreadable, dump_units, load_units, shown_unit

__all__ = [
    'BULK', 'COLUMNS', 'Settled', 'count_by_state', 'count_open', 'free',
    'has_free', 'insert_failures', 'insert_rows', 'is_free', 'list_errors',
    'list_free', 'record_of', 'retries', 'settled_in', 'texts_of']

#: (state, retried_by, reason, how many) of failures of one chunk
Settled: TypeAlias = tuple[str, int | None, str | None, int]
#: the columns that a row begins with
COLUMNS = [
    'execution', 'chunk', 'unit', 'record', 'fingerprint', 'state',
    'create_date', 'create_uid']
#: rows per statement
BULK = 1000


def insert_failures(
        cursor: Cursor, chunk: Any, fingerprint: str, model: str | None,
        dry_run: bool | None) -> None:
    """Insert a failure for each unit of a chunk that has failed.

    :param chunk: a Chunk of chunks.py, which imports this
    :param model: name of the model of the records, None for none
    """
    state = FailureState.DISMISSED if dry_run else FailureState.OPEN
    assert (None, state) in FAILURE
    insert_rows(cursor, (
            [chunk.execution, chunk.id, text, record, fingerprint, state,
                chunk.claimed_at, 0]
            for text, record in texts_of(chunk.units, model)))


def texts_of(
        units: Units,
        model: str | None = None) -> Iterator[tuple[str | None, str | None]]:
    """Yield (JSON, reference to its record) of each unit.

    The JSON is that of a list of this one unit.  Units that can not be loaded
    fail as one.
    """
    if units is None:
        yield None, None
    elif isinstance(units, Unreadable):
        yield units.text, None
    else:
        for unit in units:
            record = record_of(unit) if model else None
            yield dump_units([unit]), None if record is None \
                else '%s,%s' % (model, record)


def record_of(unit: Unit) -> int | None:
    "Return the id that a unit is, or begins with; None if it does not."
    if isinstance(unit, list) and unit:
        unit = unit[0]
    if isinstance(unit, tuple) and unit:
        unit = unit[0]
    return unit if type(unit) is int else None


def insert_rows(cursor: Cursor, rows: Iterable[list[Any]]) -> None:
    "Insert rows of COLUMNS, in bulk."
    block: list[list[Any]] = []
    for row in rows:
        block.append(row)
        if len(block) == BULK:
            _insert(cursor, block)
            block = []
    _insert(cursor, block)


def _insert(cursor: Cursor, rows: list[list[Any]]) -> None:
    if len(rows) == 1:
        # The usual case: it failed alone
        execute_written(
            cursor, written(_write_insert), **dict(zip(COLUMNS, rows[0])))
    elif rows:
        insert_many(cursor, failure_, COLUMNS, rows)


def _write_insert() -> Any:
    return failure_.insert(
        [getattr(failure_, n) for n in COLUMNS], [list(map(Hole, COLUMNS))])


def is_free() -> Any:
    "The condition of an open failure that no retry has taken up."
    return (failure_.state == FailureState.OPEN) \
        & (failure_.retried_by == Null)


def free(execution: int) -> Any:
    "The condition of the free failures of an execution."
    return (failure_.execution == execution) & is_free()


def list_free(
        cursor: Cursor, execution: int,
        limit: int | None = None) -> Iterator[tuple[int, str]]:
    "Yield (id, text of the unit as it is shown) of each free failure."
    query = failure_.select(
        failure_.id, failure_.unit, where=free(execution),
        order_by=[failure_.chunk, failure_.id], limit=limit)
    for rows in streamed(cursor, query):
        for id, text in rows:
            units = load_units(text)
            yield id, shown_unit(units[0]) if units else 'the batch'


def has_free(cursor: Cursor, execution: int) -> bool:
    "Return whether an execution has a free failure."
    cursor.execute(*failure_.select(
            Literal(1), where=free(execution), limit=1))
    return cursor.fetchone() is not None


def list_errors(
        cursor: Cursor, execution: int) -> Iterator[tuple[int, Units, str]]:
    "Yield (id, units, error) of each free failure; there is one unit."
    query = failure_.join(
        chunk_, condition=failure_.chunk == chunk_.id).select(
        failure_.id, failure_.unit, chunk_.error_type, chunk_.error,
        where=free(execution), order_by=failure_.id)
    for rows in streamed(cursor, query, BULK):
        for id, text, type_, error in rows:
            yield id, load_units(text), error or type_


def count_by_state(cursor: Cursor, execution: int) -> dict[str, int]:
    "Return how many failures of an execution are in each state."
    cursor.execute(*failure_.select(
            failure_.state, Count(Literal(1)),
            where=failure_.execution == execution, group_by=failure_.state))
    return dict(cursor.fetchall())


def count_open(
        cursor: Cursor,
        executions: list[int] | None = None) -> dict[int, int]:
    """Return how many failures are open, by execution.

    :param executions: only those of these ids
    """
    counts: dict[int, int] = {}
    slices = [None] if executions is None else grouped_slice(executions, BULK)
    for ids in slices:
        where = failure_.state == FailureState.OPEN
        if ids is not None:
            where &= failure_.execution.in_(list(ids))
        cursor.execute(*failure_.select(
                failure_.execution, Count(Literal(1)), where=where,
                group_by=failure_.execution))
        counts.update(cursor.fetchall())
    return counts


def retries(cursor: Cursor, execution: int) -> list[int]:
    "Return the ids of the executions that took up failures of this one."
    cursor.execute(*failure_.select(
            failure_.retried_by,
            where=(failure_.execution == execution)
            & (failure_.retried_by != Null),
            group_by=failure_.retried_by, order_by=failure_.retried_by))
    return [id for id, in cursor.fetchall()]


def settled_in(
        cursor: Cursor, chunks: list[int]) -> dict[int, list[Settled]]:
    """Return what became of the failures of chunks, where it is something.

    :param chunks: ids
    """
    found: dict[int, list[Settled]] = {}
    if chunks:
        columns = [
            failure_.chunk, failure_.state, failure_.retried_by,
            failure_.reason]
        cursor.execute(*failure_.select(
                *columns, Count(Literal(1)),
                where=failure_.chunk.in_(chunks)
                & ((failure_.state != FailureState.OPEN)
                    | (failure_.retried_by != Null)),
                group_by=columns, order_by=columns))
        for chunk, *settled in cursor.fetchall():
            state, retry, reason, count = settled
            found.setdefault(chunk, []).append((state, retry, reason, count))
    return found

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Rows: what the columns hold, and those of a query as a stream."""
import datetime as dt
import json
import secrets
from collections.abc import Iterable, Iterator
from typing import Any, TypedDict, cast

from trytond import backend

from ..aliases import Cursor, Rows

__all__ = [
    'Details', 'ExecutionRow', 'ROWS', 'execution_row', 'insert_many',
    'streamed', 'values_of']

#: rows that are read at once
ROWS = 10_000


class ExecutionRow(TypedDict, total=False):
    """Columns of an execution, those that a statement was asked for.

    ``doc/design.rst`` says what each holds.  What is JSON is the text of it.
    """
    id: int
    batch: str
    given: str
    parameters: str | None
    derived: str | None
    settings: str | None
    user: int | None
    state: str
    stopping: str | None
    admission: str | None
    waiting_for: int | None
    exit_status: int | None
    retry_of: int | None
    dry_run: bool | None
    local: bool | None
    finish: str | None
    begun_by: str | None
    deaths: int | None
    task_id: str | None
    started_at: dt.datetime
    closes_at: dt.datetime | None
    ended_at: dt.datetime | None
    selected: int | None
    duplicates: int | None
    done: int | None
    failed: int | None
    left: int | None
    message: str | None
    error_type: str | None
    traceback: str | None
    hooks_committed: bool | None
    outputs: str | None
    missing: str | None


class Details(TypedDict):
    "What the ledger keeps of an error, as short texts without secrets."
    error_type: str
    error: str
    #: class, file and line: equal for alike failures
    fingerprint: str
    traceback: str | None


def values_of(text: str | None) -> dict[str, Any]:
    """Return the values in ``settings`` or ``parameters``, by name.

    :param text: of an execution that is admitted
    """
    assert text is not None, "the execution is not admitted"
    return {name: value for name, (value, _) in json.loads(text).items()}


def execution_row(
        names: Iterable[str], values: Iterable[Any]) -> ExecutionRow:
    "Return the columns of an execution by their names."
    return cast(ExecutionRow, dict(zip(names, values)))


def streamed(
        cursor: Cursor, query: Any, size: int = ROWS,
        binary: bool = False) -> Iterator[Rows]:
    """Yield the rows of a query of python-sql, in lists of up to size.

    The client of PostgreSQL would hold all rows of an ordinary cursor in
    memory.  The rows come by a cursor of their own: the one given may be used
    meanwhile.

    :param binary: whether they come as binary, which is faster for numbers
    """
    if backend.name != 'postgresql':
        cursor = cursor.connection.cursor()
        cursor.execute(*query)
        while rows := cursor.fetchmany(size):
            yield rows
        return
    cursor = cursor.connection.cursor(binary=binary)
    name = 'batch_%s' % secrets.token_hex(4)
    sql, params = query
    # All rows will be read, not only the first of them
    cursor.execute('SET LOCAL cursor_tuple_fraction = 1')
    cursor.execute('DECLARE %s NO SCROLL CURSOR FOR %s' % (name, sql), params)
    while True:
        cursor.execute('FETCH %s FROM %s' % (size, name))
        if not (rows := cursor.fetchall()):
            break
        yield rows
    cursor.execute('CLOSE %s' % name)


def insert_many(
        cursor: Cursor, table: Any, columns: list[str],
        rows: list[list[Any]]) -> None:
    """Insert many rows: on PostgreSQL by COPY.

    Thousands of parameters of an INSERT take longer than all the rest.
    """
    if hasattr(cursor, 'copy'):
        with cursor.copy('COPY %s (%s) FROM STDIN' % (
                    table, ', '.join(columns))) as copy:
            for row in rows:
                copy.write_row(row)
    else:
        cursor.execute(*table.insert(
                [getattr(table, name) for name in columns], rows))

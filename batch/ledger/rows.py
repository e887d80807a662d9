# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Rows: what the columns hold, and those of a query as a stream."""
import contextlib
import datetime as dt
import json
import secrets
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypedDict, cast
from weakref import WeakKeyDictionary

from trytond import backend

from ..aliases import Cursor, Rows
from ..connections import has_pipeline

__all__ = [
    'Details', 'ExecutionRow', 'ROWS', 'execution_row', 'insert_many',
    'reading_ahead', 'streamed', 'values_of']

#: rows that are read at once
ROWS = 10_000
#: seconds: where rows took longer, the next ones are not asked for before they
#: are needed, as whoever is interrupted has to wait for them
SLOW = 1


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
    fetch = 'FETCH %s FROM %s' % (size, name)
    ahead = _ahead.get(cursor.connection)
    is_last = False
    while not is_last:
        started = time.monotonic()
        asked = None if ahead is None else ahead.take(cursor)
        if asked is None:
            cursor.execute(fetch)
        rows = cursor.fetchall() if asked is None else asked
        is_last = len(rows) < size
        if (not is_last and ahead is not None
                and time.monotonic() - started < SLOW):
            ahead.ask(cursor, fetch)
        if rows:
            yield rows
    cursor.execute('CLOSE %s' % name)


class _Ahead:
    "The rows that a connection was asked for before they are needed."

    def __init__(self) -> None:
        self._pipeline = contextlib.ExitStack()
        self._cursor: Cursor | None = None
        self._rows: Rows | None = None

    def ask(self, cursor: Cursor, fetch: str) -> None:
        "Send a statement, unless there are rows of another one."
        if self._cursor is None:
            self._cursor = cursor
            self._pipeline.enter_context(cursor.connection.pipeline())
            cursor.execute(fetch)

    def settle(self) -> None:
        "Wait for the rows; the connection may be used for anything then."
        if self._cursor is not None and self._rows is None:
            with self._pipeline:
                self._rows = self._cursor.fetchall()

    def take(self, cursor: Cursor) -> Rows | None:
        "Return the rows of a cursor, None if it was not asked for any."
        if self._cursor is not cursor:
            return None
        self.settle()
        rows, self._rows, self._cursor = self._rows, None, None
        return rows


#: by the connection, within reading_ahead()
_ahead: WeakKeyDictionary[Any, _Ahead] = WeakKeyDictionary()


@contextlib.contextmanager
def reading_ahead(cursor: Cursor, is_free: bool = True) -> Iterator[None]:
    """Let streamed() ask for the next rows while the last ones are used.

    PostgreSQL then reads while Python works.

    :param is_free: whether nobody else uses the connection meanwhile, as it
        is in the pipeline mode of the driver, which has no COPY; if not, this
        does nothing
    """
    if not is_free or not has_pipeline(cursor.connection):
        yield
        return
    ahead = _ahead[cursor.connection] = _Ahead()
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception):
            # It would hide why
            ahead.settle()
        raise
    else:
        ahead.settle()
    finally:
        del _ahead[cursor.connection]


def insert_many(
        cursor: Cursor, table: Any, columns: list[str],
        rows: list[list[Any]]) -> None:
    """Insert many rows: on PostgreSQL by COPY.

    Thousands of parameters of an INSERT take longer than all the rest.
    """
    if hasattr(cursor, 'copy'):
        if cursor.connection in _ahead:
            _ahead[cursor.connection].settle()
        with cursor.copy('COPY %s (%s) FROM STDIN' % (
                    table, ', '.join(columns))) as copy:
            for row in rows:
                copy.write_row(row)
    else:
        cursor.execute(*table.insert(
                [getattr(table, name) for name in columns], rows))

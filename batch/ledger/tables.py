# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The tables, and what all statements on them need.

A row is being worked on while a transaction has its lock, however long that
takes.  Expressions of python-sql, which has no types, are Any here.
"""
import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sql import For, Literal, Null, Select, Table
from sql.conditionals import Coalesce
from sql.functions import AtTimeZone, ClockTimestamp, Function

from ..aliases import Cursor

__all__ = [
    'ForExecution', 'Hole', 'SkipLocked', 'TransactionId', 'chunk_', 'clock',
    'execute_written', 'execution_', 'failure_', 'for_update', 'has_ended',
    'has_not_ended', 'input_', 'is_real', 'is_shared', 'now', 'subscription_',
    'written']

execution_ = Table('batch_execution')
chunk_ = Table('batch_execution_chunk')
input_ = Table('batch_execution_input')
failure_ = Table('batch_failure')
subscription_ = Table('batch_subscription')


def is_shared() -> bool:
    "Return whether each row has a lock; SQLite locks the whole database."
    from trytond import backend
    return backend.name != 'sqlite'


def clock() -> Any:
    """Return the time of the database, UTC, as an expression.

    Not that of the worker, whose clock may be wrong.
    """
    if is_shared():
        return AtTimeZone(ClockTimestamp(), 'UTC')
    return dt.datetime.now()


def now(cursor: Cursor) -> dt.datetime:
    "Return the time of the database (datetime, UTC)."
    if not is_shared():
        return clock()
    cursor.execute(*Select([clock()]))
    return cursor.fetchone()[0]


class TransactionId(Function):
    "The id of the current transaction; PostgreSQL only."
    __slots__ = ()
    _function = 'TXID_CURRENT'


class SkipLocked(For):
    "FOR UPDATE SKIP LOCKED: without the rows that others have locked."

    def __str__(self) -> str:
        return super().__str__() + ' SKIP LOCKED'


class ForExecution(For):
    """The lock of an execution, which is held for as long as a hook runs.

    A foreign key may refer to the row meanwhile: an execution that waits for
    it does not wait for this lock.
    """

    def __init__(self, wait: bool = False) -> None:
        super().__init__('UPDATE')
        self.wait = wait

    def __str__(self) -> str:
        return 'FOR NO KEY UPDATE' + ('' if self.wait else ' SKIP LOCKED')


def for_update(wait: bool = False) -> For | None:
    """Return what locks the rows that are selected; None on SQLite.

    :param wait: whether to wait for locked rows, instead of skipping them
    """
    if is_shared():
        return (For if wait else SkipLocked)('UPDATE')
    return None


def is_real() -> Any:
    "Return the condition for executions that are no dry runs."
    return Coalesce(execution_.dry_run, Literal(False)) == Literal(False)


@dataclass(frozen=True)
class Hole:
    "Stands in a statement for a value that is given later."
    name: str


@lru_cache(maxsize=64)
def written(
        write: Callable[..., Any], *args: str) -> tuple[str, tuple[Any, ...]]:
    """Return the SQL text of write(*args), and its parameters with Holes.

    Cached: the statements of every chunk are written once per process.
    """
    text, params = write(*args)
    return text, tuple(params)


def execute_written(
        cursor: Cursor, statement: tuple[str, tuple[Any, ...]],
        **values: Any) -> None:
    """Execute what written() returned.

    :param values: those of its Holes, by name
    """
    text, params = statement
    cursor.execute(text, [
            values[p.name] if isinstance(p, Hole) else p for p in params])


def has_ended(execution: int) -> Any:
    "Return the condition for chunks of an execution that have ended."
    return (chunk_.execution == execution) & (chunk_.ended_at != Null)


def has_not_ended(execution: int) -> Any:
    """Return the condition for chunks of an execution that have not ended.

    To be used beside that on the state, which implies it: the index is on
    ``ended_at``, and PostgreSQL takes it for a prepared statement only where
    it is named.
    """
    return (chunk_.execution == execution) & (chunk_.ended_at == Null)

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The tables, and what all statements on them need.

Whether a row is being worked on is asked of its lock, never of a clock.
"""
import datetime as dt
from dataclasses import dataclass
from functools import lru_cache

from sql import For, Null, Select, Table
from sql.functions import AtTimeZone, ClockTimestamp, Function

__all__ = [
    'Hole', 'SkipLocked', 'TransactionId', 'chunk_', 'clock',
    'execute_written', 'execution_', 'failure_', 'for_update', 'has_ended',
    'has_not_ended', 'input_', 'is_shared', 'now', 'written']

execution_ = Table('batch_execution')
chunk_ = Table('batch_execution_chunk')
input_ = Table('batch_execution_input')
failure_ = Table('batch_failure')


def is_shared():
    "Return whether rows have locks; SQLite locks the whole database."
    from trytond import backend
    return backend.name != 'sqlite'


def clock():
    """Return the time of the database, UTC, as an expression.

    The clocks of the workers may differ by an hour.
    """
    if is_shared():
        return AtTimeZone(ClockTimestamp(), 'UTC')
    return dt.datetime.now()


def now(cursor):
    "Return the time of the database (datetime, UTC)."
    if not is_shared():
        return clock()
    cursor.execute(*Select([clock()]))
    return cursor.fetchone()[0]


class TransactionId(Function):
    __slots__ = ()
    _function = 'TXID_CURRENT'


class SkipLocked(For):
    def __str__(self):
        return super().__str__() + ' SKIP LOCKED'


def for_update(wait=False):
    if is_shared():
        return (For if wait else SkipLocked)('UPDATE')


@dataclass(frozen=True)
class Hole:
    "Stands in a statement for a value that is given later."
    name: str


@lru_cache(maxsize=64)
def written(write, *args):
    """Return what write(*args) gives, as text and parameters with holes.

    Those of every chunk are written once per process.
    """
    return tuple(write(*args))


def execute_written(cursor, statement, **values):
    text, params = statement
    cursor.execute(text, [
            values[p.name] if isinstance(p, Hole) else p for p in params])


def has_ended(execution):
    "Where to search for chunks by a state that is an end, see has_not_ended."
    return (chunk_.execution == execution) & (chunk_.ended_at != Null)


def has_not_ended(execution):
    """Where to search for chunks by a state that is no end.

    In the words of the index: that the state implies it is not seen by
    PostgreSQL, once a statement is prepared.
    """
    return (chunk_.execution == execution) & (chunk_.ended_at == Null)

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Which process has claimed a row, and whether it and its worker live."""
import os
import socket

from ..aliases import Cursor
from .tables import chunk_, execution_, is_shared

__all__ = [
    'GONE', 'LOCKS', 'claimant', 'give_back', 'has_died', 'process_of',
    'worker_key', 'worker_name']

#: first key of our advisory locks in PostgreSQL
LOCKS = 0x62617463
#: second key of the advisory lock that the keeper of our worker holds; 0
#: outside of a worker
worker_key = 0
#: what is known of a death that nobody could tell of
GONE = 'worker lost, together with its parent'


def worker_name() -> str:
    "Return host:pid of this process."
    return '%s:%s' % (socket.gethostname(), os.getpid())


def claimant() -> str:
    "Return what ``begun_by`` has of this process: host:pid:worker_key."
    return '%s:%s' % (worker_name(), worker_key)


def process_of(begun_by: str) -> str:
    "Return host:pid of the process that wrote begun_by."
    return begun_by.rpartition(':')[0]


def has_died(cursor: Cursor, begun_by: str | None) -> bool:
    """Return whether the process that wrote begun_by is known to be dead.

    To be asked where no transaction has the lock of the row.  As long as its
    worker lives, False: the worker reports a death itself, and the process
    may only have lost its connection.
    """
    if not begun_by or begun_by == claimant():
        return False
    key = int((begun_by.split(':') + ['0'])[2])
    if not key or not is_shared():
        return True
    if key == worker_key:
        return False
    cursor.execute(
        "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted "
        "AND database = (SELECT oid FROM pg_database "
        "WHERE datname = current_database()) "
        "AND classid = %s AND objid = %s", [LOCKS, key])
    return cursor.fetchone() is None


def give_back(
        cursor: Cursor, execution: int, chunk: int | None = None) -> None:
    """Clear ``begun_by`` if it is this process, which is told to shut down.

    So nobody counts its end as a death.

    :param chunk: id of the chunk, None for the selection
    """
    table, id = (execution_, execution) if chunk is None else (chunk_, chunk)
    cursor.execute(*table.update(
            [table.begun_by], [None],
            where=(table.id == id) & (table.begun_by == claimant())))

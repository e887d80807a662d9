# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Who has claimed a row, and whether its process and its worker live."""
import os
import socket

from .tables import chunk_, execution_, is_shared

__all__ = [
    'GONE', 'LOCKS', 'claimant', 'give_back', 'has_died', 'worker_key',
    'worker_name']

#: of the advisory locks of PostgreSQL: tells ours from those of others
LOCKS = 0x62617463
#: the worker that this process belongs to, and whose lock its keeper holds;
#: 0 outside of a worker
worker_key = 0
#: what is known of a death that nobody could tell of
GONE = 'worker lost, together with its parent'


def worker_name():
    return '%s:%s' % (socket.gethostname(), os.getpid())


def claimant():
    "Return what is written of who begins: host, process and worker."
    return '%s:%s' % (worker_name(), worker_key)


def has_died(cursor, begun_by):
    """Return whether a process that began is known to be gone for good.

    Asked only where nobody has the lock of what it began with.  As long as
    its worker lives, the worker itself tells of its death: else the process
    was only cut off from the database, and is not to blame.
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


def give_back(cursor, execution, chunk=None):
    """Write that this process is told to go: it has not died at its work.

    :param chunk: id, None where the process selects
    """
    table, id = (execution_, execution) if chunk is None else (chunk_, chunk)
    cursor.execute(*table.update(
            [table.begun_by], [None],
            where=(table.id == id) & (table.begun_by == claimant())))

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""One connection for transactions that follow each other at once.

Tryton takes a connection for each transaction from a pool that asks the server
whether it is still there, and the driver sends BEGIN before the first
statement.  These are two round trips, as many as the ledger has for a chunk,
and the chunks of a lane can do without them.
"""
import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from trytond import backend

__all__ = ['chained', 'is_in_transaction', 'kept']

#: of the server, for COMMIT AND CHAIN
CHAINS = 12_00_00
#: the number of a transaction state in psycopg
IDLE = 0


class _Local(threading.local):
    "What a thread keeps."
    #: whether it is within kept()
    is_keeping = False
    #: the connection, None before the first transaction
    connection: Any = None
    #: whether a transaction uses it
    is_taken = False
    #: whether it has begun the next one, which has no statement yet
    is_begun = False


_local = _Local()


@contextlib.contextmanager
def kept(database: str) -> Iterator[None]:
    """Let the transactions of this thread within it use the same connection.

    Those that only read, and those within another one, have their own as ever.
    A connection that breaks is replaced.
    """
    if backend.name == 'sqlite' or _local.is_keeping:
        yield
        return
    pool = backend.Database(database).connect()
    # Attributes of the object hide the methods of its class
    pool.__dict__.setdefault('get_connection', partial(_get, pool))
    pool.__dict__.setdefault('put_connection', partial(_put, pool))
    _local.is_keeping = True
    try:
        yield
    finally:
        _local.is_keeping = False
        if not _local.is_taken:
            _give_back(pool)


def _get(pool: Any, *args: Any, **options: Any) -> Any:
    is_plain = not any(args) and not any(options.values())
    is_kept = _local.is_keeping and is_plain and not _local.is_taken
    if is_kept and _local.connection is not None:
        _local.is_taken, _local.is_begun = True, False
        return _local.connection
    connection = type(pool).get_connection(pool, *args, **options)
    # The test kit has others
    if is_kept and hasattr(type(connection), 'prepare_threshold'):
        _local.connection = connection
        _local.is_taken, _local.is_begun = True, False
    return connection


def _put(pool: Any, connection: Any, *args: Any) -> None:
    if connection is not _local.connection:
        type(pool).put_connection(pool, connection, *args)
        return
    _local.is_taken = False
    is_clean = connection.info.transaction_status == IDLE or _local.is_begun
    if not _local.is_keeping or connection.closed or not is_clean:
        _give_back(pool)


def _give_back(pool: Any) -> None:
    connection, _local.connection = _local.connection, None
    if connection is None:
        return
    if _local.is_begun:
        # At a rollback, psycopg would forget what it has prepared
        with contextlib.suppress(backend.DatabaseOperationalError):
            connection.commit()
    # Which rolls back what somebody has left open
    type(pool).put_connection(pool, connection)


@contextlib.contextmanager
def chained(
        connection: Any, is_followed: bool) -> Iterator[Callable[[], bool]]:
    """Let a kept connection begin its next transaction as it commits this one.

    Gives a function that tells whether the transaction was committed, or
    ended otherwise.

    :param is_followed: whether the next one is to follow at once
    """
    if not is_followed or connection is not _local.connection \
            or connection.info.server_version < CHAINS:
        yield lambda: not is_in_transaction(connection)
        return
    is_committed = False

    def commit() -> None:
        nonlocal is_committed
        connection.execute('COMMIT AND CHAIN', prepare=False)
        is_committed = _local.is_begun = True
    connection.commit = commit
    try:
        yield lambda: is_committed or not is_in_transaction(connection)
    finally:
        del connection.commit


def is_in_transaction(connection: Any) -> bool:
    "Return whether a transaction is open on a connection of the database."
    if hasattr(connection, 'in_transaction'):
        return connection.in_transaction
    return connection.info.transaction_status != IDLE

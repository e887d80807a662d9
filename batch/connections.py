# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""One connection for transactions that follow each other at once.

Tryton takes a connection for each transaction from a pool that asks the server
whether it is still there, and the driver sends BEGIN before the first
statement.  These are two round trips, as many as the ledger has for a chunk,
and the chunks of a lane can do without them.  The statements of the ledger go
with the commit, those of the next chunk too: so a chunk waits for the server
once, and not three times.

Where a connection breaks after a commit was sent, nobody knows whether it was
accepted.  The server is asked then: what is committed is not done again.
"""
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any, Protocol

from trytond import backend
from trytond.transaction import Transaction

from .aliases import Cursor
from .internals import connection_parameters

__all__ = [
    'DoubtError', 'Last', 'chained', 'connect', 'has_pipeline',
    'is_in_transaction', 'kept', 'let_go', 'read_ahead', 'status_of']

logger = logging.getLogger(__name__)

#: of the server, for COMMIT AND CHAIN
CHAINS = 12_00_00
#: the number of a transaction state in psycopg
IDLE = 0
#: seconds for a connection outside of trytond's pool
CONNECT = 5
#: seconds for which a server is asked whether it has committed: those for
#: which the pool of trytond waits for one
ASK = 30
#: seconds before it is asked again
AGAIN = 0.2


class DoubtError(backend.DatabaseOperationalError):
    "Raised when nobody says whether a transaction was committed."


class _Local(threading.local):
    "What a thread keeps."
    #: whether it is within kept()
    is_keeping = False
    #: the connection, None before the first transaction
    connection: Any = None
    #: whether a transaction uses it
    is_taken = False
    #: whether it has begun the next one, for nobody yet
    is_begun = False
    #: what was read as it was begun, None if nothing was
    ahead: Any = None
    #: when it was begun, as Transaction.monotonic_time()
    begun_at: int | float | None = None


_local = _Local()


class Last(Protocol):
    "The last statement of a transaction, to be sent with its commit."
    #: the id of the transaction, None if it is not known
    transaction: int | None

    def end(self, cursor: Cursor) -> None:
        "Execute it; it has to fail where nothing is to be committed."

    def refuse(self, error: Exception) -> None:
        "Raise what is to be raised where it has failed so."

    def read(self, cursor: Cursor | None, ahead: Any = None) -> None:
        """Read its result; ``ahead`` is the row that begin() has read, if any.

        :param cursor: None if all is committed, but the result was lost
        """

    def begin(self, cursor: Cursor) -> bool:
        "Execute the first statement of the next one; return whether any."


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


def read_ahead(cursor: Cursor) -> Any:
    """Return the row that was read as the transaction of a cursor was begun.

    Once, and None if nothing was.
    """
    if _local.ahead is None or cursor.connection is not _local.connection:
        return None
    row, _local.ahead = _local.ahead, None
    # The caches of Tryton compare it: what is seen is what was there then
    Transaction().started_at = _local.begun_at
    return row


def let_go() -> None:
    "Let go the locks of the transaction that was begun ahead, if any."
    if _local.is_begun and not _local.is_taken:
        with contextlib.suppress(backend.DatabaseOperationalError):
            _local.connection.commit()
        _local.is_begun, _local.ahead = False, None


def _put(pool: Any, connection: Any, *args: Any) -> None:
    if connection is not _local.connection:
        type(pool).put_connection(pool, connection, *args)
        return
    _local.is_taken = False
    is_clean = connection.info.transaction_status == IDLE or _local.is_begun
    if not _local.is_begun:
        _local.ahead = None
    if not _local.is_keeping or connection.closed or not is_clean:
        _give_back(pool)


def _give_back(pool: Any) -> None:
    # At a rollback, psycopg would forget what it has prepared
    let_go()
    connection, _local.connection = _local.connection, None
    if connection is not None:
        # Which rolls back what somebody has left open
        type(pool).put_connection(pool, connection)


def connect(database: str) -> Any:
    """Return a connection to PostgreSQL of its own, without a transaction.

    Raises backend.DatabaseOperationalError within seconds; the pool of
    trytond would wait for 30 of them.
    """
    import psycopg
    params = connection_parameters(backend.Database, database)
    return psycopg.connect(
        params['conninfo'], autocommit=True, connect_timeout=CONNECT,
        fallback_application_name=params['fallback_application_name'])


@contextlib.contextmanager
def chained(
        database: str, connection: Any, is_followed: bool,
        last: Last | None = None) -> Iterator[Callable[[], bool]]:
    """Let a kept connection begin its next transaction as it commits this one.

    Gives a function that tells whether the transaction was committed, or
    ended otherwise.  A commit whose answer is lost is no error, where the
    server says that it was accepted.

    :param is_followed: whether the next one is to follow at once
    """
    # The test kit has others
    if backend.name == 'sqlite' or not hasattr(connection, 'info'):
        yield lambda: not is_in_transaction(connection)
        return
    is_chained = is_followed and connection is _local.connection \
        and connection.info.server_version >= CHAINS
    is_committed = False

    def commit() -> None:
        nonlocal is_committed
        _local.ahead = None
        id = _id(connection) if last is None else last.transaction
        try:
            send()
        except Exception as error:
            if not connection.closed:
                raise
            if id is not None:
                if not _has_committed(database, id, error):
                    raise
                logger.warning("the connection to the database %s was lost, "
                    "and with it the answer to a commit: it was accepted",
                    database)
            elif last is not None:
                raise
            # Else nothing was to be committed
            if last is not None:
                last.read(None)
        is_committed = True

    def send() -> None:
        if is_chained and last is not None and has_pipeline(connection):
            _commit_together(connection, last)
        else:
            if last is not None:
                cursor = connection.cursor()
                with _refused(last, cursor):
                    last.end(cursor)
                last.read(cursor)
            if is_chained:
                connection.execute('COMMIT AND CHAIN', prepare=False)
                _local.is_begun = True
            else:
                type(connection).commit(connection)
    connection.commit = commit
    try:
        yield lambda: is_committed or not is_in_transaction(connection)
    finally:
        del connection.commit


def _id(connection: Any) -> int | None:
    "Return the id of the transaction, None if it has written nothing."
    cursor = connection.cursor()
    cursor.execute('SELECT txid_current_if_assigned()')
    id, = cursor.fetchone()
    return id


def status_of(database: str, id: int | None) -> str | None:
    """Return what became of a transaction, as PostgreSQL says it.

    That is "in progress", "committed", "aborted", or None if it is too old.
    Asked on another connection, as that of the transaction may be of no use.
    """
    with connect(database) as other:
        status, = other.execute('SELECT txid_status(%s)', [id]).fetchone()
    return status


def _has_committed(database: str, id: int, error: Exception) -> bool:
    """Return whether the server says that it has committed a transaction.

    Raises DoubtError if it does not say it within ASK seconds.
    """
    deadline = time.monotonic() + ASK
    while True:
        try:
            status = status_of(database, id)
            if status in {'committed', 'aborted'}:
                return status == 'committed'
        except backend.DatabaseOperationalError:
            # It may be about to start
            pass
        if time.monotonic() > deadline:
            raise DoubtError('the connection was lost at a commit, and the '
                'server did not say within %s s whether it has accepted it'
                % ASK) from error
        time.sleep(AGAIN)


def has_pipeline(connection: Any) -> bool:
    "Return whether statements may be sent without waiting for results."
    # Through a pooler, which mixes up what is prepared, too, nothing is
    # prepared any more.  SQLite and the test kit have other connections
    return getattr(connection, 'prepare_threshold', None) is not None \
        and import_module(
            type(connection).__module__).Pipeline.is_supported()


def _commit_together(connection: Any, last: Last) -> None:
    "Send the last statement, the commit, and the first of the next one."
    begun_at = Transaction.monotonic_time()
    ended, committed, begun = (connection.cursor() for _ in range(3))
    is_ahead = False
    try:
        with _refused(last, ended), connection.pipeline():
            last.end(ended)
            committed.execute('COMMIT AND CHAIN', prepare=False)
            is_ahead = last.begin(begun)
        _local.is_begun = True
        if is_ahead:
            _local.ahead, _local.begun_at = begun.fetchone(), begun_at
    except Exception:
        if committed.statusmessage != 'COMMIT':
            raise
        # The next one is not begun: whoever goes on will meet the same error
        logger.debug("nothing was read ahead", exc_info=True)
    last.read(ended, _local.ahead)


@contextlib.contextmanager
def _refused(last: Last, cursor: Any) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Else the commit has failed, or what came after it
        if cursor.statusmessage is None and not cursor.connection.closed:
            last.refuse(error)
        raise


def is_in_transaction(connection: Any) -> bool:
    "Return whether a transaction is open on a connection of the database."
    if hasattr(connection, 'in_transaction'):
        return connection.in_transaction
    return connection.info.transaction_status != IDLE

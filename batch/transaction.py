# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Tryton's rules for whoever runs a transaction, in one place.

They are those of ``trytond/worker.py``: a TransactionError is control flow,
an operational error of the database is tried again, and the tasks queued by
the transaction are run after its commit where no trytond-worker is there.
"""
import contextlib
import logging
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from sql import Select
from sql.functions import Function

import trytond.config as config
from trytond import backend
from trytond.pool import Pool
from trytond.transaction import Transaction, TransactionError

from .aliases import Cursor
from .connections import DoubtError, Last, chained, connect
from .exceptions import DatabaseError
from .output import Outputs
from .schema import check_updated
from .texts import attribute_of

__all__ = [
    'before_leaving', 'causes', 'connect', 'find_outage', 'is_broken',
    'is_outage', 'is_shutdown', 'is_unique_race', 'kept_alive', 'load_pool',
    'transact']

logger = logging.getLogger(__name__)
Result = TypeVar('Result')

#: seconds before the first retry; doubled for each one, times 0.5 to 1.5
DELAY = 0.05
#: seconds at most between two tries
MAX_DELAY = 10
#: how often the server looks whether the client of a statement is there
CLIENT_CHECK = '2s'
#: whether the server supports that; None before it was asked
_checks_clients: bool | None = None
#: whether a pooler was found to be in between
_is_pooled = False
#: that of PEP 249, which the driver has
DATABASE_ERROR = backend.DatabaseOperationalError.__base__
#: classes of SQLSTATE, and single ones: see is_outage
OUTAGES = {'08', '53', '57', '58'}
QUERY_CANCELED = '57014'
SERVER_TIMEOUTS = {'25P03', '25P04'}
READ_ONLY = {'25006', '0A000'}
MIXED_UP = {'26000', '42P05'}
#: what SQLite says instead
SQLITE_OUTAGES = [
    'database is locked', 'database table is locked', 'disk I/O error',
    'database or disk is full', 'unable to open database file',
    'attempt to write a readonly database']


def load_pool(database: str) -> Pool:
    """Return the pool of the database, loaded once per process.

    Raises DatabaseError if the module is not activated there, or Tryton is of
    another series.
    """
    if not _is_loaded(database):
        pool = Pool(database)
        with Transaction().start(database, 0, readonly=True) as transaction:
            pool.init()
            cursor = transaction.connection.cursor()
            probe_client_checks(cursor)
            check_updated(database, pool, cursor)
        if not _is_loaded(database):
            raise DatabaseError(
                'the module "batch" is not activated in the database "%s": '
                'trytond-admin -d %s -u batch --activate-dependencies'
                % (database, database))
    return Pool(database)


def _is_loaded(database: str) -> bool:
    # A database may be listed with an empty pool: starting a transaction is
    # enough for that
    if database not in Pool.database_list():
        return False
    try:
        Pool(database).get('batch.execution')
    except KeyError:
        return False
    return True


def probe_client_checks(cursor: Cursor) -> None:
    """Find out whether the server can end the statement of a dead process.

    Else it goes on with what it runs, and keeps the locks for as long as that
    takes.  PostgreSQL 14 or later, and not on all systems.
    """
    global _checks_clients
    if _checks_clients is not None or backend.name == 'sqlite':
        return
    cursor.execute('SAVEPOINT client_check')
    try:
        cursor.execute(*Select([_client_check()]))
        _checks_clients = True
    except Exception:
        _checks_clients = False
        cursor.execute('ROLLBACK TO SAVEPOINT client_check')


def client_checks() -> list[Function]:
    "Return the expressions that have the server check that its client lives."
    return [_client_check()] if _checks_clients else []


class _SetConfig(Function):
    __slots__ = ()
    _function = 'SET_CONFIG'


def _client_check() -> Function:
    return _SetConfig('client_connection_check_interval', CLIENT_CHECK, True)


class _Transaction(Transaction):
    """Rolls back whatever is raised at its commit.

    That of trytond rolls back, and aborts its data managers, only for an
    Exception, not for any other BaseException.
    """
    #: what goes with the commit
    last: Last | None = None

    def commit(self) -> None:
        "Commit, or roll back and raise what was raised."
        # What tasks and the data managers of others do after the commit is not
        # to be done in an open transaction
        is_followed = not self.tasks and all(
            isinstance(manager, Outputs) for manager in self._datamanagers)
        with chained(
                self.database.name, self.connection, is_followed,
                self.last) as is_committed:
            try:
                super().commit()
            except Exception:
                raise
            except BaseException as error:
                if not is_committed():
                    self.rollback()
                    raise
                # A data manager raised after it
                if is_shutdown(error):
                    raise
                logger.critical("a data manager raised after the commit",
                    exc_info=True)

    def rollback(self) -> None:
        "Roll back; where the connection is lost, the server has done that."
        try:
            super().rollback()
        except backend.DatabaseOperationalError:
            # It would hide why
            if not is_broken(self):
                raise


def transact(
        database: str, function: Callable[[Cursor], Result], user: int = 0,
        context: Mapping[str, Any] | None = None, retry: int | None = None,
        on_retry: Callable[[BaseException, int], object] | None = None,
        sleep: Callable[[float], object] = time.sleep) -> Result:
    """Return function(cursor), run in a transaction and committed.

    :param retry: how often an operational error of the database is tried
        again, with growing random delay; default: ``[database] retry``
    :param on_retry: called with (error, count) before each new try
    :raises: what function or the commit raised in the end; nothing is left
        of it then, neither rows nor queued tasks; of a DoubtError nobody
        knows
    """
    if retry is None:
        retry = config.getint('database', 'retry')
    extras: dict[str, Any] = {}
    count = 0
    while True:
        # Transaction() would leave an unused one behind as the current one
        transaction = _Transaction(new=True)
        try:
            with transaction.start(
                    database, user, context=context or {}, **extras):
                if _is_pooled:
                    transaction.connection.prepare_threshold = None
                result = function(transaction.connection.cursor())
        except TransactionError as error:
            transaction.tasks.clear()
            error.fix(extras)
        except BaseException as error:
            transaction.tasks.clear()
            if not _is_pooled and any(map(_is_mixed_up, causes(error))):
                prepare_no_more()
            elif count >= retry or not _is_passing(error):
                raise
            count += 1
            if on_retry is not None:
                on_retry(error, count)
            sleep(min(MAX_DELAY, DELAY * 2 ** count) * random.uniform(.5, 1.5))
        else:
            run_tasks(database, transaction)
            return result


def _is_passing(error: BaseException) -> bool:
    if any(issubclass(type(cause), DoubtError) for cause in causes(error)):
        return False
    return issubclass(type(error), backend.DatabaseOperationalError) \
        or _is_outage(error)


def is_outage(
        error: BaseException, database: str | None = None,
        is_whole: bool = False) -> bool:
    """Return whether the database itself is in trouble, not what was asked.

    By the SQLSTATE of the error, or of one that it was raised for
    (PostgreSQL, appendix A): lost connections, which have none, a shutdown,
    resources that ran out, timeouts of the server, and a server that is
    a standby.

    :param database: its name; asked whether it is a standby, where it may be
    :param is_whole: whether our connection has outlived the error: then one
        that was lost is that of another server, as long as ours answers
    """
    return find_outage(error, database, is_whole) is not None


def find_outage(
        error: BaseException, database: str | None = None,
        is_whole: bool = False) -> BaseException | None:
    "Return the first error that is_outage is about, None if it is none."
    found = None
    for cause in causes(error):
        if database and _is_standby(cause, database) or _is_outage(cause) \
                and not (is_whole and _state_of(cause) is None
                    and database and _answers(database)):
            # Those raised later only say that the connection is lost
            found = cause
    return found


def is_broken(transaction: Transaction) -> bool | None:
    """Return whether the connection of the transaction is lost.

    None where the database is SQLite, which has nothing to lose.
    """
    return getattr(transaction.connection, 'broken', None)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    "Yield an error, and those while or because of which it was raised."
    seen = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        cause = attribute_of(error, '__cause__')
        error = attribute_of(error, '__context__') \
            if cause is None else cause


def _is_outage(error: BaseException) -> bool:
    state = _state_of(error)
    if state is None:
        return issubclass(type(error), backend.DatabaseOperationalError) and (
            backend.name != 'sqlite' or any(
                text in str(error) for text in SQLITE_OUTAGES))
    return (
        state[:2] in OUTAGES and state != QUERY_CANCELED
        or state in SERVER_TIMEOUTS)


def _state_of(error: BaseException) -> str | None:
    "Return the SQLSTATE, None where the error is not one of the server."
    if issubclass(type(error), DATABASE_ERROR):
        return getattr(error, 'sqlstate', None)
    return None


def _is_mixed_up(error: BaseException) -> bool:
    "Return whether a pooler gave us the session of another client."
    return (_state_of(error) in MIXED_UP
        # The names that psycopg gives
        and '_pg3_' in str(error))


def prepare_no_more() -> None:
    "Use no prepared statements in this process from now on."
    global _is_pooled
    _is_pooled = True
    logger.warning("a pooler in transaction mode mixes up the prepared "
        "statements of sessions: none are used from now on; see "
        "\"The database\" in doc/configuration.rst")


def _answers(database: str) -> bool:
    try:
        connect(database).close()
    except backend.DatabaseOperationalError:
        return False
    return True


def _is_standby(error: BaseException, database: str) -> bool:
    if _state_of(error) not in READ_ONLY:
        return False
    try:
        with connect(database) as connection:
            row = connection.execute('SELECT pg_is_in_recovery()').fetchone()
    except backend.DatabaseOperationalError:
        return True
    return row[0]


def is_unique_race(error: BaseException) -> bool:
    """Return whether a constraint refused what may be right a moment later.

    Another transaction may have committed what this one did not see, and
    made, too.
    """
    return any(
        issubclass(type(cause), backend.DatabaseIntegrityError)
        for cause in causes(error))


def is_shutdown(error: BaseException | None) -> bool:
    """Return whether an exception is meant to shut down the process.

    Celery has exceptions of its own for that, and the processes of its pool
    leave with a status of the signal less 256.  Where Python has its own
    handler of SIGINT, as in a test, a KeyboardInterrupt is that of the
    terminal; any other one was raised by code.
    """
    cls = type(error)
    if issubclass(cls, KeyboardInterrupt):
        return signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if error is None or not issubclass(cls, SystemExit):
        return False
    code = attribute_of(error, 'code', SystemExit)
    return cls.__module__ == 'celery.exceptions' or (
        type(code) is int and code + 256 in signal.valid_signals())


def before_leaving(
        database: str, function: Callable[[Cursor], object]) -> None:
    """Call function(cursor) in a process that is told to shut down.

    Raises no Exception: if it fails, the process is taken for dead.
    """
    with contextlib.suppress(Exception):
        transact(
            database, lambda cursor: function(
                cursor), retry=0)


def run_tasks(database: str, transaction: Transaction) -> None:
    "Run the tasks that a transaction queued, if no trytond-worker does."
    if (not transaction.tasks
            or config.getboolean('queue', 'worker', default=False)):
        return
    from trytond.worker import run_task
    while transaction.tasks:
        task = transaction.tasks.pop(0)
        try:
            run_task(database, task)
        except Exception:
            raise
        except BaseException as error:
            # What queued it is committed.  Of an Exception trytond says so
            if is_shutdown(error):
                raise
            logger.critical("the task %s failed", task, exc_info=True)


def kept_alive(uri: str) -> str:
    """Return the URI of the database with the timeouts of TCP, if it has none.

    Where a host vanishes, its peer would otherwise wait for hours.  libpq
    takes them as parameters of the URI: seconds, the last one milliseconds
    (it is for what was sent and never acknowledged, where no keepalive goes).
    """
    if not uri.startswith('postgresql:') or 'keepalives' in uri \
            or 'tcp_user_timeout' in uri:
        return uri
    return uri + ('&' if '?' in uri else '?') + 'keepalives_idle=30' \
        '&keepalives_interval=10&keepalives_count=3&tcp_user_timeout=60000'

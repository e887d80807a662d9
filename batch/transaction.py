# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Tryton's rules for whoever runs a transaction, in one place.

They are those of ``trytond/worker.py``: a TransactionError is control flow,
an operational error of the database is tried again, and the tasks queued by
the transaction are run after its commit where no trytond-worker is there.
"""
import logging
import random
import signal
import time

import trytond.config as config
from trytond import backend
from trytond.pool import Pool
from trytond.transaction import Transaction, TransactionError

from .exceptions import DatabaseError

__all__ = ['is_order', 'is_outage', 'load_pool', 'transact']

logger = logging.getLogger(__name__)

#: seconds before the first retry; doubled for each one, times 0.5 to 1.5
DELAY = 0.05
#: seconds at most between two tries
MAX_DELAY = 10
QUERY_CANCELED = '57014'


def load_pool(database):
    """Return the pool of the database, loaded once per process.

    Raises DatabaseError if the module is not activated there.
    """
    if not _is_loaded(database):
        pool = Pool(database)
        with Transaction().start(database, 0, readonly=True):
            pool.init()
        if not _is_loaded(database):
            raise DatabaseError(
                'the module "batch" is not activated in the database "%s": '
                'trytond-admin -d %s -u batch --activate-dependencies'
                % (database, database))
    return Pool(database)


def _is_loaded(database):
    # A database may be listed with an empty pool: starting a transaction is
    # enough for that
    if database not in Pool.database_list():
        return False
    try:
        Pool(database).get('batch.execution')
    except KeyError:
        return False
    return True


class _Transaction(Transaction):
    """One that leaves nothing half-way, whatever is raised at its commit.

    That of trytond rolls back, and aborts its data managers, only where it is
    an Exception.
    """

    def commit(self):
        try:
            super().commit()
        except Exception:
            raise
        except BaseException as error:
            if is_in_transaction(self.connection):
                self.rollback()
                raise
            # It is committed, and only what was to follow is not done
            if is_order(error):
                raise
            logger.critical("a data manager raised after the commit",
                exc_info=True)


def is_in_transaction(connection):
    "Return whether a transaction is open on a connection of the database."
    if hasattr(connection, 'in_transaction'):
        return connection.in_transaction
    # IDLE of psycopg, which is not there where the database is SQLite
    return connection.info.transaction_status != 0


def transact(database, function, user=0, context=None, retry=None,
        on_retry=None, sleep=time.sleep):
    """Return function(transaction), run in a transaction and committed.

    :param retry: how often an operational error of the database is tried
        again, with growing random delay; default: ``[database] retry``
    :param on_retry: called with (error, count) before each new try
    :raises: what function or the commit raised in the end; nothing is left
        of it then, neither rows nor queued tasks
    """
    if retry is None:
        retry = config.getint('database', 'retry')
    extras, count = {}, 0
    while True:
        # Who asks for the current one where there is none leaves one behind
        transaction = _Transaction(new=True)
        try:
            with transaction.start(
                    database, user, context=context or {}, **extras):
                result = function(transaction)
        except TransactionError as error:
            transaction.tasks.clear()
            error.fix(extras)
        except backend.DatabaseOperationalError as error:
            transaction.tasks.clear()
            if count >= retry:
                raise
            count += 1
            if on_retry is not None:
                on_retry(error, count)
            sleep(min(MAX_DELAY, DELAY * 2 ** count) * random.uniform(.5, 1.5))
        except BaseException:
            transaction.tasks.clear()
            raise
        else:
            run_tasks(database, transaction)
            return result


def is_outage(error):
    """Return whether the database itself is in trouble, not what was asked.

    Lost connections, a shutdown, resources that ran out: by the class of the
    SQLSTATE (PostgreSQL, appendix A), which a broken connection has not.
    SQLite has none at all, and its operational errors are of that kind.
    """
    if not issubclass(type(error), backend.DatabaseOperationalError):
        return False
    state = getattr(error, 'sqlstate', None)
    return state is None or state[:2] in {'08', '53', '57', '58'} \
        and state != QUERY_CANCELED


def is_order(error):
    """Return whether the process was told to go: it has to, whoever asks.

    Celery has exceptions of its own for that, and the processes of its pool
    leave with a status of the signal less 256.  Where Python has its own
    handler of SIGINT, as in a test, a KeyboardInterrupt is that of the
    terminal; any other one was raised by code.
    """
    cls = type(error)
    if issubclass(cls, KeyboardInterrupt):
        return signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not issubclass(cls, SystemExit):
        return False
    code = SystemExit.code.__get__(error)
    return cls.__module__ == 'celery.exceptions' or (
        type(code) is int and code + 256 in signal.valid_signals())


def run_tasks(database, transaction):
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
            if is_order(error):
                raise
            logger.critical("the task %s failed", task, exc_info=True)

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Transactions inside of a transaction, for the test kit.

Code that starts, commits and rolls back transactions works unchanged.
"""
import contextlib
import threading
from unittest import mock

from trytond.cache import Cache

__all__ = ['savepoints']


@contextlib.contextmanager
def savepoints(transaction):
    """Make each new transaction a savepoint of this transaction.

    Meanwhile this transaction is hidden from trytond, and the database returns
    a Savepoint on its connection instead of a new connection.
    """
    local, connection = transaction._local, transaction.connection
    outer, tasks = local.transactions, local.tasks
    database, thread = transaction.database, threading.get_ident()
    Database = type(database)
    get, put = Database.get_connection, Database.put_connection

    def get_connection(self, autocommit=False, **options):
        if self.name == database.name and threading.get_ident() == thread:
            return Savepoint(connection, autocommit)
        return get(self, autocommit=autocommit, **options)

    def put_connection(self, connection):
        if not isinstance(connection, Savepoint):
            put(self, connection)

    # The caches do not contain the changes of this transaction, and must not
    # keep changes that are rolled back
    Cache.drop(database.name)
    local.transactions, local.tasks = _Stack(outer), []
    try:
        with mock.patch.multiple(
                Database, get_connection=get_connection,
                put_connection=put_connection):
            yield
    finally:
        local.transactions, local.tasks = outer, tasks
        Cache.drop(database.name)
        for cache in transaction.cache.values():
            cache.clear()
        transaction.counter += 1


class _Stack(list):
    "A stack of transactions, which is empty if only the first ones are left."

    def __init__(self, transactions):
        super().__init__(transactions)
        self.bottom = len(self)

    def __bool__(self):
        return len(self) > self.bottom


class Savepoint:
    """A connection whose transactions are savepoints on another connection.

    :param autocommit: whether to use no savepoint, so nothing is rolled back
    """

    def __init__(self, connection, autocommit=False):
        self._connection = connection
        self._autocommit = autocommit
        self._is_open = False
        self._open()

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def _open(self):
        if self._is_open or self._autocommit:
            return
        cursor = self._connection.cursor()
        # In SQLite, the release of an outermost savepoint commits
        if not getattr(self._connection, 'in_transaction', True):
            cursor.execute('BEGIN IMMEDIATE')
        cursor.execute('SAVEPOINT batch_testing')
        self._is_open = True

    def _end(self, *statements):
        if self._is_open:
            cursor = self._connection.cursor()
            for statement in statements:
                cursor.execute(statement + ' SAVEPOINT batch_testing')
            self._is_open = False

    def cursor(self, *args, **kwargs):
        self._open()
        return self._connection.cursor(*args, **kwargs)

    def commit(self):
        self._end('RELEASE')

    def rollback(self):
        self._end('ROLLBACK TO', 'RELEASE')

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Whether the database answers, has the module, and is of its version."""
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, TypeVar

from trytond import backend
from trytond.model import fields
from trytond.transaction import Transaction

from .exceptions import DatabaseError
from .execution import Execution, ExecutionChunk, ExecutionInput
from .failure import Failure
from .subscription import Subscription
from .texts import message_of
from .transaction import connect

__all__ = [
    'PATIENCE', 'check_database', 'check_sessions', 'patiently',
    'server_timeouts']


Result = TypeVar('Result')

#: seconds for which a command waits at its start for a service that is away,
#: as it may just be restarted
PATIENCE = 10
#: those that end a transaction or its statement, and the milliseconds that no
#: chunk should take
TIMEOUTS = [
    'idle_in_transaction_session_timeout', 'statement_timeout',
    'transaction_timeout']
SHORT = 3_600_000
#: what PostgreSQL says while it refuses for a moment only
PASSING = [
    'starting up', 'shutting down', 'recovery', 'too many', 'not accepting']

#: fields without a column
COMPUTED = fields.Function, fields.One2Many


def patiently(
        function: Callable[[], Result], errors: Any,
        patience: float) -> Result:
    """Return function(), called again while it raises errors.

    For patience seconds, and not where a server answers that it refuses for
    good.  Raises the last error.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return function()
        except errors as error:
            text = str(error)
            if (time.monotonic() >= deadline
                    or 'FATAL' in text
                    and not any(word in text for word in PASSING)):
                raise
            time.sleep(0.5)


def check_database(database: str, patience: float = 0) -> None:
    """Raise DatabaseError unless the database answers and has the module.

    :param patience: seconds for which it may be away
    """
    try:
        if backend.name == 'postgresql':
            # The pool of trytond waits 30 s for a server that is not there
            patiently(
                lambda: connect(database).close(),
                backend.DatabaseOperationalError, patience)
        with Transaction().start(database, 0, readonly=True):
            if not backend.TableHandler.table_exist('batch_execution'):
                raise DatabaseError(
                    'the module "batch" is not activated in the database '
                    '"%s": trytond-admin -d %s -u batch '
                    '--activate-dependencies' % (database, database))
            if is_outdated():
                raise DatabaseError(
                    'the database "%s" is not updated to batch %s: '
                    'trytond-admin -d %s -u batch' % (
                        database, version('trytond-batch'), database))
    except backend.DatabaseOperationalError as error:
        raise DatabaseError(
            'the database "%s" can not be reached (%s); check [database] uri '
            'of trytond.conf and that the server runs'
            % (database, message_of(error))) from error


def is_outdated() -> bool:
    """Return whether a table or a column is missing in the database.

    No pool is loaded: the columns are the fields of the classes.
    """
    cursor = Transaction().connection.cursor()
    for Model in [
            Execution, ExecutionChunk, ExecutionInput, Failure, Subscription]:
        table = Model.__name__.replace('.', '_')
        if not backend.TableHandler.table_exist(table):
            return True
        cursor.execute('SELECT * FROM "%s" LIMIT 0' % table)
        columns = {column[0] for column in cursor.description}
        if not columns >= {
                name for name, field in vars(Model).items()
                if isinstance(field, fields.Field)
                and not isinstance(field, COMPUTED)}:
            return True
    return False


def check_sessions(database: str) -> None:
    """Raise DatabaseError where a pooler gives our session to others, too.

    Two connections that are open at once have two sessions, and keep them.
    """
    if backend.name != 'postgresql':
        return
    with connect(database) as one, connect(database) as other:
        pids = [
            connection.execute('SELECT pg_backend_pid()').fetchone()[0]
            for connection in [one, other, one, other]]
    if pids[:2] != pids[2:] or pids[0] == pids[1]:
        raise DatabaseError(
            'a pooler in transaction mode is between here and the database '
            '"%s", and the locks of a worker\'s keeper do not hold there: let '
            'the pooler be in session mode, or name the server itself in '
            '[database] uri of trytond.conf' % database)


def server_timeouts(database: str) -> list[tuple[str, str]]:
    """Return (name, value) of the server's timeouts that may end a chunk.

    Those of SHORT and above are not returned: they only end what hangs.
    """
    if backend.name != 'postgresql':
        return []
    with Transaction().start(database, 0, readonly=True) as transaction:
        cursor = transaction.connection.cursor()
        cursor.execute(
            'SELECT name, current_setting(name) FROM pg_settings '
            'WHERE name = ANY(%s) AND setting::bigint BETWEEN 1 AND %s '
            'ORDER BY name', [TIMEOUTS, SHORT - 1])
        return cursor.fetchall()

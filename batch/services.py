# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What has to be there: the database, the broker, workers."""
import contextlib
import re
import time

from kombu.exceptions import OperationalError as MessagingError

from trytond import backend
from trytond.model import fields
from trytond.modules import get_module_info
from trytond.transaction import Transaction

from . import tasks
from .exceptions import BrokerError, DatabaseError
from .execution import Execution, ExecutionChunk, ExecutionInput
from .job import version
from .masking import mask_secrets
from .texts import message_of
from .transaction import connect

__all__ = [
    'ask_idle_holders', 'ask_workers', 'check_broker', 'check_database',
    'server_timeouts']


#: seconds for which a command waits at its start for a service that is away:
#: it may just be restarted, and a night is not to be lost for that
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


def patiently(function, errors, patience):
    """Return function(), tried again for patience seconds if it raises errors.

    But not where a server answers, and refuses for good.
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


def check_database(database, patience=0):
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


def is_outdated():
    """Return whether a table or a column is missing in the database.

    No pool is loaded: the columns are the fields of the classes.
    """
    cursor = Transaction().connection.cursor()
    for Model in [Execution, ExecutionChunk, ExecutionInput]:
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


def server_timeouts(database):
    """Return (name, value) of the timeouts of the server that cut chunks.

    Those of SHORT and above are taken for meant: they end what hangs.
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


def check_broker(patience=0):
    """Raise BrokerError unless the broker answers.

    :param patience: seconds for which it may be away
    """
    app = tasks.celery_app
    url = mask_secrets(str(app.conf.broker_url))

    def connect_once():
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=5)

    try:
        patiently(connect_once, (OSError, MessagingError), patience)
    except Exception as error:
        raise BrokerError(
            'the broker %s can not be reached (%s); check broker_url in '
            '[celery] of trytond.conf and that the server runs'
            % (url, message_of(error))) from error


def ask_workers(database, timeout=1):
    """Ask the workers what they serve; raises BrokerError.

    Returns for each that answers its queues, and what is wrong with it for
    the database, or None.
    """
    inspect = tasks.celery_app.control.inspect(timeout=timeout)
    with tasks.from_broker():
        queues = inspect.active_queues() or {}
        known = inspect.registered(
            'batch_version', 'batch_databases', 'batch_modules') \
            if queues else None
    return {
        worker: (
            [queue['name'] for queue in served or []],
            unfitness((known or {}).get(worker) or [], database))
        for worker, served in queues.items()}


def unfitness(registered, database):
    """Return why a worker can not treat batches of the database, else None.

    :param registered: its tasks, each with what it tells of itself
    """
    ours = [
        re.fullmatch(r'%s(?: \[(.*)\])?' % re.escape(tasks.generate.name), t)
        for t in registered]
    ours = next(filter(None, ours), None)
    if ours is None:
        return 'does not know the tasks of batch: start it as coop worker'
    told = dict(re.findall(r'(\w+)=(\S+)', ours[1] or ''))
    if told.get('batch_version') != tasks.generate.batch_version:
        return 'has another version of batch: restart it'
    if (databases := told.get('batch_databases', '').split(',')) != ['']:
        if database not in databases:
            return 'serves the databases %s, not "%s": start it with -d %s' % (
                ', '.join(databases), database, database)
    for module in filter(None, told.get('batch_modules', '').split(',')):
        name, _, version = module.partition(':')
        here = module_version(name)
        if here and here != version:
            return 'has the module %s in version %s, and here it is %s: ' \
                'restart it' % (name, version, here)


def module_version(name):
    "Return the version of a module as it is installed here, None without it."
    with contextlib.suppress(Exception):
        return get_module_info(name)['version']


def ask_idle_holders(timeout=1):
    """Return the workers that hold messages and work on none of them.

    What was given to a process that hangs is not acknowledged, and enough of
    those messages keep the worker from taking any other.  Raises BrokerError.
    """
    inspect = tasks.celery_app.control.inspect(timeout=timeout)
    with tasks.from_broker():
        reserved = inspect.reserved() or {}
        active = inspect.active() or {}
    return {
        worker for worker, requests in reserved.items()
        if requests and not active.get(worker)}

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What has to be there: the database, the broker, workers."""
from kombu.exceptions import OperationalError as MessagingError

from trytond import backend
from trytond.transaction import Transaction

from . import logging as batch_logging
from . import schema, tasks
from .exceptions import BrokerError, DatabaseError
from .job import version

__all__ = [
    'ask_idle_holders', 'ask_workers', 'check_broker', 'check_database',
    'said']


def check_database(database):
    "Raise DatabaseError unless the database answers and has the module."
    try:
        if backend.name == 'postgresql':
            # The pool of trytond waits 30 s for a server that is not there
            import psycopg
            params = backend.Database._connection_params(database)
            psycopg.connect(params['conninfo'], connect_timeout=5).close()
        with Transaction().start(database, 0, readonly=True):
            if not backend.TableHandler.table_exist('batch_execution'):
                raise DatabaseError(
                    'the module "batch" is not activated in the database '
                    '"%s": trytond-admin -d %s -u batch '
                    '--activate-dependencies' % (database, database))
            if schema.is_outdated():
                raise DatabaseError(
                    'the database "%s" is not updated to batch %s: '
                    'trytond-admin -d %s -u batch' % (
                        database, version('trytond-batch'), database))
    except backend.DatabaseOperationalError as error:
        raise DatabaseError(
            'the database "%s" can not be reached (%s); check [database] uri '
            'of trytond.conf and that the server runs'
            % (database, said(error))) from error


def check_broker():
    "Raise BrokerError unless the broker answers."
    app = tasks.celery_app
    url = batch_logging.mask_secrets(str(app.conf.broker_url))
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(
                max_retries=1, interval_start=0.2, timeout=5)
    except Exception as error:
        raise BrokerError(
            'the broker %s can not be reached (%s); check broker_url in '
            '[celery] of trytond.conf and that the server runs'
            % (url, said(error))) from error


def said(error):
    "Return what an error of a service says, on one line."
    return batch_logging.mask_secrets(' '.join(str(error).split()))


def ask_workers(timeout=1):
    """Ask the workers what they serve.

    Returns for each that answers its queues, and what is wrong with it or
    None.
    """
    inspect = tasks.celery_app.control.inspect(timeout=timeout)
    try:
        queues = inspect.active_queues() or {}
        known = inspect.registered('batch_version') or {} if queues else {}
    except (OSError, MessagingError):
        return {}
    name = tasks.generate.name
    ours = '%s [batch_version=%s]' % (name, tasks.generate.batch_version)

    def wrong(worker):
        names = known.get(worker) or []
        if ours in names:
            return None
        if any(n.startswith(name) for n in names):
            return 'has another version of batch: restart it'
        return 'does not know the tasks of batch: start it as coop worker'

    return {
        worker: ([queue['name'] for queue in served or []], wrong(worker))
        for worker, served in queues.items()}


def ask_idle_holders(timeout=1):
    """Return the workers that hold messages and work on none of them.

    What was given to a process that hangs is not acknowledged, and enough of
    those messages keep the worker from taking any other.
    """
    inspect = tasks.celery_app.control.inspect(timeout=timeout)
    try:
        reserved = inspect.reserved() or {}
        active = inspect.active() or {}
    except (OSError, MessagingError):
        return set()
    return {
        worker for worker, requests in reserved.items()
        if requests and not active.get(worker)}

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Asks the broker and the workers whether they answer, and what they serve."""
import contextlib
import re

from celery.app.control import Control, flatten_reply
from kombu.exceptions import OperationalError as MessagingError

from trytond.modules import get_module_info

from . import tasks
from .database import patiently
from .exceptions import BrokerError
from .internals import forget_producers
from .masking import mask_secrets
from .texts import message_of

__all__ = [
    'ask_idle_holders', 'ask_workers', 'check_broker', 'check_refusal',
    'describe_missing', 'missing_worker', 'module_version']


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


def check_refusal():
    """Raise BrokerError where the broker answers, and refuses us.

    Celery would ask again and again, several times in a second.  One that
    does not answer may be about to start: Celery waits for it.
    """
    try:
        check_broker()
    except BrokerError as error:
        if not isinstance(error.__cause__, (OSError, MessagingError)):
            raise


@contextlib.contextmanager
def asking(timeout):
    """Give what asks the workers; raises BrokerError.

    While RabbitMQ is short of memory or disk, it says so once to who gave it
    a message, and reads nothing more of that connection.
    """
    control = Control(tasks.celery_app)
    # Or it would give its messages to another connection
    forget_producers(control)
    with tasks.as_broker_error(), \
            tasks.celery_app.connection_for_write() as connection:
        if connection.transport.driver_name == 'py-amqp':
            connection.transport_options = {
                **(connection.transport_options or {}),
                'on_blocked': refuse_blocked, 'read_timeout': 5}

        def ask(command, **arguments):
            return flatten_reply(control.broadcast(
                    command, arguments=arguments, reply=True, timeout=timeout,
                    connection=connection) or [])

        try:
            yield ask
        except OSError:
            # Nobody would answer that it may be closed
            connection.collect()
            raise


def refuse_blocked(reason):
    raise OSError('it takes no messages: %s' % reason)


def ask_workers(database, timeout=1):
    """Ask the workers what they serve; raises BrokerError.

    Returns for each that answers its queues, and what is wrong with it for
    the database, or None.
    """
    with asking(timeout) as ask:
        queues = ask('active_queues')
        known = queues and ask('registered', taskinfoitems=[
                'batch_version', 'batch_databases', 'batch_modules'])
    return {
        worker: (
            [queue['name'] for queue in served or []],
            why_unfit(known.get(worker) or [], database))
        for worker, served in queues.items()}


def missing_worker(database, queue):
    """Return what to do if no worker is fit for the queue, else None.

    Raises BrokerError.
    """
    workers = ask_workers(database)
    if not any(
            queue in queues and not wrong
            for queues, wrong in workers.values()):
        return describe_missing(database, queue, workers)


def describe_missing(database, queue, workers):
    """Return the text that says which worker to start.

    :param workers: those that are there, as ask_workers gives them
    """
    text = 'no worker answers for the queue "%s"; start one: ' \
        'coop worker -d %s' % (queue, database)
    if queue != tasks.celery_app.conf.task_default_queue:
        text += ' -Q %s' % queue
    if workers:
        text += ' (%s)' % '; '.join(
            '%s %s' % (worker, wrong or 'serves ' + ', '.join(queues))
            for worker, (queues, wrong) in sorted(workers.items()))
    return text


def why_unfit(registered, database):
    """Return why a worker can not treat batches of the database, else None.

    :param registered: its tasks, each with the attributes that it reports
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
    """Return the workers that hold messages and process none of them.

    A process that hangs does not acknowledge its message.  With enough of
    these messages, the worker takes no other.  Raises BrokerError.
    """
    with asking(timeout) as ask:
        reserved, active = ask('reserved'), ask('active')
    return {
        worker for worker, requests in reserved.items()
        if requests and not active.get(worker)}

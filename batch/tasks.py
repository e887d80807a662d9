# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The two tasks, and the Celery application that they belong to.

A message contains only ids of rows of the ledger.  So if it is delivered
twice, late or out of order, its row is ended or locked, and the task does
nothing.
"""
import contextlib
import importlib
import json
import logging
import warnings
from importlib.metadata import version

from celery.app.defaults import NAMESPACES, flatten
from kombu.exceptions import ChannelError
from kombu.exceptions import OperationalError as MessagingError
from kombu.transport import TRANSPORT_ALIASES

import trytond.config as config

from . import ledger, positions
from .engine import selection, turn
from .engine.running import load_job
from .exceptions import (
    BatchError, BrokerError, ConfigError, DatabaseError, TaskFailedError,
    UsageError, nearest)
from .masking import mask_secrets
from .texts import message_of
from .transaction import load_pool, transact

with warnings.catch_warnings():
    # celery-tryton 0.4 asks for trytond.config.config
    warnings.filterwarnings(
        'ignore', r"trytond\.config\.config is deprecated",
        DeprecationWarning)
    import celery_tryton

__all__ = [
    'TrytonTask', 'celery_app', 'as_broker_error', 'generate', 'generate_all',
    'has_broker', 'is_idle', 'send_execution', 'send_selection', 'sender',
    'served_databases']

logger = logging.getLogger(__name__)

celery_app = celery_tryton.celery_app
# By name, so that only a worker imports them
celery_app.steps['worker'].add('trytond.modules.batch.worker:Service')
celery_app.steps['consumer'].add('trytond.modules.batch.worker:Watch')
#: the settings of Celery that are URLs of brokers, and types that are JSON
BROKERS = {'broker_url', 'broker_read_url', 'broker_write_url'}
JSON = {'dict': dict, 'list': list, 'tuple': list}
#: of AMQP
NOT_FOUND = '404'
#: failed chunks that the error of a task names
SHOWN = 3


class TrytonTask(celery_tryton.TrytonTask):
    """The task of celery-tryton, which works with current versions of trytond.

    The protocol is unchanged: apply_async adds ``_database``, ``_user`` and
    ``_context`` of the current transaction, and the body runs inside of
    a transaction with these.  A task with own_transactions starts its own
    transactions, and gets the name of the database instead.
    """
    abstract = True
    #: off, as Celery would compare _database and so on with the signature
    typing = False
    own_transactions = False
    Strategy = 'trytond.modules.batch.celery_fixes:strategy'
    Request = 'trytond.modules.batch.celery_fixes:Request'

    def __call__(self, *args, **kwargs):
        database = kwargs.pop(
            '_database', self.app.conf.get('TRYTON_DATABASE'))
        user = kwargs.pop('_user', 0)
        context = kwargs.pop('_context', {})
        served = served_databases(self.app)
        if served and database not in served:
            raise DatabaseError(
                'a message for the database "%s" is refused: this worker '
                'serves %s; start one with -d %s, and give each its own '
                'queue or broker' % (database, ', '.join(served), database))
        if self.own_transactions:
            return self.run(*args, database=database, **kwargs)
        load_pool(database)
        return transact(
            database, lambda cursor: self.run(*args, **kwargs),
            user=user, context=context)


def served_databases(app=celery_app):
    "Return the names of the databases of this worker; empty if unknown."
    return app.conf.get('TRYTON_DATABASES') or []


@celery_app.task(
    base=TrytonTask, bind=True, name='batch.generate_all',
    own_transactions=True, acks_late=True, ignore_result=True,
    throws=(BatchError,))
def generate_all(
        self, batch_name, execution=None, parameters=None, *, database):
    """Select the units of a batch, plan its chunks and send the first.

    :param batch_name: the ``__name__`` of the batch
    :param execution: id of the execution; None to create one
    :param parameters: if execution is None: the text of each parameter by name
    """
    if not isinstance(batch_name, str) or not isinstance(
            execution, (int, type(None))):
        raise UsageError('a message with the batch %.100r and the execution '
            '%.100r is refused' % (batch_name, execution))
    if problem := selection.select_and_plan(
            database, batch_name, execution, parameters,
            task_id=self.request.id, send=sender(database)):
        raise TaskFailedError(problem)


@celery_app.task(
    base=TrytonTask, bind=True, name='batch.generate', own_transactions=True,
    acks_late=True, ignore_result=True, throws=(BatchError,),
    # What a worker answers to an inspection
    batch_version=version('trytond-batch'))
def generate(self, execution, chunk, *, database):
    """Process a chunk, and its successors until the end of the turn.

    :param execution: id of the execution
    :param chunk: id of the chunk
    """
    if not isinstance(execution, int) or not isinstance(chunk, int):
        raise UsageError('a message with the execution %.100r and the chunk '
            '%.100r is refused' % (execution, chunk))
    positions.begin_task(self.request.id)
    if failed := turn.take_turn(
            database, execution, chunk, send=sender(database),
            is_idle=is_idle, again=(self.request.delivery_info or {}).get(
                'redelivered', False)):
        # All is committed: only so that clients of Celery show it
        raise TaskFailedError('failed: %s; coop show %s' % (
                ', '.join(failed[:SHOWN]) + ' ...' * (len(failed) > SHOWN),
                execution))


def send_selection(database, batch, execution, queue):
    "Send the message of a selection; raises BrokerError."
    with as_broker_error():
        generate_all.apply_async(
            args=[batch],
            kwargs={'execution': execution, '_database': database},
            argsrepr='%s #%s' % (batch, execution), queue=queue, retry=False)


def sender(database, batch=None, queue=None):
    """Return the function that sends the message of a chunk.

    The function raises BrokerError.

    :param batch: None for those of the execution, which needs the pool
    """
    numbers = {}

    def send(execution, chunk, number=None):
        with as_broker_error():
            name, to = batch, queue
            if name is None:
                if (job := load_job(database, execution)) is None:
                    # It was pruned meanwhile
                    return
                name, to = job.batch, job.settings['queue']
            if number is None and chunk not in numbers:
                numbers.update(numbers_of(database, execution))
            generate.apply_async(
                kwargs={
                    'execution': execution, 'chunk': chunk,
                    '_database': database},
                # What Celery's clients show
                argsrepr='%s #%s.%s' % (
                    name, execution, number or numbers.get(chunk, '?')),
                queue=to, retry=False)
    return send


def is_idle(job):
    """Return whether some process would take a message of a job now.

    That is, whether no message waits in its queue.  False if not known.
    """
    queue = job.settings['queue'] or celery_app.conf.task_default_queue
    try:
        with celery_app.producer_or_acquire() as producer:
            return not producer.channel.queue_declare(
                queue, passive=True).message_count
    except ChannelError as error:
        # Redis has no queue that is empty
        return str(error.reply_code) == NOT_FOUND
    except Exception:
        return False


def numbers_of(database, execution):
    """Return the numbers of the queued chunks by their ids.

    They are only shown: nothing depends on them, and nothing is raised.
    """
    try:
        return transact(database, lambda cursor: (
                ledger.open_chunks.list_numbers(cursor, execution)), retry=0)
    except Exception:
        return {}


def send_execution(database, batch, execution, queue, chunks=None):
    """Send the messages of chunks, or that of the selection.

    Returns the text of the error if the broker accepts no message, else None.
    The keeper of a worker then sends the messages later.

    :param chunks: ids; None for the selection
    """
    try:
        if chunks is None:
            send_selection(database, batch, execution, queue)
        else:
            send = sender(database, batch, queue)
            for chunk in chunks:
                send(execution, chunk)
    except BrokerError as error:
        return str(error)


@contextlib.contextmanager
def as_broker_error():
    """Turn an error of the broker into a BrokerError.

    The broker may be away, full, read-only or unable to save: kombu raises
    these as errors of the connection or of the channel.
    """
    try:
        yield
    except Exception as error:
        # Only after an error, as it takes longer than sending a message
        transport = celery_app.connection_for_write().transport
        if not isinstance(error, (
                    OSError, MessagingError, *transport.connection_errors,
                    *transport.channel_errors)):
            raise
        raise BrokerError('the broker does not answer: %s'
            % message_of(error)) from error


def apply_celery_settings(app):
    """Apply ``[celery]`` of trytond.conf to the application.

    ``config`` is the name of a module, as in celery-tryton.  Any setting of
    Celery can be set under its lower-case name.  Raises ConfigError.
    """
    known = dict(flatten(NAMESPACES))
    app.conf.update(
        # A process reserves no second message while it works on a chunk
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        # For example RabbitMQ's consumer_timeout, or a Redis that is full:
        # the worker then opens a new channel
        broker_channel_error_retry=True,
        # As Celery 6 does by itself: it would end what works, to begin again
        worker_cancel_long_running_tasks_on_connection_loss=False,
        )
    if not config.has_section('celery'):
        return
    for name in config.options('celery'):
        text = config.get('celery', name)
        if name == 'config':
            try:
                importlib.import_module(text)
            except ImportError as error:
                raise ConfigError(
                    'trytond.conf', 'is "%s", expected a module that can be '
                    'imported: %s' % (text, error), 'celery', 'config')
            continue
        if name not in known:
            raise ConfigError(
                'trytond.conf', 'is no setting of Celery%s'
                % nearest(name, known), 'celery', name)
        if name in BROKERS and not is_broker(text):
            raise ConfigError(
                'trytond.conf', 'is "%s", expected a URL as '
                'redis://HOST:6379/0 or amqp://HOST:5672//'
                % mask_secrets(text), 'celery', name)
        try:
            app.conf[name] = _parse(known[name], text)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                'trytond.conf', 'is "%s", expected a value of the type %s: %s'
                % (text, known[name].type, error), 'celery', name)


def _parse(option, text):
    if option.type == 'any':
        return json.loads(text)
    if option.type in JSON:
        value = json.loads(text)
        if not isinstance(value, JSON[option.type]):
            raise ValueError('expected a JSON %s' % (
                    'object' if option.type == 'dict' else 'array'))
        return value
    return option.to_python(text)


def is_broker(url):
    "Return whether each URL, separated by ;, names a transport of kombu."
    transports = [one.partition('://') for one in url.split(';') if one]
    return all(
        found and (name.split('+')[0] in TRANSPORT_ALIASES
            # The path of a transport class
            or '.' in name or ':' in name)
        for name, found, _ in transports)


apply_celery_settings(celery_app)


def has_broker():
    "Return whether a broker is configured; else batches run in-process."
    return bool(celery_app.conf.broker_url)

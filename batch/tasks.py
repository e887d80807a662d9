# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The two tasks, and the Celery application that they belong to.

A message names rows of the ledger and nothing else, so that one delivered
twice, late or out of order finds its row ended, or locked, and does nothing.
"""
import contextlib
import importlib
import json
import logging
import re
import warnings

from billiard.exceptions import WorkerLostError
from celery import signals
from celery.app.defaults import NAMESPACES, flatten

import trytond.config as config
from trytond import backend

from . import job, plan, work
from .exceptions import ConfigError, nearest
from .transaction import load_pool, transact

with warnings.catch_warnings():
    # celery-tryton 0.4 asks for trytond.config.config
    warnings.filterwarnings(
        'ignore', r"trytond\.config\.config is deprecated",
        DeprecationWarning)
    import celery_tryton

__all__ = [
    'TrytonTask', 'celery_app', 'generate', 'generate_all', 'has_broker',
    'sender']

logger = logging.getLogger(__name__)

celery_app = celery_tryton.celery_app
#: what the database refuses at the end of all our retries is tried later, for
#: about a quarter of an hour; after that, whoever follows sends it again
LATER = {
    'autoretry_for': (backend.DatabaseOperationalError,),
    'retry_backoff': 1,
    'retry_backoff_max': 60,
    'max_retries': 20,
    }
#: seconds until an execution that nobody follows asks whether it still waits
PAUSE = 10


class TrytonTask(celery_tryton.TrytonTask):
    """The task of celery-tryton, made to run on the trytond of today.

    The protocol is as it was: apply_async adds ``_database``, ``_user`` and
    ``_context`` of the current transaction, and the body runs inside
    a transaction of them.  A body that starts its own transactions says so
    with own_transactions, and is given the name of the database instead.
    """
    abstract = True
    #: Celery would check the protocol's arguments against the body's
    typing = False
    own_transactions = False

    def __call__(self, *args, **kwargs):
        database = kwargs.pop(
            '_database', self.app.conf.get('TRYTON_DATABASE'))
        user = kwargs.pop('_user', 0)
        context = kwargs.pop('_context', {})
        if self.own_transactions:
            return self.run(*args, database=database, **kwargs)
        load_pool(database)
        return transact(
            database, lambda transaction: self.run(*args, **kwargs),
            user=user, context=context)


@celery_app.task(
    base=TrytonTask, bind=True, name='batch.generate_all',
    own_transactions=True, acks_late=True, ignore_result=True, **LATER)
def generate_all(
        self, batch_name, execution=None, parameters=None, is_followed=False,
        *, database):
    """Select the units of a batch, plan its chunks and send the first.

    :param batch_name: the ``__name__`` of the batch
    :param execution: id of the execution that was made for it; without it
        one is made
    :param parameters: without execution: the text of each parameter by name
    :param is_followed: whether somebody asks again if it has to wait
    """
    waiting = plan.plan(
        database, batch_name, execution, parameters,
        task_id=self.request.id, send=sender(database))
    if waiting and not is_followed:
        send_selection(database, batch_name, waiting, queue_of(self),
            countdown=PAUSE)


def send_selection(database, batch, execution, queue, is_followed=False,
        **options):
    "Give the broker the task that selects."
    generate_all.apply_async(
        args=[batch],
        kwargs={
            'execution': execution, 'is_followed': is_followed,
            '_database': database},
        queue=queue, **options)


def queue_of(task):
    "Return the queue from which a task was taken."
    return (task.request.delivery_info or {}).get('routing_key')


@celery_app.task(
    base=TrytonTask, bind=True, name='batch.generate', own_transactions=True,
    batch_version=job.version('trytond-batch'), acks_late=True,
    ignore_result=True, **LATER)
def generate(self, execution, chunk, *, database):
    """Treat a chunk, and its successors while the turn lasts.

    :param execution: id of the execution
    :param chunk: id of the chunk
    """
    work.turn(
        database, execution, chunk, send=sender(database),
        again=(self.request.delivery_info or {}).get('redelivered', False))


@signals.task_failure.connect(sender=generate)
def process_lost(exception=None, kwargs=None, **_):
    """Take up again the chunk of a process that died.

    Called in the parent of the processes, which lives: so the death was that
    of one process, and what it was working on is to blame, unless the parent
    is stopping: who stops a service may tell all of its processes to go.
    """
    if not isinstance(exception, WorkerLostError):
        return
    database, execution = kwargs['_database'], kwargs['execution']
    with helping(database, execution):
        chunk = work.lost(
            database, execution, kwargs['chunk'], cause_of(exception),
            blame=not is_stopping())
        if chunk is not None:
            sender(database)(execution, chunk)


@signals.task_failure.connect(sender=generate_all)
def selection_lost(exception=None, args=None, kwargs=None, **_):
    "Select again after the loss of a process, a few times."
    if (not isinstance(exception, WorkerLostError) or is_stopping()
            or kwargs.get('execution') is None):
        return
    with helping(kwargs['_database'], kwargs['execution']):
        if plan.lost(
                kwargs['_database'], args[0], kwargs['execution'],
                cause_of(exception)):
            generate_all.apply_async(
                args=args, kwargs=kwargs, queue=queue_of(generate_all))


def cause_of(error):
    "Return how a process died, such as ``signal 9``."
    cause = re.search(r'signal \d+|exitcode \d+', str(error))
    return cause.group() if cause else str(error)


@contextlib.contextmanager
def helping(database, execution):
    "For what the parent of the processes does: it must go on itself."
    try:
        yield
    except Exception:
        # Whoever follows the execution will find it
        logger.exception(
            "%s #%s could not be helped after the loss of a worker", database,
            execution)
    finally:
        if backend.name != 'sqlite':
            # Processes are forked from here: they must not share connections
            backend.Database(database).close()


def is_stopping():
    "Return whether the worker was told to stop."
    # A command has no use for all that it imports
    from celery.worker import state

    # The status to end with, which may be 0
    return any(
        status is not None and status is not False
        for status in [state.should_stop, state.should_terminate])


def sender(database, queue=None):
    """Return the function that gives a chunk to the broker.

    :param queue: None to find the execution's, which needs the pool
    """
    def send(execution, chunk):
        generate.apply_async(
            kwargs={
                'execution': execution, 'chunk': chunk,
                '_database': database},
            queue=queue or job.load_job(database, execution).settings['queue'])
    return send


def configure(app):
    """Apply ``[celery]`` of trytond.conf to the application.

    ``config`` names a module, as celery-tryton has it; any setting of Celery
    may stand beside it under its own lower-case name.  Raises ConfigError.
    """
    known = dict(flatten(NAMESPACES))
    app.conf.update(
        # A message is for one chunk; hold no second one while it runs
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
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
        try:
            app.conf[name] = _read(known[name], text)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                'trytond.conf', 'is "%s", expected a value of the type %s: %s'
                % (text, known[name].type, error), 'celery', name)


def _read(option, text):
    if option.type in {'dict', 'list', 'tuple', 'any'}:
        return json.loads(text)
    return option.to_python(text)


configure(celery_app)


def has_broker():
    "Return whether a broker is configured; without one all runs in-process."
    return bool(celery_app.conf.broker_url)

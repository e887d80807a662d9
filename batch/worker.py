# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A Celery worker for batches: ``coop worker``, or Celery's own command.

Celery loads the two bootsteps below.  ``Service`` loads the databases before
the processes of the pool are forked, and starts the keeper, a separate process
like Celery's embedded beat.  ``Watch`` kills pool processes that hang before
they start a job, and restarts the keeper.
"""
import csv
import json
import logging
import os
import re
import secrets
import signal
import sys
from dataclasses import asdict

import click
from billiard import current_process
from billiard.exceptions import WorkerLostError
from celery import bootsteps, signals
from celery.bin.base import CLIContext
from celery.bin.worker import worker as celery_worker
from celery.exceptions import ImproperlyConfigured

import trytond.config as config
from trytond import backend

from . import celery_fixes, ledger, positions, tasks
from .batch import get_batches
from .broker import check_refusal, module_version
from .database import check_database, check_sessions
from .engine.running import open_configured_logs
from .exceptions import BatchError, BrokerError, ConfigError, UsageError
from .internals import jobs_of, number_of, processes_of
from .keeper_process import KeeperProcess
from .rescue import LOOK, Death
from .texts import message_of
from .transaction import is_outage, kept_alive, load_pool, transact

__all__ = ['Service', 'Watch', 'serve']

logger = logging.getLogger(__name__)

#: directory of the log of a worker; the file has the name of the node
LOG_DIR = '/var/log/celeryd'
#: checks in succession at which a job waits and a process takes none, until
#: the process is killed: more than one, as the parent itself may be busy
LOOKS = 5
#: seconds between two checks whether a process of the pool has ended
REAP = 0.25


def serve(databases, arguments):
    """Run a worker until it is shut down; return its exit status.

    :param arguments: passed on to ``celery worker``
    """
    given_options(arguments)
    if not databases:
        raise UsageError(
            'a worker needs to know its databases: -d DATABASE or '
            'TRYTOND_DATABASE_NAMES')
    if not tasks.has_broker():
        raise BrokerError(
            'no broker is configured: a worker needs broker_url in [celery] '
            'of trytond.conf (without one, batches run in the command itself)')
    for database in databases:
        check_database(database)
        check_sessions(database)
    check_refusal()
    tasks.celery_app.conf.TRYTON_DATABASES = list(databases)
    return run_celery(arguments)


def given_options(arguments):
    "Return the options of celery worker by name; raises UsageError."
    try:
        options, _, _ = celery_worker.make_parser(
            click.Context(celery_worker)).parse_args(list(arguments))
    except click.ClickException as error:
        raise not_understood(error) from error
    if options.get('detach'):
        raise UsageError('a worker stays in the foreground: leave out '
            '--detach, and let a service manager start it')
    return options


def not_understood(error):
    return UsageError(
        '%s ("celery worker --help" shows the options of a worker)'
        % error.format_message())


def run_celery(arguments):
    "Run Celery's command and return its exit status; raises BatchError."
    # The arguments come last and override these defaults
    defaults = ['--loglevel=INFO']
    if not given_options(arguments).get('logfile'):
        if os.access(LOG_DIR, os.W_OK):
            defaults.append('--logfile=%s/%%n.log' % LOG_DIR)
        else:
            print('coop: %s can not be written: the log of the worker goes '
                'to stderr (--logfile FILE puts it elsewhere)' % LOG_DIR,
                file=sys.stderr)
    context = CLIContext(
        tasks.celery_app, no_color=bool(os.environ.get('NO_COLOR')),
        workdir=None)
    streams = sys.stdout, sys.stderr
    try:
        status = celery_worker.main(
            [*defaults, *arguments], prog_name='coop worker', obj=context,
            standalone_mode=False) or 0
    except click.ClickException as error:
        raise not_understood(error) from error
    except ImproperlyConfigured as error:
        raise ConfigError('[celery] of trytond.conf, or the options of the '
            'worker', str(error)) from error
    except BatchError:
        raise
    except Exception as error:
        raise BatchError('the worker ended: %s: %s; check [celery] of '
            'trytond.conf' % (
                type(error).__name__, message_of(error))) from error
    finally:
        # Celery redirected them to its log
        sys.stdout, sys.stderr = streams
    if status:
        print('coop: the worker ended with status %s; its log says why'
            % status, file=sys.stderr)
    return status


class Service(bootsteps.StartStopStep):
    "Loads the databases, and starts the keeper."
    requires = ('celery.worker.components:Pool',)

    def __init__(self, worker, **kwargs):
        super().__init__(worker, **kwargs)
        worker.batch_service = self
        self.process = None
        self.is_stopping = False
        refuse_time_limits(worker)
        self.databases = name_databases(worker.app)
        celery_fixes.outlive_lost_connections()
        ledger.claimants.worker_key = secrets.randbelow((1 << 31) - 1) + 1
        config.set(
            'database', 'uri', kept_alive(config.get('database', 'uri')))
        open_configured_logs()
        load(self.databases)
        # A waiting command asks the workers for these
        tasks.generate.batch_databases = ','.join(self.databases) or None
        tasks.generate.batch_modules = versions(self.databases) or None
        self.reader, self.writer = os.pipe()
        positions.share()
        signals.worker_process_init.connect(take_place)
        # If the pipe is full, drop the report of a death rather than block
        os.set_blocking(self.writer, False)
        if self.databases and backend.name != 'sqlite':
            for task in [tasks.generate, tasks.generate_all]:
                signals.task_failure.connect(self.tell_death, sender=task)

    def start(self, worker):
        "Start the keeper, unless it runs."
        if (not self.databases or backend.name == 'sqlite'
                or self.is_stopping
                or self.process is not None and self.process.is_alive()):
            return
        if self.process is not None:
            logger.warning(
                "the keeper ended with the status %s and is started again",
                self.process.exitcode)
        self.process = KeeperProcess(self.databases, self.reader)
        self.process.start()

    def stop(self, worker):
        self.is_stopping = True
        if self.process is not None and self.process.is_alive():
            self.process.terminate()
            self.process.join(timeout=LOOK)

    terminate = stop

    def tell_death(
            self, sender=None, task_id=None, exception=None, args=None,
            kwargs=None, **_):
        """Report the death of a pool process to the keeper.

        Called in the parent.  The parent is alive, so only one process died,
        and its chunk counts a death.  It does not count if the worker is
        stopping, as a service manager may then kill all of its processes.
        """
        if not isinstance(exception, WorkerLostError):
            return
        chunk, reached = positions.find(task_id)
        death = Death(
            kwargs.get('_database') or self.databases[0],
            kwargs.get('execution'), chunk or kwargs.get('chunk'),
            cause_of(exception), blame=not is_stopping(), reached=reached)
        if death.execution is None:
            return
        try:
            os.write(self.writer, json.dumps(asdict(death)).encode() + b'\n')
        except OSError as error:
            logger.error("#%s: the keeper can not be told that a process died "
                "(%s): %s", death.execution, death.cause, error)


def take_place(**_):
    "Give a process of the pool, which was just forked, its place."
    positions.take(getattr(current_process(), 'index', None))


def refuse_time_limits(worker):
    "Raise ImproperlyConfigured if a time limit of Celery is set."
    for name, limit in [
            ('task_time_limit', worker.time_limit),
            ('task_soft_time_limit', worker.soft_time_limit)]:
        if limit:
            raise ImproperlyConfigured(
                '%s = %s of Celery would end a chunk without recording the '
                'reason: remove it, and set time_limit in batch.conf' % (
                    name, limit))


def name_databases(app):
    """Return the databases to serve, and store them in the configuration.

    They come from ``coop worker -d``; under Celery's own command from
    TRYTOND_DATABASE_NAMES, or from celery-tryton's setting TRYTON_DATABASE.
    """
    databases = tasks.served_databases(app)
    if not databases:
        names = os.environ.get('TRYTOND_DATABASE_NAMES') \
            or app.conf.get('TRYTON_DATABASE')
        databases = next(csv.reader([names])) if names else []
    if not databases:
        logger.warning("no database is named: this worker has no keeper, so "
            "it sends no lost message again; set TRYTOND_DATABASE_NAMES, or "
            "use coop worker -d")
    app.conf.TRYTON_DATABASES = databases
    if databases:
        app.conf.TRYTON_DATABASE = databases[0]
    return databases


def load(databases):
    "Load the pools once, before the processes are forked."
    for database in databases:
        try:
            load_pool(database)
        except Exception as error:
            if not is_outage(error):
                raise
            # Each pool process tries again
            logger.error('the database "%s" does not answer: %s',
                database, message_of(error))
        finally:
            if backend.name != 'sqlite':
                # A forked process must not use a connection of the parent
                backend.Database(database).close()


def versions(databases):
    "Return the modules that define batches as ``name:version,...``."
    modules = set()
    for database in databases:
        try:
            batches = transact(database, lambda cursor: get_batches())
        except Exception as error:
            if not is_outage(error):
                raise
            continue
        finally:
            if backend.name != 'sqlite':
                backend.Database(database).close()
        for Batch in batches.values():
            for base in Batch.__mro__:
                package, _, rest = base.__module__.partition('modules.')
                if package == 'trytond.' and rest:
                    modules.add(rest.split('.')[0])
    return ','.join(
        '%s:%s' % (module, module_version(module))
        for module in sorted(modules - {'batch'}))


class Watch(bootsteps.StartStopStep):
    """Checks the processes of a worker, while it is connected to the broker.

    If a pool process hangs before it starts a job, the message of the job is
    never acknowledged, and counts among the few messages that a worker
    prefetches.  With as many of these as it has processes, a worker still
    answers but runs nothing.  Such a process is killed, because Celery then
    gives its job to another process.
    """
    requires = ('celery.worker.consumer.connection:Connection',)

    def __init__(self, consumer, **kwargs):
        super().__init__(consumer, **kwargs)
        self.entries = []
        self._jobs = {}
        self._pids = {}

    def start(self, consumer):
        # When Celery connects again, it may or may not have kept the timer
        # entries: so cancel them first
        self.stop(consumer)
        self.entries = [
            consumer.timer.call_repeatedly(LOOK, self.look, (consumer,))]
        # Celery learns of the end of a process too early: the system may not
        # have its exit status yet, and Celery asks again only every 5 seconds
        if maintain := getattr(consumer.pool, 'maintain_pool', None):
            self.entries.append(
                consumer.timer.call_repeatedly(REAP, maintain))

    def stop(self, consumer):
        while self.entries:
            self.entries.pop().cancel()

    def look(self, consumer):
        worker = consumer.controller
        worker.batch_service.start(worker)
        jobs = jobs_of(consumer.pool)
        busy = {pid for job in jobs for pid in job.worker_pids()}
        self._jobs = counted(self._jobs, [
                number_of(job) for job in jobs if not job.accepted()])
        self._pids = counted(
            self._pids, set(processes_of(consumer.pool)) - busy)
        if max(self._jobs.values(), default=0) < LOOKS:
            return
        for pid, count in self._pids.items():
            if count >= LOOKS:
                logger.warning(
                    "the process %s takes no job, though jobs wait: killed",
                    pid)
                os.kill(pid, signal.SIGKILL)


def counted(counts, keys):
    "Return for each key at how many checks in succession it was present."
    return {key: counts.get(key, 0) + 1 for key in keys}


def cause_of(error):
    "Return how a process died, such as ``signal 9``."
    cause = re.search(r'signal \d+|exitcode \d+', str(error))
    return cause.group() if cause else str(error)


def is_stopping():
    "Return whether the worker is shutting down."
    # These are None or False, or the exit status, which may be 0
    from celery.worker import state
    return any(
        status is not None and status is not False
        for status in [state.should_stop, state.should_terminate])

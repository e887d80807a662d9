# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""``coop worker``: a Celery worker that serves the given databases."""
import os
import sys

import click
from celery import signals
from celery.bin.base import CLIContext
from celery.bin.worker import worker

from trytond import backend

from . import services, tasks, watch
from .exceptions import BatchError, BrokerError, UsageError
from .job import configure_logs
from .transaction import load_pool

__all__ = ['run']

#: where the log of a worker is expected (the node's name comes behind)
LOG_DIR = '/var/log/celeryd'


def run(databases, arguments):
    """Run a worker until it is told to stop; return its exit status.

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
        services.check_database(database)
    tasks.celery_app.conf.TRYTON_DATABASE = databases[0]

    @signals.worker_init.connect(weak=False)
    def load(**_):
        # Once, before the processes are forked
        configure_logs()
        for database in databases:
            load_pool(database)
            if backend.name != 'sqlite':
                # A connection is of the process that opened it
                backend.Database(database).close()

    @signals.worker_ready.connect(weak=False)
    def ready(sender, **_):
        watch.watch(sender)

    return run_celery(arguments)


def given_options(arguments):
    "Return the options of celery worker by name; raises UsageError."
    try:
        options, _, _ = worker.make_parser(
            click.Context(worker)).parse_args(list(arguments))
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
    # The last one of an option counts
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
        return worker.main(
            [*defaults, *arguments], prog_name='coop worker', obj=context,
            standalone_mode=False) or 0
    except click.ClickException as error:
        raise not_understood(error) from error
    except Exception as error:
        raise BatchError('the worker ended: %s: %s; check [celery] of '
            'trytond.conf' % (
                type(error).__name__, services.said(error))) from error
    finally:
        # Celery leads them into its log
        sys.stdout, sys.stderr = streams

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""``coop worker``: a Celery worker that serves the given databases."""
import os
import sys

from celery import signals

from trytond import backend

from . import services, tasks, watch
from .exceptions import BrokerError, UsageError
from .job import configure_logs
from .transaction import load_pool

__all__ = ['run']

#: where the log of a worker is expected (the node's name comes behind)
LOG_DIR = '/var/log/celeryd'


def run(databases, arguments):
    """Run a worker until it is told to stop; return its exit status.

    :param arguments: passed on to ``celery worker``
    """
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

    if not any(a.split('=')[0] in {'-f', '--logfile'} for a in arguments):
        if os.access(LOG_DIR, os.W_OK):
            arguments = [*arguments, '--logfile=%s/%%n.log' % LOG_DIR]
        else:
            print('coop: %s can not be written: the log of the worker goes '
                'to stderr (--logfile FILE puts it elsewhere)' % LOG_DIR,
                file=sys.stderr)
    if not any(a.split('=')[0] in {'-l', '--loglevel'} for a in arguments):
        arguments = [*arguments, '--loglevel=INFO']
    tasks.celery_app.worker_main(['worker', *arguments])
    return 0

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""``coop check``: checks each part, and says what is wrong and what to do.

``broker`` and ``tasks`` are imported inside of the steps that need them,
because this reads ``[celery]``, which may be wrong.
"""
import contextlib
import os
import tempfile

import trytond.config as config
from trytond.transaction import Transaction

from .. import texts
from ..batch import get_batches
from ..config import DEFAULT
from ..engine.errors import one_line
from ..exceptions import BatchError, BrokerError, DatabaseError, NoWorkerError
from ..ledger.tables import now
from ..masking import mask_secrets
from ..outcome import moment
from ..overdue import list_overdue
from ..transaction import load_pool
from .check_conf import (
    check_all_batches, input_problems, load_batch_config, named_queues)
from .check_shown import CRITICAL, OK, WARNING, Found, shown

__all__ = ['check_all']


#: batches that are named of a queue that nobody serves
NAMED = 3


class _Problems(Exception):
    "Raised with all errors that were found."
    state = CRITICAL


class _Warnings(_Problems):
    "Raised where batches are executed in spite of them."
    state = WARNING


def check_all(database, way):
    """Show what was found at each thing checked; return the exit status.

    :param way: of check_shown.WAYS
    """
    return shown(database, steps(database), way)


def steps(database):
    "Yield what is Found by each step."
    for name, step in [
            ('configuration', check_configuration),
            ('database', check_database),
            ('batches', check_batches),
            ('broker', check_broker),
            ('workers', check_workers),
            ('directories', check_directories),
            ('schedule', check_schedule)]:
        try:
            state, found = OK, [step(database)]
        except _Problems as problems:
            state, found = problems.state, problems.args
        except Exception as error:
            # Go on: the next check may pass
            state, found = CRITICAL, [error]
        # One line of [default] may be wrong for many batches
        yield Found(name, state, list(dict.fromkeys(
                    texts.clean(line_of(one), texts.RECORD)
                    for one in found)))


def line_of(found):
    if isinstance(found, Exception) and not isinstance(found, BatchError):
        return one_line(found)
    return str(found)


def check_configuration(database):
    name = config.get('batch', 'config_file')
    _, wrong = load_batch_config()
    if wrong:
        raise _Problems(*wrong)
    return name or 'no config_file in [batch] of trytond.conf: defaults only'


def check_database(database):
    from ..database import check_database, check_sessions, server_timeouts
    check_database(database)
    check_sessions(database)
    if limits := server_timeouts(database):
        raise _Warnings(DatabaseError(
            'the server ends transactions or statements that take longer '
            'than %s: chunks start again and again, or fail; ALTER ROLE ... '
            'SET %s = 0 for the user of [database] uri, and set time_limit in '
            'batch.conf' % (
                ', '.join('%s = %s' % limit for limit in limits),
                limits[0][0])))
    return '"%s" answers and has the module' % database


def check_batches(database):
    from ..database import check_database
    check_database(database)
    load_pool(database)
    with Transaction().start(database, 0, readonly=True) as transaction:
        count, wrong = check_all_batches(transaction)
    if wrong:
        raise _Problems(*wrong)
    return '%s, and batch.conf fits them' % count


def check_broker(database):
    from .. import tasks
    from ..broker import check_broker
    if not tasks.has_broker():
        return 'none in [celery] of trytond.conf: batches run in-process'
    check_broker()
    return mask_secrets(tasks.celery_app.conf.broker_url)


def check_workers(database):
    from .. import tasks
    from ..broker import ask_workers, check_broker, describe_missing
    if not tasks.has_broker():
        return 'none needed'
    try:
        check_broker()
    except BrokerError:
        raise NoWorkerError('can not be asked without the broker')
    workers = ask_workers(database, timeout=2)
    queues = {tasks.celery_app.conf.task_default_queue: []}
    with contextlib.suppress(Exception):
        # If the pool can not be loaded, that is said already
        load_pool(database)
        with Transaction().start(database, 0, readonly=True):
            queues = named_queues() or queues
    served = {
        queue for names, wrong in workers.values() if not wrong
        for queue in names}
    missing = [
        NoWorkerError(describe_missing(database, queue, {}) + named_by(names))
        for queue, names in sorted(queues.items()) if queue not in served]
    # One for another database, in a queue of its own, takes no message of ours
    unfit = [
        NoWorkerError('%s (%s)' % (worker, wrong))
        for worker, (names, wrong) in sorted(workers.items())
        if wrong and not queues.keys().isdisjoint(names)]
    if missing:
        raise _Problems(*missing, *unfit)
    if unfit:
        raise _Warnings(*unfit)
    return ', '.join(
        '%s (%s)' % (worker, ', '.join(names))
        for worker, (names, wrong) in sorted(workers.items()) if not wrong)


def named_by(names):
    more = len(names) - NAMED
    return names and ' (for %s%s)' % (
        ', '.join(names[:NAMED]), ' and %s more' % more if more > 0 else '') \
        or ''


def check_schedule(database):
    "Raise _Warnings if a batch was not started when it usually is."
    from ..database import check_database
    check_database(database)
    with Transaction().start(database, 0, readonly=True) as transaction:
        cursor = transaction.connection.cursor()
        overdue = list_overdue(cursor, now(cursor))
    if overdue:
        raise _Warnings(*(
                'batch "%s" is overdue: it was last started at %s, and is '
                'usually started again at %s; look whether cron started it' % (
                    one.batch, moment(one.last), moment(one.expected))
                for one in overdue))
    return 'no batch is overdue'


def check_directories(database):
    names = {config.get('batch', 'log_dir'): 'log_dir'}
    batch_config, _ = load_batch_config()
    sections = set(batch_config.texts)
    inputs = []
    with contextlib.suppress(Exception):
        # Those of other databases are none of this one's.  If it can not be
        # loaded, that is said already
        load_pool(database)
        with Transaction().start(database, 0, readonly=True):
            sections &= {DEFAULT, *get_batches()}
            inputs = input_problems()
    for section in batch_config.texts:
        if section not in sections:
            continue
        root_dir, _ = batch_config.resolve(section)['root_dir']
        names[root_dir] = 'root_dir of [%s]' % section
    names.pop(None, None)
    wrong = [*inputs]
    for path, name in names.items():
        try:
            with tempfile.TemporaryFile(dir=os.path.expanduser(path)):
                pass
        except OSError as error:
            wrong.append(BatchError('%s: %s: %s; make the directory, and let '
                    'the user of the workers write it'
                    % (name, path, error.strerror)))
    if wrong:
        raise _Problems(*wrong)
    if 'log_dir' not in names.values():
        raise _Warnings(BatchError('no log_dir in [batch] of trytond.conf: '
                'batches have no log files; name a directory'))
    return ', '.join(names)

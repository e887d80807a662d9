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
from ..masking import mask_secrets
from ..transaction import load_pool
from .check_conf import check_all_batches, load_batch_config
from .streams import written

__all__ = ['check_all']


class _Problems(Exception):
    "Raised with all errors that were found."


def check_all(database):
    """Print a line for each thing checked; return 0 if all is well.

    Of what is wrong with batch.conf, each problem has a line.
    """
    status = 0
    for name, step in [
            ('configuration', check_configuration),
            ('database', check_database),
            ('batches', check_batches),
            ('broker', check_broker),
            ('workers', check_workers),
            ('directories', check_directories)]:
        try:
            word, found = 'ok', [step(database)]
        except _Problems as problems:
            status, word, found = 1, 'WRONG', problems.args
        except Exception as error:
            # Go on: the next check may pass
            status, word, found = 1, 'WRONG', [error]
        # One line of [default] may be wrong for many batches
        for text in dict.fromkeys(map(line_of, found)):
            print('%-14s %-5s  %s' % (
                    name, word, texts.clean(text, texts.RECORD)), flush=True)
    return max(status, written())


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
        raise DatabaseError(
            'the server ends transactions or statements that take longer '
            'than %s: chunks start again and again, or fail; ALTER ROLE ... '
            'SET %s = 0 for the user of [database] uri, and set time_limit in '
            'batch.conf' % (
                ', '.join('%s = %s' % limit for limit in limits),
                limits[0][0]))
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
    from ..broker import ask_workers, check_broker
    if not tasks.has_broker():
        return 'none needed'
    try:
        check_broker()
    except BrokerError:
        raise NoWorkerError('can not be asked without the broker')
    workers = ask_workers(database, timeout=2)
    if not workers:
        raise NoWorkerError(
            'none answers; start one: coop worker -d %s' % database)
    told = ', '.join(
        '%s (%s)' % (worker, wrong or ', '.join(queues))
        for worker, (queues, wrong) in sorted(workers.items()))
    if any(wrong for _, wrong in workers.values()):
        raise NoWorkerError(told)
    return told


def check_directories(database):
    names = {config.get('batch', 'log_dir'): 'log_dir'}
    batch_config, _ = load_batch_config()
    sections = set(batch_config.texts)
    with contextlib.suppress(Exception):
        # Those of other databases are none of this one's.  If it can not be
        # loaded, that is said already
        load_pool(database)
        with Transaction().start(database, 0, readonly=True):
            sections &= {DEFAULT, *get_batches()}
    for section in batch_config.texts:
        if section not in sections:
            continue
        root_dir, _ = batch_config.resolve(section)['root_dir']
        names[root_dir] = 'root_dir of [%s]' % section
    names.pop(None, None)
    wrong = []
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
        raise BatchError('no log_dir in [batch] of trytond.conf: batches '
            'have no log files; name a directory')
    return ', '.join(names)

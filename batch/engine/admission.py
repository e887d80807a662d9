# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Whether an execution may begin, and with what: the first transaction of it.

Its batch, settings, parameters and user are resolved, and written into the
ledger with where each comes from.
"""
import json
import os
from importlib.metadata import version

import trytond
import trytond.config as config
from trytond.pool import Pool
from trytond.transaction import Transaction

from .. import ledger
from ..batch import get_batch, get_batches, today
from ..config import BatchConfig
from ..exceptions import (
    ConfigError, OverlapError, SettingError, WorkerLostError)
from ..given import COMMAND_LINE, split_given
from ..installed import installed_batches
from ..ledger.states import Admission, ExecutionState
from ..logging import server_zone
from ..masking import mask_value
from ..outcome import moment
from ..parameters import resolve_parameters
from ..settings import shown
from ..texts import escape
from ..window import window_end
from .running import make_job

__all__ = ['MAX_DEATHS', 'admit', 'resolve_execution']

#: how many processes may die while selecting, before it is the selection's
#: fault
MAX_DEATHS = 3


def admit(cursor, execution):
    """Resolve what the execution was given; return whether to select now.

    Not if it is not there to be selected, or has to wait for another one.
    Raises BatchError where it is refused.
    """
    ledger.executions.lock_all(cursor)
    row = ledger.executions.claim(cursor, execution, ExecutionState.SELECTING)
    if row is None:
        return False
    job, settings, parameters = resolve_execution(Transaction(), row)
    overlap, _ = settings['overlap']
    message, admission = None, Admission.ADMITTED
    if others := ledger.executions.others(cursor, row['batch'], execution):
        if overlap == 'wait':
            ledger.executions.update(
                cursor, execution, admission=Admission.WAITING,
                waiting_for=others[0],
                message='waits for #%s' % others[0])
            return False
        if overlap == 'skip':
            admission = Admission.SKIPPED
            message = 'skipped (overlap = skip): %s' % describe_running(
                cursor, others[0])
        elif overlap == 'fail':
            raise OverlapError(others[0], describe_running(cursor, others[0]))
    disabled, origin = settings['disabled']
    if disabled:
        admission = Admission.DISABLED
        message = 'disabled by %s: nothing was run' % origin
    if ledger.executions.begin_selection(cursor, row) >= MAX_DEATHS:
        raise WorkerLostError(
            '%s, %s times while selecting; the log of the worker may tell '
            'more' % (ledger.claimants.GONE, MAX_DEATHS))
    # A resume may have begun another window
    closes_at = row['closes_at'] or window_end(
        settings['until'][0], row['started_at'], server_zone())
    ledger.executions.update(
        cursor, execution, admission=admission, user=job.user,
        message=message, waiting_for=None, closes_at=closes_at,
        settings=json.dumps({k: list(v) for k, v in settings.items()}),
        parameters=json.dumps({
                name: [text, origin]
                for name, (_, text, origin) in parameters.items()}))
    log_start(job, settings, parameters, row['retry_of'], closes_at)
    return True


def resolve_execution(transaction, row):
    """Return the Job of an execution, its settings and its parameters.

    :param row: of the execution, with what it was given
    """
    Batch = get_batch(row['batch'])
    declared = Batch.declared_parameters()
    batch_config = BatchConfig.load(config.get('batch', 'config_file'))
    batch_config.check({
            name: Other.declared_parameters()
            for name, Other in get_batches().items()}, installed_batches)
    settings, given = split_given(row['batch'], json.loads(row['given']))
    settings = Batch.resolve_settings(batch_config, settings)
    check_directory(row['batch'], *settings['root_dir'])
    parameters = resolve_parameters(
        row['batch'], declared, given,
        lambda name: batch_config.parameter(row['batch'], name), today)
    job = make_job(
        transaction.database.name, row,
        find_user(row['batch'], *settings['user']),
        {k: v for k, (v, _) in settings.items()},
        {k: v for k, (v, _, _) in parameters.items()})
    return job, settings, parameters


def describe_running(cursor, execution):
    "Return who is in the way, since when, and how far it is."
    row = ledger.executions.columns(
        cursor, execution, 'batch', 'started_at', 'selected')
    counts = ledger.figures.counts(cursor, execution)
    return '#%s of the batch is running since %s, %s' % (
        execution, moment(row['started_at']),
        'still selecting' if row['selected'] is None
        else '{:,} of {:,} units done'.format(
            counts['done'], row['selected']))


def check_directory(batch, root_dir, origin):
    "Raise an error now, where every chunk that writes would fail."
    if root_dir and not os.path.isdir(root_dir):
        problem = 'is "%s", expected a directory; make it, or mount it, on ' \
            'each machine that has workers' % root_dir
        if origin == COMMAND_LINE:
            raise SettingError(batch, 'root_dir', problem)
        raise ConfigError(origin, problem, key='root_dir')


def find_user(batch, login, origin):
    "Return the id of the user; raises ConfigError or SettingError."
    if login == 'root':
        return 0
    User = Pool().get('res.user')
    users = User.search([('login', '=', login)])
    if not users and origin == COMMAND_LINE:
        raise SettingError(batch, 'user', 'is "%s", expected the login of an '
            'active user' % login)
    if not users:
        raise ConfigError('setting "user"', 'is "%s" (%s), expected the login '
            'of an active user' % (login, origin))
    user, = users
    return user.id


def log_start(job, settings, parameters, retry_of, closes_at):
    def listed(values):
        return ', '.join(
            '%s=%s (%s)' % (name, escape(value), origin)
            for name, value, origin in values) or 'none'

    with job.working():
        job.logger.info(
            "starts%s%s in database %s with trytond %s, batch %s, celery %s",
            " a dry run" if job.dry_run else "",
            ", as a retry of #%s," % retry_of if retry_of else "",
            job.database, trytond.__version__, version('trytond-batch'),
            version('celery'))
        job.logger.info("parameters: %s", listed(
                (k, mask_value(k, text), origin)
                for k, (_, text, origin) in parameters.items()))
        job.logger.info("settings: %s", listed(
                (k, shown(mask_value(k, v)), origin)
                for k, (v, origin) in settings.items()))
        if closes_at:
            job.logger.info("no chunk begins after %s", moment(closes_at))

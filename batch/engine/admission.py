# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The first transaction of an execution: whether it may begin.

Its batch, settings, parameters and user are resolved, and written into the
ledger with their origins.
"""
import json
import os
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import trytond
import trytond.config as config
from trytond.pool import Pool
from trytond.transaction import Transaction

from .. import ledger
from ..aliases import Cursor, Resolved
from ..batch import get_batch, get_batches, today
from ..config import BatchConfig
from ..exceptions import ConfigError, OverlapError, WorkerLostError
from ..ledger.rows import ExecutionRow
from ..ledger.states import Admission, ExecutionState
from ..masking import mask_value
from ..outcome import moment
from ..parameters import ResolvedParameters, resolve_parameters
from ..settings import shown
from ..texts import escape
from .running import Job, make_job

__all__ = ['MAX_DEATHS', 'admit', 'resolve_execution']

#: how many processes may die while selecting before the execution fails
MAX_DEATHS = 3


def admit(cursor: Cursor, execution: int) -> bool:
    """Resolve what the execution was given; return whether to select now.

    False if it is not selecting, is locked, or waits for another one.  Raises
    BatchError where it is refused.
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
    ledger.executions.update(
        cursor, execution, admission=admission, user=job.user,
        message=message, waiting_for=None,
        settings=json.dumps({k: list(v) for k, v in settings.items()}),
        parameters=json.dumps({
                name: [text, origin]
                for name, (_, text, origin) in parameters.items()}))
    log_start(job, settings, parameters, row['retry_of'])
    return True


def resolve_execution(
        transaction: Transaction,
        row: ExecutionRow) -> tuple[Job, Resolved, ResolvedParameters]:
    """Return the Job of an execution, its settings and its parameters.

    Raises BatchError if its batch, settings or parameters are wrong.

    :param row: as of ledger.executions.claim
    """
    Batch = get_batch(row['batch'])
    declared = Batch.declared_parameters()
    batch_config = BatchConfig.load(config.get('batch', 'config_file'))
    batch_config.check({
            name: Other.declared_parameters()
            for name, Other in get_batches().items()})
    settings = Batch.resolve_settings(batch_config)
    check_directory(*settings['root_dir'])
    parameters = resolve_parameters(
        row['batch'], declared, json.loads(row['given']),
        lambda name: batch_config.parameter(row['batch'], name), today)
    job = make_job(
        transaction.database.name, row, find_user(*settings['user']),
        {k: v for k, (v, _) in settings.items()},
        {k: v for k, (v, _, _) in parameters.items()})
    return job, settings, parameters


def describe_running(cursor: Cursor, execution: int) -> str:
    "Return since when a running execution runs, and how many units are done."
    row = ledger.executions.existing(
        cursor, execution, 'started_at', 'selected')
    counts = ledger.figures.counts(cursor, execution)
    return '#%s of the batch is running since %s, %s' % (
        execution, moment(row['started_at']),
        'still selecting' if row['selected'] is None
        else '{:,} of {:,} units done'.format(
            counts['done'], row['selected']))


def check_directory(root_dir: str | None, origin: str) -> None:
    "Raise ConfigError if root_dir is set, and no directory of this machine."
    if root_dir and not os.path.isdir(root_dir):
        raise ConfigError(
            origin, 'is "%s", expected a directory; make it, or mount it, on '
            'each machine that has workers' % root_dir, key='root_dir')


def find_user(login: str, origin: str) -> int:
    "Return the id of the user with that login; raises ConfigError."
    if login == 'root':
        return 0
    User = Pool().get('res.user')
    users = User.search([('login', '=', login)])
    if not users:
        raise ConfigError('setting "user"', 'is "%s" (%s), expected the login '
            'of an active user' % (login, origin))
    user, = users
    return user.id


def log_start(
        job: Job, settings: Resolved, parameters: ResolvedParameters,
        retry_of: int | None) -> None:
    "Log the first lines of an execution: parameters and settings."
    def listed(values: Iterable[tuple[str, Any, str]]) -> str:
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

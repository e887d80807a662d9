# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The first transaction of an execution: whether it may begin.

Its batch, settings, parameters and user are resolved, and written into the
ledger with their origins.
"""
import datetime as dt
import json
import os
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import trytond
import trytond.config as config
from trytond.exceptions import UserError
from trytond.pool import Pool
from trytond.transaction import Transaction

from .. import ledger
from ..aliases import Cursor, Params, Resolved
from ..batch import BatchRoot, get_batch, get_batches, today
from ..class_checks import is_own
from ..config import BatchConfig
from ..exceptions import (
    ConfigError, DefinitionError, OverlapError, SettingError, UsageError,
    WorkerLostError)
from ..given import COMMAND_LINE, split_given
from ..installed import installed_batches
from ..ledger.rows import ExecutionRow
from ..ledger.states import Admission, ExecutionState
from ..ledger.units import dump_units
from ..logging import server_zone
from ..masking import mask_value
from ..outcome import moment
from ..parameters import ResolvedParameters, require_all, resolve_parameters
from ..settings import shown
from ..texts import calls_hooks, escape, excerpt
from ..window import window_end
from .errors import message_of_error
from .hooks import Guard
from .running import Job, make_job

__all__ = [
    'MAX_DEATHS', 'admit', 'parse_parameters', 'parses', 'resolve_execution',
    'write_parsed']

#: how many processes may die while selecting before the execution fails
MAX_DEATHS = 3


def admit(
        cursor: Cursor,
        execution: int) -> tuple[Job, ResolvedParameters] | None:
    """Resolve what the execution was given, and write it.

    Returns None if it is not selecting, is locked, or waits for another one.
    Raises BatchError if it is refused.
    """
    ledger.executions.lock_all(cursor)
    row = ledger.executions.claim(cursor, execution, ExecutionState.SELECTING)
    if row is None:
        return None
    job, settings, parameters = resolve_execution(Transaction(), row)
    overlap, _ = settings['overlap']
    message, admission = None, Admission.ADMITTED
    if others := ledger.executions.others(cursor, row['batch'], execution):
        if overlap == 'wait':
            ledger.executions.update(
                cursor, execution, admission=Admission.WAITING,
                waiting_for=others[0],
                message='waits for #%s' % others[0])
            return None
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
        derived=None,
        settings=json.dumps({k: list(v) for k, v in settings.items()}),
        parameters=json.dumps({
                name: [text, origin]
                for name, (_, text, origin) in parameters.items()}))
    log_start(job, settings, parameters, row['retry_of'], closes_at)
    return job, parameters


class Declared(Mapping[str, Iterable[str]]):
    """The names of the parameters of each batch.

    Read from the hooks of those only that are asked for: there may be many.
    """

    def __init__(self) -> None:
        self.batches = get_batches()

    def __getitem__(self, name: str) -> Iterable[str]:
        return self.batches[name].declared_parameters()

    def __iter__(self) -> Iterator[str]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


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
    batch_config.check(Declared(), installed_batches)
    for_one_run, given = split_given(row['batch'], json.loads(row['given']))
    settings = Batch.resolve_settings(batch_config, for_one_run)
    check_directory(row['batch'], *settings['root_dir'])
    parameters = resolve_parameters(
        row['batch'], declared, given,
        lambda name: batch_config.parameter(row['batch'], name), today,
        complete=not parses(Batch))
    job = make_job(
        transaction.database.name, row,
        find_user(row['batch'], *settings['user']),
        {k: v for k, (v, _) in settings.items()},
        {k: v for k, (v, _, _) in parameters.items()})
    return job, settings, parameters


def parses(Batch: type[BatchRoot]) -> bool:
    "Return whether the batch has a parse_params of its own."
    return is_own(Batch, 'parse_params', BatchRoot)


def parse_parameters(transaction: Transaction, job: Job) -> Job:
    """Return the job with what parse_params makes of its parameters.

    Raises BatchError, or what the hook raises.
    """
    Batch = get_batch(job.batch)
    if not parses(Batch):
        return job
    with transaction.set_user(job.user), \
            transaction.set_context(job.context), job.working(), \
            Guard(job.batch):
        parsed = call_parse_params(Batch, job.parameters)
    # It may drop what it has read
    require_all(
        job.batch, Batch.declared_parameters(), {**job.parameters, **parsed})
    return replace(job, parameters=parsed)


@calls_hooks
def call_parse_params(
        Batch: type[BatchRoot], parameters: Params) -> dict[str, Any]:
    "Return what the hook returns; raises BatchError, or what it raises."
    try:
        parsed = Batch.parse_params(dict(parameters))
    except (AssertionError, UserError, ValueError) as error:
        raise UsageError('batch "%s", parse_params: %s' % (
                Batch.__name__, message_of_error(error)
                or traceback.extract_tb(error.__traceback__)[-1].line
                )) from error
    if not isinstance(parsed, dict):
        raise DefinitionError(
            Batch.__name__, 'returned %s, expected the dict of parameters'
            % excerpt(parsed), 'parse_params')
    return parsed


def write_parsed(
        cursor: Cursor, job: Job, parameters: ResolvedParameters) -> None:
    """Call parse_params, and write what it has changed.

    In a transaction of its own: no other execution can be admitted while
    admit() holds its lock, and a hook may take long.  Raises BatchError, or
    what the hook raises.
    """
    if not ledger.executions.claim(
            cursor, job.execution, ExecutionState.SELECTING):
        return
    parsed = parse_parameters(Transaction(), job)
    ledger.executions.update(
        cursor, job.execution, derived=derived(parsed, parameters))


def derived(job: Job, parameters: ResolvedParameters) -> str | None:
    """Return what parse_params has changed, as text for the ledger, or None.

    :param parameters: as resolve_parameters gives them
    """
    before = {name: value for name, (value, _, _) in parameters.items()}
    changed = {
        name: value for name, value in job.parameters.items()
        if name not in before or before[name] != value
        or type(before[name]) is not type(value)}
    removed = [name for name in before if name not in job.parameters]
    try:
        return dump_units([changed, removed]) if changed or removed else None
    except (TypeError, ValueError, RecursionError) as error:
        raise DefinitionError(
            job.batch, 'gave a value that the ledger can not keep (%s); '
            'expected texts, numbers, dates, Decimals, lists and dicts of '
            'these' % error, 'parse_params') from error


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


def check_directory(batch: str, root_dir: str | None, origin: str) -> None:
    "Raise an error if root_dir is set, and no directory of this machine."
    if root_dir and not os.path.isdir(root_dir):
        problem = 'is "%s", expected a directory; make it, or mount it, on ' \
            'each machine that has workers' % root_dir
        if origin == COMMAND_LINE:
            raise SettingError(batch, 'root_dir', problem)
        raise ConfigError(origin, problem, key='root_dir')


def find_user(batch: str, login: str, origin: str) -> int:
    """Return the id of the user with that login.

    Raises ConfigError, or SettingError if the command line names the user.
    """
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


def log_start(
        job: Job, settings: Resolved, parameters: ResolvedParameters,
        retry_of: int | None, closes_at: dt.datetime | None) -> None:
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
        if closes_at:
            job.logger.info("no chunk begins after %s", moment(closes_at))

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What all chunks of an execution have in common."""
import datetime as dt
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import trytond.config as config
from trytond.cache import Cache
from trytond.pool import Pool
from trytond.transaction import Transaction

from .. import ledger
from ..aliases import Cursor, Params, Settings
from ..batch import get_batch
from ..context import Custody, Work, Writer, working
from ..exceptions import ConfigError
from ..ledger.chunks import Chunk
from ..ledger.rows import ExecutionRow, values_of
from ..ledger.units import load_units
from ..logging import BatchLogger, get_logger, open_logs
from ..parameters import reload_parameters
from ..settings import SETTINGS
from ..transaction import transact
from .tags import tag_of

__all__ = ['Job', 'load_job', 'make_job', 'open_configured_logs']


@dataclass(frozen=True, eq=False)
class Job:
    "What all chunks of an execution have in common."
    database: str
    execution: int
    batch: str
    parameters: Params
    settings: Settings
    user: int
    context: dict[str, Any]
    started_at: dt.datetime
    dry_run: bool
    #: of its hidden files, see names.py
    tag: str
    #: the numbers of the first chunks of lanes; empty once all have begun
    lanes: list[str]
    #: labels of the chunks that failed in this turn
    failed: list[str] = field(default_factory=list)

    @property
    def logger(self) -> BatchLogger:
        "The logger of the batch."
        return get_logger(self.batch)

    def working(
            self, chunk: Chunk | None = None, custody: Custody | None = None,
            outputs: Writer | None = None) -> AbstractContextManager[Work]:
        "Return the context manager that makes this the current_work()."
        return working(Work(
                self.batch, self.execution,
                chunk.number if chunk is not None else None,
                self.settings, self.started_at, custody, outputs,
                database=self.database, parameters=self.parameters))


def make_job(
        database: str, row: ExecutionRow, user: int, settings: Settings,
        parameters: Params) -> Job:
    """Return the Job.

    :param row: ``id`` (0 where nothing is executed), ``batch``,
        ``started_at`` and ``dry_run`` of the execution
    :param user: id; its preferences (company, language ...) are in the
        context, as they are for a client of that user
    :param settings: values by name
    :param parameters: values by name
    """
    context = {}
    if user:
        User = Pool().get('res.user')
        with Transaction().set_user(user):
            context.update(User.get_preferences(context_only=True))
    # No user is there to answer a warning
    context['_skip_warnings'] = True
    context.update(settings['context'])
    # For code that asks which execution calls it
    context.update({
            'batch': row['batch'], 'batch_execution': row['id'] or None})
    return Job(
        database, row['id'], row['batch'], parameters, settings, user,
        context, row['started_at'], bool(row['dry_run']),
        tag_of(database, row['id'], row['started_at']),
        ledger.planning.firsts(settings['concurrency']))


@lru_cache(maxsize=64)
def load_job(database: str, execution: int) -> Job | None:
    """Return the job of an admitted execution, read once per process.

    None if the execution does not exist.  Raises BatchError where the batch
    or its parameters are not what they were when it was started.

    Drops the caches of Tryton, which may be minutes old: a batch must see what
    was changed right before its start.
    """
    Cache.drop(database)

    def load(cursor: Cursor) -> Job | None:
        row = ledger.executions.columns(
            cursor, execution, 'id', 'batch', 'parameters', 'settings',
            'user', 'started_at', 'dry_run', 'derived')
        if row is None:
            return None
        declared = get_batch(row['batch']).declared_parameters()
        changed, removed = load_units(row['derived']) or ({}, [])
        parameters = reload_parameters(
            row['batch'], declared, values_of(row['parameters']), changed)
        for name in removed:
            parameters.pop(name, None)
        # The execution may be older than a setting
        settings = {name: s.default for name, s in SETTINGS.items()}
        return make_job(
            database, row, row['user'] or 0,
            {**settings, **values_of(row['settings'])}, parameters)
    return transact(database, load)


def open_configured_logs() -> None:
    """Open the log files in ``[batch] log_dir`` of trytond.conf.

    Raises ConfigError if their format is unknown.
    """
    form = config.get('batch', 'log_format', default='text')
    if form not in {'text', 'json'}:
        raise ConfigError('trytond.conf', 'is "%s", expected text or json'
            % form, 'batch', 'log_format')
    open_logs(config.get('batch', 'log_dir'), form == 'json')

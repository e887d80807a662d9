# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What all chunks of an execution have in common."""
import json
from dataclasses import dataclass
from functools import lru_cache

import trytond.config as config
from trytond.cache import Cache
from trytond.pool import Pool
from trytond.transaction import Transaction

from .. import ledger
from ..batch import get_batch
from ..context import Work, working
from ..logging import get_logger, open_logs
from ..parameters import reload_parameters
from ..settings import SETTINGS
from ..transaction import transact
from .output_files import tag_of

__all__ = ['Job', 'load_job', 'make_job', 'open_configured_logs']


@dataclass(frozen=True, eq=False)
class Job:
    "What all chunks of an execution have in common; never changes."
    database: str
    execution: int
    batch: str
    parameters: dict
    settings: dict
    user: int
    context: dict
    started_at: object
    dry_run: bool
    #: of its hidden files, see names.py
    tag: str

    @property
    def logger(self):
        return get_logger(self.batch)

    def working(self, chunk=None, custody=None, outputs=None):
        "Return the context in which hooks and logs know where they are."
        return working(Work(
                self.batch, self.execution,
                chunk.number if chunk is not None else None,
                self.settings, self.started_at, custody, outputs,
                database=self.database, parameters=self.parameters))


def make_job(database, row, user, settings, parameters):
    """Return the Job.

    :param row: ``id``, ``batch``, ``started_at`` and ``dry_run`` of the
        execution
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
    # Nobody is there to answer a warning
    context['_skip_warnings'] = True
    context.update(settings['context'])
    return Job(
        database, row['id'], row['batch'], parameters, settings, user,
        context, row['started_at'], bool(row['dry_run']),
        tag_of(database, row['id'], row['started_at']))


@lru_cache(maxsize=64)
def load_job(database, execution):
    """Return the job of an admitted execution, read once per process.

    None if the execution is not there any more.  Raises BatchError where the
    batch or its parameters are not what they were when it was started.

    The caches of Tryton begin anew with it: those of a process may be minutes
    old, and a batch must see what was changed right before it.
    """
    Cache.drop(database)

    def load(cursor):
        row = ledger.executions.columns(
            cursor, execution, 'id', 'batch', 'parameters', 'settings',
            'user', 'started_at', 'dry_run')
        if row is None:
            return None
        declared = get_batch(row['batch']).declared_parameters()
        # The execution may be older than a setting
        settings = {name: s.default for name, s in SETTINGS.items()}
        settings.update(
            (k, v) for k, (v, _) in json.loads(row['settings']).items())
        return make_job(
            database, row, row['user'], settings,
            reload_parameters(row['batch'], declared, {
                    name: text for name, (text, _) in json.loads(
                        row['parameters']).items()}))
    return transact(database, load)


def open_configured_logs():
    open_logs(config.get('batch', 'log_dir'))

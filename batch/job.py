# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What all chunks of an execution have in common, and its end."""
import importlib.metadata
import json
import os
from dataclasses import dataclass
from functools import lru_cache

import trytond.config as config
from trytond.cache import Cache
from trytond.pool import Pool
from trytond.transaction import Transaction

from . import archive, current, ledger
from . import logging as batch_logging
from . import parameters as parameters_
from . import report
from .batch import get_batch
from .engine.outputs import discard_leftovers, publish, tag_of
from .texts import escape
from .transaction import transact

__all__ = [
    'Job', 'close', 'configure_logs', 'load_job', 'make_job', 'version']


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
        return batch_logging.get_logger(self.batch)

    def run(self, chunk=None, hands=None, outputs=None):
        "Return the context in which hooks and logs know where they are."
        return current.running(current.Run(
                self.batch, self.execution,
                chunk.number if chunk is not None else None,
                self.settings, self.started_at, hands, outputs,
                database=self.database))


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

    def load(transaction):
        row = ledger.executions.columns(
            transaction.connection.cursor(), execution,
            'id', 'batch', 'parameters', 'settings', 'user', 'started_at',
            'dry_run')
        if row is None:
            return None
        declared = get_batch(row['batch']).declared_parameters()
        return make_job(
            database, row, row['user'],
            {k: v for k, (v, _) in json.loads(row['settings']).items()},
            parameters_.reload(row['batch'], declared, {
                    name: text for name, (text, _) in json.loads(
                        row['parameters']).items()}))
    return transact(database, load)


def close(database, execution):
    """End the execution if no chunk is left, and write its last line.

    Whoever ends a lane of chunks asks, after its commit: so the last one sees
    all others.  The row's lock lets only one of them through.

    Files come first: who dies on the way leaves an execution that still runs,
    and the next one does all of it again.
    """
    def look(transaction):
        cursor = transaction.connection.cursor()
        if row := take_if_over(cursor, execution):
            # Always, as a connection that was lost at a commit is not noted
            places = {
                (os.path.dirname(path), False)
                for path in ledger.outputs.files(cursor, execution)}
            root_dir, _ = json.loads(row['settings'])['root_dir']
            # Nor is a death after which nothing was to be begun again
            if root_dir and (row['stopping']
                    or ledger.figures.had_deaths(cursor, execution)):
                places.add((root_dir, True))
            return row['batch'], places

    def end(transaction):
        cursor = transaction.connection.cursor()
        if (row := take_if_over(cursor, execution)) is None:
            return None
        if row['stopping'] == 'cancelled':
            ledger.chunks.cancel_open(cursor, execution)
        tag = tag_of(database, execution, row['started_at'])
        missing = publish(cursor, execution, tag)
        settled = archive.settle(cursor, execution, tag)
        counts = ledger.figures.counts(cursor, execution)
        message = [row['message']]
        if missing:
            message.append(report.missing_files(execution, missing))
        state = row['stopping'] or (
            'failed' if counts['failed'] or missing else 'succeeded')
        ledger.executions.update(
            cursor, execution, state=state, ended_at=ledger.tables.clock(),
            done=counts['done'], failed=counts['failed'],
            left=counts['left'],
            message='; '.join(filter(None, message)) or None,
            missing=json.dumps(list(missing)) if missing else None)
        if state == 'succeeded':
            ledger.executions.forget_secrets(cursor, execution)
        return missing, settled, report.Outcome.read(cursor, execution)

    if (found := transact(database, look)) is None:
        return
    batch, places = found
    logger = batch_logging.get_logger(batch)
    with current.running(current.Run(batch, execution, database=database)):
        discard_leftovers(database, execution, places, logger)
        if (ended := transact(database, end)) is None:
            return
        missing, settled, outcome = ended
        for path, why in missing.items():
            logger.error(
                'the file "%s" is committed but missing: %s', escape(path),
                escape(why))
        for path, archived, why in settled:
            if archived:
                logger.info('"%s" is archived as "%s"',
                    escape(path.name), escape(archived))
            else:
                logger.warning('"%s" is not archived: %s',
                    escape(path.name), escape(why))
        write = logger.success if outcome.succeeded else logger.failure
        write('%s', outcome.text(batch, log=batch_logging.path_of(batch)))


def take_if_over(cursor, execution):
    "Lock and return the row of the execution if nothing of it runs any more."
    row = ledger.executions.columns(cursor, execution, 'stopping')
    if (row is None
            or not row['stopping']
            and ledger.chunks.has_open(cursor, execution)):
        # The usual answer, for which nobody needs to wait
        return None
    row = ledger.executions.claim(cursor, execution, 'running', wait=True)
    if row is not None and ledger.executions.is_over(cursor, execution):
        return row


@lru_cache
def version(distribution):
    return importlib.metadata.version(distribution)


def configure_logs():
    batch_logging.configure(config.get('batch', 'log_dir'))

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the two tasks do: plan an execution, treat its chunks, close it.

Knows no Celery: ``send(execution, chunk)`` is handed in.  On workers it gives
a message to the broker, in the process itself it appends to a list.
"""
import importlib.metadata
import json
import logging
import os
import time
import traceback
from dataclasses import dataclass
from functools import lru_cache

import trytond
import trytond.config as config
from trytond.exceptions import UserError
from trytond.pool import Pool
from trytond.transaction import Transaction

from . import chunking, current, ledger
from . import logging as batch_logging
from . import output
from . import parameters as parameters_
from . import report
from .batch import BatchRootNoSelect, get_batch, get_batches, today
from .config import BatchConfig
from .exceptions import (
    BatchError, ConfigError, DefinitionError, UnknownBatchError)
from .transaction import load_pool, transact

__all__ = ['TURN', 'close', 'plan', 'turn']

HERE = os.path.dirname(__file__)
#: seconds for which a task goes on with the successors of its chunk, before
#: it hands the next one to the broker: small chunks cost no trip through it,
#: and nobody holds a worker for long
TURN = 0.2


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

    @property
    def logger(self):
        return batch_logging.get_logger(self.batch)

    def run(self, chunk=None):
        "Return the context in which hooks and logs know where they are."
        return current.running(current.Run(
                self.batch, self.execution,
                chunk.number if chunk is not None else None,
                self.settings, self.started_at))


# Planning

def plan(database, batch, execution, given=None, task_id=None, *, send):
    """Select the units, write the chunks, commit, and send the first.

    :param execution: id of the execution, None to make one with the
        parameters given (name -> text)
    """
    configure_logs()
    load_pool(database)
    if execution is None:
        execution = transact(database, lambda transaction: ledger.create(
                transaction.connection.cursor(), batch, given or {}))
    try:
        chunks = transact(database, lambda transaction: _plan(
                transaction, execution, task_id))
    except Exception as error:
        refuse(database, batch, execution, error)
        return
    if chunks is None:
        # Delivered twice: somebody else has it, or had it
        return
    try:
        for chunk in chunks:
            send(execution, chunk)
    finally:
        if not chunks:
            close(database, execution)


def _plan(transaction, execution, task_id):
    cursor = transaction.connection.cursor()
    row = ledger.take_execution(cursor, execution, 'selecting')
    if row is None:
        return
    Batch = get_batch(row['batch'])
    declared = Batch.declared_parameters()
    batch_config = BatchConfig.load(config.get('batch', 'config_file'))
    batch_config.check({
            name: B.declared_parameters() for name, B in get_batches().items()})
    settings = Batch.resolve_settings(batch_config)
    parameters = parameters_.resolve(
        row['batch'], declared, json.loads(row['given']),
        lambda name: batch_config.parameter(row['batch'], name), today)
    ledger.update_execution(
        cursor, execution,
        settings=json.dumps({k: list(v) for k, v in settings.items()}),
        parameters=json.dumps(
            {k: [text, origin]
                for k, (_, text, origin) in parameters.items()}))
    user = _find_user(*settings['user'])
    job = _job(
        transaction.database.name, row, user,
        {k: v for k, (v, _) in settings.items()},
        {k: v for k, (v, _, _) in parameters.items()})
    with transaction.set_user(user), \
            transaction.set_context(job.context), job.run():
        _log_start(job, settings, parameters)
        if job.settings['disabled']:
            message = 'disabled by %s: nothing was run' % (
                settings['disabled'][1])
            plan = ledger.Plan(cursor, execution, 1)
            duplicates = 0
        else:
            message = None
            plan, duplicates = _plan_chunks(cursor, job, Batch)
    ledger.update_execution(
        cursor, execution, state='running', user=user, task_id=task_id,
        selected=plan.selected, duplicates=duplicates, message=message)
    return ledger.queued(cursor, execution)


def _plan_chunks(cursor, job, Batch):
    plan = ledger.Plan(cursor, job.execution, job.settings['concurrency'])
    if issubclass(Batch, BatchRootNoSelect):
        plan.add(None, 1)
        plan.flush()
        return plan, 0
    selected = parameters_.call(Batch.select_ids, job.parameters)
    units = chunking.Distinct(map(chunking.unit_of, selected or ()))
    first = []
    for chunk in Batch.split(units):
        chunk = list(chunk)
        if not chunk:
            continue
        if not first:
            first = chunk
        plan.add(chunk, len(chunk))
    plan.flush()
    if plan.selected != units.count:
        raise DefinitionError(
            job.batch, 'gave %s units in its chunks for %s units; expected '
            'each unit exactly once' % (plan.selected, units.count),
            hook='split')
    job.logger.info(
        "selected %s; %s chunks of up to %s units%s",
        batch_logging.get_print_infos(first, 'unit')
        if plan.selected == len(first)
        else '{:,} units, the first chunk: {}'.format(
            plan.selected, batch_logging.get_print_infos(first, 'unit')),
        plan.count, len(first),
        "; {:,} duplicates dropped".format(units.duplicates)
        if units.duplicates else "")
    return plan, units.duplicates


def _log_start(job, settings, parameters):
    def listed(values):
        return ', '.join(
            '%s=%s (%s)' % (name, value, origin)
            for name, value, origin in values) or 'none'

    job.logger.info(
        "starts in database %s with trytond %s, batch %s, celery %s",
        job.database, trytond.__version__, version('trytond-batch'),
        version('celery'))
    job.logger.info("parameters: %s", listed(
            (k, text, origin) for k, (_, text, origin) in parameters.items()))
    job.logger.info("settings: %s", listed(
            (k, json.dumps(v), origin) for k, (v, origin) in settings.items()))


@lru_cache
def version(distribution):
    return importlib.metadata.version(distribution)


def _find_user(login, origin):
    if login == 'root':
        return 0
    User = Pool().get('res.user')
    users = User.search([('login', '=', login)])
    if not users:
        raise ConfigError(
            origin, 'is "%s", expected the login of an active user' % login,
            key='user')
    user, = users
    return user.id


def refuse(database, batch, execution, error):
    "selecting -> failed: the selection raised, or was not even begun."
    logger = batch_logging.get_logger(batch)
    if isinstance(error, UnknownBatchError):
        # A name that is no batch's gets no log file: to the worker's alone
        logger = batch_logging.BatchLogger(logging.getLogger('batch'), None)
    details = describe(error)
    message = details['error'] if isinstance(error, BatchError) \
        else 'the selection failed: %s' % one_line(error)

    def _refuse(transaction):
        cursor = transaction.connection.cursor()
        if ledger.take_execution(cursor, execution, 'selecting') is None:
            return False
        ledger.update_execution(
            cursor, execution, state='failed', ended_at=ledger.now(),
            message=message + '; nothing was executed',
            error_type=details['error_type'], traceback=details['traceback'])
        return True

    with current.running(current.Run(batch, execution)):
        if not isinstance(error, BatchError):
            logger.exception("the selection failed", exc_info=trimmed(error))
        if transact(database, _refuse):
            logger.failure("%s: %s; nothing was executed", batch, message)


# One chunk

def turn(database, execution, chunk, *, send, clock=time.monotonic):
    """Treat a chunk and, while the turn lasts, the ones that it queues.

    :param clock: gives seconds
    """
    configure_logs()
    load_pool(database)
    job = load_job(database, execution)
    deadline = clock() + TURN
    while (chunk := treat(job, chunk)) is not None:
        if clock() < deadline:
            continue
        try:
            send(execution, chunk)
        except Exception as error:
            # Without the broker the lane goes on here: later, not never
            with job.run():
                job.logger.warning(
                    "the broker takes no message, going on without it: %s",
                    batch_logging.mask_secrets(str(error)))
        else:
            return
    close(database, execution)


@lru_cache(maxsize=64)
def load_job(database, execution):
    "Return the job of an execution, read once per process."
    def _load(transaction):
        cursor = transaction.connection.cursor()
        row = ledger.read(
            cursor, execution,
            'id', 'batch', 'parameters', 'settings', 'user', 'started_at')
        declared = get_batch(row['batch']).declared_parameters()
        return _job(
            database, row, row['user'],
            {k: v for k, (v, _) in json.loads(row['settings']).items()},
            {k: parameters_.parse(declared[k], text, row['batch'])
                if text is not None else None
                for k, (text, _) in json.loads(row['parameters']).items()})
    return transact(database, _load)


def _job(database, row, user, settings, parameters):
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
        context, row['started_at'])


def treat(job, chunk_id):
    """Treat one chunk; return the id of the chunk that it queued, or None.

    None also where the chunk has ended before, or somebody else has it.
    """
    started_at, started = ledger.now(), time.monotonic()
    chunk, attempts = None, 0

    def attempt(transaction):
        nonlocal chunk, attempts
        attempts += 1
        cursor = transaction.connection.cursor()
        chunk = ledger.take(cursor, chunk_id)
        if chunk is None:
            return None
        with job.run(chunk):
            numbers = execute(job, chunk)
        return ledger.done(
            cursor, chunk, started_at, attempts,
            [str(f) for f in transaction.join(output.Outputs()).files],
            numbers)

    def on_retry(error, count):
        with job.run(chunk):
            job.logger.warning(
                "the database refused for now, trying again (%s of %s): %s",
                count, job.settings['retry'], one_line(error))

    try:
        successor = transact(
            job.database, attempt, user=job.user, context=job.context,
            retry=job.settings['retry'], on_retry=on_retry)
    except Exception as error:
        if chunk is None:
            # The ledger itself could not be read: no unit is to blame
            raise
        return fail(job, chunk, started_at, attempts, error)
    if chunk is not None:
        with job.run(chunk):
            job.logger.info("%s done in %s", units_of(chunk),
                report.duration(time.monotonic() - started))
    return successor


def execute(job, chunk):
    "Call the hooks of the batch for a chunk; return its numbers."
    Batch = Pool().get(job.batch)
    if chunk.units is None:
        objects = ids = []
    else:
        ids = [
            id for unit in chunk.units
            for id in (unit if isinstance(unit, list) else [unit])]
        objects = parameters_.call(
            Batch.convert_to_instances, job.parameters, ids)
    result = parameters_.call(Batch.execute, job.parameters, objects, ids)
    return result if isinstance(result, dict) else None


def fail(job, chunk, started_at, attempts, error):
    """Log why a chunk failed and replace it by its parts, or fail it.

    Returns the id of the chunk that is queued in its place, or None.
    """
    details = describe(error)
    parts = None
    if (chunk.units is not None and len(chunk.units) > 1
            and job.settings['split_size'] != 1):
        parts = chunking.parts(chunk.units)
    if parts:
        end = "; replaced by parts of %s units" % ' and '.join(
            str(len(p)) for p in parts)
    elif chunk.units is not None and len(chunk.units) == 1:
        end = " alone"
    else:
        end = ", all of it: it is not to be split"

    def record(transaction):
        cursor = transaction.connection.cursor()
        if ledger.take(cursor, chunk.id) is None:
            return None
        if parts:
            return ledger.split(
                cursor, chunk, parts, started_at, attempts, details)
        return ledger.fail(cursor, chunk, started_at, attempts, details)

    with job.run(chunk):
        if parts and transact(job.database, lambda transaction: (
                    chunk.parent and ledger.parent_error(
                        transaction.connection.cursor(), chunk)
                    == (details['error_type'], details['error']))):
            # The traceback stands with the parent's line
            job.logger.warning("%s failed again%s: %s",
                units_of(chunk), end, one_line(error))
        else:
            job.logger.exception("%s failed%s: %s",
                units_of(chunk), end, one_line(error),
                exc_info=trimmed(error))
        return transact(job.database, record)


def units_of(chunk):
    if chunk.units is None:
        return 'the batch'
    if len(chunk.units) == 1:
        return 'unit %s' % chunk.units[0]
    return '{:,} units'.format(len(chunk.units))


def one_line(error):
    return '%(error_type)s: %(error)s' % describe(error)


def describe(error):
    "Return what the ledger keeps of an error; no secret is in it."
    mask = batch_logging.mask_secrets
    if isinstance(error, UserError):
        text = ' '.join(filter(None, [error.message, error.description]))
    else:
        text = str(error)
    return {
        'error_type': type(error).__name__,
        'error': mask(' '.join(text.split())),
        'traceback': None if isinstance(error, BatchError) else mask(
            ''.join(traceback.format_exception(trimmed(error)))),
        }


def trimmed(error):
    "Return error, its traceback from the frames of the batch on."
    trace = error.__traceback__
    while trace is not None and os.path.dirname(
            trace.tb_frame.f_code.co_filename) == HERE:
        trace = trace.tb_next
    # One that we raised ourselves keeps what it has
    return error if trace is None else error.with_traceback(trace)


# The end

def close(database, execution):
    """End the execution if no chunk is left, and write its last line.

    Whoever ends a lane of chunks asks, after its commit: so the last one sees
    all others.  The row's lock lets only one of them through.
    """
    def _close(transaction):
        cursor = transaction.connection.cursor()
        if not ledger.is_over(cursor, execution):
            return None
        row = ledger.take_execution(cursor, execution, 'running', wait=True)
        if row is None:
            return None
        counts = ledger.counts(cursor, execution)
        state = 'cancelled' if counts['cancelled'] else (
            'failed' if counts['failed'] else 'succeeded')
        ledger.update_execution(
            cursor, execution, state=state, ended_at=ledger.now(),
            done=counts['done'], failed=counts['failed'],
            left=counts['left'])
        return row['batch'], state, ledger.files(cursor, execution), \
            report.Outcome.read(cursor, execution)

    result = transact(database, _close)
    if result is None:
        return
    batch, state, files, outcome = result
    logger = batch_logging.get_logger(batch)
    with current.running(current.Run(batch, execution)):
        for path in output.publish(files):
            logger.error("the file %s is committed but missing", path)
        write = logger.success if state == 'succeeded' else logger.failure
        write('%s', outcome.text(
                batch, log=batch_logging.path_of(batch)))


def configure_logs():
    batch_logging.configure(config.get('batch', 'log_dir'))

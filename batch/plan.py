# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""From the name of a batch to its chunks: what generate_all does.

Two transactions: one admits the execution (its parameters, its settings, no
other one beside it), one selects and writes the chunks, under one snapshot.
"""
import json
import logging
import os
from collections.abc import Iterable
from functools import partial

import trytond
import trytond.config as config
from trytond.pool import Pool

from . import archive, chunking, current, ledger
from . import logging as batch_logging
from . import output
from . import parameters as parameters_
from . import report
from .batch import BatchRootNoSelect, get_batch, get_batches, today
from .config import BatchConfig, shown
from .engine.errors import exc_info, one_line, write_down
from .engine.hooks import Guard
from .engine.outputs import note_appeared
from .exceptions import (
    BatchError, BrokerError, ConfigError, DefinitionError, OverlapError,
    UnknownBatchError, WorkerLostError)
from .input import BatchRootFiles
from .job import close, configure_logs, load_job, make_job, version
from .masking import mask_value
from .texts import calls_hooks, escape
from .transaction import (
    before_leaving, find_outage, is_broken, is_order, is_outage, load_pool,
    transact)

__all__ = ['mourn', 'plan']

#: how many processes may die while selecting, before it is the selection's
#: fault
DEATHS = 3


def plan(database, batch, execution=None, given=None, task_id=None, *, send):
    """Select the units, write the chunks, commit, and send the first.

    :param execution: id of the execution, None to make one with the
        parameters given (name -> text)
    :param send: called with (execution, chunk)
    """
    configure_logs()
    pool, is_whole = None, False

    def select_(transaction):
        nonlocal is_whole
        try:
            return select(transaction, job, task_id)
        except BaseException:
            is_whole = is_broken(transaction) is False
            raise

    try:
        pool = load_pool(database)
        if execution is None:
            execution = transact(
                database, lambda transaction: ledger.executions.create(
                    transaction.connection.cursor(), batch, given or {}))
        if not transact(
                database, lambda transaction: admit(transaction, execution)):
            return
        job = load_job(database, execution)
        settle_earlier(job)
        selected = transact(database, select_)
    except BaseException as error:
        # A hook may raise whatever there is, and call sys.exit()
        if is_order(error):
            if execution is not None:
                before_leaving(database, partial(
                        ledger.claimants.give_back, execution=execution))
            raise
        outage = find_outage(error, database, is_whole)
        if outage is not None:
            # It waits, and the keeper sends it again
            with current.running(current.Run(
                        batch, execution or 0, database=database)):
                batch_logging.get_logger(batch).warning(
                    "the selection waits for the database: %s",
                    one_line(outage))
            return
        if pool is None or execution is None:
            raise
        refuse(database, batch, execution, error)
        return
    if selected is None:
        # Delivered twice: somebody else has it, or had it
        return
    chunks, outputs = selected
    note_appeared(database, execution, outputs)
    try:
        for chunk in chunks:
            send(execution, chunk)
    except BrokerError as error:
        with job.run():
            job.logger.warning("%s; the keeper sends again what is lost",
                error)
    if not chunks:
        close(database, execution)


def admit(transaction, execution):
    """Resolve what the execution was given; return whether to select now.

    Not if it is not there to be selected, or has to wait for another one.
    Raises BatchError where it is refused.
    """
    cursor = transaction.connection.cursor()
    ledger.executions.lock_all(cursor)
    row = ledger.executions.claim(cursor, execution, 'selecting')
    if row is None:
        return False
    job, settings, parameters = resolve(transaction, row)
    overlap, _ = settings['overlap']
    message = None
    if others := ledger.executions.others(cursor, row['batch'], execution):
        if overlap == 'wait':
            ledger.executions.update(
                cursor, execution, waiting_for=others[0],
                message='waits for #%s' % others[0])
            return False
        if overlap == 'skip':
            message = 'skipped (overlap = skip): %s' % told(cursor, others[0])
        elif overlap == 'fail':
            raise OverlapError(others[0], told(cursor, others[0]))
    disabled, origin = settings['disabled']
    if disabled:
        message = 'disabled by %s: nothing was run' % origin
    if ledger.executions.begin_selection(cursor, row) >= DEATHS:
        raise WorkerLostError(
            '%s, %s times while selecting; the log of the worker may tell '
            'more' % (ledger.claimants.GONE, DEATHS))
    ledger.executions.update(
        cursor, execution, user=job.user, message=message, waiting_for=None,
        settings=json.dumps({k: list(v) for k, v in settings.items()}),
        parameters=json.dumps({
                name: [text, origin]
                for name, (_, text, origin) in parameters.items()}))
    log_start(job, settings, parameters, row['retry_of'])
    return True


def resolve(transaction, row):
    """Return the Job of an execution, its settings and its parameters.

    :param row: of the execution, with what it was given
    """
    Batch = get_batch(row['batch'])
    declared = Batch.declared_parameters()
    batch_config = BatchConfig.load(config.get('batch', 'config_file'))
    batch_config.check({
            name: Other.declared_parameters()
            for name, Other in get_batches().items()})
    settings = Batch.resolve_settings(batch_config)
    check_directory(*settings['root_dir'])
    parameters = parameters_.resolve(
        row['batch'], declared, json.loads(row['given']),
        lambda name: batch_config.parameter(row['batch'], name), today)
    job = make_job(
        transaction.database.name, row, find_user(*settings['user']),
        {k: v for k, (v, _) in settings.items()},
        {k: v for k, (v, _, _) in parameters.items()})
    return job, settings, parameters


def preview(transaction, batch, given):
    """Select and split as an execution would, and write nothing.

    Returns the sizes of the chunks and the number of duplicates.  Raises
    BatchError for whatever a hook raises.
    """
    try:
        return select_and_split(transaction, batch, given)
    except BatchError:
        raise
    except BaseException as error:
        if is_outage(error) or is_order(error):
            raise
        batch_logging.get_logger(batch).exception(
            "the selection failed", exc_info=exc_info(error))
        raise BatchError('batch "%s": the selection failed: %s' % (
                batch, one_line(error))) from error


def select_and_split(transaction, batch, given):
    "As preview, but raises what a hook raises."
    job, _, _ = resolve(transaction, {
            'id': 0, 'batch': batch, 'given': json.dumps(given),
            'started_at': ledger.tables.now(transaction.connection.cursor()),
            'dry_run': True})
    Batch = get_batch(batch)
    if issubclass(Batch, BatchRootNoSelect):
        return [1], 0
    with transaction.set_user(job.user), \
            transaction.set_context(job.context), \
            job.run(hands=archive.Hands(
                transaction.connection.cursor(), job.execution,
                keep=False)), Guard(job.batch):
        Batch.check_models()
        units = select_units(job, Batch)
        sizes = [len(chunk) for chunk in chunks_of(job, Batch, units)]
    return [size for size in sizes if size], units.duplicates


def select_units(job, Batch):
    selected = parameters_.call(Batch, 'select_ids', job.parameters)
    if selected is None:
        selected = ()
    if isinstance(selected, (str, bytes, dict)) \
            or not isinstance(selected, Iterable):
        raise DefinitionError(
            job.batch, 'returned %r, expected a list or a generator of ids, '
            'rows or groups' % (selected,), hook='select_ids')
    return chunking.Distinct(
        selected,
        # By their numbers: a million rows would be hundreds of MB
        known=issubclass(Batch, BatchRootFiles))


def told(cursor, execution):
    "Return who is in the way, since when, and how far it is."
    row = ledger.executions.columns(
        cursor, execution, 'batch', 'started_at', 'selected')
    counts = ledger.figures.counts(cursor, execution)
    return '#%s of the batch is running since %s, %s' % (
        execution, report.moment(row['started_at']),
        'still selecting' if row['selected'] is None
        else '{:,} of {:,} units done'.format(
            counts['done'], row['selected']))


def check_directory(root_dir, origin):
    "Raise ConfigError now, where every chunk that writes would fail."
    if root_dir and not os.path.isdir(root_dir):
        raise ConfigError(
            origin, 'is "%s", expected a directory; make it, or mount it, on '
            'each machine that has workers' % root_dir, key='root_dir')


def find_user(login, origin):
    "Return the id of the user; raises ConfigError."
    if login == 'root':
        return 0
    User = Pool().get('res.user')
    users = User.search([('login', '=', login)])
    if not users:
        raise ConfigError('setting "user"', 'is "%s" (%s), expected the login '
            'of an active user' % (login, origin))
    user, = users
    return user.id


def log_start(job, settings, parameters, retry_of):
    def listed(values):
        return ', '.join(
            '%s=%s (%s)' % (name, escape(value), origin)
            for name, value, origin in values) or 'none'

    with job.run():
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


def settle_earlier(job):
    "Archive the input files that earlier executions are done with."
    if job.dry_run or not issubclass(
            Pool(job.database).get(job.batch), BatchRootFiles):
        return
    with job.run():
        for path, archived, _ in transact(
                job.database, lambda transaction: archive.settle_earlier(
                    transaction.connection.cursor(), job.batch, job.tag)):
            job.logger.info('"%s", which was done before, is archived as "%s"',
                escape(path.name), escape(archived))


def select(transaction, job, task_id):
    """Write the chunks; return the ids of those that are queued, and Outputs.

    None where the execution is not there to be selected.
    """
    cursor = transaction.connection.cursor()
    row = ledger.executions.claim(cursor, job.execution, 'selecting')
    if row is None:
        return None
    Batch = get_batch(job.batch)
    plan = ledger.planning.ChunkWriter(
        cursor, job.execution, job.settings['concurrency'])
    hands = archive.Hands(
        cursor, job.execution, row['retry_of'], keep=not job.dry_run)
    outputs = transaction.join(output.Outputs(job.tag))
    duplicates = 0
    with transaction.set_user(job.user), \
            transaction.set_context(job.context), \
            job.run(hands=hands, outputs=outputs), Guard(job.batch):
        if row['message']:
            # Skipped or disabled: it has no units
            pass
        elif row['retry_of']:
            Batch.check_models()
            retry(cursor, job, Batch, plan, row['retry_of'])
        elif issubclass(Batch, BatchRootNoSelect):
            plan.add(None, 1)
        else:
            Batch.check_models()
            units = select_units(job, Batch)
            split(job, Batch, plan, units)
            duplicates = units.duplicates
    plan.flush()
    hands.flush()
    ledger.executions.update(
        cursor, job.execution, state='running', task_id=task_id,
        selected=plan.selected, duplicates=duplicates,
        message=row['message'] or hands.message,
        outputs=json.dumps(outputs.identities)
        if outputs.identities else None)
    return ledger.chunks.list_queued(cursor, job.execution), outputs


def retry(cursor, job, Batch, plan, execution):
    "Plan the units that failed in an earlier execution."
    units = []
    for _, failed, *_ in ledger.failures.list_failures(cursor, execution):
        if isinstance(failed, ledger.units.Unreadable):
            raise failed.error
        elif failed is None:
            plan.add(None, 1)
        else:
            units.extend(failed)
    if units:
        if issubclass(Batch, BatchRootFiles):
            units = Batch.units_again(units, job.parameters)
        split(job, Batch, plan, chunking.Distinct(units))


@calls_hooks
def chunks_of(job, Batch, units):
    "Yield the chunks of a batch, as lists."
    for chunk in Batch.split(units):
        current.end_child()
        if not isinstance(chunk, Iterable) or isinstance(chunk, (str, dict)):
            raise DefinitionError(
                job.batch, 'gave %r as a chunk, expected lists of units'
                % (chunk,), hook='split')
        yield list(chunk)
    current.end_child()


def split(job, Batch, plan, units):
    first = []
    for chunk in chunks_of(job, Batch, units):
        if chunk:
            first = first or chunk
            try:
                plan.add(chunk, len(chunk))
            except (TypeError, ValueError, RecursionError) as error:
                raise DefinitionError(
                    job.batch, 'gave a unit that the ledger can not keep (%s)'
                    '; expected ids, rows of what JSON has, of dates and of '
                    'Decimals, or groups of these' % error, hook='select_ids'
                    ) from error
    if plan.selected != units.count:
        raise DefinitionError(
            job.batch, 'gave %s units in its chunks for %s units; expected '
            'each unit exactly once' % (plan.selected, units.count),
            hook='split')
    digest = batch_logging.get_print_infos(
        map(ledger.units.shown, first), 'unit')
    if plan.count > 1:
        digest = '{:,} units in {:,} chunks, the first of {}'.format(
            plan.selected, plan.count, digest)
    job.logger.info(
        "selected %s%s", digest,
        "; {:,} duplicates dropped".format(units.duplicates)
        if units.duplicates else "")


def mourn(database, batch, execution, cause):
    """Write that the process of a selection died; return whether to go on.

    :param cause: how it died, such as ``signal 9``
    """
    configure_logs()
    deaths = transact(
        database, lambda transaction: ledger.executions.selection_died(
            transaction.connection.cursor(), execution))
    if deaths is None:
        return False
    error = WorkerLostError(
        'worker lost (%s) while selecting, %s of %s times; the log of the '
        'worker may tell more' % (cause, deaths, DEATHS))
    if deaths >= DEATHS:
        refuse(database, batch, execution, error)
        return False
    with current.running(current.Run(batch, execution, database=database)):
        batch_logging.get_logger(batch).error("%s", error)
    return True


def refuse(database, batch, execution, error):
    "selecting -> failed: the selection raised, or was not even begun."
    logger = batch_logging.get_logger(batch)
    if issubclass(type(error), UnknownBatchError):
        # A name that is no batch's gets no log file: to the worker's alone
        logger = batch_logging.BatchLogger(logging.getLogger('batch'), None)
    is_told = issubclass(type(error), BatchError)

    def fail(transaction, details):
        cursor = transaction.connection.cursor()
        if ledger.executions.claim(cursor, execution, 'selecting') is None:
            return None
        ledger.planning.discard(cursor, execution)
        ledger.executions.forget_secrets(cursor, execution)
        message = details['error'] if is_told \
            else 'the selection failed: %s' % ': '.join(filter(None, [
                        details['error_type'], details['error']]))
        ledger.executions.update(
            cursor, execution, state='failed', ended_at=ledger.tables.clock(),
            message=message + '; nothing was executed',
            error_type=details['error_type'], traceback=details['traceback'])
        return message

    with current.running(current.Run(batch, execution, database=database)):
        if not is_told:
            logger.exception("the selection failed", exc_info=exc_info(error))
        if message := write_down(error, lambda details: transact(
                    database, partial(fail, details=details))):
            logger.failure("%s: %s; nothing was executed", batch, message,
                extra={'error': error})

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""From the name of a batch to its chunks: what generate_all does.

Two transactions: one admits the execution, one selects the units and writes
the chunks, under one snapshot.
"""
import itertools
import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import TypeAlias

from trytond.pool import Pool
from trytond.transaction import Transaction

from .. import ledger, output, tracing
from ..aliases import Cursor, Given, Send, Unit
from ..batch import BatchRoot, get_batch
from ..chunking import Distinct
from ..class_checks import is_own
from ..context import Work, end_child, working
from ..exceptions import (
    BatchError, BrokerError, DefinitionError, TransactionEndedError,
    UnknownBatchError, WorkerLostError)
from ..ledger.planning import ChunkWriter
from ..ledger.rows import Details, reading_ahead
from ..ledger.states import Admission, ExecutionState, Finish
from ..logging import BatchLogger, get_logger, get_print_infos
from ..mailing import Mail
from ..outcome import Outcome
from ..output import Outputs
from ..signatures import call_hook
from ..texts import calls_hooks, escape
from ..transaction import (
    before_leaving, find_outage, is_broken, is_shutdown, load_pool, transact)
from . import input_files, telling
from .admission import MAX_DEATHS, admit, parses, write_parsed
from .ending import close, trace
from .errors import exc_info, is_refusal, one_line, write_down
from .hooks import Guard
from .output_files import note_appeared
from .running import Job, load_job, open_configured_logs

__all__ = [
    'chunks_of', 'reading', 'select_and_plan', 'select_units',
    'selection_died']

#: ids of the chunks to send, and the files that were written
Selected: TypeAlias = tuple[list[int], Outputs]


def select_and_plan(
        database: str, batch: str, execution: int | None = None,
        given: Given | None = None, task_id: str | None = None, *,
        send: Send) -> str | None:
    """Select the units, write the chunks, commit, and send the queued ones.

    What a hook raises fails the execution, and is not raised.  Does nothing
    if the execution is not to be selected, waits, or the database is away.
    Returns why it failed, or None.

    :param execution: id; None to make one with the parameters given
    :param task_id: of Celery
    """
    open_configured_logs()
    pool, is_whole = None, False

    def select_(cursor: Cursor, job: Job) -> Selected | None:
        nonlocal is_whole
        transaction = Transaction()
        try:
            return write_selection(cursor, job, task_id)
        except BaseException:
            is_whole = is_broken(transaction) is False
            raise

    try:
        pool = load_pool(database)
        if execution is None:
            execution = transact(
                database, lambda cursor: ledger.executions.create(
                    cursor, batch, given or {}))
        admitted = transact(
            database, lambda cursor: admit(cursor, execution))
        if admitted is None:
            # If it is selected already, the keeper sent this to call finish
            close(database, execution, may_call_hooks=True)
            return None
        if parses(pool.get(batch)):
            transact(database, lambda cursor: write_parsed(cursor, *admitted))
        job = load_job(database, execution)
        if job is None:
            return None
        settle_earlier(job)
        selected = transact(database, partial(select_, job=job))
    except BaseException as error:
        # A hook may raise whatever there is, and call sys.exit()
        if is_shutdown(error):
            if execution is not None:
                before_leaving(database, partial(
                        ledger.claimants.give_back, execution=execution))
            raise
        outage = find_outage(error, database, is_whole)
        if outage is not None:
            # It stays selecting, and the keeper sends it again
            with working(Work(
                        batch, execution or 0, database=database)):
                get_logger(batch).warning(
                    "the selection waits for the database: %s",
                    one_line(outage))
            return None
        if pool is None or execution is None:
            raise
        return refuse_start(database, batch, execution, error)
    if selected is None:
        # Delivered twice: another process selects it, or did
        return None
    chunks, outputs = selected
    note_appeared(database, execution, outputs)
    try:
        for chunk in chunks:
            send(execution, chunk)
    except BrokerError as error:
        with job.working():
            job.logger.warning("%s; the keeper sends again what is lost",
                error)
    if not chunks:
        close(database, execution, may_call_hooks=True)
    return None


def select_units(job: Job, Batch: type[BatchRoot]) -> Distinct:
    "Return the units that ``select_ids`` gives; raises DefinitionError."
    selected = call_hook(Batch, 'select_ids', job.parameters)
    if selected is None:
        selected = ()
    if isinstance(selected, (str, bytes, dict)) \
            or not isinstance(selected, Iterable):
        raise DefinitionError(
            job.batch, 'returned %r, expected a list or a generator of ids, '
            'rows or groups' % (selected,), hook='select_ids')
    return Distinct(selected, known=Batch.has_distinct_units,
        keep_rows=Batch.keeps_rows())


def reading(
        cursor: Cursor,
        Batch: type[BatchRoot]) -> AbstractContextManager[None]:
    "Return the context manager within which units and chunks are read."
    # Hooks of its own may use the connection meanwhile
    return reading_ahead(cursor, not any(
            is_own(Batch, n, BatchRoot) for n in ['select_ids', 'split']))


def settle_earlier(job: Job) -> None:
    "Archive input files of earlier executions whose units are all done."
    if job.dry_run \
            or not Pool(job.database).get(job.batch).has_input_files:
        return
    with job.working():
        for path, archived, _ in transact(
                job.database, lambda cursor: input_files.settle_earlier(
                    cursor, job.batch, job.tag)):
            job.logger.info('"%s" of an earlier execution is archived as "%s"',
                escape(path.name), escape(archived))


def write_selection(
        cursor: Cursor, job: Job, task_id: str | None) -> Selected | None:
    """Select and write the chunks; return (ids of the queued ones, Outputs).

    None if the execution is not selecting, or is locked.
    """
    transaction = Transaction()
    row = ledger.executions.claim(
        cursor, job.execution, ExecutionState.SELECTING)
    if row is None:
        return None
    Batch = get_batch(job.batch)
    plan = ledger.planning.ChunkWriter(
        cursor, job.execution, job.settings['concurrency'])
    custody = input_files.Custody(
        cursor, job.execution, row['retry_of'], keep=not job.dry_run)
    outputs = transaction.join(output.Outputs(job.tag))
    duplicates = 0
    with transaction.set_user(job.user), \
            transaction.set_context(job.context), \
            job.working(custody=custody, outputs=outputs), Guard(job.batch):
        if row['admission'] != Admission.ADMITTED:
            # Skipped or disabled: it has no units
            ledger.settling.give_back(cursor, job.execution)
        elif row['retry_of']:
            Batch.check_models()
            plan_failures(cursor, job, Batch, plan)
        elif not Batch.has_units():
            plan.add(None, 1)
        else:
            Batch.check_models()
            units = select_units(job, Batch)
            with reading(cursor, Batch):
                write_plan(job, Batch, plan, units)
            duplicates = units.duplicates
    plan.flush()
    custody.flush()
    ledger.executions.update(
        cursor, job.execution, state=ExecutionState.RUNNING, task_id=task_id,
        selected=plan.selected, duplicates=duplicates,
        message=row['message'] or custody.message,
        finish=Finish.DUE if row['admission'] == Admission.ADMITTED
        and not job.dry_run and is_own(Batch, 'finish', BatchRoot) else None,
        outputs=json.dumps(outputs.identities)
        if outputs.identities else None)
    return ledger.open_chunks.list_queued(cursor, job.execution), outputs


def plan_failures(
        cursor: Cursor, job: Job, Batch: type[BatchRoot],
        plan: ChunkWriter) -> None:
    "Plan the units that a retry took up; raises UnitsError."
    def taken() -> Iterator[Unit]:
        for units in ledger.settling.list_taken(cursor, job.execution):
            if isinstance(units, ledger.units.Unreadable):
                raise units.error
            # None: the batch selects nothing
            yield from units or [None]

    units = taken()
    first = next(units, None)
    if first is None:
        plan.add(None, 1)
    else:
        write_plan(job, Batch, plan, Distinct(
                Batch.units_again(
                    itertools.chain([first], units), job.parameters),
                keep_rows=Batch.keeps_rows()))
    plan.flush()
    ledger.settling.note_planned(cursor, job.execution)


@calls_hooks
def chunks_of(
        job: Job, Batch: type[BatchRoot],
        units: Distinct) -> Iterator[list[Unit]]:
    "Yield the chunks that ``split`` makes; raises DefinitionError."
    for chunk in Batch.split(units):
        end_child()
        if not isinstance(chunk, Iterable) or isinstance(chunk, (str, dict)):
            raise DefinitionError(
                job.batch, 'gave %r as a chunk, expected lists of units'
                % (chunk,), hook='split')
        yield list(chunk)
    end_child()


def write_plan(
        job: Job, Batch: type[BatchRoot], plan: ChunkWriter,
        units: Distinct) -> None:
    """Write the chunks of the units, and log how many.

    Raises DefinitionError if the chunks do not hold each unit exactly once,
    or a unit can not be stored.
    """
    first: list[Unit] = []
    for chunk in chunks_of(job, Batch, units):
        if chunk:
            first = first or chunk
            try:
                plan.add(chunk, len(chunk))
            except (TypeError, ValueError, RecursionError) as error:
                raise DefinitionError(
                    job.batch, 'gave a unit that the ledger can not store '
                    '(%s); expected an id, a row of JSON values, dates and '
                    'Decimals, or a list of these' % error, hook='select_ids'
                    ) from error
    if plan.selected != units.count:
        raise DefinitionError(
            job.batch, 'gave %s units in its chunks for %s selected units; '
            'expected each unit exactly once' % (plan.selected, units.count),
            hook='split')
    digest = get_print_infos(map(ledger.units.shown_unit, first), 'unit')
    if plan.count > 1:
        digest = '{:,} units in {:,} chunks, the first of {}'.format(
            plan.selected, plan.count, digest)
    job.logger.info(
        "selected %s%s", digest,
        "; {:,} duplicates dropped".format(units.duplicates)
        if units.duplicates else "")


def selection_died(
        database: str, batch: str, execution: int, cause: str) -> bool:
    """Write that the process of a selection died; return whether to retry.

    After MAX_DEATHS the execution fails.

    :param cause: how it died, such as ``signal 9``
    """
    open_configured_logs()
    deaths = transact(
        database, lambda cursor: ledger.executions.selection_died(
            cursor, execution))
    if deaths is None:
        return False
    error = WorkerLostError(
        'worker lost (%s) while selecting, %s of %s times; the log of the '
        'worker may tell more' % (cause, deaths, MAX_DEATHS))
    if deaths >= MAX_DEATHS:
        refuse_start(database, batch, execution, error)
        return False
    with working(Work(batch, execution, database=database)):
        get_logger(batch).error("%s", error)
    return True


def refuse_start(
        database: str, batch: str, execution: int,
        error: BaseException) -> str | None:
    "selecting -> failed: the selection raised, or was refused; returns why."
    logger = get_logger(batch)
    if issubclass(type(error), UnknownBatchError):
        # Only into the worker's log: an unknown name gets no log file
        logger = BatchLogger(logging.getLogger('batch'), None)
    is_own_error = issubclass(type(error), BatchError)

    def fail(
            cursor: Cursor,
            details: Details) -> tuple[str, list[Mail]] | None:
        if not ledger.executions.claim(
                cursor, execution, ExecutionState.SELECTING):
            return None
        ledger.planning.discard(cursor, execution)
        ledger.settling.give_back(cursor, execution)
        ledger.executions.forget_secrets(cursor, execution)
        message = details['error'] if is_own_error \
            else 'the selection failed: %s' % ': '.join(filter(None, [
                        details['error_type'], details['error']]))
        ledger.executions.update(
            cursor, execution, state=ExecutionState.FAILED,
            ended_at=ledger.tables.clock(),
            exit_status=getattr(error, 'exit_status') if is_own_error else 1,
            message=message + '; nothing was executed',
            error_type=details['error_type'], traceback=details['traceback'],
            hooks_committed=issubclass(type(error), TransactionEndedError),
            **({'admission': Admission.REFUSED} if is_refusal(error) else {}))
        return message, telling.tell_of(
            cursor, execution) if is_told else []

    with working(Work(batch, execution, database=database)):
        if not is_own_error:
            logger.exception("the selection failed", exc_info=exc_info(error))
        is_told = telling.prepare(database, batch)
        message, mails = write_down(error, lambda details: transact(
                database, partial(fail, details=details))) or (None, [])
        if message:
            logger.failure("%s: %s; nothing was executed", batch, message,
                extra={'error': error})
            if not is_own_error and tracing.is_on() and (outcome := transact(
                        database, partial(Outcome.load, execution=execution))):
                trace(database, outcome)
            telling.send_mails(mails, logger)
    return message

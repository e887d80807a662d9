# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The hook ``finish``: called once, when no unit of an execution is left.

As with a chunk, one commit holds its work and the state ``done``.  The
execution ends in a later transaction: the files that ``finish`` writes appear
after its commit, and no execution ends before its files have appeared.
"""
import json
import time
from functools import partial
from pathlib import Path

from trytond.transaction import Transaction

from .. import ledger, output
from ..aliases import Cursor
from ..batch import get_batch
from ..context import Work, working
from ..exceptions import TransactionEndedError, WorkerLostError
from ..ledger.claimants import claimant, give_back, process_of
from ..ledger.rows import Details
from ..ledger.states import ExecutionState, Finish
from ..logging import get_logger
from ..outcome import Outcome, duration
from ..output import Outputs
from ..signatures import call_hook
from ..transaction import (
    before_leaving, find_outage, is_broken, is_shutdown, transact)
from .errors import exc_info, one_line, write_down
from .hooks import Guard
from .output_files import note_appeared, publish
from .running import Job, load_job
from .tags import tag_of
from .time_limit import call_within

__all__ = ['MAX_DEATHS', 'finish', 'finish_died']

#: how many processes may die in it, before it is the hook's fault
MAX_DEATHS = 3


def finish(database: str, batch: str, execution: int) -> bool:
    """Call finish if it is due; return whether the execution can end now.

    It can not while another process calls it, or if the database is away.
    """
    deaths = transact(
        database, lambda cursor: begin(cursor, database, execution))
    if deaths is None:
        return False
    if deaths == NOT_CALLED:
        return True
    broken, started, retry = None, time.monotonic(), None

    def work(cursor: Cursor, job: Job) -> Outputs | None:
        nonlocal broken
        transaction = Transaction()
        try:
            return call(cursor, job)
        except BaseException:
            broken = is_broken(transaction)
            raise

    def on_retry(error: BaseException, count: int) -> None:
        get_logger(batch).warning(
            "the database refused finish for now, trying again (%s of %s): "
            "%s", count, retry, one_line(error))

    try:
        if deaths >= MAX_DEATHS:
            raise WorkerLostError(
                '%s, %s times in finish; the log of the worker may tell more'
                % (ledger.claimants.GONE, deaths))
        job = load_job(database, execution)
        if job is None:
            return False
        retry = job.settings['retry']
        outputs = transact(
            database, partial(work, job=job), user=job.user,
            context=job.context, retry=retry, on_retry=on_retry)
    except BaseException as error:
        # A hook may raise whatever there is, and call sys.exit()
        outage = None if is_shutdown(error) else find_outage(
            error, database, is_whole=broken is False)
        if not (is_shutdown(error) or broken or outage is not None):
            return fail(database, batch, execution, error)
        # The hook is not to blame, and is called again
        before_leaving(database, partial(give_back, execution=execution))
        if is_shutdown(error):
            raise
        get_logger(batch).warning(
            "finish waits for the database: %s",
            one_line(error if outage is None else outage))
        return False
    if outputs is None:
        return False
    note_appeared(database, execution, outputs)
    get_logger(batch).info(
        "finish done in %s", duration(time.monotonic() - started))
    return True


#: what begin returns where the execution ends without a call
NOT_CALLED = -1


def begin(cursor: Cursor, database: str, execution: int) -> int | None:
    """Write that we call it; return how many processes died calling it.

    None if the execution is not over, or another process calls it.  NOT_CALLED
    if it is not due, or a committed file is missing, which it might read.
    """
    row = ledger.executions.claim_if_over(cursor, execution)
    if row is None:
        return None
    if not ledger.finishing.is_due(cursor, execution) or publish(
            cursor, execution, tag_of(
                database, execution, row['started_at'])):
        return NOT_CALLED
    if row['finish'] == Finish.BEGUN and row['begun_by']:
        # Nobody may have told of its death yet
        get_logger(row['batch']).warning(
            "finish was begun by %s, which did not end it: called again",
            process_of(row['begun_by']))
    return ledger.finishing.begin(cursor, row)


def call(cursor: Cursor, job: Job) -> Outputs | None:
    "Call the hook; return its Outputs, None if another process calls it."
    transaction = Transaction()
    row = ledger.executions.claim(
        cursor, job.execution, ExecutionState.RUNNING)
    if (row is None or row['finish'] != Finish.BEGUN
            or row['begun_by'] != claimant()):
        return None
    outcome = Outcome.load(cursor, job.execution)
    assert outcome is not None
    # As the execution will end, unless the hook fails
    outcome.state = ExecutionState.FAILED if outcome.counts['failed'] \
        else ExecutionState.SUCCEEDED
    files = list(map(Path, ledger.outputs.files(cursor, job.execution)))
    outputs = transaction.join(output.Outputs(job.tag))
    with job.working(outputs=outputs), Guard(job.batch):
        call_within(job.settings['time_limit'], lambda: call_hook(
                get_batch(job.batch), 'finish', job.parameters, outcome,
                files))
    # Not before the hook: who admits other executions waits for who writes
    ledger.executions.update(
        cursor, job.execution, finish=Finish.DONE,
        outputs=json.dumps({
                **json.loads(row['outputs'] or '{}'), **outputs.identities})
        if outputs.identities else row['outputs'])
    return outputs


def fail(
        database: str, batch: str, execution: int,
        error: BaseException) -> bool:
    "Write that finish failed; return whether the execution can end now."
    def record(cursor: Cursor, details: Details) -> bool:
        row = ledger.executions.claim(
            cursor, execution, ExecutionState.RUNNING, wait=True)
        if row is None:
            return False
        ledger.executions.update(
            cursor, execution, finish=Finish.FAILED,
            error_type=details['error_type'], traceback=details['traceback'],
            message='; '.join(filter(None, [
                        row['message'], 'finish failed: %s: %s'
                        % (details['error_type'], details['error'])])),
            hooks_committed=issubclass(type(error), TransactionEndedError))
        return True

    get_logger(batch).exception(
        "finish failed: %s", one_line(error), exc_info=exc_info(error),
        extra={'error': error})
    return write_down(error, lambda details: transact(
            database, partial(record, details=details)))


def finish_died(
        database: str, execution: int, cause: str,
        blame: bool) -> bool | None:
    """Write that a process died, which may have been calling finish.

    Returns whether it is written; None if no process was calling it.

    :param cause: how it died, such as ``signal 9``
    :param blame: whether the hook is to blame
    """
    def record(cursor: Cursor) -> tuple[str | None, bool | None]:
        row = ledger.executions.columns(cursor, execution, 'batch')
        return None if row is None else row['batch'], \
            ledger.finishing.died(cursor, execution, blame)

    batch, is_written = transact(database, record)
    if batch and is_written:
        with working(Work(batch, execution, database=database)):
            get_logger(batch).error("worker lost (%s) in finish%s", cause,
                "" if blame else "; it is not to blame")
    return is_written

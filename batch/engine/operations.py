# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Start an execution, cancel it, resume it, retry or dismiss its failures.

Where the state forbids it they raise ExecutionError, which names the state.
"""
import json
from collections.abc import Collection, Sequence

import trytond.config as config

from .. import ledger
from ..aliases import Cursor, Given, Settings
from ..config import BatchConfig
from ..context import Work, working
from ..exceptions import ExecutionError, SettingError
from ..given import setting_of, split_given
from ..ledger.rows import ExecutionRow, values_of
from ..ledger.states import ExecutionState, Finish
from ..logging import get_logger, server_zone
from ..mailing import Mail
from ..texts import escape
from ..transaction import transact
from ..window import window_end
from . import telling
from .chosen import among, chosen, next_step
from .ending import close, needs_hooks

__all__ = [
    'cancel', 'dismiss', 'queue_of_batch', 'queue_of_execution', 'resume',
    'retry', 'start']


def start(
        database: str, batch: str, given: Given, dry_run: bool = False,
        local: bool = False) -> int:
    "Make an execution and return its id; nothing is sent or executed."
    return transact(database, lambda cursor: ledger.executions.create(
            # What is typed may be no text; a batch has no such name
            cursor, escape(batch), given,
            dry_run=dry_run, local=local))


def cancel(database: str, execution: int, message: str) -> bool:
    """Cancel the execution; return whether it was selecting or running.

    Chunks that are being executed are finished.  Raises ExecutionError if it
    does not exist.

    :param message: why, as the ledger keeps it
    """
    mails: list[Mail] = []

    def _cancel(cursor: Cursor) -> bool:
        if ledger.executions.claim(
                cursor, execution, ExecutionState.SELECTING):
            ledger.executions.update(
                cursor, execution, state=ExecutionState.CANCELLED,
                ended_at=ledger.tables.clock(), exit_status=1,
                message=message)
            ledger.settling.give_back(cursor, execution)
            if is_told:
                mails[:] = telling.tell_of(cursor, execution)
            return True
        row = ledger.executions.existing(
            cursor, execution, 'state', 'finish')
        if row['state'] != ExecutionState.RUNNING \
                or is_finishing(cursor, execution, row):
            return False
        ledger.executions.stop(
            cursor, execution, ExecutionState.CANCELLED, message)
        return True

    batch = transact(database, lambda cursor: ledger.executions.existing(
            cursor, execution, 'batch')['batch'])
    is_told = telling.prepare(database, batch)
    with working(Work(batch, execution, database=database)):
        cancelled = transact(database, _cancel)
        telling.send_mails(mails, get_logger(batch))
    close(database, execution)
    return cancelled


def resume(
        database: str, execution: int,
        local: bool = False) -> tuple[str, list[int] | None]:
    """Let the execution run again, for what is left, missing or unfinished.

    Returns (batch, ids of the chunks to send; None to send the task that
    selects, which also calls the hooks of the end).  Raises ExecutionError if
    nothing is left, or another execution is running.

    :param local: whether the caller executes it itself
    """
    def _resume(cursor: Cursor) -> tuple[str, list[int] | None]:
        ledger.executions.lock_all(cursor)
        row = ledger.executions.existing(
            cursor, execution, 'state', 'batch', 'left', 'settings',
            'missing', 'finish')
        if is_finishing(cursor, execution, row):
            raise ExecutionError(execution, 'is running, and its finish is '
                'being called: nothing is to be done')
        has_failed = row['finish'] == Finish.FAILED
        closes_at = row['settings'] and window_end(
            values_of(row['settings']).get('until'),
            ledger.tables.now(cursor), server_zone())
        if row['state'] == ExecutionState.SELECTING:
            ledger.executions.update(
                cursor, execution, local=local, closes_at=closes_at)
            return row['batch'], None
        if row['state'] != ExecutionState.RUNNING:
            if not (row['left'] or row['missing'] or has_failed):
                step = next_step(cursor, execution)
                raise ExecutionError(execution, 'is %s and nothing of it is '
                    'left%s' % (row['state'], '; ' + step if step else ''))
            overlap = values_of(row['settings'])['overlap']
            others = ledger.executions.others(cursor, row['batch'], execution)
            if others and overlap != 'allow' and (
                    row['left'] or has_failed):
                raise ExecutionError(execution, 'can not go on beside #%s, '
                    'which is running (coop show %s)' % (
                        others[0], others[0]))
            ledger.executions.update(
                cursor, execution, state=ExecutionState.RUNNING, ended_at=None,
                exit_status=None)
        # Failures before this stay counted for max_failures
        ledger.executions.update(
            cursor, execution, stopping=None, message=None, local=local,
            error_type=None, traceback=None, closes_at=closes_at)
        if has_failed:
            ledger.executions.update(cursor, execution, finish=Finish.DUE)
        ledger.open_chunks.requeue(cursor, execution)
        ids = ledger.open_chunks.list_queued(cursor, execution)
        ledger.chunks.mark_deserted(cursor, ids)
        if not ids and needs_hooks(cursor, execution):
            return row['batch'], None
        return row['batch'], ids

    batch, chunks = transact(database, _resume)
    if chunks == []:
        # Only files were missing, or the process died before close()
        close(database, execution)
    return batch, chunks


def retry(
        database: str, execution: int, local: bool = False,
        texts: Sequence[str] = (),
        failures: Collection[int] | None = None) -> tuple[int, str]:
    """Make an execution of open failures; return (id, batch).

    Raises ExecutionError if there are none, or not those, or the execution is
    still open.

    :param local: whether the caller executes it itself
    :param texts: the units, as ``--unit`` gives them; none: all of them
    :param failures: ids of failures instead
    """
    def _retry(cursor: Cursor) -> tuple[int, str]:
        ledger.executions.lock_all(cursor)
        row = ledger.executions.existing(
            cursor, execution, 'state', 'batch', 'given', 'parameters',
            'dry_run')
        ids = chosen(cursor, execution, row, texts) if failures is None \
            else among(cursor, execution, row, failures)
        given = values_of(row['parameters'])
        # The settings of the first run hold again
        given.update(
            (name, text) for name, text in json.loads(row['given']).items()
            if setting_of(name)[0])
        id = ledger.executions.create(
            cursor, row['batch'], given, retry_of=execution, local=local)
        ledger.settling.take_up(cursor, execution, id, ids)
        return id, row['batch']

    return transact(database, _retry)


def dismiss(
        database: str, execution: int, reason: str | None = None,
        texts: Sequence[str] = (),
        failures: Collection[int] | None = None) -> tuple[int, int]:
    """Mark open failures as settled otherwise.

    Returns (how many, how many of the execution are still open).  Raises
    ExecutionError if there are none, or not those, or the execution is still
    open.

    :param texts, failures: as of retry
    """
    def _dismiss(cursor: Cursor) -> tuple[int, int]:
        ledger.executions.lock_all(cursor)
        row = ledger.executions.existing(
            cursor, execution, 'state', 'dry_run')
        ids = chosen(cursor, execution, row, texts) if failures is None \
            else among(cursor, execution, row, failures)
        count = ledger.settling.dismiss(cursor, execution, reason, ids)
        return count, ledger.failed_units.count_open(
            cursor, [execution]).get(execution, 0)

    return transact(database, _dismiss)


def is_finishing(cursor: Cursor, execution: int, row: ExecutionRow) -> bool:
    """Return whether a process calls ``finish`` right now.

    :param row: with state and finish
    """
    return row['finish'] == Finish.BEGUN and ledger.executions.claim(
        cursor, execution, ExecutionState.RUNNING) is None


def queue_of_execution(database: str, batch: str, execution: int) -> str:
    """Return the queue of an execution.

    Until it is admitted, the one that it was given, or that of batch.conf.
    """
    # There may be a transaction of somebody else: transact() has its own
    row = transact(database, lambda cursor: ledger.executions.existing(
            cursor, execution, 'settings', 'given'), retry=0)
    if row['settings']:
        return values_of(row['settings'])['queue']
    try:
        given, _ = split_given(batch, json.loads(row['given'] or '{}'))
    except SettingError:
        # The admission will refuse it
        given = {}
    return queue_of_batch(batch, given)


def queue_of_batch(batch: str, given: Settings | None = None) -> str:
    """Return the queue that a run of a batch would have.

    :param given: the settings that the run is given
    """
    batch_config = BatchConfig.load(config.get('batch', 'config_file'))
    return batch_config.resolve(batch, given=given)['queue'][0]

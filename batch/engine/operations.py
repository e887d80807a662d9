# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Start an execution, cancel it, go on with it; retry or dismiss failures.

Each asks the state first, and says it when it refuses.
"""
import json

import trytond.config as config

from .. import ledger
from ..config import BatchConfig
from ..exceptions import ExecutionError
from ..ledger.states import ExecutionState
from ..texts import escape
from ..transaction import transact
from .chosen import among, chosen
from .ending import close

__all__ = [
    'cancel', 'dismiss', 'queue_of_batch', 'queue_of_execution', 'resume',
    'retry', 'start']


def start(database, batch, given, dry_run=False, local=False):
    "Make an execution and return its id; nothing runs yet."
    return transact(database, lambda cursor: ledger.executions.create(
            # What is typed may be no text; a batch has no such name
            cursor, escape(batch), given,
            dry_run=dry_run, local=local))


def cancel(database, execution, message):
    """Cancel what is not worked on; return whether the state allowed it.

    What runs goes on to the end of its chunk.
    """
    def _cancel(cursor):
        if ledger.executions.claim(
                cursor, execution, ExecutionState.SELECTING):
            ledger.executions.update(
                cursor, execution, state=ExecutionState.CANCELLED,
                ended_at=ledger.tables.clock(), exit_status=1,
                message=message)
            ledger.failed_units.give_back(cursor, execution)
            return True
        row = existing(cursor, execution, 'state')
        if row['state'] != ExecutionState.RUNNING:
            return False
        ledger.executions.stop(
            cursor, execution, ExecutionState.CANCELLED, message)
        return True

    cancelled = transact(database, _cancel)
    close(database, execution)
    return cancelled


def resume(database, execution, local=False):
    """Open the execution again for what is left of it, or missing.

    Returns (batch, ids of the chunks to send, None to select first).  Raises
    ExecutionError if there is nothing to go on with.
    """
    def _resume(cursor):
        ledger.executions.lock_all(cursor)
        row = existing(
            cursor, execution, 'state', 'batch', 'left', 'settings',
            'missing')
        if row['state'] == ExecutionState.SELECTING:
            ledger.executions.update(cursor, execution, local=local)
            return row['batch'], None
        if row['state'] != ExecutionState.RUNNING:
            if not row['left'] and not row['missing']:
                raise ExecutionError(execution, 'is %s and nothing of it is '
                    'left%s' % (row['state'], ' (failed units: coop retry %s)'
                        % execution
                        if row['state'] == ExecutionState.FAILED else ''))
            overlap, _ = json.loads(row['settings'])['overlap']
            others = ledger.executions.others(cursor, row['batch'], execution)
            if others and overlap != 'allow' and row['left']:
                raise ExecutionError(execution, 'can not go on beside #%s, '
                    'which is running (coop show %s)' % (
                        others[0], others[0]))
            ledger.executions.update(
                cursor, execution, state=ExecutionState.RUNNING, ended_at=None,
                exit_status=None)
        # The breaker begins anew; what it counted stays counted
        ledger.executions.update(
            cursor, execution, stopping=None, message=None, local=local)
        ledger.chunks.requeue(cursor, execution)
        ids = ledger.chunks.list_queued(cursor, execution)
        ledger.chunks.mark_deserted(cursor, ids)
        return row['batch'], ids

    batch, chunks = transact(database, _resume)
    if chunks == []:
        # Only files were missing, or whoever was to close it has died
        close(database, execution)
    return batch, chunks


def retry(database, execution, local=False, texts=(), failures=None):
    """Make an execution of open failures; return (id, batch).

    Raises ExecutionError where there are none, or not those.

    :param texts: which units, as ``--unit`` gives them; without, all of them
    :param failures: ids of failures instead
    """
    def _retry(cursor):
        ledger.executions.lock_all(cursor)
        row = existing(
            cursor, execution, 'state', 'batch', 'parameters', 'dry_run')
        ids = chosen(cursor, execution, row, texts) if failures is None \
            else among(cursor, execution, row, failures)
        given = {
            name: text
            for name, (text, _) in json.loads(row['parameters']).items()}
        id = ledger.executions.create(
            cursor, row['batch'], given, retry_of=execution, local=local)
        ledger.failed_units.take_up(cursor, execution, id, ids)
        return id, row['batch']

    return transact(database, _retry)


def dismiss(
        database, execution, reason=None, texts=(), failures=None):
    """Note that open failures are settled otherwise.

    Returns (how many, how many of the execution are still open).  Raises
    ExecutionError where there are none, or not those.

    :param texts, failures: as of retry
    """
    def _dismiss(cursor):
        ledger.executions.lock_all(cursor)
        row = existing(cursor, execution, 'state', 'dry_run')
        ids = chosen(cursor, execution, row, texts) if failures is None \
            else among(cursor, execution, row, failures)
        count = ledger.failed_units.dismiss(cursor, execution, reason, ids)
        return count, ledger.failed_units.count_open(
            cursor, [execution]).get(execution, 0)

    return transact(database, _dismiss)


def existing(cursor, execution, *names):
    row = ledger.executions.columns(cursor, execution, *names)
    if row is None:
        raise ExecutionError(execution, 'does not exist '
            '("coop history" shows the last ones)')
    return row


def queue_of_execution(database, batch, execution):
    "Return the queue of an execution; before it is admitted, of batch.conf."
    settings = transact(database, lambda cursor: ledger.executions.columns(
            cursor, execution, 'settings')['settings'])
    if settings:
        return json.loads(settings)['queue'][0]
    return queue_of_batch(batch)


def queue_of_batch(batch):
    "Return the queue that batch.conf gives to a batch."
    batch_config = BatchConfig.load(config.get('batch', 'config_file'))
    return batch_config.resolve(batch)['queue'][0]

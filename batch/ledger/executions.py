# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The statements on the row of an execution.

Those that write lock this one row until the commit; each says what else.
"""
import json
from typing import Any

from sql import Null

from ..aliases import Cursor, Given
from ..exceptions import ExecutionError
from ..masking import mask_given
from .claimants import claimant, has_died
from .open_chunks import has_open, list_queued
from .rows import ExecutionRow, execution_row
from .states import (
    EXECUTION, OPEN_EXECUTIONS, Admission, ExecutionState, Finish)
from .tables import ForExecution, clock, execution_, is_shared

__all__ = [
    'begin_selection', 'claim', 'claim_if_over', 'columns', 'create',
    'existing', 'forget_secrets', 'is_alone', 'is_over', 'list_open',
    'lock_all', 'others', 'selection_died', 'stop', 'update']


def create(
        cursor: Cursor, batch: str, parameters: Given,
        retry_of: int | None = None, dry_run: bool = False,
        local: bool = False) -> int:
    """Insert an execution in the state selecting and return its id.

    :param parameters: name -> text, as given by the command line
    :param retry_of: id of the execution whose failed units it selects
    :param dry_run: whether the work of each chunk is rolled back
    :param local: whether the caller executes it: no keeper sends messages
        for it
    """
    insert = execution_.insert(
        [execution_.batch, execution_.given, execution_.state,
            execution_.retry_of, execution_.dry_run, execution_.started_at,
            execution_.local, execution_.create_date, execution_.create_uid],
        [[batch, json.dumps(parameters), ExecutionState.SELECTING, retry_of,
            dry_run, clock(), local, clock(), 0]])
    if not is_shared():
        cursor.execute(*insert)
        return cursor.lastrowid
    insert.returning = [execution_.id]
    cursor.execute(*insert)
    return cursor.fetchone()[0]


def columns(
        cursor: Cursor, execution: int, *names: str) -> ExecutionRow | None:
    "Return the named columns of the execution; None if it does not exist."
    cursor.execute(*execution_.select(
            *[getattr(execution_, n) for n in names],
            where=execution_.id == execution))
    row = cursor.fetchone()
    return None if row is None else execution_row(names, row)


def existing(cursor: Cursor, execution: int, *names: str) -> ExecutionRow:
    "As columns; raises ExecutionError if the execution does not exist."
    row = columns(cursor, execution, *names)
    if row is None:
        raise ExecutionError(execution, 'does not exist '
            '("coop history" shows the last ones)')
    return row


def claim(
        cursor: Cursor, execution: int, state: ExecutionState,
        wait: bool = False) -> ExecutionRow | None:
    """Lock the execution if it is in state; return its columns, or None.

    :param wait: whether to wait where another transaction has the lock,
        instead of returning None
    """
    names = [
        'id', 'batch', 'given', 'settings', 'started_at', 'retry_of',
        'dry_run', 'stopping', 'message', 'admission', 'begun_by', 'deaths',
        'finish', 'outputs', 'closes_at']
    if not is_shared():
        # The first write takes the lock of the whole database
        cursor.execute(*execution_.update(
                [execution_.state], [state],
                where=(execution_.id == execution)
                & (execution_.state == state)))
    cursor.execute(*execution_.select(
            *[getattr(execution_, n) for n in names],
            where=(execution_.id == execution) & (execution_.state == state),
            for_=ForExecution(wait) if is_shared() else None))
    row = cursor.fetchone()
    return None if row is None else execution_row(names, row)


def claim_if_over(cursor: Cursor, execution: int) -> ExecutionRow | None:
    """Lock and return the row of the execution if nothing of it runs any more.

    None also while a process calls ``finish``, which may take long.
    """
    row = columns(cursor, execution, 'stopping', 'finish')
    if row is None or not row['stopping'] and has_open(cursor, execution):
        # The usual case: without waiting for the lock
        return None
    row = claim(
        cursor, execution, ExecutionState.RUNNING,
        wait=row['finish'] != Finish.BEGUN)
    if row is not None and is_over(cursor, execution):
        return row
    return None


def begin_selection(cursor: Cursor, row: ExecutionRow) -> int:
    """Write that this process begins to select; return how many died so far.

    :param row: as claim returns it
    """
    deaths = (row['deaths'] or 0) + has_died(cursor, row['begun_by'])
    update(cursor, row['id'], begun_by=claimant(), deaths=deaths)
    return deaths


def selection_died(cursor: Cursor, execution: int) -> int | None:
    """Write that the process that selected died; return how many did so far.

    None if the execution is not being selected, or another transaction has
    its lock.
    """
    row = claim(cursor, execution, ExecutionState.SELECTING)
    if row is None:
        return None
    deaths = (row['deaths'] or 0) + 1
    update(cursor, execution, begun_by=None, deaths=deaths)
    return deaths


def list_open(cursor: Cursor) -> list[ExecutionRow]:
    "Return the executions that are not over, the oldest first."
    names = ['id', 'batch', 'state', 'stopping', 'waiting_for', 'local']
    cursor.execute(*execution_.select(
            *[getattr(execution_, n) for n in names],
            where=(execution_.ended_at == Null)
            & execution_.state.in_(OPEN_EXECUTIONS),
            order_by=execution_.id))
    return [execution_row(names, row) for row in cursor.fetchall()]


def is_alone(cursor: Cursor, execution: int) -> bool:
    "Return whether no other execution is open."
    cursor.execute(*execution_.select(
            execution_.id,
            where=(execution_.ended_at == Null)
            & execution_.state.in_(OPEN_EXECUTIONS)
            & (execution_.id != execution),
            limit=1))
    return cursor.fetchone() is None


def lock_all(cursor: Cursor) -> None:
    """Lock the whole table against writers until the commit.

    Must be the first statement of its transaction: its snapshot is then newer
    than what others committed under this lock.  Does nothing on SQLite.
    """
    if is_shared():
        cursor.execute(
            'LOCK TABLE batch_execution IN SHARE ROW EXCLUSIVE MODE')


def others(cursor: Cursor, batch: str, execution: int) -> list[int]:
    """Return the ids of the other open executions of the batch.

    Without those that are not admitted yet: they will ask the same.
    """
    cursor.execute(*execution_.select(
            execution_.id,
            where=(execution_.batch == batch) & (execution_.id != execution)
            & execution_.state.in_(OPEN_EXECUTIONS)
            & (execution_.admission == Admission.ADMITTED),
            order_by=execution_.id))
    return [id for id, in cursor.fetchall()]


def stop(
        cursor: Cursor, execution: int, state: ExecutionState,
        message: str) -> bool:
    """Let no further chunk be claimed; return whether this call stopped it.

    Chunks that are being executed are finished, and whoever finishes the last
    one closes the execution.

    :param state: in which it will end, FAILED or CANCELLED
    """
    assert (ExecutionState.RUNNING, state) in EXECUTION, state
    cursor.execute(*execution_.update(
            [execution_.stopping, execution_.message], [state, message],
            where=(execution_.id == execution)
            & (execution_.state == ExecutionState.RUNNING)
            & (execution_.stopping == Null)))
    return bool(cursor.rowcount)


def update(cursor: Cursor, execution: int, **values: Any) -> int:
    """Write columns of an execution; return whether it was written (1 or 0).

    A state is written only where EXECUTION has the edge.
    """
    where = execution_.id == execution
    if 'state' in values:
        where &= execution_.state.in_([
                old for old, new in EXECUTION
                if new == values['state'] and old is not None])
    cursor.execute(*execution_.update(
            [getattr(execution_, n) for n in values], list(values.values()),
            where=where))
    return cursor.rowcount


def forget_secrets(cursor: Cursor, execution: int) -> None:
    "Mask the secrets in what the execution was given; it is over."
    row = existing(
        cursor, execution, 'given', 'parameters', 'settings', 'derived')
    masked = {
        'given': mask_given(row['given']),
        'parameters': mask_given(row['parameters']),
        'settings': mask_given(row['settings']),
        'derived': None}
    if masked != row:
        update(cursor, execution, **masked)


def is_over(cursor: Cursor, execution: int) -> bool:
    """Return whether no chunk of the execution will be treated any more.

    Either none is left, or it is stopping and no chunk is locked.  Locks the
    queued chunks.  The caller has the lock of the execution: two callers at
    once would take each other's locks for those of workers.
    """
    if not has_open(cursor, execution):
        return True
    row = existing(cursor, execution, 'stopping')
    return bool(row['stopping']) and (
        list_queued(cursor, execution)
        == list_queued(cursor, execution, lock=False))

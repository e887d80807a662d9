# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The statements on the row of an execution.

Most of them lock this one row, until the commit; each says what else.
"""
import json

from sql import Null

from ..masking import mask_given
from .chunks import has_open, list_queued
from .claimants import claimant, has_died
from .states import EXECUTION, OPEN_EXECUTIONS, Admission, ExecutionState
from .tables import clock, execution_, for_update, is_shared

__all__ = [
    'begin_selection', 'claim', 'columns', 'create', 'forget_secrets',
    'is_over', 'list_open', 'lock_all', 'others', 'selection_died', 'stop',
    'update']


def create(
        cursor, batch, parameters, retry_of=None, dry_run=False, local=False):
    """Insert an execution in the state selecting and return its id.

    :param parameters: name -> text, as given by the command line
    :param retry_of: id of the execution whose failed units it selects
    :param dry_run: whether the work of each chunk is rolled back
    :param local: whether the caller executes it itself: no keeper sends
        messages for it
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


def columns(cursor, execution, *names):
    "Return the named columns of the execution as a dict, None without it."
    cursor.execute(*execution_.select(
            *[getattr(execution_, n) for n in names],
            where=execution_.id == execution))
    row = cursor.fetchone()
    return None if row is None else dict(zip(names, row))


def claim(cursor, execution, state, wait=False):
    """Lock the execution if it is in state; return its columns, or None.

    None also where somebody else has the lock, unless wait is set.
    """
    names = [
        'id', 'batch', 'given', 'settings', 'started_at', 'retry_of',
        'dry_run', 'stopping', 'message', 'admission', 'begun_by', 'deaths',
        'closes_at']
    if not is_shared():
        # The first write takes the lock of the whole database
        cursor.execute(*execution_.update(
                [execution_.state], [state],
                where=(execution_.id == execution)
                & (execution_.state == state)))
    cursor.execute(*execution_.select(
            *[getattr(execution_, n) for n in names],
            where=(execution_.id == execution) & (execution_.state == state),
            for_=for_update(wait)))
    row = cursor.fetchone()
    return None if row is None else dict(zip(names, row))


def begin_selection(cursor, row):
    """Write that this process begins to select; return how many died so.

    :param row: as claim returns it
    """
    deaths = (row['deaths'] or 0) + has_died(cursor, row['begun_by'])
    update(cursor, row['id'], begun_by=claimant(), deaths=deaths)
    return deaths


def selection_died(cursor, execution):
    """Write that the process that selected died; return how many did so.

    None where it is not there to be selected.
    """
    row = claim(cursor, execution, ExecutionState.SELECTING)
    if row is None:
        return None
    deaths = (row['deaths'] or 0) + 1
    update(cursor, execution, begun_by=None, deaths=deaths)
    return deaths


def list_open(cursor):
    "Return the executions that are not over, the oldest first, as dicts."
    names = ['id', 'batch', 'state', 'stopping', 'waiting_for', 'local']
    cursor.execute(*execution_.select(
            *[getattr(execution_, n) for n in names],
            where=(execution_.ended_at == Null)
            & execution_.state.in_(OPEN_EXECUTIONS),
            order_by=execution_.id))
    return [dict(zip(names, row)) for row in cursor.fetchall()]


def lock_all(cursor):
    """Let nobody else make, admit or end an execution until the commit.

    The first statement of its transaction: what is read afterwards is then
    newer than what others did under this lock.
    """
    if is_shared():
        cursor.execute(
            'LOCK TABLE batch_execution IN SHARE ROW EXCLUSIVE MODE')


def others(cursor, batch, execution):
    """Return the open executions of the batch, but for this one.

    Those that are not admitted do not count: they will ask themselves.
    """
    cursor.execute(*execution_.select(
            execution_.id,
            where=(execution_.batch == batch) & (execution_.id != execution)
            & execution_.state.in_(OPEN_EXECUTIONS)
            & (execution_.admission == Admission.ADMITTED),
            order_by=execution_.id))
    return [id for id, in cursor.fetchall()]


def stop(cursor, execution, state, message):
    """Let no further chunk be taken; return whether it ran on until now.

    What runs goes on to the end of its chunk, and the last one of those
    closes the execution.

    :param state: in which it will end, ``failed`` or ``cancelled``
    """
    assert (ExecutionState.RUNNING, state) in EXECUTION, state
    cursor.execute(*execution_.update(
            [execution_.stopping, execution_.message], [state, message],
            where=(execution_.id == execution)
            & (execution_.state == ExecutionState.RUNNING)
            & (execution_.stopping == Null)))
    return bool(cursor.rowcount)


def update(cursor, execution, **values):
    "Write columns of an execution; a change of state must be in EXECUTION."
    where = execution_.id == execution
    if 'state' in values:
        where &= execution_.state.in_([
                old for old, new in EXECUTION
                if new == values['state'] and old is not None])
    cursor.execute(*execution_.update(
            [getattr(execution_, n) for n in values], list(values.values()),
            where=where))
    return cursor.rowcount


def forget_secrets(cursor, execution):
    "Mask the secrets that the execution was given: nobody needs them again."
    names = ['given', 'parameters', 'settings']
    row = columns(cursor, execution, *names)
    masked = {name: mask_given(row[name]) for name in names}
    if masked != row:
        update(cursor, execution, **masked)


def is_over(cursor, execution):
    """Return whether no chunk of the execution will be treated any more.

    Either none is left, or it is stopping and nobody works on one.  To be
    asked with the lock of the execution: of two who ask for the locks of
    chunks at once, each may believe that the other one works.
    """
    if not has_open(cursor, execution):
        return True
    row = columns(cursor, execution, 'stopping')
    return bool(row['stopping']) and (
        list_queued(cursor, execution)
        == list_queued(cursor, execution, lock=False))

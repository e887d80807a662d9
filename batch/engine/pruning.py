# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Delete old executions, but none with open failures."""
import datetime as dt

from .. import ledger
from ..aliases import Cursor
from ..ledger.rows import ExecutionRow
from ..ledger.states import ExecutionState
from ..transaction import transact

__all__ = ['forgettable', 'prune']


class Prunable(ExecutionRow, total=False):
    "An execution as forgettable() takes it."
    #: whether it, or what it retries, holds input files
    in_hand: bool
    #: how many of its failures are open
    open: int


def prune(
        database: str, before: dt.datetime,
        batch: str | None = None) -> tuple[int, list[int]]:
    """Delete the executions that ended before a moment, with their chunks.

    Those with open failures, what they retry, and those that are locked are
    kept.  Returns (how many were deleted, the ids of those with open failures,
    the oldest first).

    :param before: datetime
    :param batch: only those of this batch
    """
    def forget(cursor: Cursor) -> tuple[int, list[int]]:
        ledger.executions.lock_all(cursor)
        executions = list_prunable(cursor, batch)
        ids, _ = forgettable(executions, before)
        held = set(ids).difference(ledger.retention.claim_ended(cursor, ids))
        for execution in executions:
            if execution['id'] in held:
                # As if it had not ended: so what it retries is kept too
                execution['ended_at'] = None
        ids, open_ = forgettable(executions, before)
        return sum(ledger.retention.forget(cursor, id) for id in ids), open_

    # In one transaction: without the last of a chain of retries, the one
    # before could be retried again
    return transact(database, forget)


def list_prunable(cursor: Cursor, batch: str | None) -> list[Prunable]:
    "Return the executions for forgettable(), the newest first."
    executions = ledger.retention.list_executions(cursor, batch)
    failures = ledger.failed_units.count_open(cursor)
    # What is not archived yet depends on all that was done of it
    in_hand = {
        id for holder in ledger.inputs.holders(cursor, batch)
        for id in ledger.inputs.tree_of(cursor, holder)}
    return [
        {**row, 'in_hand': row['id'] in in_hand,
            'open': failures.get(row['id'], 0)} for row in executions]


def forgettable(
        executions: list[Prunable],
        before: dt.datetime) -> tuple[list[int], list[int]]:
    """Return (ids to delete, ids with open failures) of those before a moment.

    Failures are open until they are retried or dismissed; those of a retry
    count in their place.  What a stopped execution left is open until it is
    resumed, an execution with input files in hand until they are archived or
    taken away, and one with committed files that are missing until a resume
    finds them.

    :param executions: dicts, the newest first: a retry before what it retries
    """
    roots: dict[int | None, int | None] = {None: None}
    for execution in reversed(executions):
        roots[execution['id']] = roots.get(execution['retry_of']) \
            or execution['id']
    open_: list[int] = []
    kept: set[int | None] = set()
    for execution in executions:
        if execution['ended_at'] is None or execution['ended_at'] >= before:
            kept.add(roots[execution['id']])
        elif is_open(execution):
            open_.append(execution['id'])
    # What was retried and its retries stay or go together
    kept.update(map(roots.get, open_))
    return [
        id for e in executions if roots[id := e['id']] not in kept
        ], sorted(open_)


def is_open(execution: Prunable) -> bool:
    "Return whether an execution has open failures, see forgettable()."
    if execution['dry_run']:
        return False
    return bool(
        execution['in_hand']
        or execution['missing']
        or execution['open']
        or execution['left'] and execution['state'] == ExecutionState.FAILED)

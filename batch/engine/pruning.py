# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Forget old executions, but none whose failures nobody has dealt with."""
from .. import ledger
from ..ledger.states import ExecutionState
from ..transaction import transact

__all__ = ['forgettable', 'prune']


def prune(database, before, batch=None):
    """Delete the executions that ended before a moment, with their chunks.

    Those with open failures stay, and so does what they retry; those that
    somebody else has in hand stay too, and are not waited for.  Returns (how
    many were deleted, the ids of those with open failures, the oldest first).

    :param before: datetime
    :param batch: only those of this batch
    """
    def forget(cursor):
        ledger.executions.lock_all(cursor)
        executions = list_prunable(cursor, batch)
        ids, _ = forgettable(executions, before)
        held = set(ids).difference(ledger.retention.claim_ended(cursor, ids))
        for execution in executions:
            if execution['id'] in held:
                # As one that has not ended: with it stays what it retries
                execution['ended_at'] = None
        ids, open_ = forgettable(executions, before)
        return sum(ledger.retention.forget(cursor, id) for id in ids), open_

    # All or none: a chain of retries without its end could be retried again
    return transact(database, forget)


def list_prunable(cursor, batch):
    "Return the executions as forgettable() takes them, the newest first."
    executions = ledger.retention.list_executions(cursor, batch)
    failures = ledger.failed_units.count_open(cursor)
    # What is not archived yet depends on all that was done of it
    in_hand = {
        id for holder in ledger.inputs.holders(cursor, batch)
        for id in ledger.inputs.tree_of(cursor, holder)}
    return [
        {**row, 'in_hand': row['id'] in in_hand,
            'open': failures.get(row['id'], 0)} for row in executions]


def forgettable(executions, before):
    """Return (ids to delete, ids with open failures) of those before a moment.

    Failures are open until they are retried or dismissed; those of a retry
    count in their place.  What a stopped execution left is open until it is
    resumed, an execution with input files in hand until they are archived or
    taken away, and one with committed files that are missing until a resume
    finds them.

    :param executions: dicts, the newest first: a retry before what it retries
    """
    roots = {None: None}
    for execution in reversed(executions):
        roots[execution['id']] = roots.get(execution['retry_of']) \
            or execution['id']
    open_, kept = [], set()
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


def is_open(execution):
    if execution['dry_run']:
        return False
    return bool(
        execution['in_hand']
        or execution['missing']
        or execution['open']
        or execution['left'] and execution['state'] == ExecutionState.FAILED)

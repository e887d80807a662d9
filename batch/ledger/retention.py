# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Executions that are over, and are forgotten."""
from sql import Literal

from trytond.tools import grouped_slice

from .states import ENDED_EXECUTIONS
from .tables import chunk_, execution_, failure_, for_update, input_

__all__ = ['claim_ended', 'forget', 'list_executions']


def list_executions(cursor, batch=None):
    """Return what decides which executions are forgotten, the newest first.

    :param batch: only those of this batch
    """
    names = [
        'id', 'state', 'retry_of', 'dry_run', 'left', 'ended_at', 'missing']
    cursor.execute(*execution_.select(
            *[getattr(execution_, n) for n in names],
            where=execution_.batch == batch if batch else Literal(True),
            order_by=execution_.id.desc))
    return [dict(zip(names, row)) for row in cursor.fetchall()]


def claim_ended(cursor, executions):
    """Lock those of the executions that are over; return their ids.

    Without those that somebody else has.
    """
    taken = []
    for ids in grouped_slice(executions, 1000):
        cursor.execute(*execution_.select(
                execution_.id,
                where=execution_.id.in_(list(ids)) & execution_.state.in_(
                    ENDED_EXECUTIONS),
                for_=for_update()))
        taken.extend(id for id, in cursor.fetchall())
    return taken


def forget(cursor, execution):
    """Delete an execution that is over, with its chunks; return how many.

    Not where somebody else has it.
    """
    ids = claim_ended(cursor, [execution])
    if ids:
        # SQLite cascades nothing
        for table in [failure_, chunk_, input_]:
            cursor.execute(*table.delete(where=table.execution.in_(ids)))
        cursor.execute(*execution_.delete(where=execution_.id.in_(ids)))
    return len(ids)

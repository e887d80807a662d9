# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Executions that are over, and are deleted."""
from sql import Literal

from trytond.tools import grouped_slice

from ..aliases import Cursor
from .rows import ExecutionRow, execution_row
from .states import ENDED_EXECUTIONS
from .tables import chunk_, execution_, failure_, for_update, input_

__all__ = ['claim_ended', 'forget', 'list_executions']


def list_executions(
        cursor: Cursor, batch: str | None = None) -> list[ExecutionRow]:
    """Return all executions, the newest first, as pruning needs them.

    :param batch: only those of this batch
    """
    names = [
        'id', 'state', 'retry_of', 'dry_run', 'left', 'ended_at', 'missing']
    cursor.execute(*execution_.select(
            *[getattr(execution_, n) for n in names],
            where=execution_.batch == batch if batch else Literal(True),
            order_by=execution_.id.desc))
    return [execution_row(names, row) for row in cursor.fetchall()]


def claim_ended(cursor: Cursor, executions: list[int]) -> list[int]:
    """Lock those of the executions that are over; return their ids.

    Those that another transaction has locked are skipped.
    """
    taken: list[int] = []
    for ids in grouped_slice(executions, 1000):
        cursor.execute(*execution_.select(
                execution_.id,
                where=execution_.id.in_(list(ids)) & execution_.state.in_(
                    ENDED_EXECUTIONS),
                for_=for_update()))
        taken.extend(id for id, in cursor.fetchall())
    return taken


def forget(cursor: Cursor, execution: int) -> int:
    """Delete an execution that is over, with its chunks; return 1, or 0.

    0 where another transaction has locked it.
    """
    ids = claim_ended(cursor, [execution])
    if ids:
        # SQLite cascades nothing
        for table in [failure_, chunk_, input_]:
            cursor.execute(*table.delete(where=table.execution.in_(ids)))
        cursor.execute(*execution_.delete(where=execution_.id.in_(ids)))
    return len(ids)

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""An execution without workers: the process itself treats its chunks."""
from collections import deque
from collections.abc import Callable

from .. import ledger
from ..aliases import Cursor
from ..ledger.states import ExecutionState
from ..transaction import transact
from . import selection, turn
from .ending import close

__all__ = ['process_here']


def process_here(
        database: str, batch: str, execution: int,
        tick: Callable[[], object]) -> None:
    """Execute in this process what can be executed now of an execution.

    That is all of it, unless it has to wait for another execution or for the
    database.  Raises ExecutionError if it does not exist.

    :param tick: called before each turn
    """
    todo: deque[int] = deque()

    def send(_: int, chunk: int, number: str | None = None) -> None:
        todo.append(chunk)

    def find(cursor: Cursor) -> tuple[str, list[int]]:
        row = ledger.executions.existing(cursor, execution, 'state')
        chunks = ledger.open_chunks.list_queued(cursor, execution)
        # The command that executed them before has ended
        ledger.chunks.mark_deserted(cursor, chunks)
        return row['state'], chunks

    state, chunks = transact(database, find)
    todo.extend(chunks)
    if state == ExecutionState.SELECTING:
        selection.select_and_plan(database, batch, execution, send=send)
    while todo:
        tick()
        turn.take_turn(database, execution, todo.popleft(), send=send)
    close(database, execution, may_call_hooks=True)

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""An execution without workers: the process itself treats its chunks."""
from collections import deque

from .. import ledger
from ..ledger.states import ExecutionState
from ..transaction import transact
from . import selection, treatment
from .ending import close

__all__ = ['process_here']


def process_here(database, batch, execution, tick):
    """Do in this process what can be done now of an execution.

    That is all of it, unless it has to wait for another one, or for the
    database.

    :param tick: called before each turn
    """
    todo = deque()

    def send(_, chunk):
        todo.append(chunk)

    def find(cursor):
        row = ledger.executions.columns(cursor, execution, 'state')
        chunks = ledger.chunks.list_queued(cursor, execution)
        # Whoever had them, in an earlier command, is gone
        ledger.chunks.mark_deserted(cursor, chunks)
        return row['state'], chunks

    state, chunks = transact(database, find)
    todo.extend(chunks)
    if state == ExecutionState.SELECTING:
        selection.select_and_plan(database, batch, execution, send=send)
    while todo:
        tick()
        treatment.take_turn(database, execution, todo.popleft(), send=send)
    close(database, execution, may_finish=True)

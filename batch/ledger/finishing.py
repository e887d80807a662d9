# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The statements on the hook ``finish`` of an execution.

A process writes that it begins to call the hook, and commits that.  It holds
the lock of the row during the call, so that its death is noticed.
"""
from ..aliases import Cursor
from .claimants import claimant, has_died
from .executions import claim, columns, update
from .failures import failed_units
from .rows import ExecutionRow, values_of
from .states import ExecutionState, Finish

__all__ = ['begin', 'died', 'is_due']


def is_due(cursor: Cursor, execution: int) -> bool:
    "Return whether finish has to be called before the execution may end."
    row = columns(cursor, execution, 'finish', 'stopping', 'settings')
    if (row is None or row['stopping']
            or row['finish'] not in {Finish.DUE, Finish.BEGUN}):
        return False
    return (values_of(row['settings'])['finish_on'] == 'end'
        or not failed_units(cursor, execution))


def begin(cursor: Cursor, row: ExecutionRow) -> int:
    """Write that this process begins to call it; return how many died so far.

    :param row: as claim returns it
    """
    deaths = 0
    if row['finish'] == Finish.BEGUN:
        deaths = (row['deaths'] or 0) + has_died(cursor, row['begun_by'])
    update(
        cursor, row['id'], finish=Finish.BEGUN, begun_by=claimant(),
        deaths=deaths)
    return deaths


def died(cursor: Cursor, execution: int, blame: bool) -> bool | None:
    """Write that the process that called it died; return whether it did so.

    None if no process had begun, False if the row is locked.

    :param blame: whether the hook is to blame
    """
    row = columns(cursor, execution, 'state', 'finish')
    if (row is None or row['state'] != ExecutionState.RUNNING
            or row['finish'] != Finish.BEGUN):
        return None
    row = claim(cursor, execution, ExecutionState.RUNNING)
    if row is None:
        return False
    update(
        cursor, execution, begun_by=None, deaths=(row['deaths'] or 0) + blame)
    return True

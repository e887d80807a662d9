# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The statements on the hook ``finish`` of an execution.

Who calls it writes so first, in a commit of its own, and has the lock of the
row while it does: so its death is seen.
"""
import json

from .claimants import claimant, has_died
from .executions import claim, columns, update
from .failures import failed_units
from .states import ExecutionState, Finish

__all__ = ['begin', 'died', 'is_due']


def is_due(cursor, execution):
    "Return whether finish has to be called before the execution may end."
    row = columns(cursor, execution, 'finish', 'stopping', 'settings')
    if row['stopping'] or row['finish'] not in {Finish.DUE, Finish.BEGUN}:
        return False
    finish_on, _ = json.loads(row['settings'])['finish_on']
    return finish_on == 'end' or not failed_units(cursor, execution)


def begin(cursor, row):
    """Write that this process begins to call it; return how many died so.

    :param row: as claim returns it
    """
    deaths = 0
    if row['finish'] == Finish.BEGUN:
        deaths = (row['deaths'] or 0) + has_died(cursor, row['begun_by'])
    update(
        cursor, row['id'], finish=Finish.BEGUN, begun_by=claimant(),
        deaths=deaths)
    return deaths


def died(cursor, execution, blame):
    """Write that the process that called it died; return whether it did so.

    None where nobody had begun, False where somebody has the row.

    :param blame: whether the hook is to blame
    """
    row = columns(cursor, execution, 'state', 'finish')
    if row != {'state': ExecutionState.RUNNING, 'finish': Finish.BEGUN}:
        return None
    row = claim(cursor, execution, ExecutionState.RUNNING)
    if row is None:
        return False
    update(
        cursor, execution, begun_by=None, deaths=(row['deaths'] or 0) + blame)
    return True

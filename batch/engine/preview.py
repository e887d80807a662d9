# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What an execution would select, for coop batch --plan."""
import json

from trytond.transaction import Transaction

from .. import ledger
from ..aliases import Given
from ..batch import get_batch
from ..exceptions import BatchError
from ..logging import get_logger
from ..transaction import is_outage, is_shutdown
from . import input_files
from .admission import parse_parameters, resolve_execution
from .errors import exc_info, one_line
from .hooks import Guard
from .selection import chunks_of, reading, select_units

__all__ = ['preview']


def preview(
        transaction: Transaction, batch: str,
        given: Given) -> tuple[list[int], int]:
    """Select and split as an execution would, and write nothing.

    Returns (sizes of the chunks, number of duplicates).  Raises BatchError
    for whatever a hook raises.
    """
    try:
        return select_and_split(transaction, batch, given)
    except BatchError:
        raise
    except BaseException as error:
        if is_outage(error) or is_shutdown(error):
            raise
        get_logger(batch).exception(
            "the selection failed", exc_info=exc_info(error))
        raise BatchError('batch "%s": the selection failed: %s' % (
                batch, one_line(error))) from error


def select_and_split(
        transaction: Transaction, batch: str,
        given: Given) -> tuple[list[int], int]:
    "As preview(), but raises what a hook raises."
    cursor = transaction.connection.cursor()
    job, _, _ = resolve_execution(transaction, {
            'id': 0, 'batch': batch, 'given': json.dumps(given),
            'started_at': ledger.tables.now(cursor),
            'dry_run': True})
    job = parse_parameters(transaction, job)
    Batch = get_batch(batch)
    if not Batch.has_units():
        return [1], 0
    with transaction.set_user(job.user), \
            transaction.set_context(job.context), \
            job.working(custody=input_files.Custody(
                cursor, job.execution, keep=False)), Guard(job.batch):
        Batch.check_models()
        units = select_units(job, Batch)
        with reading(cursor, Batch):
            sizes = [len(chunk) for chunk in chunks_of(job, Batch, units)]
    return [size for size in sizes if size], units.duplicates

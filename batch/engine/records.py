# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Which records the units of a batch are, as far as that is known."""
from collections.abc import Iterable

from trytond.model import ModelSQL
from trytond.model.exceptions import AccessError
from trytond.pool import Pool
from trytond.transaction import inactive_records

from ..aliases import Cursor, Unit
from ..batch import BatchRoot, record_id
from ..class_checks import is_own
from ..ledger import units
from ..ledger.chunks import Chunk
from ..logging import get_print_infos
from ..searching import RowId
from ..transaction import is_shutdown, transact
from .running import Job

__all__ = ['find_gone', 'given_ids', 'has_records', 'model_of_units']


def has_records(Batch: type[BatchRoot]) -> bool:
    "Return whether ids are known to be those of the main model."
    return not is_own(Batch, 'convert_to_instances', BatchRoot)


def given_ids(Batch: type[BatchRoot], ids: Iterable[Unit]) -> list[Unit]:
    """Return the ids as hooks are given them.

    A convert_to_instances of before takes them for rows.
    """
    if has_records(Batch) or Batch.keeps_rows():
        return list(ids)
    return [RowId(id) if type(id) is int else id for id in ids]


def model_of_units(job: Job) -> str | None:
    """Return the name of the model of the records, None where it has none.

    A failure is written down whatever the hook does that is asked for it.
    """
    pool = Pool(job.database)
    try:
        Batch = pool.get(job.batch)
        if not has_records(Batch):
            return None
        name = Batch.get_batch_main_model_name()
        return name if issubclass(pool.get(name), ModelSQL) else None
    except BaseException as error:
        if is_shutdown(error):
            raise
        return None


def find_gone(job: Job, chunk: Chunk, error: BaseException) -> frozenset[int]:
    """Return the ids of the chunk's records that were deleted since.

    Only where the error is an AccessError, and ids are known to be those of
    the main model, as ``convert_to_instances`` is not overridden.
    """
    Batch = Pool(job.database).get(job.batch)
    if (chunk.units is None or not issubclass(type(error), AccessError)
            or not has_records(Batch)):
        return frozenset()

    def search(cursor: Cursor) -> frozenset[int]:
        Model = Pool().get(Batch.get_batch_main_model_name())
        ids = {record_id(id) for id, _ in units.flattened(chunk.units)}
        if not issubclass(Model, ModelSQL):
            return frozenset()
        with inactive_records():
            return frozenset(ids.difference(map(int, Model.search(
                            [('id', 'in', list(ids))]))))

    gone = transact(job.database, search)
    if gone:
        with job.working(chunk):
            job.logger.warning("left out, as deleted since the selection: %s",
                get_print_infos(sorted(gone), 'record'))
    return gone

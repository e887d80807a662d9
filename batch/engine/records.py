# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Which records the units of a batch are, as far as that is known."""
from trytond.model import ModelSQL
from trytond.pool import Pool

from ..batch import BatchRoot
from ..class_checks import is_own
from ..transaction import is_shutdown
from .running import Job

__all__ = ['has_records', 'model_of_units']


def has_records(Batch: type[BatchRoot]) -> bool:
    "Return whether ids are known to be those of the main model."
    return not is_own(Batch, 'convert_to_instances', BatchRoot)


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

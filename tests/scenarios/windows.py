# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A batch whose window ends while it works."""
from trytond.modules.batch import BatchRoot, context
from trytond.modules.batch.ledger.tables import clock, execution_
from trytond.pool import Pool
from trytond.transaction import Transaction


class Closing(BatchRoot):
    "Let the window end with the record 3"
    __name__ = 'batch.scenario.closing'

    @classmethod
    def get_batch_main_model_name(cls):
        return 'batch.scenario.record'

    @classmethod
    def execute(cls, objects, ids):
        Pool().get('batch.scenario.record').treat(objects)
        if 3 in ids:
            Transaction().connection.cursor().execute(*execution_.update(
                    [execution_.closes_at], [clock()],
                    where=execution_.id == context.current_work().execution))

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""One by one: each record in a transaction of its own."""
import datetime as dt

from trytond.modules.batch import BatchRoot
from trytond.pool import Pool


class Forget(BatchRoot):
    """Erase the parties that are inactive for --days.

    Erasing works on one party and takes its time.  So each has its own
    transaction: what is done stays done, and nobody waits for a lock.
    """
    __name__ = 'party.forget'

    default_config_items = {'time_limit': 60}
    fixed_config_items = {'split_size': 1}

    @classmethod
    def get_batch_main_model_name(cls):
        return 'party.party'

    @classmethod
    def get_batch_domain(cls, treatment_date, days=365):
        day = treatment_date - dt.timedelta(days)
        return [
            ('active', '=', False),
            ('name', '!=', None),
            ('write_date', '<', dt.datetime.combine(day, dt.time())),
            ]

    @classmethod
    def execute(cls, objects, ids):
        Erase = Pool().get('party.erase', type='wizard')
        party, = objects
        session, _, _ = Erase.create()
        erase = Erase(session)
        erase.ask.party = party
        # Refuses what another module still needs, such as unpaid lines
        erase.transition_erase()
        Erase.delete(session)

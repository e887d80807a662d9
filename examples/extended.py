# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Extended: another module narrows the selection, by a parameter."""
from trytond.pool import PoolMeta


class Forget(metaclass=PoolMeta):
    __name__ = 'party.forget'

    @classmethod
    def get_batch_domain(cls, countries: list[str] = [], **parameters):
        domain = super().get_batch_domain(**parameters)
        if countries:
            # Their law asks for it; elsewhere parties are kept
            domain = [domain, ('addresses.country.code', 'in', countries)]
        return domain

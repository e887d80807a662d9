# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Grouped: all addresses of a party are treated together."""
from itertools import groupby
from operator import attrgetter

from trytond.modules.batch import BatchRoot
from trytond.pool import Pool


class Deduplicate(BatchRoot):
    """Deactivate the addresses that a party has twice.

    Chunks are cut between parties, never between the addresses of one.
    """
    __name__ = 'party.address.deduplicate'

    @classmethod
    def get_batch_main_model_name(cls):
        return 'party.address'

    @classmethod
    def get_batch_ordering(cls):
        return [('party.id', 'ASC'), ('id', 'ASC')]

    @classmethod
    def select_ids(cls):
        Address = Pool().get('party.address')
        addresses = Address.search(
            cls.get_batch_domain(), order=cls.get_batch_ordering())
        for _, group in groupby(addresses, attrgetter('party')):
            yield [address.id for address in group]

    @classmethod
    def execute(cls, objects, ids):
        Address = Pool().get('party.address')
        seen, twice = set(), []
        for address in objects:
            key = (address.party, address.street, address.postal_code,
                address.city, address.country, address.subdivision)
            if key in seen:
                twice.append(address)
            seen.add(key)
        Address.write(twice, {'active': False})
        return {'deactivated': len(twice)}

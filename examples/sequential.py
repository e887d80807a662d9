# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Strictly sequential: numbers in order, and without a gap."""
from trytond.i18n import gettext
from trytond.model import fields
from trytond.modules.batch import BatchRoot
from trytond.pool import Pool, PoolMeta

from .exceptions import RegisterError


class Party(metaclass=PoolMeta):
    __name__ = 'party.party'

    register_number = fields.Char("Register Number", readonly=True)


class Register(BatchRoot):
    """Number the parties for the register, in the order of their creation.

    A party without an address gets no number, and leaves no gap.
    """
    __name__ = 'party.register'

    # One chunk after the other, and the parts of a failed one likewise
    fixed_config_items = {'concurrency': 1}

    @classmethod
    def get_batch_main_model_name(cls):
        return 'party.party'

    @classmethod
    def get_batch_domain(cls):
        return [('register_number', '=', None)]

    @classmethod
    def execute(cls, objects, ids):
        pool = Pool()
        Data = pool.get('ir.model.data')
        Party = pool.get('party.party')
        Sequence = pool.get('ir.sequence.strict')
        sequence = Sequence(
            Data.get_id('batch_examples', 'sequence_register'))
        # What a failed chunk took from the sequence is rolled back with it
        numbers = sequence.get_many(len(objects))
        for party, number in zip(objects, numbers):
            if not party.addresses:
                raise RegisterError(gettext(
                        'batch_examples.msg_register_no_address',
                        party=party.rec_name))
            party.register_number = number
        Party.save(objects)

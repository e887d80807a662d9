# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A batch that has a lot to say, in letters that not every terminal has."""
from trytond.exceptions import UserError
from trytond.modules.batch import BatchRoot


class Names(BatchRoot):
    "Treat the names of people: Zoë, Łukasz, 東京"
    __name__ = 'batch.scenario.names'

    @classmethod
    def select_ids(cls):
        return ['Zoë', 'Łukasz', '東京']

    @classmethod
    def convert_to_instances(cls, ids):
        return ids

    @classmethod
    def execute(cls, objects, ids):
        for name in objects:
            if name == 'Łukasz':
                raise UserError('«%s» n’est pas là' % name)

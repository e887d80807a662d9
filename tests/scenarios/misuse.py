# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Batches whose classes are right, and whose hooks go wrong when called."""
from trytond.modules.batch import BatchRoot
from trytond.pool import Pool


class _Misuse(BatchRoot):
    __slots__ = ()

    @classmethod
    def get_batch_main_model_name(cls):
        return 'batch.scenario.record'

    @classmethod
    def execute(cls, objects, ids):
        pass


class Records(_Misuse):
    "Select records where ids are expected"
    __name__ = 'batch.scenario.records'

    @classmethod
    def select_ids(cls):
        return Pool().get('batch.scenario.record').search([])


class Number(_Misuse):
    "Select a number where several are expected"
    __name__ = 'batch.scenario.number'

    @classmethod
    def select_ids(cls):
        return 5


class Name(_Misuse):
    "Select a text where several are expected"
    __name__ = 'batch.scenario.name'

    @classmethod
    def select_ids(cls):
        return 'records'


class Domain(_Misuse):
    "Search for a field that is not there"
    __name__ = 'batch.scenario.domain'

    @classmethod
    def get_batch_domain(cls):
        return [('colour', '=', 'red')]


class Ordering(_Misuse):
    "Order by a field that is not there"
    __name__ = 'batch.scenario.ordering'

    @classmethod
    def get_batch_ordering(cls):
        return [('colour', 'ASC')]


class Splitting(_Misuse):
    "Forget a unit"
    __name__ = 'batch.scenario.splitting'

    @classmethod
    def split(cls, units):
        yield list(units)[1:]


class Whole(_Misuse):
    "Make chunks that are no lists"
    __name__ = 'batch.scenario.whole'

    @classmethod
    def split(cls, units):
        yield from units


class Leaving(_Misuse):
    "Leave the process while selecting"
    __name__ = 'batch.scenario.leaving'

    @classmethod
    def select_ids(cls):
        raise SystemExit(3)


class Text(_Misuse):
    "Sum up what is no number"
    __name__ = 'batch.scenario.text'

    @classmethod
    def execute(cls, objects, ids):
        return {'treated': 'all'}


class Unwritable(_Misuse):
    "Write a file out of its place"
    __name__ = 'batch.scenario.unwritable'

    @classmethod
    def execute(cls, objects, ids, name='../out.txt'):
        cls.write_batch_output('', name)

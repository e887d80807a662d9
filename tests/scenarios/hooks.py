# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Batches that write down what their hooks were given."""
import json
from pathlib import Path

from trytond.modules.batch import BatchRoot
from trytond.transaction import Transaction


class _Hooks(BatchRoot):
    __slots__ = ()

    @classmethod
    def get_batch_main_model_name(cls):
        return 'batch.scenario.record'


class Given(_Hooks):
    "Note on each record what was given to whom"
    __name__ = 'batch.scenario.given'

    default_config_items = {'split_size': 7}

    @classmethod
    def get_batch_domain(cls, minimum: int = 0):
        return [('party', '>=', minimum)]

    @classmethod
    def get_batch_ordering(cls):
        return [('party', 'DESC'), ('id', 'ASC')]

    @classmethod
    def convert_to_instances(cls, ids, text):
        cls.logger.info("converts %s for %s", ids, text)
        return super().convert_to_instances(ids)

    @classmethod
    def execute(cls, objects, ids, treatment_date, text='nothing'):
        transaction = Transaction()
        for record, id in zip(objects, ids, strict=True):
            assert record.id == id
            record.note = json.dumps({
                    'treatment_date': treatment_date.isoformat(),
                    'text': text,
                    'user': transaction.user,
                    'language': transaction.language,
                    'company': transaction.context.get('company'),
                    'split_size': cls.get_conf_items('split_size'),
                    'concurrency': cls.get_conf_item('concurrency'),
                    })
            record.treated += 1
        type(objects[0]).save(objects)
        try:
            cls.get_conf_items('spilt_size')
        except KeyError:
            return
        raise AssertionError('there is no such setting')


class Leaders(_Hooks):
    "Treat the records that others name as their party"
    __name__ = 'batch.scenario.leaders'

    @classmethod
    def get_batch_field(cls):
        return 'party'

    @classmethod
    def execute(cls, objects, ids):
        type(objects[0]).treat(objects)


class Numbering(_Hooks):
    "Count the records in their order, without a gap"
    __name__ = 'batch.scenario.numbering'

    fixed_config_items = {'split_size': 1, 'concurrency': 1}

    @classmethod
    def execute(cls, objects, ids):
        type(objects[0]).treat(objects)


class Required(_Hooks):
    "Need to be told a path"
    __name__ = 'batch.scenario.required'

    @classmethod
    def execute(cls, objects, ids, path: Path):
        type(objects[0]).treat(objects)

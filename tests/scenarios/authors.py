# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Batches whose units are more than an id."""
import datetime as dt
import os
import signal
from decimal import Decimal
from pathlib import Path

from trytond.exceptions import UserError
from trytond.model.exceptions import AccessError
from trytond.modules.batch import BatchRoot
from trytond.pool import Pool
from trytond.transaction import Transaction


class _Author(BatchRoot):
    __slots__ = ()

    @classmethod
    def get_batch_main_model_name(cls):
        return 'batch.scenario.record'


class Rows(_Author):
    "Treat rows of an id, a date and an amount"
    __name__ = 'batch.scenario.rows'

    @classmethod
    def select_ids(cls):
        Record = Pool().get('batch.scenario.record')
        for record in Record.search([], order=[('id', 'ASC')]):
            row = (record.id, dt.date(2026, 1, record.id), Decimal('1.10'))
            yield row
            yield row

    @classmethod
    def execute(cls, objects, ids):
        total = Decimal(0)
        for record, (id, date, amount) in zip(objects, ids, strict=True):
            assert record.id == id
            if record.bad:
                raise UserError('A record is bad.')
            record.note = '%s %s' % (date, amount)
            total += amount
        Pool().get('batch.scenario.record').treat(objects)
        return {'total': float(total)}


class Gone(_Author):
    "Select records of which some are not there any more"
    __name__ = 'batch.scenario.gone'

    @classmethod
    def select_ids(cls):
        return range(1, 11)

    @classmethod
    def execute(cls, objects, ids):
        for record in objects:
            if record.bad:
                raise UserError('A record is bad.')
        Pool().get('batch.scenario.record').treat(objects)


class Voter:
    "Kills the process, once, right before the commit of the database"

    def __init__(self, mark):
        self.mark = mark

    def tpc_begin(self, transaction):
        pass

    commit = tpc_finish = tpc_abort = tpc_begin

    def tpc_vote(self, transaction):
        if not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Voted(_Author):
    "Write a file, and die when it is ready but not committed"
    __name__ = 'batch.scenario.voted'

    @classmethod
    def execute(cls, objects, ids, mark: Path):
        cls.write_batch_output('%s\n' % ids, 'records.txt')
        if any(r.bad for r in objects):
            # Behind the files: they are voted for already
            Transaction().join(Voter(mark))
        Pool().get('batch.scenario.record').treat(objects)


class Months(BatchRoot):
    "Treat months, which are numbers but no ids"
    __name__ = 'batch.scenario.months'

    @classmethod
    def select_ids(cls):
        return range(1, 13)

    @classmethod
    def convert_to_instances(cls, ids):
        return []

    @classmethod
    def execute(cls, objects, ids):
        if 2 in ids:
            raise AccessError('February is not there.')


class MonthsOfRecords(Months):
    "Treat months, though it names a model"
    __name__ = 'batch.scenario.months_of_records'

    @classmethod
    def get_batch_main_model_name(cls):
        return 'batch.scenario.record'


class OldArguments(BatchRoot):
    "Written long ago, when parameters came in a dict"
    __name__ = 'batch.scenario.old_arguments'

    @classmethod
    def __setup__(cls):
        super(OldArguments, cls).__setup__()
        cls._default_config_items.update({
                'split_mode': 'divide', 'split_size': 4})

    @classmethod
    def get_batch_main_model_name(cls):
        return 'batch.scenario.record'

    @classmethod
    def get_batch_search_model(cls):
        return 'batch.scenario.record'

    @classmethod
    def get_batch_args_name(cls):
        return ['party']

    @classmethod
    def get_batch_domain(cls, treatment_date, extra_args):
        assert isinstance(treatment_date, dt.date)
        domain = super(OldArguments, cls).get_batch_domain(
            treatment_date, extra_args)
        return domain + [('party', '<=', extra_args.get('party', 9))]

    @classmethod
    def select_ids(cls, treatment_date, extra_args=None):
        return [(id,) for id in super(OldArguments, cls).select_ids(
                treatment_date, extra_args)]

    @classmethod
    def execute(cls, records, numbers, treatment_date, extra_args):
        assert [r.id for r in records] == numbers
        assert cls.get_conf_item('split_mode') == 'divide'
        for record in records:
            record.note = '%s %s' % (treatment_date, extra_args)
        Pool().get('batch.scenario.record').treat(records)

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Batches whose units are more than an id."""
import datetime as dt
import logging
import os
import signal
from decimal import Decimal
from pathlib import Path

from trytond.exceptions import UserError
from trytond.model.exceptions import AccessError
from trytond.modules.batch import BatchRoot, BatchRootNoSelect
from trytond.pool import Pool
from trytond.transaction import Transaction

from .waiting import wait_until


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


class Lines(BatchRootNoSelect):
    "Treat rows of its own, without a model"
    __name__ = 'batch.scenario.own_rows'

    @classmethod
    def select_ids(cls, count=5):
        for number in range(1, count + 1):
            yield number, 'line %s' % number

    @classmethod
    def execute(cls, objects, ids):
        assert objects == ids
        Record = Pool().get('batch.scenario.record')
        records = Record.browse([number for number, _ in objects])
        for record, (_, text) in zip(records, objects, strict=True):
            if record.bad:
                raise UserError('A line is bad.')
            record.note = text
        Record.treat(records)


class OwnRecords(BatchRootNoSelect):
    "Select by itself, though it is a batch without a selection"
    __name__ = 'batch.scenario.own_records'

    @classmethod
    def get_batch_main_model_name(cls):
        return 'batch.scenario.record'

    @classmethod
    def select_ids(cls):
        return [r.id for r in Pool().get(
                cls.get_batch_main_model_name()).search([])]

    @classmethod
    def execute(cls, objects, ids):
        assert [r.id for r in objects] == ids
        Pool().get('batch.scenario.record').treat(objects)


class Parsing(_Author):
    "Check and derive parameters, as batches of 2020 do"
    __name__ = 'batch.scenario.parsing'

    @classmethod
    def parse_params(cls, params):
        params = super().parse_params(params)
        first, last = params['first'], params['last']
        if first > last:
            raise UserError('The first one is behind the last one.')
        if last == 99:
            raise KeyError('a slip of the pen')
        if last == 98:
            return None
        if last == 97:
            params['span'] = object()
            return params
        if last == 96:
            return params
        cls.logger.info('parses')
        params['names'] = params['names'].split('+')
        params['span'] = [first, last, dt.date(2026, 1, first)]
        del params['last']
        return params

    @classmethod
    def get_batch_domain(cls, first: int, span, last: int = 8, **kwargs):
        # parse_params has taken it out
        assert last == 8 and span[1] < 8
        return [('id', '>=', span[0]), ('id', '<=', span[1])]

    @classmethod
    def execute(cls, objects, ids, span, names='a+b', **kwargs):
        assert kwargs == {'first': span[0]}
        assert span[2] == dt.date(2026, 1, span[0])
        for record in objects:
            if record.bad:
                raise UserError('A record is bad.')
            record.note = ' and '.join(names)
        Pool().get('batch.scenario.record').treat(objects)


class Positional(_Author):
    "Call the selection of its base with what that can not know"
    __name__ = 'batch.scenario.positional'

    @classmethod
    def get_batch_domain(cls, treatment_date, extra_args=None, **kwargs):
        return [('id', '<=', 2)]

    @classmethod
    def select_ids(cls, treatment_date, party=5, way='two'):
        if way == 'two':
            return super().select_ids(treatment_date, party)
        if way == 'three':
            return super().select_ids(treatment_date, {}, party)
        if way == 'one':
            return super().select_ids(party)
        return super().select_ids(treatment_date, {'party': party})

    @classmethod
    def execute(cls, objects, ids):
        Pool().get('batch.scenario.record').treat(objects)


class Returning(_Author):
    "Return what nobody can sum up"
    __name__ = 'batch.scenario.returning'

    @classmethod
    def execute(cls, objects, ids):
        return 5


class OwnLogger(_Author):
    "Log by a logger of its own, as most batches do"
    __name__ = 'batch.scenario.own_logger'
    logger = logging.getLogger('own.of.the.module')

    @classmethod
    def execute(cls, objects, ids):
        cls.logger.info("treats %s", ids)
        cls.logger.debug("too much")
        logging.getLogger('library').warning("two\nlines password=x1y2z3")
        Pool().get('batch.scenario.record').treat(objects)


class SlowParsing(_Author):
    "Take long to derive a parameter"
    __name__ = 'batch.scenario.slow_parsing'

    @classmethod
    def parse_params(cls, params):
        params['directory'].joinpath('parses').touch()
        wait_until(params['directory'].joinpath('go').exists)
        params['derived'] = 'yes'
        return params

    @classmethod
    def execute(cls, objects, ids, directory: Path, derived: str):
        assert derived == 'yes'
        Pool().get('batch.scenario.record').treat(objects)

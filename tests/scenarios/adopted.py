# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Batches as people wrote them for the older BatchRoot, year after year."""
import csv
import datetime as dt
import logging
import os

from trytond.exceptions import UserError
from trytond.modules import batch
from trytond.pool import Pool, PoolMeta
from trytond.transaction import Transaction


class Terminate(batch.BatchRoot):
    "2014: no argument but the day, and SQL of its own"

    __name__ = 'batch.scenario.adopted.terminate'

    @classmethod
    def get_batch_main_model_name(cls):
        return 'batch.scenario.record'

    @classmethod
    def get_batch_search_model(cls):
        return 'batch.scenario.record'

    @classmethod
    def get_batch_name(cls):
        return 'Termination'

    @classmethod
    def get_batch_ordering(cls):
        return None

    @classmethod
    def select_ids(cls, treatment_date):
        record = Pool().get('batch.scenario.record').__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*record.select(record.id, where=record.party < 5))
        return cursor.fetchall()

    @classmethod
    def execute(cls, objects, ids, treatment_date):
        for record in objects:
            record.note = 'ended %s' % treatment_date
        Pool().get('batch.scenario.record').treat(objects)


class _Base(batch.BatchRoot):
    logger = logging.getLogger(__name__)

    @classmethod
    def get_batch_main_model_name(cls):
        return 'batch.scenario.record'

    @classmethod
    def get_batch_search_model(cls):
        return 'batch.scenario.record'

    @classmethod
    def get_word(cls):
        raise NotImplementedError

    @classmethod
    def execute(cls, objects, ids, treatment_date, extra_args):
        for record in objects:
            record.note = cls.get_word() + extra_args.get('mark', '!')
        Pool().get('batch.scenario.record').treat(objects)
        cls.logger.info('%s records said %s', len(objects), cls.get_word())


class Hello(_Base):
    "2016: a base class has the work, and the selection of the root is more"

    __name__ = 'batch.scenario.adopted.hello'

    logger = logging.getLogger(__name__)

    @classmethod
    def __setup__(cls):
        super(Hello, cls).__setup__()
        cls._default_config_items.update({'split_size': 2})

    @classmethod
    def get_word(cls):
        return 'hello'

    @classmethod
    def get_batch_domain(cls, treatment_date, extra_args):
        return [('party', '<=', 2)]

    @classmethod
    def select_ids(cls, treatment_date, extra_args=None):
        rows = super(Hello, cls).select_ids(treatment_date, extra_args)
        return rows + [(4,)]

    @classmethod
    def get_batch_args_name(cls):
        return ['mark']


class Bye(_Base):
    "2016: the rows of the root are looked into"

    __name__ = 'batch.scenario.adopted.bye'

    @classmethod
    def get_word(cls):
        return 'bye'

    @classmethod
    def select_ids(cls, treatment_date, extra_args=None):
        found = super(Bye, cls).select_ids(treatment_date, extra_args)
        ids = set([x[0] for x in found]) - {2}
        return [[x] for x in sorted(ids)]


class Pairs(_Base):
    "2018: a generator that takes the rows of the root apart"

    __name__ = 'batch.scenario.adopted.pairs'

    @classmethod
    def select_ids(cls, treatment_date, **kwargs):
        for id_, in super(Pairs, cls).select_ids(treatment_date, **kwargs):
            yield id_, 'pair %s' % id_

    @classmethod
    def convert_to_instances(cls, ids, *args, **kwargs):
        Record = Pool().get('batch.scenario.record')
        return Record.browse([x[0] for x in ids])

    @classmethod
    def execute(cls, objects, ids, **kwargs):
        assert kwargs['treatment_date']
        for record, (_, note) in zip(objects, ids, strict=True):
            record.note = note
        Pool().get('batch.scenario.record').treat(objects)


class Extending(_Base):
    "2016: a list is expected of the root"

    __name__ = 'batch.scenario.adopted.extending'

    @classmethod
    def get_word(cls):
        return 'never'

    @classmethod
    def select_ids(cls, treatment_date, extra_args=None):
        found = super(Extending, cls).select_ids(treatment_date, extra_args)
        found.extend([(4,)])
        return found


class Together(_Base):
    "2018: rows that stay together, and one dict of parameters for all"

    __name__ = 'batch.scenario.adopted.together'

    @classmethod
    def parse_params(cls, params):
        params = super(Together, cls).parse_params(params)
        assert params.get('kind') in ('odd', 'even'), 'Invalid kind'
        assert int(params.get('size')) < 5
        params['rest'] = int(params.get('size')) % 2
        return params

    @classmethod
    def select_ids(cls, treatment_date, kind, size=2, **kwargs):
        assert kwargs.get('rest') == size % 2
        Record = Pool().get('batch.scenario.record')
        rows = [(r.id,) for r in Record.search([], order=[('id', 'ASC')])
            if r.id % 2 == (kind == 'odd')]
        return [rows[i:i + size] for i in range(0, len(rows), size)]

    @classmethod
    def execute(cls, objects, ids, **kwargs):
        for record in objects:
            if record.bad:
                raise UserError('A record is bad.')
            record.note = '%s, rest %s' % (
                kwargs.get('kind'), kwargs.get('rest'))
        Pool().get('batch.scenario.record').treat(objects)


class TogetherHere(metaclass=PoolMeta):
    __name__ = 'batch.scenario.adopted.together'

    @classmethod
    def __setup__(cls):
        super(TogetherHere, cls).__setup__()
        cls._default_config_items.update({'split_size': 1})

    @classmethod
    def parse_params(cls, params):
        params = super(TogetherHere, cls).parse_params(params)
        params['place'] = params.get('place').upper()
        return params

    @classmethod
    def select_ids(cls, treatment_date, **kwargs):
        # The first group is for others
        return super(TogetherHere, cls).select_ids(
            treatment_date, **kwargs)[1:]

    @classmethod
    def execute(cls, objects, ids, place='here', **kwargs):
        super(TogetherHere, cls).execute(objects, ids, **kwargs)
        for record in objects:
            record.note += ', ' + place
        Pool().get('batch.scenario.record').save(objects)


class Load(batch.BatchRootNoSelect):
    "2019: the rows of files, found and read by itself"

    __name__ = 'batch.scenario.adopted.load'

    logger = logging.getLogger(__name__)

    @classmethod
    def select_ids(cls, **kwargs):
        directory = kwargs.get('directory')
        if not directory or not os.path.isdir(directory):
            raise Exception('A directory must be specified')
        return [(os.path.join(directory, name),)
            for name in sorted(os.listdir(directory))]

    @classmethod
    def convert_to_instances(cls, ids, *args, **kwargs):
        return [x[0] for x in ids]

    @classmethod
    def execute(cls, objects, ids, directory=None, **kwargs):
        for path in objects:
            with open(path) as file:
                numbers = [int(number) for number, in csv.reader(file)]
            Record = Pool().get('batch.scenario.record')
            Record.treat(Record.browse(numbers))
            cls.write_batch_output(
                '%s\n' % len(numbers), os.path.basename(path) + '.out')


class Files(batch.BatchRootFiles):
    "The same, as it is written now"

    __name__ = 'batch.scenario.adopted.files'

    @classmethod
    def read_file(cls, path):
        with open(path) as file:
            yield from csv.reader(file)

    @classmethod
    def execute(cls, objects, ids):
        Record = Pool().get('batch.scenario.record')
        Record.treat(Record.browse([int(number) for number, in objects]))


class Whole(_Base):
    "2017: the chunk is the file, whole or not at all"

    __name__ = 'batch.scenario.adopted.whole'

    @classmethod
    def __setup__(cls):
        super(Whole, cls).__setup__()
        cls._default_config_items.update({
                'split_mode': 'divide', 'split_size': 1, 'isolate': False})

    @classmethod
    def execute(cls, objects, ids, treatment_date, extra_args):
        super(Whole, cls).execute(objects, ids, treatment_date, extra_args)
        cls.write_batch_output(
            ''.join('%s\n' % r.name for r in objects), 'whole.txt')
        if any(r.bad for r in objects):
            raise UserError('A record is bad.')

    @classmethod
    def get_word(cls):
        return 'paid'


class Rows(batch.BatchRootNoSelect):
    "2019: the objects are the rows"

    __name__ = 'batch.scenario.adopted.rows'

    @classmethod
    def select_ids(cls, **kwargs):
        return [('1',), ('23',), ('23',)]

    @classmethod
    def execute(cls, objects, ids, **kwargs):
        assert objects == ids
        Record = Pool().get('batch.scenario.record')
        Record.treat(Record.browse([int(text) for text, in objects]))


class Snapshot(batch.BatchRootNoSelect):
    "2015: once, with an item of batch.conf"

    __name__ = 'batch.scenario.adopted.snapshot'

    @classmethod
    def execute(cls, objects, ids, treatment_date, label='none'):
        assert label == cls.get_conf_item('label')
        Record = Pool().get('batch.scenario.record')
        record, = Record.create([{'name': 'snapshot', 'note': label}])
        path = cls.generate_filepath('snapshot.txt')
        assert path == cls.write_batch_output(label, 'snapshot.txt')
        cls.logger.success('snapshot %s taken', record.id)


class Searching(_Base):
    "2018: searches the records of rows of one column"

    __name__ = 'batch.scenario.adopted.searching'

    @classmethod
    def convert_to_instances(cls, ids, *args, **kwargs):
        Record = Pool().get('batch.scenario.record')
        table = Record.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(table.id, where=table.id.in_(ids)))
        found = [x[0] for x in cursor.fetchall()]
        assert sorted(found) == [x[0] for x in ids]
        return Record.search([('id', 'in', ids)], order=[('id', 'ASC')])

    @classmethod
    def execute(cls, objects, ids, **kwargs):
        cls.write_batch_output('%s %s' % (ids, ids[0]), 'ids.txt')
        Pool().get('batch.scenario.record').treat(objects)


class Numbers(_Base):
    "2018: takes ids for rows"

    __name__ = 'batch.scenario.adopted.numbers'

    @classmethod
    def execute(cls, objects, ids, **kwargs):
        cls.logger.info('%s', [x[0] for x in ids])


class Unnamed(_Base):
    "2018: reads a parameter that no hook names"

    __name__ = 'batch.scenario.adopted.unnamed'

    @classmethod
    def execute(cls, objects, ids, **kwargs):
        for record in objects:
            record.note = kwargs.get('word')
        Pool().get('batch.scenario.record').treat(objects)


class Listing(_Base):
    "2018: returns what it made, as the queue asked for it"

    __name__ = 'batch.scenario.adopted.listing'

    @classmethod
    def execute(cls, objects, ids, **kwargs):
        Pool().get('batch.scenario.record').treat(objects)
        return [o.id for o in objects]


class Formats(_Base):
    "2014: the format of a file before its content"

    __name__ = 'batch.scenario.adopted.formats'

    @classmethod
    def execute(cls, objects, ids, treatment_date):
        Pool().get('batch.scenario.record').treat(objects)
        cls.write_batch_output('txt', 'text', 'records')


class Queue(_Base):
    "2018: gives work to another batch"

    __name__ = 'batch.scenario.adopted.queue'

    @classmethod
    def execute(cls, objects, ids, treatment_date):
        Pool().get('batch.scenario.adopted.listing').enqueue(
            [(id_,) for id_ in ids], {})


class Ways(_Base):
    "What nobody can refuse, and what is refused when it is called"

    __name__ = 'batch.scenario.adopted.ways'

    @classmethod
    def get_batch_split_size(cls):
        return 1

    @classmethod
    def get_batch_ordering(cls):
        return [('party', 'DESC')]

    @classmethod
    def parse_params(cls, params):
        params = super(Ways, cls).parse_params(params)
        if params['way'] == 'strptime':
            dt.datetime.strptime(params['treatment_date'], '%Y-%m-%d')
        assert params.get('kind') or params['way'] != 'assert'
        return params

    @classmethod
    def execute(cls, objects, ids, treatment_date, way='plain', kind=None):
        if way == 'commit':
            Transaction().commit()
        elif way == 'open':
            with open(cls.generate_filepath('opened.txt'), 'w') as file:
                file.write('opened')
        for record in objects:
            try:
                record.treated += 1
                record.save()
                if record.bad:
                    raise UserError('A record is bad.')
            except UserError:
                if way != 'catch':
                    raise
                cls.logger.warning('a record is bad')

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A batch per behaviour.  ``treated`` counts how often a record was treated:
committed twice, it shows."""
import datetime as dt
import os
import signal
import time
from pathlib import Path

from trytond.exceptions import UserError
from trytond.model import ModelSQL, ModelView, fields
from trytond.modules.batch import BatchRoot, BatchRootNoSelect
from trytond.pool import Pool
from trytond.transaction import Transaction


class Record(ModelSQL, ModelView):
    "Record of the scenarios"
    __name__ = 'batch.scenario.record'

    name = fields.Char("Name", required=True)
    bad = fields.Boolean("Bad")
    party = fields.Integer("Party")
    treated = fields.Integer("Treated")
    user = fields.Integer("User")
    note = fields.Char("Note")

    @classmethod
    def default_treated(cls):
        return 0

    @classmethod
    def treat(cls, records):
        for record in records:
            record.treated += 1
        cls.save(records)

    @classmethod
    def work(cls, records, seconds=0):
        for _ in records:
            time.sleep(seconds)
        cls.treat(records)


class _Scenario(BatchRoot):
    __slots__ = ()

    @classmethod
    def get_batch_main_model_name(cls):
        return 'batch.scenario.record'


class Ok(_Scenario):
    "Treat every record"
    __name__ = 'batch.scenario.ok'

    @classmethod
    def execute(
            cls, objects, ids, treatment_date, text='nothing',
            number: int = 1):
        for record in objects:
            record.note = '%s %s %s' % (treatment_date, text, number)
            record.user = Transaction().user
            record.treated += 1
        type(objects[0]).save(objects)
        return {'treated': len(objects)}


class Bad(_Scenario):
    "Treat every record, and refuse the bad ones before writing anything"
    __name__ = 'batch.scenario.bad'

    @classmethod
    def execute(cls, objects, ids):
        for record in objects:
            if record.bad:
                raise UserError('The record "%s" is bad.' % record.name)
        type(objects[0]).treat(objects)


class BadAtWork(_Scenario):
    "Write record after record, and fail in the middle"
    __name__ = 'batch.scenario.bad_at_work'

    @classmethod
    def execute(cls, objects, ids):
        for record in objects:
            record.treated += 1
            record.save()
            if record.bad:
                # No trace: nothing of this may ever be seen
                cls.write_batch_output('bad', 'bad.txt')
                type(record).__queue__.treat([record])
                1 / 0


class Files(_Scenario):
    "Write a file per chunk, and fail in some"
    __name__ = 'batch.scenario.files'

    @classmethod
    def execute(cls, objects, ids):
        path = cls.write_batch_output(
            ''.join('%s\n' % r.id for r in objects), 'records.txt')
        cls.logger.info("writes %s", path)
        if any(r.bad for r in objects):
            raise UserError('A record is bad.')
        type(objects[0]).treat(objects)


class Once(BatchRootNoSelect):
    "Run once, without records"
    __name__ = 'batch.scenario.once'

    @classmethod
    def execute(cls, objects, ids, crash=False):
        assert objects == ids == []
        if crash:
            raise ValueError('told to crash')
        Record = Pool().get('batch.scenario.record')
        Record.create([{'name': 'once'}])


class Groups(_Scenario):
    "Keep the records of a party together"
    __name__ = 'batch.scenario.groups'

    @classmethod
    def select_ids(cls):
        Record = Pool().get('batch.scenario.record')
        groups = {}
        for record in Record.search([], order=[('id', 'ASC')]):
            groups.setdefault(record.party, []).append(record.id)
        return groups.values()

    @classmethod
    def execute(cls, objects, ids):
        for record in objects:
            if record.bad:
                raise UserError('The record "%s" is bad.' % record.name)
        Pool().get('batch.scenario.record').treat(objects)


class Copying(_Scenario):
    "Copy rows to PostgreSQL while units are read"
    __name__ = 'batch.scenario.copying'

    @classmethod
    def split(cls, units):
        cursor = Transaction().connection.cursor()
        cursor.execute('CREATE TEMPORARY TABLE copied (id INTEGER) '
            'ON COMMIT DROP')
        for chunk in super().split(units):
            with cursor.copy('COPY copied FROM STDIN') as copy:
                for id in chunk:
                    copy.write_row([id])
            yield chunk

    @classmethod
    def execute(cls, objects, ids):
        type(objects[0]).treat(objects)


class Slow(_Scenario):
    "Take some time for each record"
    __name__ = 'batch.scenario.slow'

    @classmethod
    def execute(cls, objects, ids, seconds: float = 0.1, started: Path = None):
        if started:
            started.touch()
        type(objects[0]).work(objects, seconds)


class Lethal(_Scenario):
    "Kill the process at a bad record"
    __name__ = 'batch.scenario.lethal'

    @classmethod
    def execute(cls, objects, ids, misleading: bool = False):
        """Treat the records.

        :param misleading: kill it while the iteration is at another record
        """
        is_bad = misleading and any(record.bad for record in list(objects))
        for record in objects:
            if record.bad and not misleading or is_bad:
                os.kill(os.getpid(), signal.SIGKILL)
        type(objects[0]).treat(objects)


class OldStyle(BatchRoot):
    "Written long ago"
    __name__ = 'batch.scenario.old_style'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._default_config_items.update({'split_size': 3})

    @classmethod
    def get_batch_main_model_name(cls):
        return 'batch.scenario.record'

    @classmethod
    def get_batch_domain(cls, treatment_date):
        assert isinstance(treatment_date, dt.date)
        return [('treated', '=', 0)]

    @classmethod
    def select_ids(cls, treatment_date):
        cursor = Transaction().connection.cursor()
        record = Pool().get('batch.scenario.record').__table__()
        cursor.execute(*record.select(record.id, order_by=record.id))
        return cursor.fetchall()

    @classmethod
    def execute(cls, objects, ids, treatment_date):
        assert cls.get_conf_item('split_size') == 3
        assert len(objects) <= 3
        Pool().get('batch.scenario.record').treat(objects)


class BadSelection(_Scenario):
    "Fail while selecting"
    __name__ = 'batch.scenario.bad_selection'

    @classmethod
    def select_ids(cls):
        yield 1
        raise ZeroDivisionError('no selection today')

    @classmethod
    def execute(cls, objects, ids):
        raise AssertionError('nothing was selected')


class Tasks(_Scenario):
    "Queue the work for Tryton's own queue"
    __name__ = 'batch.scenario.tasks'

    @classmethod
    def execute(cls, objects, ids):
        Record = Pool().get('batch.scenario.record')
        Record.__queue__.treat(objects)
        if any(r.bad for r in objects):
            raise UserError('A record is bad.')


class Locking(_Scenario):
    "Need the lock of the records, which Tryton gives by starting again"
    __name__ = 'batch.scenario.locking'

    @classmethod
    def execute(cls, objects, ids):
        Record = Pool().get('batch.scenario.record')
        Record.lock(objects)
        Record.treat(objects)


class Conflicting(_Scenario):
    "Write one row from every chunk, which PostgreSQL refuses to one of two"
    __name__ = 'batch.scenario.conflicting'

    @classmethod
    def execute(cls, objects, ids):
        Record = Pool().get('batch.scenario.record')
        table = Record.__table__()
        shared, = Record.search([], order=[('id', 'ASC')], limit=1)
        time.sleep(0.05)
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [table.party], [ids[-1]], where=table.id == shared.id))
        Record.treat(objects)

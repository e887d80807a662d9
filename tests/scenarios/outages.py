# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Batches whose database is in trouble."""
from pathlib import Path

from trytond.model import ModelSQL, Unique, fields
from trytond.modules.batch import BatchRoot
from trytond.pool import Pool
from trytond.transaction import Transaction

from .waiting import wait_until


class Key(ModelSQL):
    "A key that can be taken once"
    __name__ = 'batch.scenario.key'

    name = fields.Char("Name", required=True)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        table = cls.__table__()
        cls._sql_constraints.append(
            ('name_unique', Unique(table, table.name), 'ir.msg_id_positive'))


class _Outage(BatchRoot):
    __slots__ = ()

    @classmethod
    def get_batch_main_model_name(cls):
        return 'batch.scenario.record'


class Racing(_Outage):
    "Make what another chunk makes too, unless it is there"
    __name__ = 'batch.scenario.racing'

    default_config_items = {'split_size': 1}

    @classmethod
    def execute(cls, objects, ids, directory: Path):
        Key = Pool().get('batch.scenario.key')
        if not Key.search([('name', '=', 'the only one')]):
            Path(directory, 'met-%s' % ids[0]).touch()
            wait_until(lambda: len(list(directory.glob('met-*'))) >= 2, 10)
            Key.create([{'name': 'the only one'}])
        Pool().get('batch.scenario.record').treat(objects)


class MixedUp(_Outage):
    "Lose the prepared statements of the session, as a pooler does"
    __name__ = 'batch.scenario.mixed_up'

    default_config_items = {'split_size': 1}

    @classmethod
    def execute(cls, objects, ids):
        cursor = Transaction().connection.cursor()
        # The client does not notice
        cursor.execute("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$")
        Pool().get('batch.scenario.record').treat(objects)


class Foreign(_Outage):
    "Ask another database, which is away"
    __name__ = 'batch.scenario.foreign'

    @classmethod
    def select_ids(cls, selecting=False):
        if selecting:
            cls.ask()
        return super().select_ids()

    @classmethod
    def execute(cls, objects, ids):
        Pool().get('batch.scenario.record').treat(
            [record for record in objects if not record.bad])
        if any(record.bad for record in objects):
            cls.ask()

    @staticmethod
    def ask():
        # On SQLite nothing else imports it, which takes a while
        import psycopg
        psycopg.connect('host=localhost port=1 connect_timeout=2')


class Wrapping(_Outage):
    "Say something else than what the database says"
    __name__ = 'batch.scenario.wrapping'

    @classmethod
    def execute(cls, objects, ids):
        try:
            Pool().get('batch.scenario.record').treat(objects)
        except Exception as error:
            raise ValueError('it did not work') from error


class ReadOnly(_Outage):
    "Forbid oneself to write, at a bad record"
    __name__ = 'batch.scenario.read_only'

    @classmethod
    def execute(cls, objects, ids):
        if any(record.bad for record in objects):
            Transaction().connection.cursor().execute(
                'SET TRANSACTION READ ONLY')
        Pool().get('batch.scenario.record').treat(objects)

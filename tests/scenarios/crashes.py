# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Batches that fail, hang and die in the ways that happen."""
import ctypes
import os
import re
import resource
import signal
import time
from pathlib import Path

from trytond.model import Check, fields
from trytond.model.exceptions import ValidationError
from trytond.modules.batch import BatchRoot
from trytond.pool import Pool, PoolMeta
from trytond.transaction import Transaction

from .waiting import wait_until


class Record(metaclass=PoolMeta):
    __name__ = 'batch.scenario.record'

    amount = fields.Integer("Amount")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        table = cls.__table__()
        cls._sql_constraints.append(
            ('amount_positive', Check(table, table.amount >= 0),
                'ir.msg_id_positive'))

    @classmethod
    def validate_fields(cls, records, field_names):
        super().validate_fields(records, field_names)
        for record in records:
            if record.note == 'refused':
                raise ValidationError('The record %s is refused.' % record.id)

    def check(self):
        if self.bad:
            raise ValueError('record %s is bad' % self.id)
        return self.id


class _Crash(BatchRoot):
    __slots__ = ()

    @classmethod
    def get_batch_main_model_name(cls):
        return 'batch.scenario.record'


class Failing(_Crash):
    "Fail at the bad records, in one of many ways"
    __name__ = 'batch.scenario.failing'

    @classmethod
    def execute(cls, objects, ids, way):
        Record = Pool().get('batch.scenario.record')
        getattr(cls, way)(Record, objects)
        Record.treat(objects)

    @classmethod
    def loop(cls, Record, objects):
        for record in objects:
            if record.bad:
                raise ValueError('a bad record')

    @classmethod
    def call(cls, Record, objects):
        def inner(other):
            other.check()

        for record in objects:
            inner(record)

    @classmethod
    def backwards(cls, Record, objects):
        for record in reversed(objects):
            record.check()

    @classmethod
    def comprehension(cls, Record, objects):
        return {record.check() for record in objects}

    @classmethod
    def sort_key(cls, Record, objects):
        objects.sort(key=Record.check)

    @classmethod
    def slices(cls, Record, objects):
        for i in range(0, len(objects), 7):
            cls.loop(Record, objects[i:i + 7])

    @classmethod
    def browsed_again(cls, Record, objects):
        for record in Record.browse([o.id for o in objects]):
            record.check()

    @classmethod
    def validation(cls, Record, objects):
        for record in objects:
            if record.bad:
                record.note = 'refused'
        Record.save(objects)

    @classmethod
    def constraint(cls, Record, objects):
        for record in objects:
            record.amount = -record.id if record.bad else record.id
        Record.save(objects)

    @classmethod
    def statement(cls, Record, objects):
        # Of one group: nothing says which of them it was
        table = Record.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [table.amount], [1],
                where=table.id.in_([r.id for r in objects])))
        cursor.execute(*table.update(
                [table.amount], [-1],
                where=table.id.in_([r.id for r in objects])
                & (table.bad == True)))  # noqa: E712

    @classmethod
    def left_over(cls, Record, objects):
        bad = set()
        for record in objects:
            if record.bad:
                bad.add(record.id)
        if bad:
            raise ValueError('some record is bad')

    @classmethod
    def swallowed(cls, Record, objects):
        # The suspect is in the error that was the cause
        try:
            cls.loop(Record, objects)
        except ValueError as error:
            raise RuntimeError('it did not work') from error

    @classmethod
    def together(cls, Record, objects):
        if sum(record.bad for record in objects) > 1:
            raise ValueError('two bad records are too many')

    @classmethod
    def alone(cls, Record, objects):
        if len(objects) == 1 or sum(r.bad for r in objects):
            raise ValueError('in company, and without the bad')


class Dying(_Crash):
    "Die at the bad records, in one of many ways"
    __name__ = 'batch.scenario.dying'

    @classmethod
    def execute(cls, objects, ids, way):
        for record in objects:
            if record.bad:
                getattr(cls, way)()
        Pool().get('batch.scenario.record').treat(objects)

    @classmethod
    def kill(cls):
        os.kill(os.getpid(), signal.SIGKILL)

    @classmethod
    def segmentation_fault(cls):
        ctypes.string_at(1)

    @classmethod
    def leave(cls):
        os._exit(0)

    @classmethod
    def system_exit(cls):
        raise SystemExit(3)

    @classmethod
    def memory(cls):
        limits = resource.getrlimit(resource.RLIMIT_AS)
        with open('/proc/self/statm') as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(
            resource.RLIMIT_AS, (used + (64 << 20), limits[1]))
        try:
            bytearray(256 << 20)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limits)

    @classmethod
    def recursion(cls):
        cls.recursion()

    @classmethod
    def hang(cls):
        while True:
            pass

    @classmethod
    def hang_in_re(cls):
        re.match('(a+)+$', 64 * 'a' + 'b')

    @classmethod
    def hang_in_sleep(cls):
        time.sleep(1000)

    @classmethod
    def hang_in_sql(cls):
        Transaction().connection.cursor().execute('SELECT pg_sleep(3600)')

    @classmethod
    def hang_in_c(cls):
        # Without ever giving the lock of the interpreter back
        sum(range(1 << 60))

    @classmethod
    def hang_stubbornly(cls):
        while True:
            try:
                time.sleep(1000)
            except Exception:
                continue


class Watched(_Crash):
    "Show what runs, and take the time that it is told"
    __name__ = 'batch.scenario.watched'

    @classmethod
    def execute(cls, objects, ids, directory: Path, seconds: float = 0,
            wait: bool = False):
        """Treat the records, as slowly as asked.

        :param directory: gets a file for each chunk that begins
        :param seconds: for each record
        :param wait: do not end before there is the file "go"
        """
        Path(directory, 'began-%s-%s' % (ids[0], os.getpid())).touch()
        for _ in objects:
            time.sleep(seconds)
        if wait:
            wait_until(Path(directory, 'go').exists)
        Pool().get('batch.scenario.record').treat(objects)


class Deadlock(_Crash):
    "Take two rows in this order or in that, so that two chunks block"
    __name__ = 'batch.scenario.deadlock'

    default_config_items = {'split_size': 2}

    @classmethod
    def execute(cls, objects, ids, directory: Path):
        table = Pool().get('batch.scenario.record').__table__()
        cursor = Transaction().connection.cursor()
        first = min(ids) == 1
        for id in [1, 2] if first else [2, 1]:
            cursor.execute(*table.update(
                    [table.party], [ids[0]], where=table.id == id))
            Path(directory, 'met-%s' % first).touch()
            # Once only: at the next try both are there
            wait_until(Path(directory, 'met-%s' % (not first)).exists, 5)
        Pool().get('batch.scenario.record').treat(objects)


class Killer:
    "Kills the process between the commit of the database and what follows"

    def __init__(self, mark):
        self.mark = mark

    def join_first(self):
        "Join the transaction before the files, which would appear before."
        Transaction()._datamanagers.insert(0, self)

    def tpc_begin(self, transaction):
        pass

    def commit(self, transaction):
        pass

    def tpc_vote(self, transaction):
        pass

    def tpc_finish(self, transaction):
        if not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def tpc_abort(self, transaction):
        pass


class Committed(_Crash):
    "Write a file, and die between the commit and its appearance"
    __name__ = 'batch.scenario.committed'

    @classmethod
    def execute(cls, objects, ids, directory: Path):
        if any(r.bad for r in objects):
            Killer(Path(directory, 'died-%s' % ids[0])).join_first()
        cls.write_batch_output(
            ''.join('%s\n' % id for id in ids), 'records.txt')
        Pool().get('batch.scenario.record').treat(objects)


class TooLarge(_Crash):
    "Write a file per chunk, for which the system has no room at a bad record"
    __name__ = 'batch.scenario.too_large'

    @classmethod
    def execute(cls, objects, ids):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        if any(r.bad for r in objects):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        try:
            cls.write_batch_output(1000 * 'x', 'records.txt')
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        Pool().get('batch.scenario.record').treat(objects)


class LethalSelection(_Crash):
    "Kill the process while selecting"
    __name__ = 'batch.scenario.lethal_selection'

    @classmethod
    def select_ids(cls):
        os.kill(os.getpid(), signal.SIGKILL)

    @classmethod
    def execute(cls, objects, ids):
        raise AssertionError('nothing was selected')


class Dawdling(BatchRoot):
    "Select for as long as nobody says go"
    __name__ = 'batch.scenario.dawdling'

    @classmethod
    def get_batch_main_model_name(cls):
        return 'batch.scenario.record'

    @classmethod
    def select_ids(cls, directory: Path):
        Path(directory, 'selecting-%s' % os.getpid()).touch()
        wait_until(Path(directory, 'go').exists)
        return super().select_ids()

    @classmethod
    def execute(cls, objects, ids):
        Pool().get('batch.scenario.record').treat(objects)


class LethalWorker(_Crash):
    "Wait, while selecting, for somebody who kills the whole worker"
    __name__ = 'batch.scenario.lethal_worker'

    @classmethod
    def select_ids(cls, directory: Path):
        count = len(list(directory.glob('died-*'))) + 1
        Path(directory, 'died-%s' % count).touch()
        time.sleep(600)
        return []

    @classmethod
    def execute(cls, objects, ids):
        raise AssertionError('nothing was selected')

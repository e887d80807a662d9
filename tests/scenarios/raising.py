# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Batches whose hooks raise whatever there is, in each hook."""
import asyncio
import multiprocessing
import os
import subprocess
import sys

import billiard

from trytond import backend
from trytond.exceptions import UserError, UserWarning
from trytond.modules.batch import BatchRoot, BatchRootFiles
from trytond.modules.batch.tasks import has_broker
from trytond.pool import Pool
from trytond.transaction import Transaction


class Panic(BaseException):
    "As the panic of an extension in Rust"


class Leaving(SystemExit):
    "As one that a library derives for itself"


class Speechless(Exception):

    def __str__(self):
        raise ValueError('no text')

    __repr__ = __str__


class Quitting(Exception):

    def __str__(self):
        sys.exit(0)


class Meta(type):

    def __getattribute__(cls, name):
        raise Panic(name)


class Liar(Exception):
    "Lies about itself, wherever it is asked"

    def __getattribute__(self, name):
        raise Panic(name)

    @property
    def __class__(self):
        raise KeyboardInterrupt

    def __bool__(self):
        raise Panic

    def __eq__(self, other):
        raise Panic

    __hash__ = None

    def __str__(self):
        return 'a liar'


class Text(str):
    "A text that is none"

    def __getitem__(self, key):
        raise Panic

    __len__ = __iter__ = __str__ = split = encode = __getitem__


class Textual(Exception):

    def __str__(self):
        return Text('a text of its own')


def nul():
    raise ValueError('a\0b')


def surrogate():
    raise ValueError('bad \udcff')


def speechless():
    raise Speechless


def quitting():
    raise Quitting


def liar():
    raise Liar


def meta_liar():
    raise Meta('MetaLiar', (Exception,), {})('by its class')


def textual():
    raise Textual


def of_an_error():
    raise UserError(ValueError('inner'), b'bytes')


def empty_user_error():
    raise UserError.__new__(UserError)


def warning():
    raise UserWarning('name', 5, None)


def long():
    raise ValueError('begin' + 3_000_000 * 'x' + 'end')


def deep():
    deep()


def chain():
    error = None
    for i in range(3_000):
        try:
            raise KeyError(i) from error
        except KeyError as other:
            error = other
    raise ValueError('at the end of a chain') from error


def circle():
    error, other = ValueError('in a circle'), KeyError()
    other.__cause__ = error
    raise error from other


def strange_name():
    raise type('Bad\x1b[2J\n\u202e' + 300 * 'N', (Exception,), {})('name')


def cancelled():
    raise asyncio.CancelledError('task')


def generator_exit():
    raise GeneratorExit('closed')


def keyboard_interrupt():
    raise KeyboardInterrupt('by code')


def system_exit():
    sys.exit(0)


def leaving():
    raise Leaving('left')


def stop_iteration():
    raise StopIteration('stop')


def panic():
    raise Panic('the disco')


def no_memory():
    raise MemoryError


def unpicklable():
    raise ValueError('of a', lambda: None)


def control_characters():
    raise ValueError('x\n[SUCCESS] all done\r\x1b[2J\x85\u2028\u202e')


def secret():
    raise ValueError('no route to redis://:hunter2@host/0?token=hunter2')


#: kind -> class of the error and a part of its text, as the ledger has them
KINDS = {
    'nul': ('ValueError', r'a\x00b'),
    'surrogate': ('ValueError', r'bad \udcff'),
    'speechless': ('Speechless', 'no text'),
    'quitting': ('Quitting', 'no text'),
    'liar': ('Liar', 'a liar'),
    'meta_liar': ('MetaLiar', 'by its class'),
    'textual': ('Textual', 'a text of its own'),
    'of_an_error': ('UserError', "inner b'bytes'"),
    'empty_user_error': ('UserError', 'no text'),
    'warning': ('UserWarning', '5'),
    'long': ('ValueError', 'beginxxx'),
    'deep': ('RecursionError', 'maximum recursion depth'),
    'chain': ('ValueError', 'at the end of a chain'),
    'circle': ('ValueError', 'in a circle'),
    'strange_name': (r'Bad\x1b[2J\n\u202eNNN', 'name'),
    'cancelled': ('CancelledError', 'task'),
    'generator_exit': ('GeneratorExit', 'closed'),
    'keyboard_interrupt': ('KeyboardInterrupt', 'by code'),
    'system_exit': ('SystemExit', '0'),
    'leaving': ('Leaving', 'left'),
    'stop_iteration': ('StopIteration', 'stop'),
    'panic': ('Panic', 'the disco'),
    'no_memory': ('MemoryError', ''),
    'unpicklable': ('ValueError', 'of a'),
    'control_characters': ('ValueError', r'x [SUCCESS] all done'),
    'secret': ('ValueError', 'redis://:***@host/0?token=***'),
    }


class _Raising(BatchRoot):
    __slots__ = ()

    @classmethod
    def get_batch_main_model_name(cls):
        return 'batch.scenario.record'


class Raising(_Raising):
    "Raise at each record what is noted on it, in one hook or the other"
    __name__ = 'batch.scenario.raising'

    @classmethod
    def convert_to_instances(cls, ids, hook='execute'):
        objects = super().convert_to_instances(ids)
        if hook == 'convert_to_instances':
            cls.raise_by_note(objects)
        return objects

    @classmethod
    def execute(cls, objects, ids, hook='execute'):
        if hook == 'execute':
            cls.raise_by_note(objects)
        Pool().get('batch.scenario.record').treat(objects)

    @classmethod
    def raise_by_note(cls, records):
        for record in records:
            if record.note:
                globals()[record.note]()


class RaisingSelection(_Raising):
    "Raise while selecting, in one hook or another"
    __name__ = 'batch.scenario.raising_selection'

    @classmethod
    def raise_in(cls, name, hook, kind):
        if name == hook:
            globals()[kind]()

    @classmethod
    def get_batch_domain(cls, hook, kind):
        cls.raise_in('get_batch_domain', hook, kind)
        return []

    @classmethod
    def get_batch_ordering(cls):
        cls.raise_in('get_batch_ordering', *cls.hook)
        return super().get_batch_ordering()

    @classmethod
    def select_ids(cls, hook, kind):
        cls.hook = hook, kind
        cls.raise_in('select_ids', hook, kind)
        ids = super().select_ids(hook=hook, kind=kind)

        def stream():
            yield from ids
            cls.raise_in('end of select_ids', hook, kind)

        return stream()

    @classmethod
    def split(cls, units):
        cls.raise_in('split', *cls.hook)
        for chunk in super().split(units):
            yield chunk
            cls.raise_in('end of split', *cls.hook)

    @classmethod
    def execute(cls, objects, ids):
        raise AssertionError('nothing was selected')


class RaisingFiles(BatchRootFiles):
    "Raise at each file what its name says"
    __name__ = 'batch.scenario.raising_files'

    @classmethod
    def get_batch_main_model_name(cls):
        return None

    @classmethod
    def read_file(cls, path):
        if path.name in globals():
            yield 'a row'
            globals()[path.name]()
        yield 'row'

    @classmethod
    def execute(cls, objects, ids):
        pass


class Speaking(_Raising):
    "Say more than anybody reads"
    __name__ = 'batch.scenario.speaking'

    @classmethod
    def execute(cls, objects, ids):
        if len(objects) == 1:
            cls.logger.info("%s", 2_000_000 * 'x')
        for record in objects:
            if record.bad:
                raise ValueError(2_000_000 * 'x', record.id)


class Strange(_Raising):
    "Treat units that would do things to a terminal"
    __name__ = 'batch.scenario.strange'

    default_config_items = {'split_size': 2}

    @classmethod
    def select_ids(cls, text):
        return [text, [text, 'other'], (text, 1), {text: text}, 'good']

    @classmethod
    def convert_to_instances(cls, ids):
        return ids

    @classmethod
    def execute(cls, objects, ids, text):
        cls.logger.info("%s", text)
        cls.logger.success(text)
        if objects != ['good']:
            raise ValueError('bad unit %s' % text)
        return {text: 1}


class Secretive(_Raising):
    "Tell the secrets that it is given, wherever it can"
    __name__ = 'batch.scenario.secretive'

    @classmethod
    def execute(
            cls, objects, ids, password, token, key: int = 1,
            options: dict = {}):
        assert (password, token) == ('hunter2', 'hunter2-conf')
        cls.logger.info(
            "login with password=%s and token=%s", password, token)
        if any(r.bad for r in objects):
            raise ValueError('refused: %r' % {
                    'password': password, 'token': token,
                    'api_key': Transaction().context.get('api_key')})
        Pool().get('batch.scenario.record').treat(objects)


class Ending(_Raising):
    "End the transaction in one way or another, in one hook or another"
    __name__ = 'batch.scenario.ending'

    default_config_items = {'split_size': 2, 'concurrency': 1}

    @classmethod
    def get_batch_domain(cls, party: int = 0):
        return [('party', '=', party)] if party else []

    @classmethod
    def select_ids(cls, way, hook='execute', party: int = 0):
        if hook == 'select_ids':
            cls.end(way)
        yield from super().select_ids(party=party)
        if hook == 'end of select_ids':
            cls.end(way)

    @classmethod
    def convert_to_instances(cls, ids, way, hook='execute'):
        if hook == 'convert_to_instances':
            cls.end(way)
        return super().convert_to_instances(ids)

    @classmethod
    def execute(cls, objects, ids, way, hook='execute'):
        Record = Pool().get('batch.scenario.record')
        Record.treat(objects)
        if hook == 'execute':
            cls.end(way)
            Record.browse(ids)[0].note = 'afterwards'

    @classmethod
    def end(cls, way):
        getattr(cls, way)(Transaction(), Transaction().connection)

    @classmethod
    def commit(cls, transaction, connection):
        transaction.commit()

    @classmethod
    def rollback(cls, transaction, connection):
        transaction.rollback()

    @classmethod
    def swallowed(cls, transaction, connection):
        try:
            transaction.commit()
        except Exception:
            pass

    @classmethod
    def leave(cls, transaction, connection):
        with transaction:
            pass

    @classmethod
    def connection_commit(cls, transaction, connection):
        connection.commit()

    @classmethod
    def connection_rollback(cls, transaction, connection):
        connection.cursor().connection.rollback()

    @classmethod
    def close(cls, transaction, connection):
        connection.close()

    @classmethod
    def autocommit(cls, transaction, connection):
        if hasattr(connection, 'isolation_level') and hasattr(
                connection, 'in_transaction'):
            connection.isolation_level = None
        connection.autocommit = True

    @classmethod
    def sql_commit(cls, transaction, connection):
        connection.cursor().execute('COMMIT')

    @classmethod
    def sql_rollback(cls, transaction, connection):
        connection.cursor().execute('ROLLBACK')

    @classmethod
    def sql_commit_and_go_on(cls, transaction, connection):
        cls.sql_commit(transaction, connection)
        Record = Pool().get('batch.scenario.record')
        Record.write(Record.search([], limit=1), {'note': 'later'})

    @classmethod
    def sql_commit_and_raise(cls, transaction, connection):
        cls.sql_commit_and_go_on(transaction, connection)
        raise ValueError('after a commit')

    @classmethod
    def sql_commit_and_fail(cls, transaction, connection):
        cls.sql_commit(transaction, connection)
        connection.cursor().execute('SELECT nonsense FROM nowhere')

    @classmethod
    def savepoint(cls, transaction, connection):
        cursor = connection.cursor()
        cursor.execute('SAVEPOINT mine')
        cursor.execute(
            'UPDATE batch_scenario_record SET treated = 100 WHERE id = -1')
        cursor.execute('ROLLBACK TO SAVEPOINT mine')
        cursor.execute('RELEASE SAVEPOINT mine')

    @classmethod
    def another(cls, transaction, connection):
        if backend.name == 'sqlite':
            # It has one writer at a time
            return
        with transaction.new_transaction() as other:
            cursor = other.connection.cursor()
            cursor.execute('CREATE TEMPORARY TABLE batch_another (id INTEGER)')
            other.commit()
            cursor.execute('DROP TABLE batch_another')
            other.commit()
            other.rollback()

    @classmethod
    def again(cls, transaction, connection):
        with transaction.set_current_transaction(transaction):
            pass


class Forking(_Raising):
    "Fork a process that goes on, and ends in a way or another"
    __name__ = 'batch.scenario.forking'

    @classmethod
    def select_ids(cls, way, hook='execute'):
        if hook == 'select_ids' and cls.fork(way) == 'child':
            return
        for id in super().select_ids():
            yield id
            if hook == 'middle of select_ids':
                hook = cls.fork(way)

    @classmethod
    def execute(cls, objects, ids, way, hook='execute'):
        if hook != 'execute' or cls.fork(way) != 'child':
            Pool().get('batch.scenario.record').treat(objects)

    @classmethod
    def fork(cls, way):
        if way == 'process':
            # That of Python is refused in the processes of Celery
            library = billiard if has_broker() else multiprocessing
            process = library.get_context('fork').Process(
                target=sys.exit, args=[7])
            process.start()
            process.join()
            cls.logger.info("child ended with %s", process.exitcode)
        elif way == 'command':
            cls.logger.info("child ended with %s",
                subprocess.call(['sh', '-c', 'exit 7']))
        elif child := os.fork():
            _, status = os.waitpid(child, 0)
            cls.logger.info(
                "child ended with %s", os.waitstatus_to_exitcode(status))
        elif way == 'raise':
            raise ValueError('the child raises')
        elif way == 'exit':
            sys.exit(7)
        elif way == 'query':
            Pool().get('batch.scenario.record').search([])
        elif way == 'statement':
            Transaction().connection.commit()
        else:
            return 'child'


class Voting(_Raising):
    "Raise at the commit, or after it"
    __name__ = 'batch.scenario.voting'

    default_config_items = {'split_size': 1}

    @classmethod
    def execute(cls, objects, ids):
        for record in objects:
            Transaction().join(Voter(record.note))
        cls.write_batch_output('treated', 'treated.txt')
        Pool().get('batch.scenario.record').treat(objects)


class Voter:
    "Raises in the step that it is told"

    def __init__(self, step):
        self.step = step

    def __getattr__(self, name):
        def step(transaction):
            if name == self.step:
                raise Panic(name)
        return step

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The transactions of a turn: on one connection, and how long it takes."""

import pytest

BEGIN = '''
import contextlib
import logging
import threading
import time
from trytond import backend
from trytond.transaction import Transaction
from trytond.modules.batch.connections import kept, let_go, read_ahead
from trytond.modules.batch.transaction import (
    connect, is_outage, load_pool, transact)
load_pool(database)
pool = backend.Database(database).connect()._connpool

def session(cursor):
    cursor.execute('SELECT pg_backend_pid()')
    return cursor.fetchone()[0]

def add(name):
    def work(cursor):
        cursor.execute('INSERT INTO kept_names VALUES (%s)', [name])
        return session(cursor)
    return work

def names(cursor):
    cursor.execute('SELECT name FROM kept_names ORDER BY name')
    return [name for name, in cursor]

class Manager:
    def __init__(self, raises_at, error):
        self.raises_at, self.error = raises_at, error
    def __getattr__(self, name):
        if not name.startswith('tpc') and name != 'commit':
            raise AttributeError(name)
        def method(transaction):
            if name == self.raises_at:
                raise self.error
        return method

class Odd(BaseException):
    pass

class Caught(logging.Handler):
    messages = []
    def emit(self, record):
        self.messages.append(record.getMessage())
logging.getLogger('trytond.modules.batch.transaction').addHandler(Caught())

def join(name, *args):
    def work(cursor):
        Transaction().join(Manager(*args))
        return add(name)(cursor)
    return work

class Last:
    "Adds a name with the commit, and locks and reads all ahead."
    refused, result, transaction = None, None, None
    def __init__(self, name, statement='INSERT INTO kept_names VALUES (%s) '
            'RETURNING name', first='SELECT name FROM kept_names FOR UPDATE'):
        self.name, self.statement, self.first = name, statement, first
    def __call__(self, cursor):
        self.ahead = read_ahead(cursor)
        Transaction().last = self
        return self
    def end(self, cursor):
        cursor.execute(self.statement, [self.name])
    def refuse(self, error):
        self.refused = error
        raise Odd from error
    def read(self, cursor, ahead=None):
        self.result, = (None,) if cursor is None else cursor.fetchone()
    def begin(self, cursor):
        if self.first:
            cursor.execute(self.first)
        return bool(self.first)

def free():
    "Return the names that nobody has locked."
    with connect(database) as other:
        return sorted(name for name, in other.execute(
            'SELECT name FROM kept_names FOR UPDATE SKIP LOCKED'))
'''
CASES = {
    'they have one session, which the pool gives once': '''
with kept(database):
    before = pool.get_stats().get('requests_num', 0)
    sessions = {transact(database, add(str(i))) for i in range(5)}
    assert pool.get_stats()['requests_num'] == before + 1
    seen, = sessions
    with connect(database) as other:
        state = ("SELECT state FROM pg_stat_activity WHERE pid = %s", [seen])
        assert other.execute(*state).fetchone() == ('idle in transaction',)
assert transact(database, names) == list('01234')
with connect(database) as other:
    assert other.execute(*state).fetchone() == ('idle',)
''',
    'none is begun before the tasks that one has queued': '''
from unittest import mock
from trytond.modules.batch import internals, transaction as module
tasks = internals.stack_of(Transaction).tasks
def state():
    with connect(database) as other:
        return other.execute(
            "SELECT state FROM pg_stat_activity WHERE pid = %s", [ours]
            ).fetchone()[0]
with kept(database):
    ours = transact(database, session)
    assert state() == 'idle in transaction'
    with mock.patch.object(module, 'run_tasks'):
        transact(database, lambda cursor: tasks.append(1))
    tasks.clear()
    assert state() == 'idle'
''',
    'each sees what others have committed before': '''
with kept(database):
    transact(database, add('ours'))
    with connect(database) as other:
        other.execute("INSERT INTO kept_names VALUES ('theirs')")
    assert transact(database, names) == ['ours', 'theirs']
''',
    'one within another has its own': '''
def work(cursor):
    inner = transact(database, add('inner'))
    assert inner != add('outer')(cursor)
    raise KeyError
with kept(database):
    before = transact(database, session)
    try:
        transact(database, work)
    except KeyError:
        pass
    assert transact(database, session) == before
    assert transact(database, names) == ['inner']
''',
    'one that only reads has its own': '''
with kept(database):
    ours = transact(database, session)
    with Transaction().start(database, 0, readonly=True) as transaction:
        assert session(transaction.connection.cursor()) != ours
''',
    'one in another thread has its own': '''
sessions = []
def run():
    with kept(database):
        sessions.append(transact(database, session))
with kept(database):
    ours = transact(database, session)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
assert len(sessions) == 1 and sessions != [ours]
''',
    'what is kept twice is kept until the first ends': '''
with kept(database):
    with kept(database):
        ours = transact(database, session)
    assert transact(database, session) == ours
''',
    'one that fails leaves nothing, the next goes on': '''
def fail(cursor):
    add('bad')(cursor)
    cursor.execute('SELECT 1 / 0')
with kept(database):
    ours = transact(database, add('before'))
    try:
        transact(database, fail)
    except Exception as error:
        assert error.sqlstate == '22012'
    assert transact(database, add('good')) == ours
    assert transact(database, names) == ['before', 'good']
''',
    'one that is refused at its commit leaves nothing': '''
with kept(database):
    transact(database, add('ours'))
    try:
        transact(database, lambda cursor: cursor.execute(
            "INSERT INTO kept_names (name, same) VALUES ('bad', 'missing')"))
    except backend.DatabaseIntegrityError:
        pass
    else:
        raise AssertionError
    assert transact(database, names) == ['ours']
''',
    'a connection that breaks is replaced': '''
with kept(database):
    ours = transact(database, add('before'))
    with connect(database) as other:
        assert other.execute(
            'SELECT pg_terminate_backend(%s, 10000)', [ours]).fetchone()[0]
    assert transact(database, add('after')) != ours
    assert transact(database, names) == ['after', 'before']
''',
    'what a data manager raises before the commit ends it': '''
with kept(database):
    for error in Odd, KeyError:
        try:
            transact(database, join('bad', 'tpc_vote', error))
        except error:
            pass
        else:
            raise AssertionError
    assert transact(database, names) == []
''',
    'what a data manager raises as it aborts leaves nothing': '''
def fail(cursor):
    join('bad', 'tpc_abort', KeyError)(cursor)
    raise Odd
with kept(database):
    transact(database, add('before'))
    try:
        transact(database, fail)
    except (KeyError, Odd):
        pass
    else:
        raise AssertionError
    transact(database, add('after'))
    assert transact(database, names) == ['after', 'before']
''',
    'what a data manager does after the commit is in no transaction': '''
class Writing(Manager):
    def tpc_finish(self, transaction):
        add('late')(transaction.connection.cursor())
def work(cursor):
    Transaction().join(Writing(None, None))
    add('first')(cursor)
with kept(database):
    transact(database, work)
    transact(database, add('second'))
    assert transact(database, names) == ['first', 'second']
''',
    'the next one begins with what the commit has read': '''
def look(cursor):
    assert session(cursor) == ours
    row, again = read_ahead(cursor), read_ahead(cursor)
    assert Transaction().started_at < after
    return row, again
with kept(database):
    ours = transact(database, session)
    last = transact(database, Last('ours'))
    after = Transaction.monotonic_time()
    assert last.result == 'ours'
    assert free() == []
    assert transact(database, look) == (('ours',), None)
    assert free() == ['ours']
''',
    'what was read ahead is let go, and not read then': '''
with kept(database):
    transact(database, Last('ours'))
    let_go()
    assert free() == ['ours']
    assert transact(database, Last('more')).ahead is None
    assert free() == []
    transact(database, session)
    assert transact(database, Last('third')).ahead is None
assert free() == ['more', 'ours', 'third']
''',
    'nothing may be read ahead': '''
with kept(database):
    assert transact(database, Last('a', first=None)).result == 'a'
    assert transact(database, Last('b', first=None)).ahead is None
    assert transact(database, names) == ['a', 'b']
''',
    'where the last statement fails, nothing is committed': '''
def fail(cursor):
    add('bad')(cursor)
    return last(cursor)
for keep in kept, lambda database: contextlib.nullcontext():
    last = Last('worse', 'SELECT 1 / char_length(left(%s, 0))')
    with keep(database):
        try:
            transact(database, fail)
        except Odd:
            pass
        assert last.refused.sqlstate == '22012'
        assert transact(database, names) == []
''',
    'where the commit fails, the last statement is not to blame': '''
last = Last('missing', 'INSERT INTO kept_names VALUES (%s, %s)'.replace(
    '%s)', "'none')"))
with kept(database):
    try:
        transact(database, last)
    except backend.DatabaseIntegrityError:
        pass
    else:
        raise AssertionError
    assert last.refused is None
    assert transact(database, names) == []
''',
    'where reading ahead fails, all is committed': '''
with kept(database):
    before = transact(database, session)
    last = transact(database, Last('a', first='SELECT 1 / 0'))
    assert (last.result, last.refused) == ('a', None)
    assert transact(database, Last('b')).ahead is None
    assert transact(database, Last('c')).ahead in [('a',), ('b',)]
    assert transact(database, names) == ['a', 'b', 'c']
''',
    'where the connection breaks ahead, all is committed': '''
class Broken(Last):
    def __call__(self, cursor):
        cursor.execute('SELECT txid_current()')
        self.transaction, = cursor.fetchone()
        return super().__call__(cursor)
    def begin(self, cursor):
        super().begin(cursor)
        # Until the server has ended, and what it has sent is lost
        time.sleep(pause)
        return True
for name, pause in [('a', 0), ('b', 0.3)]:
    with kept(database):
        before = transact(database, session)
        last = transact(database, Broken(
            name, first='SELECT pg_terminate_backend(pg_backend_pid())'))
        assert last.result in {name, None} and last.refused is None
        assert transact(database, session) != before
assert transact(database, names) == ['a', 'b']
''',
    'where nobody says whether it is committed, it is not done again': '''
from trytond.modules.batch import connections
connections.ASK = 0.5
allow = 'ALTER DATABASE "' + database + '" ALLOW_CONNECTIONS '
calls = []
class Refused(Last):
    def begin(self, cursor):
        with connect('postgres') as other:
            other.execute(allow + 'false')
        super().begin(cursor)
        time.sleep(0.3)
        return True
def work(cursor):
    calls.append(1)
    last = Refused('a', first='SELECT pg_terminate_backend(pg_backend_pid())')
    cursor.execute('SELECT txid_current()')
    last.transaction, = cursor.fetchone()
    return last(cursor)
with kept(database):
    try:
        transact(database, work)
    except connections.DoubtError as error:
        assert is_outage(error, database)
    else:
        raise AssertionError
    finally:
        with connect('postgres') as other:
            other.execute(allow + 'true')
assert transact(database, names) == ['a'] and calls == [1]
''',
    'without a pipeline, nothing is read ahead': '''
from trytond.modules.batch import transaction as module
with kept(database):
    module._is_pooled = True
    assert transact(database, Last('a')).result == 'a'
    assert transact(database, Last('b')).ahead is None
    module._is_pooled = False
    assert transact(database, names) == ['a', 'b']
    transact(database, lambda cursor: setattr(
        cursor.connection, 'prepare_threshold', 5))
''',
    'outside of a turn, the last statement is committed with all': '''
def work(cursor):
    add('first')(cursor)
    return Last('second')(cursor)
assert transact(database, work).result == 'second'
assert transact(database, names) == ['first', 'second']
''',
    'what a data manager raises after the commit does not': '''
with kept(database):
    transact(database, join('good', 'tpc_finish', Odd))
    assert transact(database, names) == ['good']
assert Caught.messages == ['a data manager raised after the commit']
''',
    }


EMPTIED = '''
transact(database, lambda cursor: cursor.execute('TRUNCATE kept_names'))
Caught.messages.clear()
'''


@pytest.fixture(scope='module')
def errors(on_workers):
    "What each case raised, all of them in one process."
    on_workers.execute('DROP TABLE IF EXISTS kept_names')
    on_workers.execute(
        'CREATE TABLE kept_names (name VARCHAR UNIQUE, same VARCHAR '
        'REFERENCES kept_names (name) DEFERRABLE INITIALLY DEFERRED)')
    # Each on an empty table
    return on_workers.cases(BEGIN, {
            name: EMPTIED + code for name, code in CASES.items()})


@pytest.mark.parametrize('case', CASES)
def test_transactions_that_follow_each_other(errors, case):
    assert errors[case] is None, errors[case]


LANE = '''
from trytond import backend
from trytond.modules.batch import ledger
from trytond.modules.batch.engine import selection, turn
from trytond.modules.batch.transaction import connect, load_pool, transact
load_pool(database)
create = lambda batch: transact(database, lambda cursor:
    ledger.executions.create(cursor, batch, {}, local=True))
sent, done, treat = [], [], turn.treat

def send(execution, chunk, number=None):
    "Send a chunk, which has to be free."
    if backend.name != 'sqlite':
        with connect(database) as other:
            assert other.execute(
                'SELECT FROM batch_execution_chunk WHERE id = %%s '
                'FOR UPDATE NOWAIT', [chunk]).rowcount == 1
    sent.append(chunk)

execution = create('batch.scenario.ok')
selection.select_and_plan(
    database, 'batch.scenario.ok', execution, send=send)

def counted(job, chunk, *args):
    done.append(chunk)
    if len(done) == %(late)s:
        create('batch.scenario.slow')
    return treat(job, chunk, *args)

turn.treat = counted
lengths = []
while sent:
    done.clear()
    turn.take_turn(
        database, execution, sent.pop(), send=send,
        # An eighth of a second for each chunk
        clock=lambda: len(done) / 8)
    lengths.append(len(done))
print(lengths)
'''


@pytest.mark.parametrize('stage', ['in_process', 'on_workers'])
@pytest.mark.parametrize('late, lengths', [
        (None, [8, 8, 8, 1]),
        (1, [2] * 12 + [1]),
        (5, [6] + [2] * 9 + [1]),
        ], ids=['alone', 'not alone', 'not alone any more'])
def test_a_turn_is_long_where_nobody_waits(request, stage, late, lengths):
    scene = request.getfixturevalue(stage)
    scene.reset()
    scene.records(25)
    scene.configure({'default': {'split_size': 1, 'concurrency': 1}})
    assert scene.script(LANE % {'late': late}).strip() == str(lengths)
    assert scene.treated() == dict.fromkeys(range(1, 26), 1)

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Rows that are asked for before they are needed, while a plan is written."""
import pytest

SIZE = 10

BEGIN = '''
import json
from trytond import backend
from sql import Table
from trytond.modules.batch import ledger
from trytond.transaction import Transaction
from trytond.modules.batch.engine import preview, selection
from trytond.modules.batch.ledger import planning, rows
from trytond.modules.batch.ledger.rows import (
    insert_many, reading_ahead, streamed)
from trytond.modules.batch.transaction import (
    connect, is_outage, load_pool, transact)
load_pool(database)
SIZE = %s
record = Table('batch_scenario_record')
query = record.select(record.id, order_by=record.id)
ids = transact(database, lambda cursor: [id for page in streamed(
    cursor, query) for id, in page])
create = lambda batch: transact(database, lambda cursor:
    ledger.executions.create(cursor, batch, {}, local=True))

class Left(Exception):
    pass

def is_asked(cursor):
    "Whether the connection is in the pipeline mode."
    return bool(cursor.connection.pgconn.pipeline_status)

def pages(cursor, size=SIZE):
    return streamed(cursor, query, size)

def read(found):
    return [id for page in found for id, in page]

def terminate(connection):
    with connect(database) as other:
        other.execute('SELECT pg_terminate_backend(%%s)', [
                connection.info.backend_pid])

def plan(batch, break_at=None):
    """Return the units that were planned, and whether rows were asked for.

    :param break_at: the chunk at which the connection breaks
    """
    asked = []
    add, bulk = planning.ChunkWriter.add, planning.ChunkWriter.BULK
    defaults = streamed.__defaults__
    def note(self, units, size):
        asked.append(is_asked(self.cursor))
        if len(asked) == break_at:
            assert asked[-1]
            terminate(self.cursor.connection)
        add(self, units, size)
    planning.ChunkWriter.add, planning.ChunkWriter.BULK = note, 2
    streamed.__defaults__ = (SIZE, *defaults[1:])
    execution = create(batch)
    try:
        problem = selection.select_and_plan(
            database, batch, execution, send=lambda *args: None)
    finally:
        planning.ChunkWriter.add, planning.ChunkWriter.BULK = add, bulk
        streamed.__defaults__ = defaults
    def units(cursor):
        cursor.execute('SELECT units FROM batch_execution_chunk '
            'WHERE execution = %%s ORDER BY id', [execution])
        return [id for text, in cursor for id in json.loads(text)]
    return problem, transact(database, units), any(asked)
''' % SIZE

CASES = {
    'all rows come once and in order': '''
def work(cursor):
    with reading_ahead(cursor):
        return read(pages(cursor))
assert transact(database, work) == ids
''',
    'the next rows are asked for while some are used': '''
def work(cursor):
    with reading_ahead(cursor):
        found = pages(cursor)
        first = next(found)
        assert is_asked(cursor)
        assert [id for id, in first] + read(found) == ids
        assert not is_asked(cursor)
transact(database, work)
''',
    'none are asked for behind the last ones': '''
def work(cursor):
    with reading_ahead(cursor):
        found = pages(cursor, len(ids) + 1)
        next(found)
        assert not is_asked(cursor)
transact(database, work)
''',
    'none are asked for where hooks may use the connection': '''
def work(cursor):
    with reading_ahead(cursor, False):
        found = pages(cursor)
        next(found)
        assert not is_asked(cursor)
transact(database, work)
''',
    'none are asked for where they take long': '''
rows.SLOW = 0
try:
    def work(cursor):
        with reading_ahead(cursor):
            found = pages(cursor)
            next(found)
            assert not is_asked(cursor)
            next(found)
            assert not is_asked(cursor)
    transact(database, work)
finally:
    rows.SLOW = 1
''',
    'statements of others do not mix up with them': '''
def work(cursor):
    with reading_ahead(cursor):
        got = []
        for page in pages(cursor):
            got.extend(id for id, in page)
            cursor.execute('SELECT %s', [page[0][0]])
            assert cursor.fetchone() == page[0]
        return got
assert transact(database, work) == ids
''',
    'two streams at once': '''
def work(cursor):
    with reading_ahead(cursor):
        got = []
        for one, other in zip(pages(cursor), pages(cursor), strict=True):
            assert one == other
            got.extend(id for id, in one)
        return got
assert transact(database, work) == ids
''',
    'rows are copied meanwhile': '''
def work(cursor):
    cursor.execute('CREATE TEMPORARY TABLE copied (id INTEGER, name VARCHAR) '
        'ON COMMIT DROP')
    with reading_ahead(cursor):
        for page in pages(cursor):
            insert_many(cursor, Table('copied'), ['id', 'name'], [
                    [id, 'name'] for id, in page])
    cursor.execute('SELECT id FROM copied ORDER BY id')
    return [id for id, in cursor]
assert transact(database, work) == ids
''',
    'who leaves early gets a connection that is at rest': '''
def work(cursor):
    with reading_ahead(cursor):
        next(pages(cursor))
    assert not is_asked(cursor)
    with cursor.copy('COPY (SELECT 5) TO STDOUT') as copy:
        assert b''.join(copy) == b'5\\n'
transact(database, work)
''',
    'whatever is raised meanwhile is raised': '''
held = []
def work(cursor):
    held.append(cursor)
    with reading_ahead(cursor):
        held.append(pages(cursor))
        next(held[-1])
        raise Left
try:
    transact(database, work)
except Left as error:
    assert error.__context__ is None
else:
    assert False
assert not is_asked(held[0])
assert transact(database, lambda cursor: read(pages(cursor))) == ids
''',
    'a connection that breaks meanwhile is an outage': '''
def work(cursor):
    with reading_ahead(cursor):
        found = pages(cursor)
        next(found)
        terminate(cursor.connection)
        for page in found:
            pass
try:
    transact(database, work, retry=0)
except backend.DatabaseOperationalError as error:
    assert is_outage(error), error
else:
    assert False
assert transact(database, lambda cursor: read(pages(cursor))) == ids
''',
    'a search is read ahead, and its plan is copied meanwhile': '''
assert plan('batch.scenario.ok') == (None, ids, True)
''',
    'a plan whose connection breaks meanwhile is made again': '''
assert plan('batch.scenario.ok', break_at=4) == (None, ids, True)
''',
    'a preview of it is read ahead, too': '''
asked, ask, defaults = [], rows._Ahead.ask, streamed.__defaults__
def note(self, *args):
    asked.append(args)
    ask(self, *args)
rows._Ahead.ask, streamed.__defaults__ = note, (SIZE, *defaults[1:])
try:
    assert transact(database, lambda cursor: preview.preview(
        Transaction(), 'batch.scenario.ok', {})) == (
            [7] * (len(ids) // 7) + [len(ids) % 7], 0)
finally:
    rows._Ahead.ask, streamed.__defaults__ = ask, defaults
assert len(asked) == len(ids) // SIZE
''',
    'that of a hook is not': '''
assert plan('batch.scenario.copying') == (None, ids, False)
''',
    }


@pytest.fixture(scope='module')
def errors(on_workers):
    "What each case raised, all of them in one process."
    on_workers.reset()
    on_workers.records(10 * SIZE + 1)
    on_workers.configure({'default': {'split_size': 7, 'overlap': 'allow'}})
    return on_workers.cases(BEGIN, CASES)


@pytest.mark.parametrize('case', CASES)
def test_rows_that_are_read_ahead(errors, case):
    assert errors[case] is None, errors[case]

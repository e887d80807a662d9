# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What a batch can rely on, whichever way it is executed.

Each test runs twice: in the command itself on SQLite, and on a worker of two
processes with PostgreSQL and Redis.
"""
import datetime as dt
import json
import re
import select
import signal
from collections import Counter

import pytest
from scene import PATIENCE, Execution

from devel.process import wait_for
from trytond.modules.batch.ledger.planning import ChunkWriter
from trytond.modules.batch.ledger.rows import ROWS

only_workers = pytest.mark.parametrize('stage', ['workers'], indirect=True)
only_in_process = pytest.mark.parametrize(
    'stage', ['in-process'], indirect=True)


def once(ids):
    return {id: 1 for id in ids}


def begin(scene, directory):
    """Start a batch whose chunks end once there is "go" in the directory.

    Returns the command, after its first chunk began.
    """
    command = scene.start_batch(
        'watched', '--directory', str(directory), '--wait')
    wait_for(lambda: any(directory.glob('began-*')), PATIENCE,
        "begin with a chunk")
    return command


# Exactly once

def test_every_record_is_treated_exactly_once(scene):
    scene.records(95)
    scene.configure({'batch.scenario.ok': {'split_size': 10}})
    execution = scene.batch('ok', status=0)
    assert scene.treated() == once(range(1, 96))
    assert execution.row['state'] == 'succeeded'
    assert [execution.row[n] for n in [
            'selected', 'duplicates', 'done', 'failed', 'left']] == [
        95, 0, 95, 0, 0]
    assert [c['size'] for c in execution.chunks] == 9 * [10] + [5]
    assert execution.states == {'done': 10}
    assert re.fullmatch(
        r'\[SUCCESS\] batch\.scenario\.ok #%s: 95 selected, 95 done, '
        r'0 failed, 0 left, [\d.]+s\n  treated: 95\n' % execution.id,
        execution.stdout)


def test_more_than_is_read_and_written_at_once_is_treated_once(scene):
    count = 2 * ROWS + 1
    scene.records(count)
    planned = scene.coop(
        'batch', 'batch.scenario.ok', '--plan', '--json', check=True).stdout
    assert json.loads(planned)['selected'] == count
    scene.execute(
        'DELETE FROM batch_scenario_record WHERE id > %s'
        % (ChunkWriter.BULK + 5))
    scene.configure({'default': {'split_size': 1}})
    execution = scene.batch('ok', status=0)
    assert scene.treated() == once(range(1, ChunkWriter.BULK + 6))
    assert execution.states == {'done': ChunkWriter.BULK + 5}


READ = '''
from trytond.modules.batch import ledger
from trytond.transaction import Transaction

def plan(chunks):
    execution = ledger.executions.create(cursor, 'batch.scenario.ok', {})
    ledger.executions.update(cursor, execution, state='running')
    plan = ledger.planning.ChunkWriter(cursor, execution, 1)
    for i in range(chunks):
        plan.add([i], 1)
    plan.flush()
    return execution

def read(function):
    def count():
        cursor.execute(
            'SELECT seq_tup_read + idx_tup_fetch FROM '
            'pg_stat_xact_user_tables '
            "WHERE relname = 'batch_execution_chunk'")
        return cursor.fetchone()[0]
    before = count()
    result = function()
    counts[function.__name__] = max(
        counts.get(function.__name__, 0), count() - before)
    return result

def done():
    return ledger.chunks.done(
        cursor, ledger.chunks.claim(cursor, execution, id), 1)

def ahead():
    last = ledger.done.Done(
        ledger.chunks.claim(cursor, execution, id), 1, None, None, None)
    last.end(cursor)
    last.read(cursor)
    assert last.begin(cursor)
    assert cursor.fetchone()[0] == last.queued.id
    return last.queued

def split():
    chunk = ledger.chunks.claim(cursor, execution, id)
    ledger.failures.lineage(cursor, chunk)
    return ledger.chunks.replace_by_parts(
        cursor, chunk, [[1], [2], [3]], 1, error)

def fail():
    chunk = ledger.chunks.claim(cursor, execution, id)
    ledger.failures.lineage(cursor, chunk)
    following = ledger.chunks.fail(cursor, chunk, 1, error)
    assert ledger.failures.failed_units(cursor, execution)
    ledger.failures.alike(cursor, execution, 20)
    return following

def lane():
    assert ledger.open_chunks.first_open_in_lane(
        cursor, execution, id, 64).id == id

def over():
    assert not ledger.executions.is_over(cursor, execution)

def begin():
    chunks = ledger.open_chunks.begin_lanes(
        cursor, execution, [str(i) for i in range(1900, 2100)], 2)
    assert len(chunks) == 2

def halve():
    assert ledger.open_chunks.halve_lane(cursor, execution, 16)

def idle():
    assert len(ledger.open_chunks.list_queued(cursor, execution)) == len(
        ledger.open_chunks.list_queued(cursor, execution, lock=False))

others, chunks, is_analyzed = json.loads(sys.argv[1])
counts = {}
error = dict.fromkeys(['error_type', 'error', 'fingerprint', 'traceback'], '')
with Transaction().start(database, 0) as transaction:
    cursor = transaction.connection.cursor()
    plan(others)
    cursor.execute("UPDATE batch_execution_chunk SET state = 'done'")
    cursor.execute('ANALYZE batch_execution_chunk')
    execution = plan(chunks)
    if is_analyzed:
        cursor.execute('ANALYZE batch_execution_chunk')
    cursor.execute(
        'SELECT MIN(id) FROM batch_execution_chunk WHERE execution = %s',
        [execution])
    id, = cursor.fetchone()
    for function in [done, *12 * [ahead], split, *25 * [fail], done]:
        id = read(function).id
    # A statement is planned for any value after some tries
    for function in 12 * [lane, over, idle] + 12 * [begin, halve]:
        read(function)
    transaction.rollback()
print(json.dumps(counts))
'''


@only_workers
@pytest.mark.parametrize('is_analyzed', [False, True])
@pytest.mark.parametrize('others', [0, 20_000])
def test_a_chunk_is_treated_without_a_look_at_all_others(
        scene, others, is_analyzed):
    # Whatever PostgreSQL thinks of what is there: right after a plan it
    # knows nothing of it yet.  But it would make much of the empty pages that
    # other tests have left.
    scene.execute('TRUNCATE batch_execution CASCADE')
    counts = json.loads(scene.script(
            READ, json.dumps([others, 2000, is_analyzed])))
    assert set(counts) == {
        'done', 'ahead', 'split', 'fail', 'lane', 'over', 'idle', 'begin',
        'halve'}
    assert max(counts.values()) < 60, str(counts)


@only_workers
def test_the_parts_of_a_chunk_are_found_by_an_index(scene):
    # To delete a chunk, PostgreSQL looks for its parts
    indexes = [definition for definition, in scene.execute(
            'SELECT indexdef FROM pg_indexes '
            "WHERE tablename = 'batch_execution_chunk'")]
    assert any('(parent)' in definition for definition in indexes)


@pytest.mark.parametrize('bad', [1, 17, 30])
def test_a_bad_record_fails_alone_and_all_others_are_treated(scene, bad):
    scene.records(30, bad=[bad])
    execution = scene.batch('bad', status=1)
    assert scene.treated() == once(set(range(1, 31)) - {bad})
    assert execution.row['state'] == 'failed'
    assert execution.failed_units == [bad]
    assert sorted(u for c in execution.in_state('done')
        for u in c['units']) == sorted(set(range(1, 31)) - {bad})


def test_when_all_records_are_bad_nothing_is_treated(scene):
    scene.records(5, bad=range(1, 6))
    execution = scene.batch('bad', status=1)
    assert scene.treated() == {}
    assert execution.failed_units == [1, 2, 3, 4, 5]
    assert '5 selected, 0 done, 5 failed, 0 left' in execution.stderr


def test_of_many_records_the_bad_ones_are_named_with_their_tracebacks(scene):
    count, size = (10_000, 500) if scene.on_workers else (1_000, 100)
    bad = [1, 2, count // 3, count // 2, count // 2 + 1, count - 50, count]
    scene.records(count, bad=bad)
    scene.configure({'batch.scenario.bad': {'split_size': size}})
    execution = scene.batch('bad', '--json', status=1)
    assert scene.treated() == once(set(range(1, count + 1)) - set(bad))

    assert execution.failed_units == bad
    assert ': {:,} selected, {:,} done, 7 failed, 0 left'.format(
        count, count - 7) in execution.stderr
    assert '7 x UserError: The record "record 1" is bad.' in execution.stderr
    outcome = json.loads(execution.stdout)
    assert [outcome[n] for n in ['selected', 'done', 'failed', 'left']] == [
        count, count - 7, 7, 0]
    assert sorted(
        u for f in outcome['failures'] for u in f['units']) == bad

    show = scene.coop('show', str(execution.id), check=True).stdout
    log = execution.log()
    for id in bad:
        error = 'UserError: The record "record %s" is bad.' % id
        assert re.search(
            r'unit %s: %s\n *Traceback \(most recent call last\):\n' % (
                id, re.escape(error)), show)
        assert any(
            'unit %s failed alone' % id in l and error in l for l in log)
        # The last line of a traceback, which stands without level and time
        assert any(
            re.match(r'\S+ #%s\.\S+ +\S*UserError: ' % execution.id, l)
            and 'The record "record %s" is bad.' % id in l for l in log)
    assert show.count('Traceback (most recent call last)') == 7


def test_without_records_the_batch_succeeds_and_says_so(scene):
    execution = scene.batch('ok', status=0)
    assert execution.stdout.startswith(
        '[SUCCESS] batch.scenario.ok #%s: 0 selected (nothing to do)'
        % execution.id)
    assert execution.row['state'] == 'succeeded'
    assert execution.chunks == []
    assert '0 selected (nothing to do)' in execution.log()[-1]


def test_a_record_that_is_selected_again_is_treated_once(scene):
    scene.records(20, party=lambda i: i % 3 + 1)
    execution = scene.batch('leaders', status=0)
    assert scene.treated() == once([1, 2, 3])
    assert execution.row['selected'] == 3
    assert execution.row['duplicates'] == 17
    assert any('17 duplicates dropped' in l for l in execution.log())


def test_a_message_that_comes_again_changes_nothing(scene):
    scene.records(20, bad=[7])
    scene.configure({'batch.scenario.bad': {'split_size': 5}})
    execution = scene.batch('bad', status=1)
    before = execution.row, execution.chunks, execution.log()
    treated = scene.treated()
    scene.deliver([
            *(['generate', [], {'execution': execution.id, 'chunk': c['id']}]
                for c in execution.chunks),
            ['generate_all', ['batch.scenario.bad'],
                {'execution': execution.id}]])
    after = Execution(scene)
    assert after.id == execution.id
    assert (after.row, after.chunks, after.log()) == before
    assert scene.treated() == treated


def test_a_message_of_a_forgotten_execution_changes_nothing(scene):
    scene.records(3)
    scene.deliver([
            ['generate', [], {'execution': 999_999, 'chunk': 999_999}],
            ['generate_all', ['batch.scenario.ok'],
                {'execution': 999_999}]])
    assert scene.last_execution() is None
    assert scene.treated() == {}


@only_workers
def test_a_message_that_comes_while_its_chunk_runs_changes_nothing(
        scene, tmp_path):
    scene.records(1)
    command = begin(scene, tmp_path)
    execution = Execution(scene)
    chunk, = execution.chunks
    scene.deliver(3 * [
            ['generate', [],
                {'execution': execution.id, 'chunk': chunk['id']}]])
    assert scene.state(execution.id) == 'running'
    (tmp_path / 'go').touch()
    command.communicate(timeout=PATIENCE)
    assert command.returncode == 0
    assert scene.treated() == {1: 1}
    assert sum('done in' in l for l in execution.log()) == 1


@only_workers
def test_a_task_without_an_execution_makes_its_own(scene):
    scene.records(3)
    scene.deliver([['generate_all', ['batch.scenario.ok'],
                {'parameters': {'text': 'from outside'}}]])
    wait_for(lambda: scene.state(scene.last_execution()) == 'succeeded',
        PATIENCE, "run the batch")
    assert all(
        ' from outside 1' in note for note in scene.column('note').values())


# No trace

def test_what_failed_leaves_no_row_no_file_and_no_queued_task(scene):
    bad = [3, 4, 20]
    scene.records(20, bad=bad)
    scene.configure({'batch.scenario.bad_at_work': {'split_size': 6}})
    execution = scene.batch('bad_at_work', status=1)
    assert execution.failed_units == bad
    assert scene.treated() == once(set(range(1, 21)) - set(bad))
    assert scene.files() == []
    assert scene.execute('SELECT COUNT(*) FROM ir_queue') == [(0,)]


def test_files_are_those_of_committed_chunks_and_each_is_whole(scene):
    bad = [5, 41, 60]
    scene.records(60, bad=bad)
    scene.configure({'batch.scenario.files': {'split_size': 8}})
    execution = scene.batch('files', status=1)
    assert execution.failed_units == bad
    written = {
        str(path): path.read_text() for path in scene.files()}
    assert written == {
        path: ''.join('%s\n' % u for u in chunk['units'])
        for chunk in execution.in_state('done') for path in chunk['files']}
    assert len(written) == len(execution.in_state('done'))
    assert Counter(
        int(id) for text in written.values() for id in text.split()) == once(
        set(range(1, 61)) - set(bad))
    show = json.loads(scene.coop(
            'show', str(execution.id), '--json', check=True).stdout)
    assert sorted(show['files']) == sorted(written)


def test_a_queued_task_runs_only_if_its_chunk_was_committed(scene):
    scene.records(12, bad=[5])
    scene.configure({'batch.scenario.tasks': {'split_size': 4}})
    execution = scene.batch('tasks', status=1)
    assert execution.failed_units == [5]
    assert scene.treated() == once(set(range(1, 13)) - {5})
    queued = scene.execute('SELECT finished_at FROM ir_queue')
    assert len(queued) == execution.states['done']
    assert all(finished_at for finished_at, in queued)


# What is not divided

def test_a_batch_that_selects_nothing_runs_exactly_once(scene):
    execution = scene.batch('once', status=0)
    assert scene.column('name').popitem()[1] == 'once'
    assert len(scene.column('name')) == 1
    chunk, = execution.chunks
    assert (chunk['state'], chunk['units'], chunk['attempts']) == (
        'done', None, 1)
    assert '1 selected, 1 done, 0 failed, 0 left' in execution.stdout


def test_a_batch_that_selects_nothing_fails_as_a_whole(scene):
    execution = scene.batch('once', '--crash', status=1)
    assert scene.column('name') == {}
    chunk, = execution.chunks
    assert (chunk['state'], chunk['error_type'], chunk['error']) == (
        'failed', 'ValueError', 'told to crash')
    assert '1 x ValueError: told to crash' in execution.stderr


@pytest.mark.parametrize('mode, sizes', [
        ('number', 10 * [1]),
        ('divide', [10])])
def test_a_split_size_of_1_never_splits(scene, mode, sizes):
    scene.records(10, bad=[4])
    scene.configure({'batch.scenario.bad': {
                'split_mode': mode, 'split_size': 1}})
    execution = scene.batch('bad', status=1)
    assert [c['size'] for c in execution.chunks] == sizes
    assert execution.states['split'] == 0
    failed, = execution.in_state('failed')
    assert 4 in failed['units']
    assert scene.treated() == once(set(range(1, 11)) - set(failed['units']))


@pytest.mark.parametrize('count, size, sizes', [
        (10, 4, [2, 3, 2, 3]),
        (3, 4, [1, 1, 1]),
        (12, 4, [3, 3, 3, 3])])
def test_divide_makes_balanced_chunks_and_no_empty_one(
        scene, count, size, sizes):
    scene.records(count)
    scene.configure({'default': {
                'split_mode': 'divide', 'split_size': size}})
    execution = scene.batch('ok', status=0)
    assert sorted(c['size'] for c in execution.planned) == sorted(sizes)
    assert scene.treated() == once(range(1, count + 1))


def test_a_group_is_never_divided(scene):
    scene.records(24, bad=[10], party=lambda i: (i - 1) // 4)
    scene.configure({'batch.scenario.groups': {'split_size': 3}})
    execution = scene.batch('groups', status=1)
    groups = [list(range(i, i + 4)) for i in range(1, 25, 4)]
    assert execution.row['selected'] == 6
    for chunk in execution.chunks:
        assert all(unit['group'] in groups for unit in chunk['units'])
    failed, = execution.in_state('failed')
    assert failed['units'] == [{'group': [9, 10, 11, 12]}]
    assert scene.treated() == once(
        set(range(1, 25)) - {9, 10, 11, 12})


# In order

def test_a_concurrency_of_1_is_strictly_one_after_the_other(scene):
    scene.records(60, bad=[1, 30, 31, 60])
    scene.configure({'batch.scenario.bad': {
                'split_size': 10, 'concurrency': 1}})
    execution = scene.batch('bad', status=1)
    chunks = execution.chunks
    assert execution.states['split'] >= 3
    assert [c['number'] for c in chunks] == [
        c['number'] for c in sorted(chunks, key=lambda c: c['ended_at'])]
    for chunk, next_ in zip(chunks, chunks[1:]):
        assert chunk['ended_at'] <= next_['started_at']
    assert [u for c in execution.in_state('done', 'failed')
        for u in c['units']] == list(range(1, 61))
    ended = re.compile(
        r'#%s\.(\S+) (?:unit \d+|\d+ units) (?:done|failed)' % execution.id)
    assert [m[1] for l in execution.log() if (m := ended.search(l))] == [
        c['number'] for c in chunks]


def test_records_come_in_the_order_that_the_batch_asks_for(scene):
    scene.records(20, party=lambda i: i % 2)
    scene.configure({'default': {'split_size': 3, 'concurrency': 1}})
    execution = scene.batch('given', status=0)
    assert [u for c in execution.chunks for u in c['units']] == [
        *range(1, 20, 2), *range(2, 21, 2)]


def test_chunks_do_not_disturb_each_other(scene):
    scene.records(200)
    scene.configure({'batch.scenario.ok': {
                'split_size': 5, 'concurrency': 7}})
    execution = scene.batch('ok', status=0)
    assert scene.treated() == once(range(1, 201))
    assert {c['attempts'] for c in execution.chunks} == {1}
    assert not any(' WARNING ' in l for l in execution.log())


@only_workers
def test_a_chunk_locks_its_own_row_and_no_other(scene):
    scene.records(3)
    scene.configure({'batch.scenario.slow': {'split_size': 1}})
    command = scene.start_batch('slow', '--seconds', '1')
    wait_for(lambda: scene.last_execution()
        and scene.state(scene.last_execution()) == 'running',
        PATIENCE, "plan the chunks")
    execution = Execution(scene)

    def free(table, column):
        return [id for id, in scene.execute(
                'SELECT id FROM %s WHERE %s = %s ORDER BY id '
                'FOR UPDATE SKIP LOCKED' % (table, column, execution.id))]

    chunks = [c['id'] for c in execution.chunks]
    wait_for(lambda: free('batch_execution_chunk', 'execution')
        == chunks[2:], PATIENCE, "start two chunks")
    assert free('batch_execution', 'id') == [execution.id]
    command.communicate(timeout=PATIENCE)
    assert command.returncode == 0
    assert scene.treated() == once([1, 2, 3])


# What hooks are given

def test_a_batch_written_long_ago_runs_unchanged(scene):
    scene.records(10)
    execution = scene.batch('old_style', status=0)
    assert scene.treated() == once(range(1, 11))
    assert [c['size'] for c in execution.chunks] == [3, 3, 3, 1]


def test_hooks_are_given_the_parameters_that_they_name(scene):
    scene.records(9, party=lambda i: i)
    execution = scene.batch('given', '--minimum', '4', '--text', 'two words',
        '--treatment-date=2026-01-31', status=0)
    assert scene.treated() == once(range(4, 10))
    for note in filter(None, scene.column('note').values()):
        given = json.loads(note)
        assert given['treatment_date'] == '2026-01-31'
        assert given['text'] == 'two words'
    assert any(
        'converts [9, 8, 7, 6, 5, 4] for two words' in l
        for l in execution.log())


def test_parameters_have_their_defaults_and_the_day_is_today(scene):
    scene.records(1)
    before = dt.datetime.now(dt.timezone.utc).date()
    scene.batch('ok', status=0)
    after = dt.datetime.now(dt.timezone.utc).date()
    assert scene.column('note')[1] in {
        '%s nothing 1' % day for day in [before, after]}


def test_batch_conf_gives_parameters_that_the_command_line_does_not(scene):
    scene.records(1)
    scene.configure({
            'default': {'text': 'from default', 'number': '5'},
            'batch.scenario.ok': {'text': 'from its section'}})
    scene.batch('ok', '--treatment-date', '2026-01-31', status=0)
    assert scene.column('note')[1] == '2026-01-31 from its section 5'
    scene.batch('ok', '--treatment-date', '2026-01-31', '--text', 'given',
        status=0)
    assert scene.column('note')[1] == '2026-01-31 given 5'


def test_a_batch_reads_its_settings(scene):
    scene.records(8)
    execution = scene.batch('given', status=0)
    assert json.loads(scene.column('note')[1])['split_size'] == 7
    assert [c['size'] for c in execution.chunks] == [7, 1]

    scene.configure({
            'default': {'split_size': 4, 'concurrency': 3},
            'batch.scenario.given': {'split_size': 5}})
    execution = scene.batch('given', status=0)
    note = json.loads(scene.column('note')[1])
    assert (note['split_size'], note['concurrency']) == (5, 3)
    assert [c['size'] for c in execution.chunks] == [5, 3]


def test_the_class_fixes_what_it_needs_to_be_right(scene):
    scene.records(3)
    scene.configure({'default': {'split_size': 50, 'concurrency': 9}})
    execution = scene.batch('numbering', status=0)
    assert [c['size'] for c in execution.chunks] == [1, 1, 1]
    show = scene.coop('show', str(execution.id), check=True).stdout
    assert re.search(r'split_size +1 +fixed by the class', show)


def test_the_user_and_the_context_of_the_settings_reach_the_work(scene):
    scene.records(2)
    scene.batch('given', status=0)
    note = json.loads(scene.column('note')[1])
    assert (note['user'], note['company']) == (0, None)

    (admin,), = scene.execute("SELECT id FROM res_user WHERE login = 'admin'")
    scene.configure({'batch.scenario.given': {
                'user': 'admin',
                'context': '{"company": 7, "language": "fr"}'}})
    scene.batch('given', status=0)
    note = json.loads(scene.column('note')[1])
    assert (note['user'], note['company'], note['language']) == (
        admin, 7, 'fr')


def test_a_root_dir_that_is_no_directory_is_refused_before_any_work(scene):
    scene.records(3)
    scene.configure({'default': {'root_dir': '/nowhere'}})
    execution = scene.batch('ok', status=1)
    assert ('batch.conf root_dir: is "/nowhere", expected a directory; make '
        'it, or mount it, on each machine that has workers; nothing was '
        'executed' in execution.stderr)
    assert scene.treated() == {} and execution.chunks == []


# What is no failure

def test_a_transaction_that_tryton_restarts_is_no_failure(scene):
    scene.records(20)
    scene.configure({'batch.scenario.locking': {
                'split_size': 5, 'retry': 0}})
    execution = scene.batch('locking', status=0)
    assert scene.treated() == once(range(1, 21))
    assert execution.states == {'done': 4}
    assert {c['attempts'] for c in execution.chunks} == {1}
    assert not any(' WARNING ' in l for l in execution.log())


@only_workers
def test_a_conflict_in_the_database_is_tried_again_and_not_bisected(scene):
    scene.records(41)
    scene.configure({'batch.scenario.conflicting': {
                'split_size': 4, 'retry': 50}})
    execution = scene.batch('conflicting', status=0)
    assert scene.treated() == once(range(1, 42))
    assert execution.states == {'done': 11}
    assert sum(c['attempts'] for c in execution.chunks) > 11
    assert any(
        ' WARNING ' in l and 'trying again (1 of 50)' in l
        for l in execution.log())


@only_workers
def test_what_the_database_refuses_again_and_again_fails_in_the_end(scene):
    scene.records(2)
    scene.configure({'batch.scenario.locking': {'retry': 2}})
    with scene.postgresql.connect(scene.database) as connection:
        connection.execute(
            'SELECT id FROM batch_scenario_record WHERE id = 2 FOR UPDATE')
        execution = scene.batch('locking', status=1)
    assert execution.failed_units == [2]
    assert scene.treated() == {1: 1}
    assert any('trying again (2 of 2)' in l for l in execution.log())


# The selection

def test_a_selection_that_raises_fails_and_executes_nothing(scene):
    scene.records(5)
    execution = scene.batch('bad_selection', status=1)
    assert scene.treated() == {}
    assert execution.row['state'] == 'failed'
    assert execution.chunks == []
    assert execution.row['error_type'] == 'ZeroDivisionError'
    text = 'the selection failed: ZeroDivisionError: no selection today; ' \
        'nothing was executed'
    assert execution.row['message'] == text
    assert '[FAILURE] batch.scenario.bad_selection #%s: %s' % (
        execution.id, text) in execution.stderr
    assert 'Traceback' not in execution.stderr
    log = execution.log()
    assert sum('Traceback (most recent call last)' in l for l in log) == 1
    assert any("raise ZeroDivisionError('no selection today')" in l
        for l in log)
    assert text in log[-1]
    show = scene.coop('show', str(execution.id), check=True).stdout
    assert 'Traceback (most recent call last)' in show


# The logs

@pytest.mark.parametrize('name, status, end', [
        ('ok', 0, '[SUCCESS]'),
        ('bad', 1, '[FAILURE]')])
def test_each_line_of_the_log_tells_its_run_and_the_last_one_the_end(
        scene, name, status, end):
    scene.records(25, bad=[7])
    scene.configure({'default': {'split_size': 10}})
    runs = [scene.batch(name, status=status) for _ in range(2)]
    lines = scene.log(name)
    logs = [execution.log() for execution in runs]
    assert len(lines) == sum(map(len, logs))
    for log in logs:
        assert 'starts in database %s with trytond' % scene.database in log[0]
        ends = [i for i, line in enumerate(log)
            if '[SUCCESS]' in line or '[FAILURE]' in line]
        assert len(ends) == 1 and end in log[ends[0]]
        assert '25 selected' in log[ends[0]]
        # What comes behind belongs to that line
        assert all(
            line.startswith('%s #' % scene.database)
            for line in log[ends[0] + 1:])


def test_each_chunk_has_its_number_in_the_log(scene):
    scene.records(20)
    scene.configure({'default': {'split_size': 10}})
    execution = scene.batch('ok', status=0)
    for number in ['1', '2']:
        assert sum(
            '#%s.%s 10 units done in ' % (execution.id, number) in line
            for line in execution.log()) == 1


@only_workers
def test_the_log_of_the_worker_has_the_same_lines(scene):
    scene.records(25, bad=[7])
    scene.configure({'default': {'split_size': 10}})
    execution = scene.batch('bad', status=1)
    assert messages(execution, scene.worker_log().splitlines()) == messages(
        execution, execution.log())


@only_in_process
def test_the_verbose_command_shows_the_same_lines(scene):
    scene.records(25, bad=[7])
    scene.configure({'default': {'split_size': 10}})
    result = scene.coop('-v', 'batch', 'batch.scenario.bad')
    execution = Execution(scene)
    shown = messages(execution, result.stderr.splitlines())
    assert messages(execution, execution.log()) - shown == Counter()


def messages(execution, lines):
    "Return the lines of an execution from its number on, counted."
    mark = re.compile(r'(?:^|\s)(#%s(?:\.\d+)* .*)' % execution.id)
    return Counter(m[1] for line in lines if (m := mark.search(line)))


def test_parameters_and_settings_are_told_with_their_origins(scene):
    scene.configure({
            'default': {'concurrency': 9},
            'batch.scenario.ok': {'split_size': 12, 'number': 3}})
    execution = scene.batch('ok', '--text', 'a b', status=0)
    own = '[batch.scenario.ok] of %s' % scene.batch_conf
    default = '[default] of %s' % scene.batch_conf
    log = '\n'.join(execution.log())
    show = scene.coop('show', str(execution.id), check=True).stdout
    for name, value, origin in [
            ('text', 'a b', 'the command line'),
            ('number', '3', own),
            ('split_size', '12', own),
            ('concurrency', '9', default),
            ('retry', '5', '[database] of trytond.conf'),
            ('disabled', 'no', 'default')]:
        assert '%s=%s (%s)' % (name, value, origin) in log
        assert re.search(r'^ *%s +%s +%s *$' % (
                name, value, re.escape(origin)), show, re.MULTILINE)


# The command

def test_the_history_shows_the_last_ones_first(scene):
    assert scene.coop('history', check=True).stdout == ''
    scene.records(3, bad=[2])
    first = scene.batch('ok', status=0)
    second = scene.batch('bad', status=1)
    result = scene.coop('history', check=True)
    _, *lines = result.stdout.splitlines()
    assert [line.split()[:3] for line in lines] == [
        [str(second.id), 'batch.scenario.bad', 'failed'],
        [str(first.id), 'batch.scenario.ok', 'succeeded']]
    rows = json.loads(scene.coop(
            'history', 'batch.scenario.bad', '--json', check=True).stdout)
    assert [(r['execution'], r['selected'], r['done'], r['failed'], r['left'])
        for r in rows] == [(second.id, 3, 2, 1, 0)]
    lines = scene.coop(
        'history', '--limit', '1', check=True).stdout.splitlines()
    assert len(lines) == 2


def test_json_is_all_that_stands_on_stdout(scene):
    scene.records(3)
    execution = scene.batch('ok', '--json', status=0)
    outcome = json.loads(execution.stdout)
    assert outcome['execution'] == execution.id
    assert outcome['state'] == 'succeeded'
    assert outcome['numbers'] == {'treated': 3}
    assert outcome['failures'] == []


def test_a_quiet_success_says_nothing(scene):
    scene.records(3)
    execution = scene.batch('ok', '--quiet', status=0)
    assert (execution.stdout, execution.stderr) == ('', '')


def test_a_quiet_failure_says_its_summary(scene):
    scene.records(3, bad=[2])
    execution = scene.batch('bad', '--quiet', status=1)
    assert execution.stdout == ''
    assert execution.stderr.startswith('[FAILURE] batch.scenario.bad')


def test_a_disabled_batch_runs_nothing_and_says_so(scene):
    scene.records(3)
    scene.configure({'batch.scenario.ok': {'disabled': 'yes'}})
    execution = scene.batch('ok', status=0)
    assert scene.treated() == {}
    assert 'disabled by [batch.scenario.ok] of %s: nothing was run' % (
        scene.batch_conf) in execution.stdout


def test_what_chunks_count_is_summed_up(scene):
    scene.records(25)
    scene.configure({'default': {'split_size': 10}})
    execution = scene.batch('ok', status=0)
    assert 'treated: 25' in execution.stdout
    assert 'treated: 25' in execution.log()[-1]


def test_the_smoke_batch_checks_every_view_of_the_database(scene):
    result = scene.coop('batch', 'ir.ui.view.validate')
    (views,), = scene.execute('SELECT COUNT(*) FROM ir_ui_view')
    assert result.returncode == 0, result.stderr
    assert '{0:,} selected, {0:,} done, 0 failed'.format(views) \
        in result.stdout


def test_the_smoke_batch_crashes_where_it_is_told_to(scene):
    (view,), = scene.execute('SELECT MAX(id) FROM ir_ui_view')
    result = scene.coop('batch', 'ir.ui.view.validate', '--crash', str(view))
    assert result.returncode == 1
    assert Execution(scene).failed_units == [view]
    assert '1 x CrashError: told to fail on the view %s' % view \
        in result.stderr


# Whatever dies

def test_a_killed_command_can_be_resumed(scene, tmp_path):
    scene.records(40)
    scene.configure({'default': {'split_size': 4, 'concurrency': 2}})
    command = begin(scene, tmp_path)
    command.send_signal(signal.SIGKILL)
    command.wait()
    execution = Execution(scene)
    assert scene.state(execution.id) == 'running'
    resume = scene.start_coop('resume', str(execution.id))
    # In the command itself it is the first chunk again that tells
    began = set(tmp_path.glob('began-*'))
    wait_for(lambda: select.select([resume.stderr], [], [], 0)[0]
        or set(tmp_path.glob('began-*')) - began, PATIENCE, "follow")
    (tmp_path / 'go').touch()
    stdout, stderr = resume.communicate(timeout=PATIENCE)
    assert resume.returncode == 0, stderr
    assert scene.treated() == once(range(1, 41))
    assert Execution(scene).row['state'] == 'succeeded'
    assert '40 selected, 40 done, 0 failed, 0 left' in stdout


def test_an_interrupted_command_cancels_and_can_be_resumed(scene, tmp_path):
    scene.records(60)
    scene.configure({'default': {'split_size': 4, 'concurrency': 2}})
    started = tmp_path / 'started'
    command = scene.start_batch(
        'slow', '--seconds', '0.1', '--started', str(started))
    wait_for(started.exists, PATIENCE, "start the first chunk")
    command.send_signal(signal.SIGTERM)
    _, stderr = command.communicate(timeout=PATIENCE)
    assert command.returncode == 1
    execution = Execution(scene)
    assert execution.row['state'] == 'cancelled', stderr
    left = execution.row['left']
    assert left > 0
    done = {u for c in execution.in_state('done') for u in c['units']}
    assert scene.treated() == once(done)
    assert len(done) == 60 - left
    assert 'coop resume %s' % execution.id in stderr

    result = scene.coop('resume', str(execution.id))
    assert result.returncode == 0, result.stderr
    assert scene.treated() == once(range(1, 61))


def test_there_is_nothing_to_resume_after_a_success(scene):
    execution = scene.batch('once', status=0)
    result = scene.coop('resume', str(execution.id))
    assert result.returncode == 2
    assert 'nothing of it is left' in result.stderr
    assert len(scene.column('name')) == 1


@only_workers
def test_a_detached_batch_that_waits_for_another_runs_after_it(
        scene, tmp_path):
    scene.records(4)
    scene.configure({'default': {'overlap': 'wait'}})
    command = begin(scene, tmp_path)
    first = scene.last_execution()
    scene.coop('batch', 'batch.scenario.watched', '--directory',
        str(tmp_path), '--detach', check=True)
    second = scene.last_execution()
    wait_for(lambda: scene.execute(
            'SELECT message FROM batch_execution WHERE id = %s' % second)
        == [('waits for #%s' % first,)], PATIENCE, "wait")
    (tmp_path / 'go').touch()
    assert command.wait(PATIENCE) == 0
    wait_for(lambda: scene.state(second) == 'succeeded', PATIENCE, "run")
    assert scene.treated() == {id: 2 for id in range(1, 5)}


@only_workers
def test_a_detached_batch_runs_on_and_can_be_cancelled(scene, tmp_path):
    scene.records(200)
    scene.configure({'default': {'split_size': 1, 'concurrency': 2}})
    started = tmp_path / 'started'
    execution = scene.batch('slow', '--seconds', '0.1', '--started',
        str(started), '--detach', status=0)
    assert execution.stdout == '%s\n' % execution.id
    wait_for(started.exists, PATIENCE, "start the first chunk")
    scene.coop('cancel', str(execution.id), check=True)
    wait_for(lambda: scene.state(execution.id) == 'cancelled', PATIENCE,
        "end what runs")
    done = {u for c in execution.in_state('done') for u in c['units']}
    assert scene.treated() == once(done)
    assert len(done) < 200

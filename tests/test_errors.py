# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Whatever a hook raises fails its unit, or its selection, and is told."""
import importlib.util
import time
from pathlib import Path

import pytest
from scene import PATIENCE, Execution, one_line

from devel.process import wait_for

#: what is bad, and how its class and its text are told
KINDS = None
#: seconds in which an execution with each of them ends, on a busy machine
SOON = 45


def load_kinds():
    path = Path(__file__).parent / 'scenarios' / 'raising.py'
    spec = importlib.util.spec_from_file_location('raising', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.KINDS


KINDS = load_kinds()


def ways(scene):
    "Return the arguments for each way of executing on a scene."
    if scene.on_workers:
        return [[], ['--detach'], ['--local']]
    return [['--local']]


def end_of(scene, id):
    "Wait for the end of an execution, and return it."
    wait_for(
        lambda: scene.state(id) not in {'selecting', 'running'}, PATIENCE,
        "end of the execution %s" % id)
    return Execution(scene, id=id)


def is_safe(text, keep='\n\t'):
    return all(c.isprintable() or c in keep for c in text)


@pytest.mark.parametrize('hook', ['execute', 'convert_to_instances'])
def test_each_unit_fails_alone_by_whatever_is_raised(scene, hook):
    kinds = dict(enumerate(KINDS, 2))
    for way in ways(scene):
        scene.reset()
        scene.records(len(kinds) + 2)
        for id, kind in kinds.items():
            scene.execute(
                "UPDATE batch_scenario_record SET note = '%s' WHERE id = %s"
                % (kind, id))
        started = time.monotonic()
        told = scene.batch('raising', '--hook', hook, *way)
        execution = end_of(scene, told.id)
        assert time.monotonic() - started < SOON
        assert execution.row['state'] == 'failed', told.stderr
        assert execution.failed_units == list(kinds)
        assert set(scene.treated()) == {1, len(kinds) + 2}
        for chunk in execution.in_state('failed'):
            check_error(kinds[chunk['units'][0]], chunk)
        log = '\n'.join(scene.log('raising'))
        assert is_safe(log) and 'hunter2' not in log
        assert len(log) < 1_000_000


def check_error(kind, row):
    type_, text = KINDS[kind]
    assert row['error_type'].startswith(type_), kind
    assert text in row['error'], kind
    assert 'Traceback (most recent call last)' in row['traceback'], kind
    assert 'hunter2' not in row['error'] + row['traceback']
    assert is_safe(row['error'], keep='') and is_safe(row['traceback'])
    assert len(row['error']) <= 2_000 and len(row['traceback']) <= 10_000


def test_a_selection_fails_at_once_by_whatever_is_raised(scene):
    scene.records(3)
    scene.configure({'default': {'overlap': 'allow'}})
    expected = [('select_ids', kind) for kind in KINDS] + [
        (hook, kind) for kind in ['liar', 'nul', 'panic', 'system_exit']
        for hook in [
            'end of select_ids', 'get_batch_domain', 'get_batch_ordering',
            'split', 'end of split']]
    started = time.monotonic()
    executions = scene.run_all('raising_selection', [
            {'hook': hook, 'kind': kind} for hook, kind in expected])
    assert time.monotonic() - started < SOON
    for (hook, kind), execution in zip(expected, executions):
        row = execution.row
        assert row['state'] == 'failed'
        assert row['message'].startswith('the selection failed: ')
        text = row['message'].removeprefix('the selection failed: ')
        row['error'] = text.removesuffix('; nothing was executed').partition(
            ': ')[2]
        check_error(kind, row)
    log = '\n'.join(scene.log('raising_selection'))
    assert is_safe(log) and 'hunter2' not in log
    assert log.count('[FAILURE]') == len(expected)


def test_a_file_that_can_not_be_read_fails_alone_by_whatever_is_raised(
        scene, tmp_path):
    for kind in [*KINDS, 'good']:
        (tmp_path / kind).touch()
    execution = scene.batch(
        'raising_files', '--directory', str(tmp_path), status=1)
    assert execution.failed_units == sorted(KINDS)
    assert execution.row['done'] == 1
    for chunk in execution.in_state('failed'):
        kind, = chunk['units']
        if kind == 'stop_iteration':
            # As Python itself has it of a generator
            assert chunk['error_type'] == 'RuntimeError'
            chunk['error_type'] = chunk['error'] = 'StopIteration: stop'
        check_error(kind, chunk)


# What belongs to the engine: the transaction

REFUSED = [
    'commit', 'rollback', 'swallowed', 'leave', 'connection_commit',
    'connection_rollback', 'close']
SQL = [
    'sql_commit', 'sql_rollback', 'sql_commit_and_go_on',
    'sql_commit_and_raise', 'sql_commit_and_fail']


def sql(scene):
    # An error of SQLite leaves its transaction as it was
    return SQL if scene.on_workers else SQL[:-1]


def ended(scene, ways, *hooks):
    """Run a batch that ends its transaction in each way, in each hook.

    Yields (way, Execution, ids of its records that were treated).
    """
    scene.configure({'default': {'overlap': 'allow'}})
    cases = [(way, hook) for hook in hooks for way in ways]
    scene.records(6 * len(cases), party=lambda i: (i + 5) // 6)
    executions = scene.run_all('ending', [
            {'way': way, 'hook': hook, 'party': str(party)}
            for party, (way, hook) in enumerate(cases, 1)])
    treated = scene.treated()
    for party, ((way, _), execution) in enumerate(zip(cases, executions)):
        yield way, execution, {
            id - 6 * party: treated[id]
            for id in range(6 * party + 1, 6 * party + 7) if id in treated}


def check_refusal(execution, *texts):
    "The first chunk failed whole, and no other one was begun."
    assert execution.row['state'] == 'failed'
    chunk, *others = execution.chunks
    assert chunk['state'] == 'failed'
    assert [c['state'] for c in others] == ['queued', 'waiting']
    assert len(chunk['units']) == 2 and chunk['attempts'] == 1
    assert chunk['error_type'] == 'TransactionEndedError'
    for text in [*texts, 'its transaction', 'new_transaction']:
        assert text in chunk['error'], chunk['error']
    assert execution.row['message'].startswith(
        'stopped: a hook ends its transaction')
    return chunk


def test_a_hook_that_ends_its_transaction_by_a_method_is_refused(scene):
    for way, execution, treated in ended(
            scene, REFUSED, 'convert_to_instances', 'execute'):
        assert treated == {}, way
        chunk = check_refusal(execution, 'nothing was committed')
        assert 'in end' in chunk['traceback'] or way == 'swallowed'


def test_a_hook_that_ends_its_transaction_in_sql_is_found_out(scene):
    for way, execution, treated in ended(scene, sql(scene), 'execute'):
        is_committed = 'commit' in way
        assert set(treated) == ({1, 2} if is_committed else set()), way
        check_refusal(
            execution, 'committed' if is_committed else 'rolled back')


def test_a_transaction_that_is_made_to_commit_by_itself_is_found_out(scene):
    (_, execution, treated), = ended(scene, ['autocommit'], 'execute')
    if scene.on_workers:
        # That of SQLite commits what there is
        assert treated == {}
    check_refusal(execution)


def test_savepoints_and_other_transactions_are_legal(scene):
    for way, execution, treated in ended(
            scene, ['savepoint', 'another', 'again'],
            'select_ids', 'convert_to_instances', 'execute'):
        assert execution.row['state'] == 'succeeded', way
        assert treated == dict.fromkeys(range(1, 7), 1)


def test_a_selection_that_ends_its_transaction_is_refused(scene):
    for way, execution, treated in ended(
            scene, [*REFUSED, *sql(scene), 'autocommit'],
            'select_ids', 'end of select_ids'):
        assert execution.chunks == [] and treated == {}
        assert execution.row['error_type'] == 'TransactionEndedError', way
        assert 'its transaction' in execution.row['message']
        assert execution.row['message'].endswith('; nothing was executed')


def test_a_dry_run_never_says_that_it_rolled_back_what_was_committed(scene):
    scene.records(6)
    execution = scene.batch(
        'ending', '--way', 'sql_commit', '--dry-run', status=1)
    assert set(scene.treated()) == {1, 2}
    assert 'all of it was rolled back' not in execution.stderr
    assert 'what it did before is committed' in execution.stderr
    assert 'coop resume %s' % execution.id in execution.stderr
    check_refusal(execution)
    result = scene.coop(
        'batch', 'batch.scenario.ending', '--plan', '--way', 'commit',
        '--hook', 'select_ids')
    assert 'calls "commit" of its transaction' in one_line(result, 1)


# And the process

@pytest.mark.parametrize('hook', [
        'execute', 'select_ids', 'middle of select_ids'])
def test_a_process_that_a_hook_forks_ends_where_the_hook_does(scene, hook):
    statuses = {
        'return': 0, 'raise': 1, 'exit': 7, 'query': 1, 'statement': 1,
        'process': 7, 'command': 7}
    scene.records(4)
    scene.configure({'default': {'overlap': 'allow', 'split_size': 2}})
    executions = scene.run_all('forking', [
            {'way': way, 'hook': hook} for way in statuses])
    for status, execution in zip(statuses.values(), executions):
        assert execution.row['state'] == 'succeeded'
        log = execution.log()
        # More than once where the executions were in each other's way
        ends = [l for l in log if 'child ended' in l]
        assert len(ends) >= (2 if hook == 'execute' else 1)
        assert all(l.endswith(' %s' % status) for l in ends)
        assert sum('2 units done' in l for l in log) == 2
        assert sum('[SUCCESS]' in l for l in log) == 1
    assert scene.treated() == dict.fromkeys(range(1, 5), len(statuses))


# The commit, and the database

def test_what_is_raised_at_the_commit_leaves_nothing_behind(scene):
    steps = ['tpc_begin', 'commit', 'tpc_vote', 'tpc_finish', 'none']
    scene.records(5)
    for id, step in enumerate(steps, 1):
        scene.execute("UPDATE batch_scenario_record SET note = '%s' "
            "WHERE id = %s" % (step, id))
    execution = scene.batch('voting', status=1)
    assert execution.failed_units == [1, 2, 3]
    assert scene.treated() == {4: 1, 5: 1}
    assert len(scene.files()) == 2
    for chunk in execution.in_state('failed'):
        assert chunk['error_type'] == 'Panic'


def test_what_the_database_refuses_to_keep_is_told_plainly(scene):
    if not scene.on_workers:
        # One can not make SQLite refuse a text
        return
    for table in ['batch_execution', 'batch_execution_chunk']:
        scene.execute("ALTER TABLE %s ADD CONSTRAINT no_disco "
            "CHECK (traceback NOT LIKE '%%disco%%')" % table)
    try:
        scene.records(3)
        scene.execute(
            "UPDATE batch_scenario_record SET note = 'panic' WHERE id = 2")
        execution = scene.batch('raising', status=1)
        assert execution.failed_units == [2]
        assert scene.treated() == {1: 1, 3: 1}
        chunk, = execution.in_state('failed')
        assert chunk['error_type'] == 'Panic'
        assert 'refuses the text of this error' in chunk['error']
        assert any('the disco' in l for l in execution.log())

        execution = scene.batch(
            'raising_selection', '--hook', 'select_ids', '--kind', 'panic',
            status=1)
        assert 'Panic: the database refuses' in execution.row['message']
        assert any('the disco' in l for l in execution.log())
    finally:
        for table in ['batch_execution', 'batch_execution_chunk']:
            scene.execute(
                'ALTER TABLE %s DROP CONSTRAINT no_disco' % table)


def test_units_that_can_not_be_loaded_fail_and_say_so(scene):
    scene.records(4, bad=[1])
    scene.configure({'default': {'split_size': 2}})
    execution = scene.batch('bad', status=1)
    scene.execute(
        "UPDATE batch_execution_chunk SET units = '[{]', state = 'waiting', "
        "ended_at = NULL WHERE number = '2'")
    scene.execute('UPDATE batch_execution SET "left" = 2')
    resumed = scene.coop('resume', str(execution.id))
    assert resumed.returncode == 1
    (state, error), = scene.execute(
        "SELECT state, error FROM batch_execution_chunk WHERE number = '2'")
    assert state == 'failed' and 'can not be loaded' in error
    assert '[{]' in resumed.stderr
    assert '[{]' in scene.coop('show', str(execution.id), check=True).stdout
    retried = scene.coop('retry', str(execution.id))
    assert retried.returncode == 1
    assert 'can not be loaded' in retried.stderr


# How much of it

def test_errors_of_megabytes_make_small_logs(scene):
    scene.records(60, bad=range(1, 61, 2))
    scene.configure({'default': {'split_size': 30}})
    before = len(scene.worker_log())
    execution = scene.batch('speaking', status=1)
    assert execution.row['failed'] == 30
    # So 200 of them take less than 10 MB
    limit = 30 * 50_000
    assert sum(map(len, scene.log('speaking'))) < limit
    assert len(scene.worker_log()) - before < limit
    show = scene.coop('show', str(execution.id), check=True).stdout
    assert len(show) < limit

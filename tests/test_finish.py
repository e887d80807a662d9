# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The hook that is called once, when no unit is left.

Each test runs in the command itself on SQLite, and on workers.
"""
import re
import signal

import pytest
from scene import PATIENCE, Execution, one_line

from devel.process import wait_for

only_workers = pytest.mark.parametrize('stage', ['workers'], indirect=True)
NAME = 'merging'


@pytest.fixture
def marks(tmp_path):
    path = tmp_path / 'marks'
    path.mkdir()
    return path


def merge(scene, marks, way='well', name=NAME, **options):
    return scene.batch(
        name, '--directory', str(marks), '--way', way, **options)


def calls(marks):
    return len(list(marks.glob('called-*')))


def merged(scene):
    "Return the text of the one file that finish wrote, None without it."
    paths = [p for p in scene.files() if p.name == 'all.txt']
    return paths[0].read_text() if paths else None


def finished(scene):
    "Return how often its work was committed."
    (count,), = scene.execute(
        "SELECT COUNT(*) FROM batch_scenario_record WHERE name = 'finished'")
    return count


def column(scene, execution, *names):
    row, = scene.execute('SELECT %s FROM batch_execution WHERE id = %s' % (
            ', '.join(names), execution.id))
    return row


def hidden(scene):
    return [p for p in scene.files() if p.name.startswith('.')]


def test_it_is_called_once_with_the_outcome_and_the_files(scene, marks):
    scene.records(25)
    scene.configure({'batch.scenario.merging': {
                'split_size': 4, 'user': 'admin',
                'context': '{"company": 7}'}})
    execution = merge(scene, marks, status=0)
    assert calls(marks) == finished(scene) == 1
    lines = merged(scene).splitlines()
    assert lines == [*map(str, range(1, 26)), 'succeeded: 25 of 25, 25']
    assert column(scene, execution, 'finish', 'state') == (
        'done', 'succeeded')
    assert scene.execute("SELECT \"user\" FROM batch_scenario_record "
        "WHERE name = 'finished'") == scene.execute(
            "SELECT id FROM res_user WHERE login = 'admin'")
    label, company = (marks / 'context').read_text().rsplit(' ', 1)
    assert label.endswith('#%s' % execution.id) and company == '7'
    assert not hidden(scene)
    shown = scene.coop('show', str(execution.id), check=True).stdout
    assert 'all.txt' in shown and 'records_6.txt' in shown
    log = execution.log()
    place, = [i for i, line in enumerate(log) if 'finish done in' in line]
    assert '[SUCCESS]' in log[place + 1]


def test_parts_of_a_chunk_are_merged_in_their_place(scene, marks):
    scene.records(25, bad=[2])
    scene.configure({'batch.scenario.merging': {
                'split_size': 5, 'concurrency': 1}})
    execution = merge(scene, marks, status=1)
    assert execution.failed_units == [2]
    assert merged(scene).splitlines() == [
        *(str(i) for i in range(1, 26) if i != 2), 'failed: 24 of 25, 24']
    assert (execution.row['state'], calls(marks)) == ('failed', 1)


def test_it_is_called_where_nothing_is_selected(scene, marks):
    merge(scene, marks, status=0)
    assert merged(scene) == 'succeeded: 0 of 0, 0\n'
    scene.batch(
        'once_and_finish', '--directory', str(marks), status=0)
    assert (marks / 'called').exists()


def test_it_may_ask_that_all_is_done(scene, marks):
    scene.records(10, bad=[3])
    execution = merge(scene, marks, name='merging_done', status=1)
    assert execution.row['failed'] == 1
    assert calls(marks) == 0
    scene.execute("UPDATE batch_scenario_record SET bad = false")
    result = scene.coop('retry', str(execution.id))
    assert result.returncode == 0, result.stderr
    # That of the retry, with what the retry did
    assert merged(scene) == '3\nsucceeded: 1 of 1, 1\n'


def test_where_it_raises_the_execution_failed_and_resume_calls_it_again(
        scene, marks):
    scene.records(10)
    execution = merge(scene, marks, 'badly', status=1)
    assert scene.treated() == {i: 1 for i in range(1, 11)}
    assert (calls(marks), finished(scene), merged(scene)) == (1, 0, None)
    assert not hidden(scene)
    row = execution.row
    assert row['state'] == 'failed' and row['failed'] == 0
    assert row['error_type'] == 'UserError'
    assert 'in badly' in row['traceback']
    assert '10 selected, 10 done, 0 failed, 0 left' in execution.stderr
    assert 'finish failed: UserError: It can not be sent.' in execution.stderr
    assert 'go on: coop resume %s' % execution.id in execution.stderr
    log = '\n'.join(execution.log())
    assert 'finish failed: UserError' in log
    assert 'raise UserError' in '\n'.join(scene.log(NAME))
    one_line(scene.coop('retry', str(execution.id)), 2,
        'has no failed units', 'coop resume')
    scene.coop('prune', '--days', '0', check=True)
    assert scene.state(execution.id) == 'failed'

    (marks / 'go').touch()
    result = scene.coop('resume', str(execution.id))
    assert result.returncode == 0, result.stderr
    assert (calls(marks), finished(scene)) == (2, 1)
    assert merged(scene).splitlines()[-1] == 'succeeded: 10 of 10, 10'
    assert scene.treated() == {i: 1 for i in range(1, 11)}
    assert column(scene, execution, 'state', 'finish', 'error_type') == (
        'succeeded', 'done', None)
    one_line(scene.coop('resume', str(execution.id)), 2, 'nothing of it')


def test_it_is_not_called_in_a_dry_run_nor_where_nothing_runs(scene, marks):
    scene.records(5)
    execution = scene.batch(
        NAME, '--directory', str(marks), '--dry-run', status=0)
    assert column(scene, execution, 'finish') == (None,)
    scene.configure({'batch.scenario.merging': {'disabled': 'yes'}})
    merge(scene, marks, status=0)
    assert calls(marks) == 0


def test_what_was_stopped_is_finished_when_the_rest_is_done(scene, marks):
    scene.records(60, bad=range(1, 41))
    scene.configure({'batch.scenario.merging': {
                'split_size': 1, 'concurrency': 1, 'max_failures': '5'}})
    execution = merge(scene, marks, status=1)
    assert execution.row['left'] > 0 and calls(marks) == 0
    scene.execute("UPDATE batch_scenario_record SET bad = false")
    scene.coop('resume', str(execution.id))
    assert calls(marks) == 1
    assert merged(scene).splitlines()[-1].startswith('failed: 54 of 60')


def test_a_conflict_begins_it_again(scene, marks):
    scene.records(3)
    execution = merge(scene, marks, 'conflicting', status=0)
    assert (calls(marks), finished(scene)) == (2, 1)
    assert any('refused finish for now' in line for line in execution.log())


def test_it_may_not_commit(scene, marks):
    scene.records(3)
    execution = merge(scene, marks, 'committing', status=1)
    assert 'calls "commit" of its transaction' in execution.stderr
    assert finished(scene) == 0


def test_a_time_limit_is_one_of_finish_too(scene, marks):
    scene.records(3)
    scene.configure({'batch.scenario.merging': {'time_limit': '1'}})
    execution = merge(scene, marks, 'waiting', status=1)
    assert 'TimeLimitError: took longer than time_limit = 1 s' \
        in execution.stderr


@only_workers
def test_a_process_that_dies_in_it_is_replaced(scene, marks):
    scene.records(10)
    execution = merge(scene, marks, 'dying_once', status=0)
    assert (calls(marks), finished(scene)) == (2, 1)
    assert not hidden(scene)
    # The keeper may call it again before it is told how the process died
    assert any('worker lost (signal 9) in finish' in line
        or 'finish was begun by' in line for line in execution.log())


@only_workers
def test_one_that_kills_its_processes_does_not_go_on_for_ever(scene, marks):
    scene.records(10)
    execution = merge(scene, marks, 'dying', status=1)
    # One may have begun before the death of the other was written
    assert 3 <= (count := calls(marks)) <= 4
    assert 'finish failed: WorkerLostError' in execution.stderr
    (marks / 'go').touch()
    result = scene.coop('resume', str(execution.id))
    assert result.returncode == 0, result.stderr
    assert (calls(marks), finished(scene)) == (count + 1, 1)
    assert not hidden(scene)


@only_workers
@pytest.mark.parametrize('count', [0, 5])
def test_files_that_a_death_kept_from_appearing_appear(scene, marks, count):
    if count:
        scene.records(count)
    execution = merge(scene, marks, 'dying_when_committed', status=0)
    assert (marks / 'died').exists()
    assert (calls(marks), finished(scene)) == (1, 1)
    assert merged(scene) and not hidden(scene)
    assert column(scene, execution, 'finish') == ('done',)


@only_workers
def test_all_of_its_worker_dies_and_the_next_one_calls_it(scene, marks):
    scene.records(5)
    command = scene.start_batch(
        NAME, '--directory', str(marks), '--way', 'waiting')
    wait_for((marks / 'waits').exists, PATIENCE, "begin to finish")
    # Others that a test of the same scene started have ended
    worker, = [
        p for p in scene.processes if hasattr(p, 'log_file') and p.running]
    worker.stop(timeout=0, stop_signal=signal.SIGKILL)
    scene.processes.remove(worker)
    (marks / 'go').touch()
    scene.worker(2)
    out, err = command.communicate(timeout=4 * PATIENCE)
    assert command.returncode == 0, out + err
    assert (calls(marks), finished(scene)) == (2, 1)


@only_workers
def test_nobody_waits_for_it_who_need_not(scene, marks):
    scene.records(5)
    scene.configure({'default': {'overlap': 'wait'}})
    command = scene.start_batch(
        NAME, '--directory', str(marks), '--way', 'waiting')
    wait_for((marks / 'waits').exists, PATIENCE, "begin to finish")
    execution = scene.last_execution()
    # A batch of another name begins and ends; one of the same name waits
    scene.batch('ok', status=0)
    other = scene.start_batch(NAME, '--directory', str(marks))
    wait_for(lambda: scene.execute('SELECT waiting_for FROM batch_execution '
            'WHERE waiting_for = %s' % execution), PATIENCE, "wait")
    one_line(scene.coop('cancel', str(execution)), 2, 'can not be cancelled')
    one_line(scene.coop('resume', str(execution)), 2, 'its finish is being')
    scene.batch('ok', status=0)
    (marks / 'go').touch()
    for process in [command, other]:
        out, err = process.communicate(timeout=4 * PATIENCE)
        assert process.returncode == 0, out + err
    assert calls(marks) == finished(scene) == 2
    assert re.search(r'\[SUCCESS\].*\n', out)
    assert Execution(scene, id=execution).row['state'] == 'succeeded'

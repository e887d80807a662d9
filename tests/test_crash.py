# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Whatever dies, nothing is lost, nothing is done twice, and it ends.

On servers of its own, since it restarts and empties them.
"""
import contextlib
import math
import os
import re
import select
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest
from scene import PATIENCE, Execution, one_line
from stage import Stage, exactly, finished, once

from devel.process import Process, wait_for

#: settings of a batch of which two chunks run at once
TWO = {'split_size': 5, 'concurrency': 2}
TRIPLE = 'trytond.modules.batch_scenarios.triple'


@pytest.fixture
def scene(crashed):
    return crashed.recover()


def transactions(execution):
    return sum(c['attempts'] for c in execution.chunks)


# A unit that fails

#: ways in which the suspect is right, and those in which there is none, or an
#: innocent one
TOLD = [
    'loop', 'call', 'backwards', 'comprehension', 'sort_key', 'slices',
    'browsed_again', 'validation', 'constraint', 'swallowed']
UNTOLD = ['statement', 'left_over']


@pytest.mark.parametrize('way', TOLD)
def test_a_suspect_costs_three_transactions(scene, way):
    bad = [3, 4, 77, 200]
    scene.records(200, bad=bad)
    scene.configure({'default': {'split_size': 200}})
    execution = scene.batch('failing', '--way', way, status=1)
    exactly(scene, execution, 200, bad)
    assert transactions(execution) <= 3 * len(bad) + 1


@pytest.mark.parametrize('way', UNTOLD)
def test_without_a_suspect_a_chunk_is_halved(scene, way):
    bad = [3, 77, 200]
    scene.records(200, bad=bad)
    scene.configure({'default': {'split_size': 200}})
    execution = scene.batch('failing', '--way', way, status=1)
    exactly(scene, execution, 200, bad)
    # Each of them is halved out on its own, at worst, and one lie on top
    assert transactions(execution) <= (
        2 * len(bad) * math.ceil(math.log2(200)) + 1 + 2)


def test_records_that_fail_only_together_are_all_treated(scene):
    scene.records(60, bad=[5, 6, 40])
    scene.configure({'default': {'split_size': 60}})
    execution = scene.batch('failing', '--way', 'together', status=0)
    exactly(scene, execution, 60)
    assert execution.states['split'] >= 1


def test_what_fails_alone_is_named_whatever_the_others_did(scene):
    scene.records(32, bad=[11])
    scene.configure({'default': {'split_size': 32}})
    execution = scene.batch('failing', '--way', 'alone', status=1)
    assert 11 in execution.failed_units
    assert all(c['size'] == 1 for c in execution.in_state('failed'))
    assert scene.treated() == once(
        set(range(1, 33)) - set(execution.failed_units))


# The database

def test_a_deadlock_of_two_chunks_fails_nobody(scene):
    scene.records(4)
    execution = scene.batch(
        'deadlock', '--directory', str(scene.marks), status=0)
    exactly(scene, execution, 4)
    assert sum(c['attempts'] for c in execution.chunks) > 2
    assert any('trying again' in l for l in execution.log())


@pytest.mark.parametrize('crash', [False, True], ids=['fast', 'crash'])
def test_a_restart_of_postgresql_fails_nobody(scene, crash):
    scene.records(60)
    scene.configure({'default': {'split_size': 5}})
    command = scene.watched('--seconds', '0.1')
    scene.wait_began(3)
    scene.postgresql.restart(crash=crash)
    finished(command, 0)
    exactly(scene, Execution(scene), 60)
    assert scene.deaths() == 0


def test_an_outage_of_postgresql_fails_nobody(scene):
    scene.records(40)
    scene.configure({'default': {'split_size': 5, 'retry': 0}})
    command = scene.watched('--seconds', '0.1')
    scene.wait_began(2)

    def missed():
        return scene.worker_log().count('OperationalError')

    before = missed()
    scene.postgresql.stop()
    # As long as anybody needs to find out
    wait_for(lambda: missed() > before, PATIENCE, "miss the database")
    scene.postgresql.start()
    finished(command, 0)
    exactly(scene, Execution(scene), 40)
    assert scene.deaths() == 0


# The time limit

@pytest.mark.parametrize('way', [
        'hang', 'hang_in_re', 'hang_in_sleep', 'hang_stubbornly'])
def test_a_chunk_that_hangs_is_ended_and_its_record_isolated(scene, way):
    scene.records(20, bad=[7])
    scene.configure({'default': {'split_size': 10, 'time_limit': 1}})
    execution = scene.batch('dying', '--way', way, status=1)
    exactly(scene, execution, 20, [7])
    assert 'took longer than time_limit = 1 s' in execution.stderr
    assert transactions(execution) <= 5


def test_a_chunk_that_hangs_in_c_is_ended_and_its_record_isolated(scene):
    # One by one, as each try takes the limit and some seconds
    scene.records(3, bad=[2])
    scene.configure({'default': {'split_size': 1, 'time_limit': 1}})
    execution = scene.batch('dying', '--way', 'hang_in_c', status=1)
    exactly(scene, execution, 3, [2])
    assert 'worker lost' in execution.stderr


# The worker

@pytest.mark.parametrize('way, cause', [
        ('kill', r'worker lost \(signal 9\)'),
        ('segmentation_fault', r'worker lost \(signal 11\)'),
        ('leave', r'worker lost \(exitcode 0\)'),
        ('memory', 'MemoryError'),
        ('recursion', 'RecursionError'),
        ('system_exit', 'SystemExit: 3')])
def test_a_record_that_kills_its_worker_is_isolated_and_named(
        scene, way, cause):
    scene.records(40, bad=[17])
    scene.configure({'default': {'split_size': 20}})
    execution = scene.batch('dying', '--way', way, status=1)
    exactly(scene, execution, 40, [17])
    assert re.search(r'1 x %s.* 17$' % cause, execution.stderr, re.MULTILINE)
    assert scene.workers


@pytest.mark.parametrize('count, misleading, most', [
        # Two of the whole chunk, and two of the record that it was at
        (1000, 'no', 4),
        # Two of the chunk, of the rest of it, of a tenth of that, and of one
        (100, 'yes', 8)])
def test_one_lethal_record_of_many_costs_few_processes(
        scene, count, misleading, most):
    scene.records(count, bad=[77])
    scene.configure({'default': {'split_size': count}})
    execution = scene.batch('lethal', '--misleading', misleading, status=1)
    exactly(scene, execution, count, [77])
    assert '1 x worker lost (signal 9)    77' in execution.stderr
    log = '\n'.join(execution.log())
    assert 2 <= log.count('worker lost (signal 9) at ') <= most
    at, = {'no': [77], 'yes': [1]}[misleading]
    assert ('worker lost (signal 9) at {:,} units; its iteration was at unit '
        '{}'.format(count, at)) in log


def test_a_process_that_is_killed_costs_only_time(scene):
    scene.records(40)
    scene.configure({'default': {'split_size': 5}})
    command = scene.watched('--seconds', '0.05')
    for count in [1, 4]:
        _, pid = scene.wait_began(count)[-1]
        os.kill(pid, signal.SIGKILL)
    finished(command, 0)
    exactly(scene, Execution(scene), 40)


def test_a_process_that_takes_a_job_and_never_begins_is_passed_over(scene):
    worker, = scene.workers
    children = Path('/proc/%s/task/%s/children' % (worker.pid, worker.pid))
    hangs, *_ = map(int, children.read_text().split())
    scene.records(40)
    scene.configure({'default': {'split_size': 5}})
    os.kill(hangs, signal.SIGSTOP)
    try:
        # So long that it is given a message
        finished(scene.watched('--seconds', '0.2'), 0)
        exactly(scene, Execution(scene), 40)
        assert scene.deaths() == 0
        assert 'the process %s takes no job, though jobs wait: killed' \
            % hangs in scene.worker_log()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(hangs, signal.SIGKILL)


def test_a_worker_that_is_killed_whole_costs_only_time(scene):
    scene.records(40)
    scene.configure({'default': {'split_size': 5}})
    command = scene.watched('--seconds', '0.05')
    scene.wait_began(3)
    worker, = scene.workers
    worker.stop(timeout=0, stop_signal=signal.SIGKILL)
    scene.worker()
    finished(command, 0)
    exactly(scene, Execution(scene), 40)
    assert scene.deaths() == 0


def test_a_worker_that_is_told_to_stop_ends_its_chunks(scene):
    scene.records(40)
    scene.configure({'default': {'split_size': 5}})
    command = scene.watched('--seconds', '0.05')
    scene.wait_began(2)
    worker, = scene.workers
    worker.terminate()
    assert worker.wait(PATIENCE) == 0
    scene.worker()
    finished(command, 0)
    execution = Execution(scene)
    exactly(scene, execution, 40)
    assert scene.deaths() == 0
    assert len(scene.began()) == 8
    assert not any(' ERROR ' in l for l in execution.log())


def test_a_service_that_is_stopped_and_started_blames_nobody(scene):
    scene.records(8)
    scene.configure({'default': {'split_size': 1}})
    command = scene.watched('--seconds', '1')
    for count in [2, 4, 6]:
        scene.wait_began(count)
        worker, = scene.workers
        # As a service manager does it: all processes at once
        os.killpg(worker.pid, signal.SIGTERM)
        worker.wait(PATIENCE)
        scene.worker()
    finished(command, 0)
    exactly(scene, Execution(scene), 8)
    assert scene.deaths() == 0


def test_a_file_appears_though_its_process_died_after_the_commit(scene):
    scene.records(20, bad=[3])
    scene.configure({'default': {'split_size': 5}})
    execution = scene.batch(
        'committed', '--directory', str(scene.marks), status=0)
    exactly(scene, execution, 20)
    assert scene.deaths() == 0
    written = {str(path): path.read_text() for path in scene.files()}
    assert written == {
        path: ''.join('%s\n' % u for u in chunk['units'])
        for chunk in execution.chunks for path in chunk['files']}
    assert len(written) == 4


# The broker

def test_a_broker_that_is_emptied_costs_only_time(scene, servers):
    scene.records(60)
    scene.configure({'default': {'split_size': 2, 'concurrency': 20}})
    command = scene.watched('--seconds', '0.1')
    for count in [3, 10]:
        scene.wait_began(count)
        servers['redis'].flush()
    finished(command, 0)
    exactly(scene, Execution(scene), 60)
    assert scene.deaths() == 0


def test_a_broker_that_is_restarted_empty_costs_only_time(
        scene, servers):
    scene.records(60)
    scene.configure({'default': {'split_size': 2, 'concurrency': 20}})
    command = scene.watched('--seconds', '0.1')
    scene.wait_began(3)
    servers['redis'].restart()
    finished(command, 0)
    exactly(scene, Execution(scene), 60)
    assert scene.deaths() == 0


def lying(servers, **celery):
    return Stage(**servers, sections={'celery': celery})


def test_messages_that_come_three_times_and_late_change_nothing(servers):
    bad = [3, 50, 51, 120]
    with lying(servers, config=TRIPLE) as scene:
        scene.reset()
        scene.worker()
        scene.records(120, bad=bad)
        scene.configure({'default': {'split_size': 5, 'concurrency': 8}})
        execution = scene.batch(
            'failing', '--way', 'loop', status=1)
        exactly(scene, execution, 120, bad)
        assert scene.deaths() == 0
        # The third time comes with the messages of others
        for _ in range(20):
            scene.batch('ok', status=0)
            received = Counter(re.findall(
                    r'Task batch\.generate\[(\S+)\] received',
                    scene.worker_log()))
            if max(received.values()) == 3:
                break
        assert max(received.values()) == 3
        ended = [
            line for line in execution.log()
            if '[SUCCESS]' in line or '[FAILURE]' in line]
        assert len(ended) == 1


def test_a_visibility_timeout_below_the_time_of_a_chunk_changes_nothing(
        servers):
    with lying(servers,
            broker_transport_options='{"visibility_timeout": 1}') as scene:
        scene.reset()
        scene.worker()
        scene.records(8)
        scene.configure({'default': {'split_size': 2}})
        finished(scene.watched('--seconds', '2'), 0)
        exactly(scene, Execution(scene), 8)
        assert scene.deaths() == 0
        assert len(scene.began()) == 4


# The command

@pytest.mark.parametrize('signum', [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_told_to_stop_cancels_and_reports(scene, signum):
    scene.records(40)
    scene.configure({'default': TWO})
    command = scene.watched('--wait')
    scene.wait_began(2)
    command.send_signal(signum)
    execution = scene.last_execution()
    wait_for(lambda: stopping(scene, execution), PATIENCE, "cancel")
    assert command.running
    scene.go()
    said = finished(command, 1)
    assert 'cancelling: running chunks are finished' in said
    assert '40 selected, 10 done, 0 failed, 30 left' in said
    assert 'go on: coop resume %s' % execution in said
    assert scene.state(execution) == 'cancelled'
    assert len(scene.treated()) == 10

    scene.coop('resume', str(execution), check=True)
    exactly(scene, Execution(scene), 40)


def stopping(scene, execution):
    (value,), = scene.execute(
        'SELECT stopping FROM batch_execution WHERE id = %s' % execution)
    return value


def test_a_second_signal_leaves_at_once_and_says_how_to_go_on(scene):
    scene.records(4)
    command = scene.watched('--wait')
    scene.wait_began()
    execution = scene.last_execution()
    command.send_signal(signal.SIGINT)
    wait_for(lambda: stopping(scene, execution), PATIENCE, "cancel")
    command.send_signal(signal.SIGINT)
    assert 'go on with: coop resume %s' % execution in finished(command, 1)
    assert scene.treated() == {}
    scene.go()
    scene.wait_end()
    assert scene.treated() == once([1, 2, 3, 4])


def test_without_its_command_an_execution_ends_by_itself(scene):
    scene.records(40)
    scene.configure({'default': TWO})
    command = scene.watched('--seconds', '0.05')
    scene.wait_began(2)
    command.kill()
    exactly(scene, scene.wait_end(), 40)
    assert '[SUCCESS]' in scene.log('watched')[-1]


def abandoned(scene, servers, *args):
    "Return the id of an execution whose command, worker and messages died."
    command = scene.watched('--wait', *args)
    scene.wait_began(2)
    execution = scene.last_execution()
    command.kill()
    for worker in scene.workers:
        worker.stop(timeout=0, stop_signal=signal.SIGKILL)
    servers['redis'].flush()
    assert scene.state(execution) == 'running'
    scene.worker()
    return execution


def test_an_execution_of_which_all_died_is_resumed(scene, servers):
    scene.records(40)
    scene.configure({'default': TWO})
    execution = abandoned(scene, servers)
    assert scene.treated() == {}
    command = scene.start_coop('resume', str(execution))
    # It follows before anything can end: the keeper of the new worker would
    # be faster
    wait_for(lambda: select.select([command.stderr], [], [], 0)[0], PATIENCE,
        "say that it started")
    scene.go()
    assert '40 selected, 40 done' in finished(command, 0)
    exactly(scene, Execution(scene), 40)
    assert scene.deaths() == 0


def test_cancel_stops_within_a_chunk(scene):
    scene.records(40)
    scene.configure({'default': TWO})
    command = scene.watched('--wait')
    scene.wait_began(2)
    execution = scene.last_execution()
    said = scene.coop('cancel', str(execution), check=True).stdout
    assert 'execution #%s is cancelled' % execution in said
    scene.go()
    assert 'coop resume %s' % execution in finished(command, 1)
    assert len(scene.began()) == 2
    assert len(scene.treated()) == 10
    assert scene.state(execution) == 'cancelled'


def test_retry_runs_just_the_units_that_failed_and_only_once(scene):
    bad = [3, 4, 33]
    scene.records(40, bad=bad)
    failed = scene.batch('failing', '--way', 'loop', status=1)
    before = scene.treated()
    scene.execute('UPDATE batch_scenario_record SET bad = false')
    said = scene.coop('retry', str(failed.id), check=True).stdout
    assert '3 selected, 3 done' in said
    retry = Execution(scene)
    assert retry.id != failed.id
    assert sorted(u for c in retry.planned for u in c['units']) == bad
    assert scene.treated() == {**before, **once(bad)}
    one_line(scene.coop('retry', str(failed.id)), 2,
        'execution #%s was retried as #%s' % (failed.id, retry.id))
    assert scene.last_execution() == retry.id


def test_what_the_state_forbids_is_refused_in_one_line(scene):
    scene.records(4)
    done = str(scene.batch('ok', status=0).id)
    one_line(scene.coop('resume', done), 2, 'is succeeded', 'nothing')
    one_line(scene.coop('retry', done), 2, 'has no failed units')
    one_line(scene.coop('cancel', done), 2, 'can not be cancelled')
    command = scene.watched('--wait')
    scene.wait_began()
    running = str(scene.last_execution())
    one_line(scene.coop('retry', running), 2, 'is running', 'cancel')
    scene.go()
    finished(command, 0)


# Overlap

def test_another_execution_is_in_the_way(scene):
    scene.records(40)
    scene.configure({'default': TWO})
    command = scene.watched('--wait')
    scene.wait_began(2)
    first = scene.last_execution()
    said = finished(scene.watched('--wait'), 1)
    assert '#%s of the batch is running since ' % first in said
    assert '0 of 40 units done' in said
    assert 'coop show %s' % first in said
    assert 'coop cancel %s' % first in said
    assert 'coop resume %s' % first in said

    scene.configure({'default': {**TWO, 'overlap': 'skip'}})
    said = finished(scene.watched('--wait'), 0)
    assert 'skipped (overlap = skip): #%s of the batch is running' % first \
        in said

    scene.configure({'default': {**TWO, 'overlap': 'wait'}})
    waiting = scene.watched('--wait')
    second = first + 3
    wait_for(lambda: scene.execute(
            'SELECT message FROM batch_execution WHERE id = %s' % second)
        == [('waits for #%s' % first,)], PATIENCE, "wait")
    scene.go()
    finished(command, 0)
    assert 'waits for #%s' % first in finished(waiting, 0)
    assert scene.treated() == {id: 2 for id in range(1, 41)}
    times = dict(scene.execute('SELECT id, ended_at FROM batch_execution'))
    (began,), = scene.execute(
        'SELECT MIN(started_at) FROM batch_execution_chunk '
        'WHERE execution = %s' % second)
    assert began > times[first]


def test_executions_that_may_overlap_run_beside_each_other(scene):
    scene.records(4)
    scene.configure({'default': {'overlap': 'allow'}})
    commands = [scene.watched('--wait') for _ in range(2)]
    scene.wait_began(2)
    scene.go()
    for command in commands:
        finished(command, 0)
    assert scene.treated() == {id: 2 for id in range(1, 5)}


@pytest.mark.parametrize('overlap', ['fail', 'skip'])
def test_of_commands_started_at_once_one_runs(scene, overlap):
    scene.records(4)
    scene.configure({'default': {'overlap': overlap}})
    commands = [scene.watched('--wait') for _ in range(4)]
    wait_for(lambda: sum(c.running for c in commands) == 1, PATIENCE,
        "refuse all but one")
    scene.command, = [c for c in commands if c.running]
    scene.wait_began()
    scene.go()
    statuses = []
    for command in commands:
        command.communicate(timeout=PATIENCE)
        statuses.append(command.returncode)
    assert sorted(statuses) == {
        'fail': [0, 1, 1, 1], 'skip': [0, 0, 0, 0]}[overlap]
    assert scene.treated() == once([1, 2, 3, 4])


def test_of_commands_started_at_once_all_run_in_turn(scene):
    scene.records(4)
    scene.configure({'default': {'overlap': 'wait'}})
    commands = [scene.watched('--seconds', '0.1') for _ in range(3)]
    for command in commands:
        finished(command, 0)
    assert scene.treated() == {id: 3 for id in range(1, 5)}
    spans = sorted(scene.execute("""
        SELECT MIN(c.started_at), MAX(e.ended_at) FROM batch_execution AS e
        JOIN batch_execution_chunk AS c ON c.execution = e.id
        GROUP BY e.id"""))
    for (_, ended), (began, _) in zip(spans, spans[1:]):
        assert began > ended


def test_a_predecessor_that_died_is_named_and_helped_on(scene, servers):
    scene.records(40)
    scene.configure({'default': TWO})
    first = abandoned(scene, servers)
    said = finished(scene.watched('--wait'), 1)
    assert '#%s of the batch is running since ' % first in said
    assert 'go on with it: coop resume %s' % first in said
    scene.go()
    # Who waits for it does the same
    scene.configure({'default': {**TWO, 'overlap': 'wait'}})
    finished(scene.watched(), 0)
    assert scene.state(first) == 'succeeded'
    assert scene.treated() == {id: 2 for id in range(1, 41)}


# The breaker

def test_a_broken_release_is_stopped_and_can_be_resumed(scene):
    scene.records(200, bad=range(1, 201))
    scene.configure({'default': {'split_size': 20}})
    execution = scene.batch('failing', '--way', 'loop', status=1)
    assert execution.row['state'] == 'failed'
    assert 20 <= len(execution.failed_units) < 25
    assert 'the last 20 failures are alike (ValueError crashes.py:' \
        in execution.stderr
    assert 'this looks like a broken release' in execution.stderr
    assert 'go on: coop resume %s' % execution.id in execution.stderr
    failed = execution.failed_units

    scene.execute('UPDATE batch_scenario_record SET bad = false')
    scene.coop('resume', str(execution.id))
    execution = Execution(scene)
    exactly(scene, execution, 200, failed)
    assert len(execution.chunks) == len({c['number'] for c in
            execution.chunks})


def test_a_broken_release_costs_few_transactions(scene):
    scene.execute("""
        INSERT INTO batch_scenario_record (id, name, bad, treated)
        SELECT i, 'record', true, 0 FROM generate_series(1, 100000) AS i""")
    execution = scene.batch('failing', '--way', 'loop', status=1)
    assert 'this looks like a broken release' in execution.stderr
    assert transactions(execution) < 100
    assert scene.treated() == {}


def test_many_alike_are_no_broken_release_while_others_succeed(scene):
    bad = range(5, 201, 5)
    scene.records(200, bad=bad)
    execution = scene.batch('failing', '--way', 'loop', status=1)
    exactly(scene, execution, 200, list(bad))


@pytest.mark.parametrize('setting, allowed', [('3', 3), ('5%', 10)])
def test_more_failures_than_allowed_stop_the_execution(
        scene, setting, allowed):
    scene.records(200, bad=range(2, 201, 2))
    scene.configure({'default': {
                'split_size': 10, 'concurrency': 2,
                'max_failures': setting}})
    execution = scene.batch('failing', '--way', 'loop', status=1)
    assert execution.row['state'] == 'failed'
    # The other lane may be at one as well
    assert allowed < len(execution.failed_units) <= allowed + 2
    assert 'max_failures = %s was passed' % setting in execution.stderr
    assert execution.row['left'] > 0


# Nothing is silent

STRANGER = """\
import sys
from celery import Celery
app = Celery(broker=sys.argv[1])
for version in sys.argv[2:]:
    @app.task(name='batch.generate', batch_version=version)
    def generate(**kwargs):
        raise AssertionError
app.worker_main([
    'worker', '--concurrency', '1', '--loglevel', 'INFO', '--pool', 'solo'])
"""


@pytest.mark.parametrize('version, told', [
        ((), 'does not know the tasks of batch: start it as coop worker'),
        (('1.0',), 'has another version of batch: restart it')])
def test_a_worker_that_is_of_no_use_is_named(servers, version, told):
    with Stage(**servers) as scene:
        scene.reset()
        scene.records(3)
        log = Path(scene.log_dir, 'stranger.log')
        worker = Process([
                sys.executable, '-c', STRANGER, scene.broker_url, *version],
            log=str(log), env=scene.env)
        scene.processes.append(worker)
        worker.wait_until(lambda: ' ready.' in log.read_text(), PATIENCE,
            "start the worker of somebody else")
        one_line(scene.coop('batch', 'batch.scenario.ok'), 1,
            'no worker answers for the queue', told)
        wrong = scene.coop('check')
        assert wrong.returncode == 1
        assert told in wrong.stdout
        assert scene.treated() == {}


@pytest.mark.parametrize('way', ['link', 'no_directory'])
def test_a_log_that_can_not_be_written_costs_no_record(servers, way):
    sections = {'batch': {'log_dir': '/dev/null/log'}}
    with Stage(**servers,
            sections=sections if way == 'no_directory' else {}) as scene:
        scene.reset()
        if way == 'link':
            os.symlink('/dev/full',
                Path(scene.log_dir, 'batch.scenario.failing.log'))
        scene.worker(1)
        scene.records(20, bad=[7])
        execution = scene.batch('failing', '--way', 'loop', status=1)
        exactly(scene, execution, 20, [7])
        log = scene.worker_log()
        assert 'batch.scenario.failing.log" can not be written: ' in log
        assert {'link': 'it is a link, expected a regular file',
            'no_directory': 'Not a directory'}[way] in log
        # It has all the lines
        assert '[FAILURE] batch.scenario.failing: 20 selected' in log
        if way == 'no_directory':
            result = scene.coop('check')
            assert result.returncode == 1
            assert 'log_dir: /dev/null/log' in result.stdout


def test_an_output_for_which_there_is_no_room_fails_its_record(scene):
    scene.records(20, bad=[7])
    scene.configure({'default': {'split_size': 5}})
    execution = scene.batch('too_large', status=1)
    exactly(scene, execution, 20, [7])
    assert 'OutputError: output "' in execution.stderr
    assert 'can not be written: File too large' in execution.stderr
    assert {p.stat().st_size for p in scene.files()} == {1000}
    assert len(scene.files()) == len(execution.in_state('done'))


def test_a_root_dir_that_can_not_be_written_is_named(scene):
    scene.records(2)
    # Nobody may, not even root
    scene.configure({'default': {'root_dir': '/sys'}})
    execution = scene.batch('files', status=1)
    assert execution.failed_units == [1, 2]
    assert 'OutputError: output "/sys/' in execution.stderr
    assert "let the workers' user write there" in execution.stderr


def test_a_selection_that_kills_its_worker_ends(scene):
    execution = scene.batch('lethal_selection', status=1)
    assert execution.row['state'] == 'failed'
    assert 'worker lost (signal 9)' in execution.stderr
    assert scene.batch('ok', status=0)

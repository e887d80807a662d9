# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Whatever dies, nothing is lost, nothing is done twice, and it ends.

On servers of its own, since it restarts and empties them.
"""
import math
import os
import re
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from scene import PATIENCE, Execution, Scene

from devel.process import wait_for
from devel.servers import PostgreSQL, Redis

TRIPLE = 'trytond.modules.batch_scenarios.triple'


class Stage(Scene):
    "A scene whose worker may be dead when a test begins."

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.marks = Path(self.directory, 'marks')

    def reset(self):
        super().reset()
        shutil.rmtree(self.marks, ignore_errors=True)
        self.marks.mkdir()

    @property
    def workers(self):
        return [
            p for p in self.processes if hasattr(p, 'log_file') and p.running]

    def healthy(self):
        "Return a worker, a new one if there is none."
        return self.workers[0] if self.workers else self.worker(2)

    def watched(self, *args, **options):
        "Start a batch that shows what runs; return the command's process."
        return self.start_batch(
            'watched', '--directory', str(self.marks), *args, **options)

    def go(self):
        "Let the chunks that wait end."
        (self.marks / 'go').touch()

    def began(self):
        "Return (first id of the chunk, pid) of what began."
        return sorted(
            tuple(map(int, path.name.split('-')[1:]))
            for path in self.marks.glob('began-*'))

    def wait_began(self, count=1):
        wait_for(lambda: len(self.began()) >= count, PATIENCE,
            "begin %s chunks" % count)
        return self.began()

    def wait_end(self, execution=None):
        "Wait for the end of an execution that nobody needs to follow."
        id = execution or self.last_execution()
        wait_for(lambda: self.state(id) not in {'selecting', 'running'},
            PATIENCE, "end the execution %s" % id)
        return Execution(self)

    def deaths(self):
        (sum_,), = self.execute(
            'SELECT COALESCE(SUM(deaths), 0) FROM batch_execution_chunk')
        return sum_


@pytest.fixture(scope='module')
def servers(tmp_path_factory):
    with PostgreSQL(tmp_path_factory.mktemp('crash'), settings={
                    'fsync': 'off', 'full_page_writes': 'off'}) as postgresql:
        with Redis(tmp_path_factory.mktemp('crash')) as redis:
            yield {'postgresql': postgresql, 'redis': redis}


@pytest.fixture(scope='module')
def crashed(servers):
    with Stage(**servers) as scene:
        yield scene


@pytest.fixture
def scene(crashed, servers):
    for server in servers.values():
        server.start()
    for process in list(crashed.processes):
        if process not in crashed.workers:
            process.stop(timeout=0)
            for pipe in [process.stdout, process.stderr]:
                if pipe:
                    pipe.close()
            crashed.processes.remove(process)
    crashed.healthy()
    crashed.reset()
    return crashed


def once(ids):
    return {id: 1 for id in ids}


def finished(command, status):
    "Wait for a command; return what it said."
    stdout, stderr = command.communicate(timeout=4 * PATIENCE)
    assert command.returncode == status, stdout + stderr
    return stdout + stderr


def exactly(scene, execution, count, bad=()):
    "Check that just the bad ones failed, and all others were treated once."
    assert execution.failed_units == sorted(bad)
    assert scene.treated() == once(set(range(1, count + 1)) - set(bad))
    assert execution.row['state'] == ('failed' if bad else 'succeeded')
    assert Counter(
        u for c in execution.in_state('done') for u in c['units']) == once(
        set(range(1, count + 1)) - set(bad))


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


def test_one_lethal_record_of_a_thousand_costs_seconds(scene):
    scene.records(1000, bad=[577])
    started = time.monotonic()
    execution = scene.batch('lethal', status=1)
    assert time.monotonic() - started < 60
    exactly(scene, execution, 1000, [577])
    assert '1 x worker lost (signal 9)    577' in execution.stderr


def test_a_process_that_is_killed_costs_only_time(scene):
    scene.records(40)
    scene.configure({'default': {'split_size': 5}})
    command = scene.watched('--seconds', '0.05')
    for count in [1, 4]:
        _, pid = scene.wait_began(count)[-1]
        os.kill(pid, signal.SIGKILL)
    finished(command, 0)
    exactly(scene, Execution(scene), 40)


def test_a_worker_that_is_killed_whole_costs_only_time(scene):
    scene.records(40)
    scene.configure({'default': {'split_size': 5}})
    command = scene.watched('--seconds', '0.05')
    scene.wait_began(3)
    worker, = scene.workers
    worker.stop(timeout=0, stop_signal=signal.SIGKILL)
    scene.worker(2)
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
    scene.worker(2)
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
        scene.worker(2)
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
        scene.worker(2)
        scene.records(120, bad=bad)
        scene.configure({'default': {'split_size': 5, 'concurrency': 8}})
        execution = scene.batch(
            'failing', '--way', 'loop', status=1)
        exactly(scene, execution, 120, bad)
        assert scene.deaths() == 0
        received = Counter(re.findall(
                r'Task batch\.generate\[(\S+)\] received',
                scene.worker_log()))
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
        scene.worker(2)
        scene.records(8)
        scene.configure({'default': {'split_size': 2}})
        finished(scene.watched('--seconds', '2'), 0)
        exactly(scene, Execution(scene), 8)
        assert scene.deaths() == 0
        assert len(scene.began()) == 4

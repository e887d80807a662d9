# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The workers keep executions alive, whether somebody follows them or not."""
import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from scene import PATIENCE, Execution, one_line
from stage import Stage, exactly, finished, once

from devel.process import Process, wait_for
from devel.site import script

#: seconds within which an execution goes on, as soon as a worker is there
BOUND = 15
FATAL = 'trytond.modules.batch_scenarios.fatal'
#: settings of a batch of which two chunks run at once
TWO = {'split_size': 5, 'concurrency': 2}


@pytest.fixture
def scene(crashed):
    return crashed.recover()


def detach(scene, *args, batch='watched'):
    "Start a batch that nobody follows; return the id of its execution."
    if batch == 'watched':
        args = ['--directory', str(scene.marks), *args]
    result = scene.coop(
        'batch', 'batch.scenario.%s' % batch, '--detach', *args, check=True)
    return int(result.stdout)


def wait_began(scene, count, timeout=PATIENCE):
    return wait_for(
        lambda: len(scene.began()) >= count and scene.began(), timeout,
        "begin %s chunks" % count)


def goes_on(scene, execution):
    "Wait until a chunk ends that had not before, for no longer than promised."
    before = ended(scene, execution)
    wait_for(lambda: ended(scene, execution) > before, BOUND, "go on")


def ended(scene, execution):
    (count,), = scene.execute(
        'SELECT COUNT(ended_at) FROM batch_execution_chunk '
        'WHERE execution = %s' % execution)
    return count


def kill(worker):
    "Kill a worker with all of its processes."
    worker.stop(timeout=0, stop_signal=signal.SIGKILL)


def elected(scene):
    "Return how many keepers work on the database of a scene."
    (count,), = scene.execute(
        "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' "
        "AND granted AND objid = 0 AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())")
    return count


# Nobody follows

def test_all_of_a_worker_dies_and_the_next_one_goes_on(scene):
    scene.records(40)
    scene.configure({'default': TWO})
    execution = detach(scene, '--wait')
    wait_began(scene, 2)
    worker, = scene.workers
    kill(worker)
    scene.go()
    scene.worker()
    goes_on(scene, execution)
    exactly(scene, scene.wait_end(), 40)
    assert scene.deaths() == 0


def test_the_other_worker_takes_up_what_one_left(scene):
    scene.records(40)
    scene.configure({'default': TWO})
    # It has the lock, and dies with it
    first, = scene.workers
    other = scene.worker()
    execution = detach(scene, '--wait')
    wait_began(scene, 2)
    kill(first)
    scene.go()
    goes_on(scene, execution)
    exactly(scene, scene.wait_end(), 40)
    assert elected(scene) == 1
    assert 'keeps the executions of %s alive' % scene.database in Path(
        other.log_file).read_text()
    other.stop(timeout=10)


@pytest.mark.parametrize('followed', [False, True])
def test_all_messages_are_lost_and_it_goes_on(scene, servers, followed):
    scene.records(60)
    scene.configure({'default': {'split_size': 2, 'concurrency': 20}})
    if followed:
        command = scene.watched('--seconds', '0.1')
    else:
        execution = detach(scene, '--seconds', '0.1')
    for count in [3, 10]:
        wait_began(scene, count)
        servers['redis'].flush()
    if followed:
        finished(command, 0)
    exactly(scene, scene.wait_end(), 60)
    assert scene.deaths() == 0
    if not followed:
        assert any('sent again' in line for line in Execution(scene).log()), \
            execution


def test_a_selection_whose_message_is_lost_begins(scene, servers):
    scene.records(10)
    for worker in scene.workers:
        worker.stop(timeout=10)
    execution = detach(scene)
    servers['redis'].flush()
    scene.worker()
    wait_for(lambda: scene.state(execution) == 'succeeded', BOUND, "go on")
    exactly(scene, Execution(scene), 10)


def test_a_selection_whose_whole_worker_dies_is_begun_again(scene):
    scene.records(10)
    execution = detach(scene, '--directory', str(scene.marks),
        batch='lethal_worker')
    for count in range(1, 4):
        wait_for(lambda: (scene.marks / ('died-%s' % count)).exists(),
            PATIENCE, "die the %s. time" % count)
        for worker in list(scene.workers):
            kill(worker)
        scene.worker()
    wait_for(lambda: scene.state(execution) == 'failed', PATIENCE, "give up")
    (message,), = scene.execute(
        'SELECT message FROM batch_execution WHERE id = %s' % execution)
    assert 'worker lost, together with its parent, 3 times while selecting' \
        in message


def test_an_execution_in_trouble_keeps_no_other_from_going_on(scene, servers):
    scene.records(20)
    scene.configure({'default': TWO})
    # It will be looked at first
    (troubled,), = scene.execute("SELECT nextval('batch_execution_id_seq')")
    execution = detach(scene, '--wait')
    wait_began(scene, 2)
    for worker in list(scene.workers):
        kill(worker)
    servers['redis'].flush()
    # Nobody knows its queue, which stands in batch.conf
    scene.execute(
        "INSERT INTO batch_execution (id, batch, given, state, started_at) "
        "VALUES (%s, 'batch.scenario.ok', '{}', 'selecting', now())"
        % troubled)
    path = Path(scene.batch_conf)
    whole = path.read_text()
    path.write_text('[default]\nsplit_size = many\n')
    scene.worker()
    scene.go()
    wait_for(lambda: scene.state(execution) == 'succeeded', BOUND, "go on")
    told = [line for line in scene.worker_log().splitlines()
        if '#%s ' % troubled in line]
    assert 'got "many"' in told[0] and len(told) == 1
    path.write_text(whole)
    wait_for(lambda: scene.state(troubled) == 'succeeded', BOUND, "begin")


def test_a_selection_whose_service_is_stopped_again_and_again_goes_on(scene):
    scene.records(10)
    execution = detach(
        scene, '--directory', str(scene.marks), batch='dawdling')
    for count in range(1, 4):
        wait_for(lambda: len(list(scene.marks.glob('selecting-*'))) == count,
            PATIENCE, "select")
        worker, = scene.workers
        os.killpg(worker.pid, signal.SIGTERM)
        worker.wait(PATIENCE)
        scene.worker()
    scene.go()
    wait_for(lambda: scene.state(execution) == 'succeeded', PATIENCE, "end")
    exactly(scene, Execution(scene), 10)


class Noise:
    "Keeps a queue from ever being empty: messages that mean nothing any more."

    def __init__(self, scene):
        self.scene = scene
        self._over = threading.Event()

    def __enter__(self):
        self.process = subprocess.Popen(
            [sys.executable, '-c', NOISE, self.scene.broker_url,
                self.scene.database])
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


NOISE = '''\
import sys, time
from kombu import Connection
import celery
url, database = sys.argv[1:]
app = celery.Celery(broker=url)
app.conf.task_ignore_result = True
with app.connection_for_write() as connection:
    while True:
        channel = connection.default_channel
        count = channel.client.llen('celery')
        for _ in range(50 - count):
            app.send_task('batch.generate', kwargs={
                    'execution': 999999, 'chunk': 999999,
                    '_database': database}, connection=connection)
        time.sleep(0.01)
'''


def test_a_queue_that_is_never_empty_hides_no_loss(scene, servers):
    scene.records(40)
    scene.configure({'default': {'split_size': 2, 'concurrency': 20}})
    with Noise(scene):
        execution = detach(scene, '--seconds', '0.05')
        wait_began(scene, 3)
        servers['redis'].flush()
        goes_on(scene, execution)
        exactly(scene, scene.wait_end(), 40)


def test_redis_away_for_long_costs_only_time(scene, servers):
    scene.records(60)
    scene.configure({'default': {'split_size': 2, 'concurrency': 20}})
    execution = detach(scene, '--seconds', '0.1')
    wait_began(scene, 3)
    servers['redis'].stop()
    # Longer than any look of anybody
    with contextlib.suppress(TimeoutError):
        wait_for(lambda: False, 20, "come back")
    servers['redis'].start()
    scene.wait_end(execution)
    exactly(scene, Execution(scene, id=execution), 60)
    assert scene.deaths() == 0
    # It connects again
    assert scene.workers
    scene.execute('UPDATE batch_scenario_record SET treated = 0')
    scene.batch('ok', status=0)


@pytest.mark.parametrize(
    'step', ['asked', 'counted', 'written', 'committed', 'said'])
def test_who_ends_an_execution_dies_and_it_ends(servers, step):
    with Stage(**servers, sections={'celery': {'config': FATAL}}) as scene:
        scene.reset()
        mark = scene.marks / 'died'
        scene.worker(1, env={
                'BATCH_FATAL_STEP': step, 'BATCH_FATAL_MARK': str(mark)})
        scene.records(10)
        scene.configure({'default': {'split_size': 5}})
        execution = detach(scene, batch='files')
        wait_for(mark.exists, PATIENCE, "die")
        wait_for(lambda: scene.state(execution) == 'succeeded', BOUND, "end")
        exactly(scene, Execution(scene), 10)
        assert len(scene.files()) == 2
        assert not [p for p in scene.files() if p.name.startswith('.')]


def test_without_its_command_it_goes_on_whatever_else_dies(scene, servers):
    scene.records(40)
    scene.configure({'default': TWO})
    command = scene.watched('--wait')
    scene.wait_began(2)
    command.kill()
    worker, = scene.workers
    kill(worker)
    servers['redis'].flush()
    scene.go()
    scene.worker()
    goes_on(scene, scene.last_execution())
    exactly(scene, scene.wait_end(), 40)


def test_what_waits_for_another_one_begins_when_that_ends(scene):
    scene.records(4)
    scene.configure({'default': {'overlap': 'wait'}})
    first = detach(scene, '--wait')
    wait_began(scene, 1)
    second = detach(scene)
    wait_for(lambda: scene.execute(
            'SELECT waiting_for FROM batch_execution WHERE id = %s' % second)
        == [(first,)], PATIENCE, "wait")
    scene.go()
    scene.wait_end(first)
    wait_for(lambda: scene.state(second) == 'succeeded', BOUND, "go on")
    assert scene.treated() == {id: 2 for id in range(1, 5)}


def test_a_chunk_is_resumed_though_all_that_was_sent_is_lost(scene, servers):
    scene.records(40)
    scene.configure({'default': TWO})
    execution = detach(scene, '--wait')
    wait_began(scene, 2)
    scene.coop('cancel', str(execution), check=True)
    scene.go()
    scene.wait_end()
    for worker in scene.workers:
        worker.stop(timeout=10)
    resumed = scene.start_coop('resume', str(execution))
    wait_for(lambda: scene.state(execution) == 'running', PATIENCE, "resume")
    resumed.kill()
    servers['redis'].flush()
    scene.worker()
    goes_on(scene, execution)
    exactly(scene, scene.wait_end(), 40)


# The keeper

def children(pid):
    return [
        int(child) for child in Path(
            '/proc/%s/task/%s/children' % (pid, pid)).read_text().split()]


def test_one_keeper_at_a_time_works(scene):
    others = [scene.worker(1) for _ in range(2)]
    wait_for(lambda: elected(scene) == 1, PATIENCE, "elect one")
    kill(scene.workers[0])
    wait_for(lambda: elected(scene) == 1, BOUND, "elect another one")
    for worker in others:
        worker.stop(timeout=10)


def test_a_keeper_that_dies_is_started_again(scene, servers):
    scene.records(40)
    scene.configure({'default': TWO})
    worker, = scene.workers
    # The last one that was started
    keeper = children(worker.pid)[-1]
    os.kill(keeper, signal.SIGKILL)
    wait_for(lambda: 'the keeper ended' in scene.worker_log(), PATIENCE,
        "miss the keeper")
    execution = detach(scene, '--wait')
    wait_began(scene, 2)
    servers['redis'].flush()
    scene.go()
    exactly(scene, scene.wait_end(execution), 40)


def test_a_keeper_outlives_the_database(scene, servers):
    scene.records(40)
    scene.configure({'default': TWO})
    execution = detach(scene, '--wait')
    wait_began(scene, 2)
    servers['postgresql'].stop()
    servers['redis'].flush()
    with contextlib.suppress(TimeoutError):
        wait_for(lambda: False, 12, "come back")
    servers['postgresql'].start()
    scene.go()
    goes_on(scene, execution)
    exactly(scene, scene.wait_end(), 40)
    assert scene.deaths() == 0


def test_a_keeper_dies_with_its_worker(scene):
    worker = scene.worker(1)
    pids = children(worker.pid)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    wait_for(lambda: not any(map(is_running, pids)), PATIENCE, "end")


def is_running(pid):
    try:
        with open('/proc/%s/stat' % pid) as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def test_celery_itself_starts_a_worker_with_a_keeper(servers):
    with Stage(**servers) as scene:
        scene.reset()
        log = Path(scene.log_dir, 'worker-bare.log')
        worker = Process([
                script('celery'), '-A', 'trytond.modules.batch.tasks',
                'worker', '--concurrency', '1', '--loglevel', 'INFO'],
            log=str(log), env=scene.env)
        scene.processes.append(worker)
        worker.wait_until(lambda: ' ready.' in log.read_text(), PATIENCE,
            "start a worker of Celery's own")
        scene.records(10)
        execution = detach(scene)
        servers['redis'].flush()
        wait_for(lambda: scene.state(execution) == 'succeeded', BOUND,
            "go on")
        exactly(scene, Execution(scene), 10)


def test_what_a_command_executes_itself_is_left_to_it(scene):
    scene.records(20)
    scene.configure({'default': {'split_size': 5}})
    command = scene.watched('--seconds', '1', '--local')
    finished(command, 0)
    exactly(scene, Execution(scene), 20)
    pids = {pid for _, pid in scene.began()}
    assert pids == {command.pid}


# The command

def test_a_command_waits_for_a_broker_that_is_away(scene, servers):
    scene.records(60)
    scene.configure({'default': {'split_size': 2, 'concurrency': 2}})
    command = scene.watched('--seconds', '0.1')
    scene.wait_began(3)
    # Its processes would go on without the broker, to the end of their lanes
    for worker in scene.workers:
        kill(worker)
    servers['redis'].stop()
    with contextlib.suppress(TimeoutError):
        wait_for(lambda: not command.running, 12, "come back")
    assert command.running
    servers['redis'].start()
    scene.worker()
    said = finished(command, 0)
    assert 'the broker does not answer: ' in said
    exactly(scene, Execution(scene), 60)
    assert scene.workers


def test_a_command_that_no_worker_comes_for_cancels_what_none_began(
        servers):
    with Stage(**servers) as scene:
        scene.reset()
        scene.records(3)
        one_line(scene.coop('batch', 'batch.scenario.ok'), 1,
            'no worker answers for the queue "celery"')
        assert scene.state(scene.last_execution()) == 'cancelled'


def test_a_command_whose_workers_go_waits_for_the_next(scene):
    scene.records(40)
    scene.configure({'default': TWO})
    command = scene.watched('--wait')
    scene.wait_began(2)
    worker, = scene.workers
    kill(worker)
    # It asks after a while, and says it
    with contextlib.suppress(TimeoutError):
        wait_for(lambda: not command.running, 15, "give up")
    assert command.running
    assert scene.state(scene.last_execution()) == 'running'
    scene.go()
    scene.worker()
    said = finished(command, 0)
    assert 'no worker answers for the queue "celery"' in said
    exactly(scene, Execution(scene), 40)
    assert once(range(1, 41)) == scene.treated()

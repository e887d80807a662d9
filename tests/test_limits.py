# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Time limits, and deaths that nobody could tell of at once."""
import contextlib
import os
import re
import signal
import time
from pathlib import Path

import pytest
from scene import PATIENCE, Execution, one_line
from stage import exactly, finished

from devel.process import wait_for
from devel.site import script
from trytond.modules.batch.engine.time_limit import call_within
from trytond.modules.batch.exceptions import TimeLimitError

#: seconds within which an execution goes on after a death
BOUND = 15


@pytest.fixture
def scene(crashed):
    return crashed.recover()


# The time limit

def test_a_statement_that_hangs_is_ended_in_the_server_too(scene):
    scene.records(20, bad=[7])
    scene.configure({'default': {'split_size': 10, 'time_limit': 1}})
    execution = scene.batch('dying', '--way', 'hang_in_sql', status=1)
    exactly(scene, execution, 20, [7])
    assert 'took longer than time_limit = 1 s' in execution.stderr
    assert not sleeping(scene)
    assert scene.deaths() == 0


def sleeping(scene):
    "Return the sessions of the server that sleep on order."
    return {
        pid for pid, in scene.execute(
            "SELECT pid FROM pg_stat_activity WHERE state = 'active' "
            "AND query LIKE 'SELECT pg_sleep%'")}


def test_the_limit_of_one_call_never_interrupts_what_comes_after():
    # The alarm rings at about the moment at which the function ends
    over = 0
    for _ in range(20_000):
        try:
            call_within(3e-5, lambda: None)
        except TimeLimitError:
            over += 1
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    # Else it was never at that moment
    assert 0 < over < 20_000


def test_a_limit_of_time_is_one_of_the_time_of_the_function():
    started = time.monotonic()
    with pytest.raises(TimeLimitError):
        call_within(0.2, lambda: time.sleep(60))
    assert time.monotonic() - started < PATIENCE
    assert call_within(PATIENCE, lambda: 42) == 42
    assert call_within(None, lambda: 42) == 42


def test_what_swallows_an_interruption_gets_the_next():
    def stubborn():
        while True:
            try:
                time.sleep(60)
            except BaseException:
                if swallowed:
                    raise
                swallowed.append(1)

    swallowed = []
    with pytest.raises(TimeLimitError):
        call_within(0.1, stubborn)
    assert swallowed


@pytest.mark.parametrize('name', ['task_time_limit', 'task_soft_time_limit'])
def test_a_time_limit_of_celery_is_refused_at_the_start(scene, name):
    env = {'TRYTOND_CELERY__%s' % name.upper(): '60'}
    result = scene.coop('worker', '--logfile', os.devnull, env=env)
    assert result.returncode == 1
    line = result.stderr.splitlines()[-1]
    assert '%s = 60' % name in line
    assert 'set time_limit in batch.conf' in line
    assert 'Traceback' not in result.stderr
    # Celery's own command, too
    bare = scene.run([
            script('celery'), '-A', 'trytond.modules.batch.tasks', 'worker',
            '--concurrency', '1'], env=env)
    assert bare.returncode
    assert 'set time_limit in batch.conf' in bare.stderr


# Deaths

def test_a_process_dies_while_the_server_works_for_it(scene):
    scene.records(20, bad=[7])
    scene.configure({'default': {'split_size': 10}})
    command = scene.start_batch('dying', '--way', 'hang_in_sql')
    for count in [1, 2, 3, 4]:
        wait_for(lambda: sleeping(scene) or not command.running, PATIENCE,
            "hang")
        if not command.running:
            break
        session, = sleeping(scene)
        os.kill(victim(scene), signal.SIGKILL)
        # Nobody is there for what it asked: the server finds out, and not
        # only after an hour.  The next process may sleep already
        wait_for(lambda: session not in sleeping(scene), BOUND, "be missed")
    said = finished(command, 1)
    exactly(scene, Execution(scene), 20, [7])
    assert '1 x worker lost (signal 9)' in said


def victim(scene):
    "Return the process of the worker whose session sleeps."
    ports = {
        port for port, in scene.execute(
            "SELECT client_port FROM pg_stat_activity "
            "WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'")}
    worker, = scene.workers
    for pid in children(worker.pid):
        if ports & local_ports(pid):
            return pid
    raise AssertionError("nobody has the session")


def children(pid):
    return [
        int(child) for child in Path(
            '/proc/%s/task/%s/children' % (pid, pid)).read_text().split()]


def local_ports(pid):
    "Return the ports of the TCP connections of a process."
    inodes = set()
    for path in Path('/proc/%s/fd' % pid).iterdir():
        # The process may have closed it meanwhile
        with contextlib.suppress(FileNotFoundError):
            if match := re.match(r'socket:\[(\d+)\]', os.readlink(path)):
                inodes.add(match[1])
    found = set()
    for line in Path('/proc/net/tcp').read_text().splitlines()[1:]:
        fields = line.split()
        if fields[9] in inodes:
            found.add(int(fields[1].rpartition(':')[2], 16))
    return found


LANE = '''
from trytond.modules.batch import ledger
from trytond.modules.batch.engine import running, selection, treatment, turn
from trytond.modules.batch.transaction import load_pool, transact
load_pool(database)
sent = []
execution = transact(database, lambda t: ledger.executions.create(
    t.connection.cursor(), 'batch.scenario.ok', {}, local=True))
selection.select_and_plan(database, 'batch.scenario.ok', execution,
    send=lambda e, c, number=None: sent.append(c))
first, = sent
# Its process and its parent die right after its commit
assert treatment.treat(
    running.load_job(database, execution), first) is not None
# It is delivered again
turn.take_turn(database, execution, first, send=None, again=True)
print(execution)
'''


@pytest.mark.parametrize('local', [False, True], ids=['sqlite', 'postgresql'])
def test_a_message_of_a_chunk_that_is_done_helps_its_lane_on(
        request, scene, local):
    stage = scene
    if not local:
        from scene import Scene
        stage = request.getfixturevalue('sqlite_scene')
        assert isinstance(stage, Scene)
    stage.records(10)
    stage.configure({'default': {'split_size': 2, 'concurrency': 1}})
    id = int(stage.script(LANE))
    execution = Execution(stage, id=id)
    assert execution.row['state'] == 'succeeded'
    assert stage.treated() == {i: 1 for i in range(1, 11)}


@pytest.fixture(scope='module')
def sqlite_scene():
    from scene import Scene
    with Scene() as scene:
        yield scene


CLOSERS = '''
import threading
from trytond.modules.batch import ledger
from trytond.modules.batch.engine import ending
from trytond.modules.batch.transaction import load_pool, transact
load_pool(database)

def make(cursor):
    execution = ledger.executions.create(
        cursor, 'batch.scenario.ok', {}, local=True)
    plan = ledger.planning.ChunkWriter(cursor, execution, 64)
    for i in range(64):
        plan.add([i], 1)
    plan.flush()
    ledger.executions.update(cursor, execution, state='running', selected=64,
        settings=json.dumps({'root_dir': [None, '']}))
    ledger.executions.stop(cursor, execution, 'cancelled', 'told to')
    return execution

left = 0
for _ in range(100):
    execution = transact(database, make)
    barrier = threading.Barrier(2)
    def close():
        barrier.wait()
        ending.close(database, execution)
    threads = [threading.Thread(target=close) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    row = transact(database, lambda t: ledger.executions.columns(
        t.connection.cursor(), execution, 'state'))
    left += row['state'] != 'cancelled'
print(left)
'''


def test_of_two_who_could_end_an_execution_one_does(scene):
    assert scene.script(CLOSERS).strip() == '0'


def test_hanging_processes_are_found_after_a_reconnection_too(scene, servers):
    worker, = scene.workers
    servers['redis'].restart()
    scene.records(40)
    scene.batch('ok', status=0)
    hangs, *_ = children(worker.pid)
    scene.configure({'default': {'split_size': 5}})
    os.kill(hangs, signal.SIGSTOP)
    try:
        killed = 'the process %s takes no job, though jobs wait: killed' \
            % hangs
        # Those that are well may be so fast that it is given none
        for _ in range(10):
            scene.execute('UPDATE batch_scenario_record SET treated = 0')
            for mark in scene.marks.iterdir():
                mark.unlink()
            finished(scene.watched('--seconds', '0.1'), 0)
            exactly(scene, Execution(scene), 40)
            if killed in scene.worker_log():
                break
        assert killed in scene.worker_log()
    finally:
        try:
            os.kill(hangs, signal.SIGKILL)
        except ProcessLookupError:
            pass


def test_a_worker_ends_with_the_status_of_celery(scene, servers):
    servers['redis'].stop()
    try:
        # What Celery calls an unrecoverable error
        result = scene.coop('worker', '--logfile', os.devnull, env={
                'TRYTOND_CELERY__BROKER_CONNECTION_RETRY_ON_STARTUP': 'false'})
    finally:
        servers['redis'].start()
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        'coop: the worker ended with status 1; its log says why')


def test_a_worker_refuses_what_is_no_option(scene):
    one_line(scene.coop('worker', '--nonsense'), 2, '--nonsense')

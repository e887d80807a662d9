# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Lanes begin as processes are free for them, and no message waits before."""
import signal

import pytest
from scene import PATIENCE, Execution
from stage import Stage, exactly, finished

from devel.process import wait_for


@pytest.fixture(scope='module')
def stage(servers):
    with Stage(**servers) as stage:
        yield stage


@pytest.fixture
def scene(stage):
    "A scene without a worker: each test starts those that it counts."
    for worker in stage.workers:
        worker.stop(timeout=0, stop_signal=signal.SIGKILL)
    stage.redis.flush()
    stage.reset()
    return stage


def queued(scene, execution):
    return [number for number, in scene.execute(
            'SELECT number FROM batch_execution_chunk '
            "WHERE execution = %s AND state = 'queued' ORDER BY id",
            [execution])]


PLAN = '''
from functools import partial
from trytond.modules.batch import ledger
from trytond.transaction import Transaction

def plan(cursor, chunks, concurrency):
    execution = ledger.executions.create(cursor, 'batch.scenario.ok', {})
    ledger.executions.update(cursor, execution, state='running')
    writer = ledger.planning.ChunkWriter(cursor, execution, concurrency)
    for i in range(chunks):
        writer.add([i], 1)
    writer.flush()
    return execution
'''
LANES = PLAN + '''
with Transaction().start(database, 0) as transaction:
    cursor = transaction.connection.cursor()
    execution = plan(cursor, 12, 5)

    def begin(count, concurrency=5):
        return [chunk.number for chunk in ledger.open_chunks.begin_lanes(
                cursor, execution, ledger.planning.firsts(concurrency),
                count)]
    print(begin(9, 1), begin(2), begin(1), begin(3), begin(1))
    # Whoever had locked it has not committed that
    cursor.execute("UPDATE batch_execution_chunk SET state = 'waiting' "
        "WHERE number = '3' AND execution = %s" % execution)
    print(begin(1), begin(1))
    print(*sorted(ledger.open_chunks.list_numbers(cursor, execution).values()))
    transaction.rollback()
    transaction.commit()
'''


@pytest.mark.parametrize('kind', ['in_process', 'on_workers'])
def test_each_lane_is_begun_once(request, kind):
    scene = request.getfixturevalue(kind)
    scene.reset()
    assert scene.script(LANES).splitlines() == [
        "[] ['2', '3'] ['4'] ['5'] []", "['3'] []",
        '1 2 3 4 5']


def test_what_is_executed_here_is_executed_in_its_order(request):
    scene = request.getfixturevalue('in_process')
    scene.reset()
    scene.records(30)
    scene.configure({'default': {'split_size': 1}})
    execution = scene.batch('ok', status=0)
    chunks = sorted(execution.chunks, key=lambda chunk: chunk['ended_at'])
    assert [int(chunk['number']) for chunk in chunks] == list(range(1, 31))


HALVES = PLAN + '''
with Transaction().start(database, 0) as transaction:
    cursor = transaction.connection.cursor()
    execution = plan(cursor, 13, 2)
    ledger.open_chunks.begin_lanes(
        cursor, execution, ledger.planning.firsts(2))
    ids = {}

    def end(number):
        id, = (id for id, other in ledger.open_chunks.list_numbers(
                cursor, execution).items() if other == str(number))
        ids[number] = id
        return ledger.chunks.done(
            cursor, ledger.chunks.claim(cursor, execution, id), 1).number

    def halve():
        lane = ledger.open_chunks.halve_lane(cursor, execution, 2)
        return lane and lane.number

    def at(number, directly=False):
        chunk = ledger.open_chunks.first_open_in_lane(
            cursor, execution, ids[number], 2, directly)
        return chunk and chunk.number

    print(*(end(i) for i in range(2, 14, 2)))
    # 3 to 13 wait behind 1
    print(halve(), end(7), at(7))
    # 3 and 5 wait behind 1, 11 and 13 behind 9
    print(halve(), end(1), end(3), at(1), at(1, True), at(3, True))
    # 11 and 13 wait behind 9
    print(halve(), halve())
    print([end(i) for i in (5, 9, 11, 13)], at(3), at(5))
    transaction.rollback()
    transaction.commit()
'''


@pytest.mark.parametrize('kind', ['in_process', 'on_workers'])
def test_the_lane_that_has_come_the_least_far_is_halved(request, kind):
    scene = request.getfixturevalue(kind)
    scene.reset()
    assert scene.script(HALVES).splitlines() == [
        '4 6 8 10 12 ',
        '7 9 9',
        '5 3  5 None 5',
        '13 None',
        "['', '11', '', ''] None None"]


LOCKED = PLAN + '''
from trytond.modules.batch.connections import kept
from trytond.modules.batch.transaction import load_pool, transact

load_pool(database)
execution = transact(database, partial(plan, chunks=2, concurrency=1))
id, = transact(database, partial(
    ledger.open_chunks.list_queued, execution=execution))
other = transact(database, partial(
    ledger.chunks.queue, execution=execution, number='2'))

def work(cursor):
    done = ledger.done.Done(
        ledger.chunks.claim(cursor, execution, id), 1, None, None, None)
    Transaction().last = done
    return done

with kept(database):
    done = transact(database, work)
    print(done.queued == other, transact(database, lambda cursor:
            ledger.chunks.claim(cursor, execution, other.id).number))
'''


def test_a_successor_is_for_who_locks_it_whoever_has_queued_it(scene):
    # Else nobody would execute it, until its message is taken for lost
    assert scene.script(LOCKED) == 'True 2\n'


def test_nobody_is_idle_while_one_process_is_slow(scene):
    scene.worker(2)
    scene.records(20)
    scene.configure({'default': {'split_size': 1, 'concurrency': 2}})
    with scene.postgresql.connect(scene.database) as connection:
        connection.execute(
            'SELECT 1 FROM batch_scenario_record WHERE id = 1 FOR UPDATE')
        command = scene.start_batch('ok')
        # All but what waits for the lock, and what is right behind it
        wait_for(lambda: len(scene.treated()) == 18, PATIENCE, "treat others")
        assert queued(scene, scene.last_execution()) == ['1']
        assert 3 not in scene.treated()
    finished(command, 0)
    exactly(scene, Execution(scene), 20)
    # Nor was anything executed again, as it conflicted with another process
    assert {chunk['attempts'] for chunk in Execution(scene).chunks} == {1}
    assert not [line for line in Execution(scene).log() if 'again' in line]


def test_a_small_batch_does_not_wait_for_the_lanes_of_a_big_one(scene):
    scene.worker(2)
    scene.records(200)
    scene.configure({
            'batch.scenario.watched': {'split_size': 1},
            'batch.scenario.ok': {'split_size': 40}})
    big = scene.watched('--seconds', '0.4')
    scene.wait_began(2)
    small = scene.batch('ok', status=0)
    (ended,), = scene.execute(
        'SELECT COUNT(*) FROM batch_execution_chunk AS c, '
        'batch_execution AS e WHERE c.execution <> e.id AND e.id = %s '
        'AND c.ended_at BETWEEN e.started_at AND e.ended_at', [small.id])
    # Its selection and its chunks wait for what is being executed and what was
    # sent before, some ten chunks, and not twice for 64 lanes
    assert ended < 50
    big.kill()
    big.wait()


def test_lanes_begin_for_all_that_are_free_and_for_those_that_come(scene):
    scene.worker(3)
    scene.records(20)
    scene.configure({'default': {'split_size': 1}})
    command = scene.watched('--wait')
    wait_for(lambda: len(scene.began()) == 3, PATIENCE, "use 3 processes")
    # No turn ends meanwhile
    scene.worker(5)
    wait_for(lambda: len(scene.began()) == 8, PATIENCE, "use 8 processes")
    execution = scene.last_execution()
    assert 8 <= len(queued(scene, execution)) <= 8 * 3
    scene.go()
    finished(command, 0)
    exactly(scene, Execution(scene), 20)


IDLE = '''
from types import SimpleNamespace
from trytond.modules.batch import tasks
idle = lambda queue: tasks.is_idle(
    SimpleNamespace(settings={'queue': queue}))
print([idle(None), idle('slow')])
tasks.send_selection(database, 'batch.scenario.ok', 0, 'slow')
print([idle(None), idle('slow')])
tasks.send_selection(database, 'batch.scenario.ok', 0, None)
print([idle(None), idle('slow')])
'''


def test_nobody_is_idle_where_a_message_waits(servers):
    with Stage(**servers) as scene:
        assert scene.script(IDLE).splitlines() == [
            '[True, True]', '[True, False]', '[False, False]']
        servers['redis'].stop()
        try:
            assert scene.script(IDLE.split('tasks.send')[0]).strip() \
                == '[False, False]'
        finally:
            servers['redis'].start()


def test_no_more_lanes_begin_than_chunks_may_be_in_flight(scene):
    scene.worker(4)
    scene.records(30)
    scene.configure({'default': {'split_size': 1, 'concurrency': 3}})
    command = scene.watched('--seconds', '0.2')
    most = 0
    while command.poll() is None:
        most = max(most, len(queued(scene, scene.last_execution() or 0)))
    finished(command, 0)
    assert most == 3
    exactly(scene, Execution(scene), 30)


LEFT = '''
import json
from trytond.modules.batch import ledger
from trytond.modules.batch.engine import selection
from trytond.modules.batch.transaction import load_pool, transact
load_pool(database)
execution = transact(database, lambda cursor: ledger.executions.create(
    cursor, 'batch.scenario.ok', {}))
selection.select_and_plan(
    database, 'batch.scenario.ok', execution, send=lambda *args: None)

def end(cursor):
    id, = ledger.open_chunks.list_queued(cursor, execution)
    assert ledger.chunks.done(
        cursor, ledger.chunks.claim(cursor, execution, id), 1) \
        is ledger.chunks.LANE_END
transact(database, end)
print(execution)
'''


LATE = LEFT.split('def end')[0].replace('.ok', '.watched').replace(
    '{}', "{'directory': sys.argv[1], 'wait': 'true'}") + '''
def end(cursor):
    "All but the first lane."
    ledger.open_chunks.begin_lanes(
        cursor, execution, ledger.planning.firsts(4), 3)
    for id, number in ledger.open_chunks.list_numbers(
            cursor, execution).items():
        while number not in {'1', ''}:
            id, number = ledger.chunks.done(
                cursor, ledger.chunks.claim(cursor, execution, id), 1)
transact(database, end)
print(execution)
'''


def test_what_nobody_goes_on_with_is_gone_on_with(scene):
    # However that may come to be: here, all but the first chunk of lane 1
    # have ended, and the end of that has not queued the next one
    scene.records(24)
    scene.configure({'default': {'split_size': 1, 'concurrency': 4}})
    execution = scene.script(LATE, str(scene.marks)).strip()
    scene.execute(
        "UPDATE batch_execution_chunk SET state = 'done', ended_at = now() "
        "WHERE execution = %s AND number = '1'", [int(execution)])
    scene.go()
    assert queued(scene, execution) == []
    scene.worker()
    assert scene.wait_end(execution).row['state'] == 'succeeded'
    assert scene.treated() == {i: 1 for i in range(5, 24, 4)}


def test_lanes_are_halved_for_those_that_come_late(scene):
    scene.records(24)
    scene.configure({'default': {'split_size': 1, 'concurrency': 4}})
    execution = scene.script(LATE, str(scene.marks)).strip()
    assert queued(scene, execution) == ['1']
    scene.worker(4)
    # One of them gets the message that was lost.  Of four that may be in
    # flight, three are: whoever ends a lane may want to go on with another
    wait_for(lambda: len(scene.began()) == 3, PATIENCE, "use 3 processes")
    scene.go()
    ended = scene.wait_end(execution)
    assert ended.row['state'] == 'succeeded'
    assert scene.treated() == {i: 1 for i in range(1, 24, 4)}
    assert {chunk['attempts'] for chunk in ended.chunks} == {1}


def test_lanes_go_on_whose_process_died_before_it_began_the_next_one(scene):
    # It ended a lane, and no other one had begun
    scene.records(5)
    scene.configure({'default': {'split_size': 1}})
    execution = scene.script(LEFT).strip()
    assert queued(scene, execution) == []
    scene.worker()
    ended = scene.wait_end(execution)
    assert ended.row['state'] == 'succeeded'
    assert scene.treated() == {2: 1, 3: 1, 4: 1, 5: 1}

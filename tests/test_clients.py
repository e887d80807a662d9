# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What Celery's own clients show: inspect, status, events and Flower."""
import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from scene import PATIENCE
from stage import finished

from devel.process import Process, free_port, wait_for
from devel.site import script

pytestmark = pytest.mark.parametrize('stage', ['workers'], indirect=True)


@pytest.fixture(autouse=True)
def quiet_again(scene):
    "Let the worker send no events to the tests that follow."
    yield
    celery(scene, 'control', 'disable_events')


def celery(scene, *args):
    return scene.run(
        [script('celery'), '-A', 'trytond.modules.batch', *args],
        check=True).stdout


def start(scene, name, *args):
    "Start a client that shows what happens; return its process."
    log = Path(scene.log_dir, name + '.txt')
    client = Process(
        [script('celery'), '-A', 'trytond.modules.batch', *args], str(log),
        env={**scene.env, 'FLOWER_UNAUTHENTICATED_API': '1'})
    scene.processes.append(client)
    return client, log.read_text


def test_status_and_inspect_show_the_chunks_that_are_executed(
        scene, tmp_path):
    assert '1 node online' in celery(scene, 'status')
    scene.records(6)
    scene.configure({'batch.scenario.watched': {'split_size': 3}})
    command = scene.start_batch(
        'watched', '--directory', str(tmp_path), '--wait')
    wait_for(lambda: len(list(tmp_path.glob('began-*'))) == 2, PATIENCE,
        "begin two chunks")
    (tasks,) = json.loads(
        celery(scene, 'inspect', 'active', '--json')).values()
    (tmp_path / 'go').touch()
    finished(command, 0)
    execution = scene.last_execution()
    assert sorted((task['name'], task['args']) for task in tasks) == [
        ('batch.generate', 'batch.scenario.watched #%s.1' % execution),
        ('batch.generate', 'batch.scenario.watched #%s.2' % execution)]


def test_events_name_the_chunk(scene):
    events, shown = start(scene, 'events', 'events', '--dump')
    try:
        # Until it listens
        wait_for(lambda: 'heartbeat' in shown(), PATIENCE, "see a worker")
        celery(scene, 'control', 'enable_events')
        scene.records(2)
        scene.configure({'batch.scenario.slow': {
                    'split_size': 1, 'concurrency': 1}})
        # Longer than a turn: the second has a message of its own
        execution = scene.batch('slow', '--seconds', '1.1', status=0)
        for number in '12':
            label = 'batch.scenario.slow #%s.%s' % (execution.id, number)
            wait_for(lambda: label in shown(), PATIENCE, "show the chunk")
    finally:
        events.stop()


def test_flower_shows_what_succeeded_and_what_did_not(scene):
    port = free_port()
    flower, log = start(scene, 'flower', 'flower', '--address=127.0.0.1',
        '--port=%s' % port)

    def ask(path):
        try:
            with urllib.request.urlopen(
                    'http://127.0.0.1:%s/api/%s' % (port, path),
                    timeout=PATIENCE) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError):
            assert flower.running, log()

    def tasks():
        return {
            task['args']: task for task in ask('tasks').values()
            if task['args'] and task['state'] in {'SUCCESS', 'FAILURE'}}

    def of(name, execution):
        "Return the tasks of an execution, by the number of the chunk."
        label = 'batch.scenario.%s #%s' % (name, execution)
        return {
            args.removeprefix(label): task for args, task in tasks().items()
            if args.startswith(label)}

    try:
        wait_for(lambda: ask('workers?refresh=1'), PATIENCE, "see the worker")
        celery(scene, 'control', 'enable_events')
        scene.records(5, bad=[2])
        ok = scene.batch('ok', status=0).id
        bad = scene.batch('bad', status=1)
        unselected = scene.batch('bad_selection', status=1).id
        # The last task may end after its command
        wait_for(lambda: of('bad_selection', unselected), PATIENCE,
            "show the last task")
        wait_for(lambda: len(of('bad', bad.id)) > 1, PATIENCE,
            "show the chunk that failed")
        assert {n: t['state'] for n, t in of('ok', ok).items()} == {
            '': 'SUCCESS', '.1': 'SUCCESS'}
        assert {t['name'] for t in of('ok', ok).values()} == {
            'batch.generate_all', 'batch.generate'}
        failed = of('bad', bad.id)
        assert failed.pop('')['state'] == 'SUCCESS'
        # That of the chunk has gone on with its parts, as far as it came
        failed = [t for t in failed.values() if t['state'] == 'FAILURE']
        assert [t['exception'] for t in failed] == [
            "TaskFailedError('failed: #%s.%s; coop show %s')" % (
                bad.id, bad.in_state('failed')[0]['number'], bad.id)]
        (failed,) = of('bad_selection', unselected).values()
        assert failed['state'] == 'FAILURE'
        assert 'the selection failed' in failed['exception']
    finally:
        flower.stop()


def test_a_task_that_failed_leaves_nothing_at_the_broker(scene):
    scene.records(40, bad=range(1, 41, 4))
    scene.configure({'default': {'split_size': 2}})
    execution = scene.batch('bad', status=1)
    assert scene.treated() == {
        id: 1 for id in range(1, 41) if id % 4 != 1}
    assert len(execution.in_state('failed')) == 10
    (reserved,) = json.loads(
        celery(scene, 'inspect', 'reserved', '--json')).values()
    assert reserved == []
    # Expected, and no error of the worker
    log = scene.worker_log()
    assert 'raised expected: TaskFailedError' in log
    assert 'raised unexpected' not in log

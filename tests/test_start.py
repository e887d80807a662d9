# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""An execution that is started from code; and one that a debugger ends."""
import json
import subprocess

import pytest
from scene import PATIENCE, Execution, one_line

from devel.process import wait_for

only_workers = pytest.mark.parametrize('stage', ['workers'], indirect=True)
#: seconds within which an execution goes on, as soon as a worker is there
BOUND = 15

START = '''
import logging
end, broker, given = json.loads(sys.argv[1])
if broker:
    from trytond.modules.batch import tasks
    tasks.celery_app.conf.broker_url = broker
from trytond.modules.batch.exceptions import BatchError
from trytond.modules.batch.transaction import load_pool
from trytond.pool import Pool
from trytond.transaction import Transaction
logging.basicConfig(level='WARNING', stream=sys.stdout)
load_pool(database)
with Transaction().start(database, 1) as transaction:
    Batch = Pool().get('batch.scenario.started')
    try:
        execution = Batch.start(**given)
    except BatchError as error:
        print(type(error).__name__, error)
        execution = None
    getattr(transaction, end)()
print(execution)
'''


def start(scene, end='commit', broker=None, **given):
    """Start a batch in a process of its own.

    Returns the warnings and errors that this said, and the number at last.
    """
    said = scene.script(
        START, json.dumps([end, broker, given])).splitlines()
    return [line for line in said if not line.startswith('INFO:')]


def end_of(scene, execution):
    wait_for(lambda: scene.state(execution) not in {'selecting', 'running'},
        2 * PATIENCE, "end")
    return Execution(scene, id=execution)


def executions(scene):
    return [id for id, in scene.execute(
            'SELECT id FROM batch_execution ORDER BY id')]


def test_it_is_started_with_the_commit_of_its_transaction(scene):
    scene.records(5)
    *said, execution = start(scene, chunk=[1, 2, 5])
    assert said == []
    end_of(scene, int(execution))
    assert scene.treated() == {1: 1, 2: 1, 5: 1}
    # It knows who it is
    assert set(scene.column('note').values()) == {
        None, 'batch.scenario.started #%s' % execution}


def test_it_is_not_started_where_that_is_rolled_back(scene):
    scene.records(5)
    start(scene, 'rollback', chunk='1,2')
    assert executions(scene) == []
    # What is started later shows that no message went before it
    *_, execution = start(scene, chunk='3')
    end_of(scene, int(execution))
    assert scene.treated() == {3: 1}


@pytest.mark.parametrize('given, told', [
        ({}, 'parameter "chunk" is missing'),
        ({'chunk': ['x']}, 'parameter "chunk" is "x", expected a comma'),
        ({'chunk': None}, 'parameter "chunk" is None, expected a comma'),
        ({'chunk': 1, 'chnk': 2}, 'did you mean "chunk"?')])
def test_what_is_wrong_with_parameters_is_said_at_once(scene, given, told):
    said, execution = start(scene, **given)
    assert said.startswith('ParameterError batch "batch.scenario.started"')
    assert told in said and execution == 'None'
    assert executions(scene) == []


def test_a_chunk_starts_others_if_it_is_committed(scene):
    scene.records(6, bad=[4])
    scene.configure({
            'batch.scenario.starting': {'split_size': 3},
            'batch.scenario.started': {'overlap': 'allow'}})
    scene.batch('starting', status=1)
    first, *others = executions(scene)
    assert len(others) == 2
    for id in others:
        assert end_of(scene, id).row['state'] == 'succeeded'
    assert scene.treated() == {i: 1 for i in [1, 2, 3, 5, 6]}

    scene.execute('DELETE FROM batch_execution_chunk')
    scene.execute('DELETE FROM batch_execution')
    scene.batch('starting', '--dry-run', status=1)
    assert len(executions(scene)) == 1


@only_workers
def test_where_the_broker_is_away_the_keeper_sends_it(scene):
    scene.records(3)
    *said, execution = start(
        scene, chunk=[1], broker='redis://localhost:9/0')
    assert any('the broker does not answer' in line for line in said)
    wait_for(lambda: scene.state(int(execution)) == 'succeeded', BOUND,
        "begin")
    assert scene.treated() == {1: 1}


# The debugger

def test_to_quit_a_debugger_stops_the_execution_and_blames_no_unit(
        scene, tmp_path):
    scene.records(6, bad=[5])
    scene.configure({'batch.scenario.debugged': {
                'split_size': 2, 'concurrency': 1}})
    command = scene.start_coop(
        'batch', 'batch.scenario.debugged', '--go', str(tmp_path / 'go'),
        stdin=subprocess.PIPE)
    out, err = command.communicate('q\n', timeout=4 * PATIENCE)
    assert command.returncode == 1, out + err
    execution = Execution(scene)
    assert '6 selected, 4 done, 0 failed, 2 left' in err
    assert 'stopped: a debugger was quit in #%s.3' % execution.id in err
    assert 'go on: coop resume %s' % execution.id in err
    assert execution.states == {'done': 2, 'queued': 1}
    assert len(execution.chunks) == 3
    (tmp_path / 'go').touch()
    result = scene.coop('resume', str(execution.id))
    assert result.returncode == 0, result.stderr
    assert scene.treated() == {i: 1 for i in range(1, 7)}
    one_line(scene.coop('resume', str(execution.id)), 2, 'nothing of it')

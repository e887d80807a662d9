# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Messages that mean nothing, and executions whose code is not what it was."""
import json
import re
import sys
from pathlib import Path

import pytest
import redis as redis_client
from scene import PATIENCE, Execution, Scene
from stage import Stage, exactly

from devel.process import Process, wait_for

ENDED = re.compile(r'Task (batch\.\w+)\[(\S+)\] (succeeded|raised)')


@pytest.fixture
def scene(crashed):
    return crashed.recover()


# Messages

SEND = '''
from trytond.modules.batch import tasks
task, args, kwargs = json.loads(sys.argv[1])
print(tasks.celery_app.send_task(task, args=args, kwargs=kwargs).id)
'''


def treated(scene, task, args, kwargs):
    "Send a message as anybody may; return what the worker says of it."
    id = scene.script(SEND, json.dumps([task, args, kwargs])).strip()

    def lines():
        found = [
            line for line in scene.worker_log().splitlines() if id in line]
        return any(ENDED.search(line) for line in found) and found

    return '\n'.join(wait_for(lines, PATIENCE, "treat the message"))


def test_a_message_for_the_database_of_another_worker_is_refused(scene):
    scene.records(3)
    with Scene(postgresql=scene.postgresql) as other:
        other.records(3)
        said = treated(scene, 'batch.generate_all', ['batch.scenario.ok'],
            {'_database': other.database})
        assert 'a message for the database "%s" is refused' % other.database \
            in said
        assert 'serves %s' % scene.database in said
        assert other.last_execution() is None


def test_the_chunk_of_another_execution_is_refused(scene):
    scene.records(4)
    scene.configure({'default': {'split_size': 2}})
    first = scene.batch('ok', status=0)
    scene.execute('UPDATE batch_scenario_record SET treated = 0')
    command = scene.watched('--wait')
    scene.wait_began()
    second = Execution(scene)
    # One that nobody works on any more
    scene.execute("UPDATE batch_execution_chunk SET state = 'queued', "
        "ended_at = NULL WHERE execution = %s" % first.id)
    chunk = first.chunks[0]['id']
    treated(scene, 'batch.generate', [], {
            'execution': second.id, 'chunk': chunk,
            '_database': scene.database})
    assert 'a message of #%s with the chunk #%s.1 is refused' % (
        second.id, first.id) in scene.worker_log()
    assert scene.treated() == {}
    scene.execute("UPDATE batch_execution_chunk SET state = 'done' "
        "WHERE execution = %s" % first.id)
    scene.go()
    assert command.wait(PATIENCE) == 0


@pytest.mark.parametrize('task, args, kwargs', [
        ('batch.generate', [], {}),
        ('batch.generate', [], {'execution': 'x', 'chunk': [1]}),
        ('batch.generate', [1, 2, 3, 4], {'execution': None}),
        ('batch.generate', [], {'execution': 1 << 70, 'chunk': -1}),
        ('batch.generate_all', [], {}),
        ('batch.generate_all', [{}], {'execution': 'x'}),
        ('batch.generate_all', ['batch.scenario.ok'], {'execution': 1 << 70}),
        ('batch.generate_all', ['batch.scenario.ok'], {'parameters': 7}),
        ])
def test_a_malformed_message_does_not_end_the_worker(
        scene, task, args, kwargs):
    treated(scene, task, args, {**kwargs, '_database': scene.database})
    scene.records(3)
    exactly(scene, scene.batch('ok', status=0), 3)
    assert len(scene.workers) == 1


def test_a_body_that_is_none_does_not_end_the_worker(scene, servers):
    with redis_client.Redis(host='127.0.0.1', port=servers['redis'].port,
            db=int(scene.broker_url.rsplit('/', 1)[1])) as client:
        envelope = {
            'body': 'bm9uZQ==', 'content-encoding': 'utf-8',
            'content-type': 'application/json',
            'headers': {'task': 'batch.generate', 'id': '1', 'lang': 'py'},
            'properties': {
                'delivery_info': {'exchange': '', 'routing_key': 'celery'},
                'delivery_tag': '1', 'body_encoding': 'base64'}}
        for message in [
                envelope, {**envelope, 'body': ''},
                {**envelope, 'content-type': 'application/x-python-serialize'},
                {**envelope, 'headers': {'task': 'unknown', 'id': '2'}}]:
            client.lpush('celery', json.dumps(message))
    scene.records(3)
    exactly(scene, scene.batch('ok', status=0), 3)
    assert len(scene.workers) == 1


# The code was changed

def left(scene):
    "Return the id of an execution of which something is left, and failed."
    scene.records(40, bad=[1])
    scene.configure({'default': {
                'split_size': 5, 'concurrency': 1, 'max_failures': 0}})
    return scene.batch('failing', '--way', 'loop', status=1).id


def change(scene, execution, **parameters):
    (text,), = scene.execute(
        'SELECT parameters FROM batch_execution WHERE id = %s' % execution)
    values = json.loads(text)
    for name, value in parameters.items():
        if value is None:
            del values[name]
        else:
            values[name] = [value, 'the command line']
    scene.execute("UPDATE batch_execution SET parameters = '%s' "
        "WHERE id = %s" % (json.dumps(values), execution))


def renamed(scene, execution):
    scene.execute("UPDATE batch_execution SET batch = 'batch.scenario.gone_' "
        "WHERE id = %s" % execution)


def removed(scene, execution):
    change(scene, execution, colour='blue')


def added(scene, execution):
    change(scene, execution, way=None)


def retyped(scene, execution):
    scene.execute("UPDATE batch_execution SET batch = 'batch.scenario.slow' "
        "WHERE id = %s" % execution)
    change(scene, execution, way=None, seconds='a while')


@pytest.mark.parametrize('how, text', [
        (renamed, 'unknown batch "batch.scenario.gone_"'),
        (removed, 'parameter "colour" was removed'),
        (added, 'parameter "way" was added'),
        (retyped, 'parameter "seconds" is "a while"')])
def test_what_can_not_go_on_with_the_code_of_now_says_so(scene, how, text):
    execution = left(scene)
    before = scene.treated()
    how(scene, execution)
    # As for any change of code
    for worker in scene.workers:
        worker.stop(timeout=10)
    scene.worker()
    result = scene.coop('resume', str(execution))
    assert result.returncode == 1
    assert text in result.stderr
    assert 'coop resume %s' % execution in result.stderr
    assert scene.state(execution) == 'failed'
    assert scene.treated() == before
    # Once, and not at every chunk
    assert scene.worker_log().count(text) <= 3
    if how is not added:
        result = scene.coop('retry', str(execution))
        assert result.returncode != 0
        assert text.split(' was ')[0] in result.stderr
        assert scene.treated() == before


def test_a_parameter_that_was_added_with_a_default_has_it(scene):
    scene.records(4)
    scene.configure({'default': {'split_size': 2, 'concurrency': 1}})
    command = scene.watched('--wait')
    scene.wait_began()
    execution = scene.last_execution()
    scene.coop('cancel', str(execution), check=True)
    scene.go()
    command.wait(PATIENCE)
    change(scene, execution, seconds=None, wait=None)
    scene.coop('resume', str(execution), check=True)
    exactly(scene, Execution(scene), 4)


STRANGER = """\
import sys
from celery import Celery
app = Celery(broker=sys.argv[1])
@app.task(name='batch.generate', batch_version=sys.argv[2],
    batch_databases=sys.argv[3], batch_modules=sys.argv[4])
def generate(**kwargs):
    raise AssertionError
app.worker_main([
    'worker', '--concurrency', '1', '--loglevel', 'INFO', '--pool', 'solo'])
"""


@pytest.mark.parametrize('databases, modules, text', [
        ('other,another', '', 'serves the databases other, another'),
        (None, 'batch_scenarios:1.0', 'has the module batch_scenarios in '
            'version 1.0, and here it is 8.2.0: restart it')])
def test_a_worker_of_another_time_or_place_is_named(
        servers, databases, modules, text):
    with Stage(**servers) as scene:
        scene.reset()
        scene.records(3)
        log = Path(scene.log_dir, 'stranger.log')
        version = scene.script(
            'from importlib.metadata import version\n'
            'print(version("trytond-batch"))').strip()
        worker = Process([
                sys.executable, '-c', STRANGER, scene.broker_url, version,
                databases or scene.database, modules],
            log=str(log), env=scene.env)
        scene.processes.append(worker)
        worker.wait_until(lambda: ' ready.' in log.read_text(), PATIENCE,
            "start the worker")
        result = scene.coop('batch', 'batch.scenario.ok')
        assert result.returncode == 1
        assert text in result.stderr
        check = scene.coop('check')
        assert check.returncode == 1
        assert text in check.stdout
        assert scene.treated() == {}


def test_a_worker_tells_the_versions_of_the_modules_with_batches(scene):
    told = scene.script('''
from trytond.modules.batch import tasks
print(tasks.celery_app.control.inspect().registered('batch_modules'))
''')
    assert 'batch_scenarios:8.2.0' in told
    assert 'batch_modules=None' not in told

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""An outage is nobody's fault: no unit fails, none is "worker lost"."""
import contextlib
import re
from pathlib import Path

import pytest
import redis as redis_client
from scene import PATIENCE, Execution
from stage import exactly, finished

from devel.process import wait_for

#: settings of a batch with many short chunks, three of which run at once
MANY = {'split_size': 2, 'concurrency': 3, 'retry': 1}
#: seconds: longer than any look or retry of anybody
LONG = 20


@pytest.fixture
def scene(crashed):
    return crashed.recover()


def last_for(seconds, command=None):
    "Wait, and see that a command does not give up meanwhile."
    with contextlib.suppress(TimeoutError):
        wait_for(lambda: command is not None and not command.running,
            seconds, "give up")
    assert command is None or command.running, command.communicate()


def blameless(scene, command, count, id=None):
    "Check that a command ends well, and that nobody was blamed."
    said = finished(command, 0)
    execution = Execution(scene, id=id)
    exactly(scene, execution, count)
    assert scene.deaths() == 0
    assert 'worker lost' not in ''.join(execution.log())
    return said


# The database

REFUSE = '''
CREATE TABLE outage (state TEXT);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM outage) THEN
        RAISE EXCEPTION 'could not extend file: No space left on device'
        USING ERRCODE = (SELECT state FROM outage);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON %s
    FOR EACH ROW EXECUTE FUNCTION refuse();
'''


@contextlib.contextmanager
def refusing(scene, table):
    "Let the server refuse to write into a table, with a SQLSTATE, when told."
    scene.execute(REFUSE % table)
    try:
        yield lambda state: scene.execute(
            "INSERT INTO outage VALUES ('%s')" % state if state
            else 'DELETE FROM outage')
    finally:
        scene.execute('DROP TABLE outage')
        scene.execute('DROP FUNCTION refuse CASCADE')


@pytest.mark.parametrize(
    'table', ['batch_scenario_record', 'batch_execution_chunk'])
@pytest.mark.parametrize('state', ['53100', '57P03'])
def test_a_database_that_is_full_fails_nobody(scene, table, state):
    scene.records(90)
    scene.configure({'default': MANY})
    with refusing(scene, table) as refuse:
        command = scene.watched('--seconds', '0.1')
        scene.wait_began(3)
        refuse(state)
        last_for(LONG, command)
        shown = scene.coop('show', str(scene.last_execution())).stdout
        refuse(None)
        said = blameless(scene, command, 90)
    # Nobody has to go on with what runs
    assert 'coop resume' not in shown
    log = ''.join(Execution(scene).log())
    assert 'waits for the database: ' in log
    assert 'No space left on device' in log
    if table != 'batch_execution_chunk':
        assert 'No space left on device' in shown
        assert re.search('the chunk #.* waits: .*No space left', said)


def test_what_the_author_makes_of_an_outage_is_one(scene):
    scene.records(90)
    scene.configure({'default': MANY})
    with refusing(scene, 'batch_scenario_record') as refuse:
        refuse('53100')
        command = scene.start_batch('wrapping')
        last_for(8, command)
        refuse(None)
        blameless(scene, command, 90)


def test_a_standby_fails_nobody(scene, servers):
    scene.records(90)
    scene.configure({'default': MANY})
    command = scene.watched('--seconds', '0.1')
    scene.wait_began(3)
    postgresql = servers['postgresql']
    postgresql.stop()
    Path(postgresql.data, 'standby.signal').touch()
    postgresql.start()
    (in_recovery,), = postgresql.execute(
        'postgres', 'SELECT pg_is_in_recovery()')
    assert in_recovery
    last_for(LONG, command)
    postgresql.execute('postgres', 'SELECT pg_promote()')
    blameless(scene, command, 90)
    assert 'during recovery' in scene.worker_log()


def test_who_makes_a_transaction_read_only_is_to_blame(scene):
    scene.records(4, bad=[3])
    execution = scene.batch('read_only', status=1)
    exactly(scene, execution, 4, bad=[3])


def test_a_unit_that_needs_another_server_fails_alone(scene):
    scene.records(40, bad=[3])
    execution = scene.batch('foreign', status=1)
    exactly(scene, execution, 40, bad=[3])
    assert 'OperationalError: connection' in execution.stderr
    execution = scene.batch('foreign', '--selecting', 'yes', status=1)
    assert 'the selection failed: OperationalError: ' in execution.stderr


def setting(scene, name, value):
    "Change a setting for all sessions, which begin anew."
    database = '"%s"' % scene.database
    scene.postgresql.execute('postgres', 'ALTER DATABASE %s %s' % (
            database, 'RESET %s' % name if value is None
            else "SET %s = '%s'" % (name, value)))
    scene.postgresql.execute('postgres',
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = '%s'" % scene.database)


@pytest.mark.parametrize('name', [
        'idle_in_transaction_session_timeout', 'transaction_timeout'])
def test_a_timeout_of_the_server_fails_nobody(scene, name):
    scene.records(6)
    scene.configure({'default': {**MANY, 'retry': 0}})
    setting(scene, name, '700ms')
    try:
        command = scene.watched('--seconds', '1')
        scene.wait_began(3)
        wait_for(lambda: any(
                'waits for the database: ' in line
                for line in Execution(scene).log()), PATIENCE, "be cut")
        last_for(LONG, command)
        shown = scene.coop('show', str(scene.last_execution())).stdout
        assert 'timeout' in shown
        warned = scene.coop('check')
        assert warned.returncode == 1
        assert '%s = 700ms' % name in warned.stdout
    finally:
        setting(scene, name, None)
    blameless(scene, command, 6)


def test_a_pooler_that_mixes_up_sessions_fails_nobody(scene):
    scene.records(60)
    execution = scene.batch('mixed_up', status=0)
    exactly(scene, execution, 60)
    log = scene.worker_log()
    assert 'a pooler in transaction mode' in log
    assert log.count('a pooler in transaction mode') <= 3


POOLED = '''
from contextlib import closing, nullcontext
from trytond.modules.batch import database as module, worker
from trytond.modules.batch.command import check

class Pooled(nullcontext):
    def close(self):
        pass

with closing(module.connect(database)) as session:
    # The one that there is, whoever connects
    module.connect = lambda name: Pooled(session)
    for function in [
            lambda: check.check_database(database),
            lambda: worker.serve([database], [])]:
        try:
            function()
        except module.DatabaseError as error:
            print(error)
'''


def test_sessions_that_a_pooler_shares_are_refused(scene):
    one, other = scene.script(POOLED).splitlines()
    assert one == other
    assert 'a pooler in transaction mode' in one
    assert 'session mode' in one


def test_a_race_for_a_unique_value_fails_nobody(scene):
    scene.records(2)
    execution = scene.batch('racing', '--directory', str(scene.marks),
        status=0)
    exactly(scene, execution, 2)
    assert any(
        'a unique constraint rejected' in line for line in execution.log())


# The broker

@contextlib.contextmanager
def administered(servers):
    with redis_client.Redis(
            host='127.0.0.1', port=servers['redis'].port) as client:
        yield client


def full(client):
    before = client.config_get('maxmemory')
    client.config_set('maxmemory', 1)
    return lambda: client.config_set('maxmemory', before['maxmemory'])


def read_only(client):
    client.execute_command('REPLICAOF', '127.0.0.1', '1')
    return lambda: client.execute_command('REPLICAOF', 'NO', 'ONE')


def can_not_save(client):
    client.config_set('stop-writes-on-bgsave-error', 'yes')
    client.config_set('save', '3600 1')
    client.config_set('dbfilename', 'no.rdb')
    directory = Path(client.config_get('dir')['dir'])
    # In the way of the file
    (directory / 'no.rdb').mkdir()
    client.set('touched', 1)
    client.bgsave()
    wait_for(lambda: client.info('persistence')['rdb_last_bgsave_status']
        == 'err', PATIENCE, "fail to save")

    def mend():
        (directory / 'no.rdb').rmdir()
        client.config_set('save', '')
        client.config_set('stop-writes-on-bgsave-error', 'no')
    return mend


@pytest.mark.parametrize('trouble, text', [
        (full, 'maxmemory'), (read_only, 'read only replica'),
        (can_not_save, 'MISCONF')])
def test_a_broker_that_refuses_is_waited_for(scene, servers, trouble, text):
    scene.records(90)
    scene.configure({'default': MANY})
    with administered(servers) as client:
        command = scene.watched('--seconds', '0.1')
        scene.wait_began(3)
        execution = scene.last_execution()
        mend = trouble(client)
        try:
            # Redis answers with MISCONF whatever it is asked, so this can not
            # be told from a broker that is not there
            other = None if trouble is can_not_save else scene.start_coop(
                'batch', 'ir.ui.view.validate')
            result = scene.coop('check')
            assert 'Traceback' not in result.stdout + result.stderr
            last_for(8)
        finally:
            mend()
        blameless(scene, command, 90, id=execution)
        if other is not None:
            said = finished(other, 0)
            assert text in said
            assert 'waiting' in said
        assert text in scene.worker_log()
        assert scene.workers


def test_a_channel_that_the_broker_closes_does_not_end_the_worker(
        scene, servers):
    # As RabbitMQ does after its consumer_timeout: an error of the channel
    scene.records(90)
    scene.configure({'default': MANY})
    command = scene.watched('--seconds', '0.2')
    scene.wait_began(3)
    with administered(servers) as client:
        number = int(scene.broker_url.rsplit('/', 1)[1])
        client.select(number)
        client.delete('celery')
        client.set('celery', 'no list')
        last_for(5, command)
        client.delete('celery')
    blameless(scene, command, 90)
    assert scene.workers


REFUSING = '''
import amqp
from trytond.modules.batch import broker, tasks, worker
from trytond.modules.batch.exceptions import BrokerError

def refuse(connection):
    raise amqp.AccessRefused('Login was refused')

def block(connection):
    connection.on_blocked('connection blocked, see broker logs')

tasks.celery_app.conf.broker_url = 'amqp://guest:secret@127.0.0.1//'
for connect, function in [
        (refuse, lambda: worker.serve([database], [])),
        (block, lambda: broker.ask_workers(database))]:
    amqp.Connection.connect = connect
    try:
        function()
    except BrokerError as error:
        print(error)
'''


def test_a_rabbitmq_that_refuses_is_told_from_one_that_is_away(scene):
    refused, blocked = scene.script(REFUSING).splitlines()
    assert 'Login was refused' in refused
    assert 'secret' not in refused
    assert blocked.startswith('the broker does not answer: it takes no')

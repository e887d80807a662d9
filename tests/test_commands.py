# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Bad input and bad surroundings: one clear line, and the right status.

0: every selected unit is done; 1: not all units are done; 2: the command line
is wrong.
"""
import os
import re
import time
from importlib import metadata

import pytest
from scene import PATIENCE, Scene, one_line

import trytond
from devel.process import free_port, wait_for
from devel.servers import Redis
from devel.site import script
from trytond.modules.batch.command import cli

only_workers = pytest.mark.parametrize('stage', ['workers'], indirect=True)
only_in_process = pytest.mark.parametrize(
    'stage', ['in-process'], indirect=True)
OK = 'batch', 'batch.scenario.ok'
COMMANDS = sorted(
    next(a for a in cli.get_parser()._actions if a.dest == 'command').choices)


@pytest.fixture(scope='module')
def deserted(postgresql, redis):
    "A scene with a broker, but without a worker."
    with Scene(postgresql=postgresql, redis=redis) as scene:
        yield scene


@pytest.fixture
def nowhere():
    "The address of a server that does not run."
    return '127.0.0.1:%s' % free_port()


def conf(scene, tmp_path, section, **settings):
    "Return the options that add to trytond.conf."
    path = tmp_path / 'more.conf'
    path.write_text('[%s]\n%s\n' % (section, '\n'.join(
                '%s = %s' % item for item in settings.items())))
    return '-c', scene.trytond_conf, '-c', str(path)


# A wrong command line: 2

def refuse(scene, args, status, *texts):
    "Check that nothing is executed, and that one line says why."
    scene.records(3)
    one_line(scene.coop(*args), status, *texts)
    assert scene.treated() == {}
    assert scene.execute('SELECT id FROM batch_execution_chunk') == []


@pytest.mark.parametrize('args, texts', [
        (['batch', 'batch.scenario.okk'],
            ['unknown batch "batch.scenario.okk"',
                'did you mean "batch.scenario.ok"?']),
        ([*OK, '--txt', 'a'],
            ['parameter "txt" is unknown', 'did you mean "text"?']),
        ([*OK, '--treatment-date', '31/01/2026'],
            ['parameter "treatment_date" is "31/01/2026", expected a date']),
        (['batch', 'batch.scenario.required'],
            ['parameter "path" is missing; give --path']),
        ])
def test_a_wrong_parameter_is_refused_in_one_line(scene, args, texts):
    refuse(scene, args, 2, *texts)


@only_in_process
def test_a_command_needs_to_know_its_database(scene):
    for command in [OK, ['list'], ['history'], ['show', '1'], ['check'],
            ['worker']]:
        one_line(scene.coop(*command, env={'TRYTOND_DATABASE_NAMES': ''}), 2,
            '-d DATABASE', 'TRYTOND_DATABASE_NAMES')


@pytest.mark.parametrize('option', [
        '--quie', '--jso', '--loca', '--detac'])
def test_options_can_not_be_abbreviated(option):
    options = cli.parse([*OK, option])
    assert options.rest == [option]
    with pytest.raises(SystemExit) as error:
        cli.parse(['resume', '1', option])
    assert error.value.code == 2


# A wrong configuration: 1

@pytest.mark.parametrize('text, texts', [
        ('[default]\nsplit_sise = 5',
            ['[default] split_sise', 'did you mean "split_size"?']),
        ('[default]\nsplit_size = many',
            ['[default] split_size',
                'expected a whole number from 1 to 1000000, got "many"']),
        ])
def test_a_broken_batch_conf_is_refused_in_one_line(scene, text, texts):
    write(scene, text)
    refuse(scene, OK, 1, scene.batch_conf, *texts)


def write(scene, text):
    with open(scene.batch_conf, 'w') as file:
        file.write(text)


# Bad surroundings: 1

def test_a_database_that_is_not_there_is_refused(scene):
    for command in [OK, ['history']]:
        one_line(scene.coop(*command, '-d', 'absent'), 1,
            'the database "absent" can not be reached',
            '[database] uri of trytond.conf')


def test_a_database_without_the_module_is_refused(scene, request):
    if scene.on_workers:
        scene.postgresql.create('empty')
        request.addfinalizer(lambda: scene.postgresql.drop('empty'))
    else:
        path = os.path.join(scene.directory, 'db', 'empty.sqlite')
        open(path, 'w').close()
        request.addfinalizer(lambda: os.remove(path))
    one_line(scene.coop(*OK, '-d', 'empty'), 1,
        'the module "batch" is not activated in the database "empty"',
        'trytond-admin -d empty -u batch')


@only_workers
def test_a_database_server_that_is_down_is_said_within_seconds(
        scene, tmp_path, nowhere):
    options = conf(scene, tmp_path, 'database',
        uri='postgresql://postgres:secret@%s/' % nowhere)
    started = time.monotonic()
    line = one_line(scene.coop(*OK, *options), 1, 'can not be reached',
        '[database] uri of trytond.conf')
    assert time.monotonic() - started < 15
    assert 'secret' not in line


@only_workers
def test_a_broker_that_is_down_is_said_within_seconds(
        scene, tmp_path, nowhere):
    scene.records(3)
    options = conf(scene, tmp_path, 'celery',
        broker_url='redis://:secret@%s/0' % nowhere)
    started = time.monotonic()
    line = one_line(scene.coop(*OK, *options), 1,
        'the broker redis://:***@%s/0 can not be reached' % nowhere,
        'broker_url in [celery] of trytond.conf')
    assert time.monotonic() - started < 15
    assert 'secret' not in line
    assert scene.last_execution() is None
    assert scene.treated() == {}


def test_without_a_worker_the_batch_is_given_up_for_good(deserted):
    deserted.reset()
    deserted.records(3)
    started = time.monotonic()
    one_line(deserted.coop(*OK), 1, 'no worker answers for the queue "celery"',
        'start one: coop worker -d %s' % deserted.database)
    assert time.monotonic() - started < 20
    execution = deserted.last_execution()
    assert deserted.state(execution) == 'cancelled'

    # The message is still there; it finds that nobody wants it any more
    worker = deserted.worker(1)
    ended = re.compile(r'batch\.generate_all\[\S+\] succeeded')
    wait_for(lambda: ended.search(deserted.worker_log()), PATIENCE,
        "take the old message")
    assert deserted.state(execution) == 'cancelled'
    assert deserted.treated() == {}

    # And this one serves another queue
    deserted.configure({'batch.scenario.ok': {'queue': 'night'}})
    one_line(deserted.coop(*OK), 1, 'no worker answers for the queue "night"',
        'serves celery', '-Q night')
    worker.stop()
    assert deserted.treated() == {}


@only_in_process
def test_a_worker_needs_a_broker(scene):
    one_line(scene.coop('worker'), 1,
        'no broker is configured', 'broker_url in [celery]')


@only_workers
def test_a_worker_needs_its_database(scene):
    one_line(scene.coop('worker', '-d', 'absent'), 1,
        'the database "absent" can not be reached')


@only_in_process
@pytest.mark.parametrize('args, said', [
        (['--nonsense'], 'No such option'), (['-lloud'], '--loglevel'),
        (['--concurrency', 'many'], 'many'), (['--concurrency'], 'argument'),
        (['night'], 'extra configuration'),
        (['--logconf', '/nowhere'], '--logconf'), (['-v'], '-v'),
        (['--detach'], 'leave out --detach'), (['-D'], 'leave out --detach')])
def test_options_that_celery_does_not_take_are_refused(
        scene, tmp_path, args, said):
    options = conf(scene, tmp_path, 'celery', broker_url='redis://127.0.0.1:1')
    line = one_line(scene.coop(
            'worker', '--logfile', str(tmp_path / 'log'), *args, *options), 2)
    assert line.startswith('coop: ') and said in line


@only_workers
@pytest.mark.parametrize('logfile', ['-f%s', '--logfile=%s'])
def test_a_worker_takes_options_in_each_form_of_celery(
        scene, tmp_path, logfile):
    log = tmp_path / 'worker.log'
    worker = scene.start_coop(
        'worker', '-ldebug', '-ndebug@%h', '-Qnight', logfile % log)
    wait_for(lambda: log.exists() and ' ready.' in log.read_text(), PATIENCE,
        "start the worker")
    assert 'DEBUG/MainProcess' in log.read_text()
    worker.terminate()
    # Told to go, it has done what it should
    stdout, stderr = worker.communicate(timeout=PATIENCE)
    assert worker.returncode == 0, stderr
    assert 'the log of the worker goes to stderr' not in stderr


@only_workers
def test_a_worker_that_can_not_go_on_is_no_success(scene, tmp_path):
    options = conf(scene, tmp_path, 'celery',
        broker_url=re.sub(r'/\d+$', '/x', scene.broker_url))
    log = tmp_path / 'worker.log'
    one_line(scene.coop('worker', '--logfile', str(log), *options), 1,
        'can not be reached')
    options = conf(scene, tmp_path, 'celery',
        broker_url='redis://127.0.0.1:1/0',
        broker_connection_retry_on_startup='no')
    result = scene.coop('worker', '--logfile', str(log), *options)
    assert result.returncode == 1
    assert 'Shutting down' in log.read_text()
    options = conf(scene, tmp_path, 'celery',
        broker_url=scene.broker_url, accept_content='["nothing"]')
    one_line(scene.coop('worker', '--logfile', str(log), *options), 1,
        'the worker ended: SerializerNotInstalled',
        'check [celery] of trytond.conf')


# All is well: 0

@only_in_process
def test_the_help_of_each_command_is_there(scene):
    usage = scene.coop('--help')
    assert (usage.returncode, usage.stderr) == (0, '')
    for name in COMMANDS:
        assert re.search(r'^    %s ' % name, usage.stdout, re.MULTILINE)
        result = scene.coop(name, '--help')
        assert (result.returncode, result.stderr) == (0, '')
        assert result.stdout.startswith('usage: coop %s' % name)
    version = scene.coop('--version', check=True).stdout
    assert re.fullmatch(r'\d+\.\d+\.\d+\n', version)


@only_in_process
def test_the_help_of_a_batch_shows_each_value_with_its_origin(scene):
    scene.configure({'batch.scenario.ok': {'split_size': 12, 'number': 3}})
    result = scene.coop(*OK, '--help', check=True)
    assert result.stderr == ''
    assert 'Treat every record' in result.stdout
    own = r'\[batch\.scenario\.ok\] of %s' % re.escape(scene.batch_conf)
    for pattern in [
            r'--treatment-date +a date as YYYY-MM-DD +today +default',
            r'--text +a text +nothing +default',
            r'--number +a whole number +3 +%s' % own,
            r'split_size +12 +%s' % own,
            r'concurrency +64 +default',
            r'retry +5 +\[database\] of trytond\.conf']:
        assert re.search('^ *' + pattern, result.stdout, re.MULTILINE), pattern


@only_in_process
def test_the_list_shows_each_batch_with_what_it_does(scene):
    lines = scene.coop('list', check=True).stdout.splitlines()
    assert lines == sorted(lines)
    names = dict(line.split(None, 1) for line in lines)
    assert names['batch.scenario.ok'] == 'Treat every record'
    assert 'ir.ui.view.validate' in names


def test_a_check_that_finds_all_well_ends_with_0(scene):
    result = scene.coop('check')
    assert (result.returncode, result.stderr) == (0, '')
    words = {
        line.split()[0]: line.split()[1]
        for line in result.stdout.splitlines()}
    assert set(words.values()) == {'ok'}
    assert {'configuration', 'database', 'batches', 'broker', 'workers',
        'directories', 'schedule'} <= set(words)


def test_a_check_names_what_is_wrong_and_ends_with_1(scene, tmp_path):
    scene.configure({'default': {'split_sise': 4, 'root_dir': '/nowhere'}})
    options = conf(scene, tmp_path, 'batch', log_dir='/nowhere')
    result = scene.coop('check', *options)
    wrong = wrong_lines(result)
    assert sorted(wrong) == ['batches', 'directories']
    assert 'did you mean "split_size"?' in wrong['batches']
    assert '/nowhere' in wrong['directories']


def test_a_check_misses_a_worker(deserted, tmp_path, nowhere):
    deserted.reset()
    wrong = wrong_lines(deserted.coop('check'))
    assert sorted(wrong) == ['workers']
    assert 'coop worker -d %s' % deserted.database in wrong['workers']

    options = conf(deserted, tmp_path, 'celery',
        broker_url='redis://:secret@%s/0' % nowhere)
    result = deserted.coop('check', *options)
    assert sorted(wrong_lines(result)) == ['broker', 'workers']
    assert 'secret' not in result.stdout + result.stderr


@pytest.mark.parametrize('settings, said', [
        ({'maxmemory': '1'}, 'command not allowed'),
        ({'min_replicas_to_write': '1'}, 'NOREPLICAS')])
def test_a_broker_that_refuses_to_work_is_a_line_of_a_check(
        postgresql, tmp_path, settings, said):
    with Redis(tmp_path) as redis, \
            Scene(postgresql=postgresql, redis=redis) as scene:
        redis.configure(**settings)
        result = scene.coop('check')
        wrong = wrong_lines(result)
        assert sorted(wrong) == ['workers']
        assert said in wrong['workers']
        assert len(result.stdout.splitlines()) == 7


@only_in_process
def test_a_check_lists_all_that_is_wrong_with_batch_conf(scene):
    write(scene, """\
[default]
split_size = many
split_sise = 5
user = nobody
[batch.scenario.numbering]
split_size = 4
[batch.scenario.okk]
[batch.scenario.ok]
number = many
root_dir = /nowhere
[country.subdivision.label]
of_an_extension = 1
root_dir = /of/another/database
""")
    result = scene.coop('check')
    assert result.returncode == 1
    found = [
        line.split(None, 2) for line in result.stdout.splitlines()
        if 'WRONG' in line]
    told = [
        (name, re.sub(r'^\S+\.conf: |[;,(].*', '', text).strip())
        for name, _, text in found]
    assert sorted(told) == [
        ('batches', '[batch.scenario.numbering] split_size: is 4'),
        ('batches', '[batch.scenario.okk]: no batch has this name'),
        ('batches', '[default] split_sise: is no setting'),
        ('batches', 'batch "batch.scenario.ok": parameter "number" is "many" '
            'in [batch.scenario.ok] of %s' % scene.batch_conf),
        ('batches', 'setting "user": is "nobody"'),
        ('configuration', '[default] split_size: expected a whole number from '
            '1 to 1000000'),
        ('directories', 'root_dir of [batch.scenario.ok]: /nowhere: No such '
            'file or directory')]


def test_a_batch_that_is_not_activated_here_may_stand_in_batch_conf(scene):
    scene.records(1)
    label = 'country.subdivision.label'
    assert label not in scene.coop('list', check=True).stdout
    scene.configure({label: {'width': 40}, 'default': {'again': 'no'}})
    scene.batch('ok', status=0)
    scene.configure({label + 's': {'width': 40}})
    assert 'no batch has this name; did you mean "%s"?' % label in (
        scene.batch('ok', status=1).stderr)


@only_in_process
def test_a_check_goes_on_after_whatever_is_broken(scene, tmp_path):
    options = conf(scene, tmp_path, 'celery', broker_ulr='redis://localhost')
    result = scene.coop('check', *options)
    wrong = wrong_lines(result)
    assert 'did you mean "broker_url"?' in wrong['broker']
    words = [line.split()[:2] for line in result.stdout.splitlines()]
    assert ['configuration', 'ok'] in words
    assert ['directories', 'ok'] in words
    assert len(words) == 7


def wrong_lines(result):
    "Return the lines of a check that found something, by what it is."
    assert result.returncode == 1
    assert result.stderr == ''
    wrong = re.compile(r'(\w+) +WRONG +(.*)')
    return dict(
        m.groups() for line in result.stdout.splitlines()
        if (m := wrong.match(line)))


# A database of an earlier version

@pytest.mark.parametrize('table, column', [
        ('batch_execution', 'deaths'), ('batch_execution_chunk', 'careful'),
        ('batch_execution_input', '')])
def test_a_database_that_is_not_updated_is_named(scene, table, column):
    rename = 'ALTER TABLE %s RENAME %s TO %s'
    names = (table, 'COLUMN ' + column, 'absent') if column else (
        table, '', 'absent')
    back = (table, 'COLUMN absent', column) if column else (
        'absent', '', table)
    scene.execute(rename % names)
    try:
        for command in [OK, ['history'], ['show', '1'], ['list'], ['prune'],
                ['resume', '1'], [*OK, '--local'], [*OK, '--plan'],
                *([['worker']] if scene.on_workers else [])]:
            one_line(scene.coop(*command), 1,
                'coop: the database "%s" is not updated to batch %s: '
                'trytond-admin -d %s -u batch' % (
                    scene.database, metadata.version('trytond-batch'),
                    scene.database))
        wrong = wrong_lines(scene.coop('check'))
        assert 'is not updated to batch' in wrong['database']
    finally:
        scene.execute(rename % back)
    assert scene.coop('history').returncode == 0


def test_a_database_of_an_earlier_series_of_tryton_is_named(scene):
    scene.execute('ALTER TABLE res_user RENAME COLUMN signature TO absent')
    try:
        for command in [['list'], [*OK, '--local'], [*OK, '--plan'],
                *([['worker']] if scene.on_workers else [])]:
            # A process of its own: the others have loaded the database
            result = scene.run([script('coop'), *command], cwd='/')
            assert result.returncode == 1, command
            assert 'coop: the database "%s" is not updated to trytond %s: ' \
                'it has no column res_user.signature; trytond-admin -d %s ' \
                '--all\n' % (
                    scene.database, trytond.__series__, scene.database) \
                in result.stderr
            assert 'Traceback' not in result.stderr
    finally:
        scene.execute('ALTER TABLE res_user RENAME COLUMN absent TO signature')
    assert scene.coop('list').returncode == 0
    assert scene.last_execution() is None

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Wherever something is shown: no character that does more, and no secret."""
import json
import re

import pytest
from scene import one_line

EVIL = 'x\n[SUCCESS] all done\r\x1b[2J\x85\u2028\u202e\x9b'
READ = '''\
from trytond.pool import Pool
from trytond.transaction import Transaction
from trytond.modules.batch.transaction import load_pool
load_pool(database)
with Transaction().start(database, 0):
    for name in ['batch.execution', 'batch.execution.chunk']:
        Model = Pool().get(name)
        names = [n for n, f in Model._fields.items() if n != 'rec_name']
        records = Model.search([])
        print(Model.read([r.id for r in records], names))
        print([getattr(r, n) for r in records for n in names])
'''


def check_plain(text):
    "No line of it is one of EVIL, and no character moves the cursor."
    assert all(c.isprintable() or c in '\n\t' for c in text), text
    for line in text.splitlines():
        assert not re.match(r'\s*\[SUCCESS\] all done', line), line


def test_no_unit_nor_message_makes_a_line_of_its_own(scene):
    execution = scene.batch('strange', '--text', EVIL, status=1)
    assert execution.row['failed'] == 4
    shown = [
        execution.stdout, execution.stderr,
        *(scene.coop(*args).stdout for args in [
                ['show', str(execution.id)], ['history'], ['list'],
                ['batch', 'batch.scenario.strange', '--help']])]
    for text in shown:
        check_plain(text)
    assert r'x\n[SUCCESS] all done\r\x1b[2J' in execution.stderr
    for lines in [scene.log('strange'), scene.worker_log().splitlines()]:
        assert all(c.isprintable() or c == '\t' for l in lines for c in l)
        own = [l for l in lines if re.match(
                r'(\S+ #\S+ )?\[SUCCESS\] all done', l)]
        assert own == []
    # What the author writes in two lines are two, the second one indented
    assert re.search(
        r'^\S+ #\S+   \[SUCCESS\] all done', '\n'.join(scene.log('strange')),
        re.MULTILINE)
    for command in [['show', str(execution.id)], ['history']]:
        told = scene.coop(*command, '--json', check=True).stdout
        assert json.loads(told)
        check_plain(told)


@pytest.mark.parametrize('name', [EVIL, 'a\udcffb', '\x1b]0;title\a'])
def test_no_name_makes_a_line_of_its_own(scene, name):
    check_plain(one_line(scene.coop('batch', name), 2))
    check_plain(one_line(scene.coop('show', name), 2))
    check_plain(scene.coop('history', name).stderr)
    check_plain(one_line(scene.coop(
                'batch', 'batch.scenario.ok', '--' + name, name), 2))
    check_plain(one_line(scene.coop('show', '1', name), 2))


def test_no_line_of_a_configuration_makes_one_of_its_own(scene):
    for value in ['\x1b[2J', '\u2028[SUCCESS] all done']:
        scene.configure({'batch.scenario.ok': {'split_size': value}})
        check_plain(one_line(scene.coop('batch', 'batch.scenario.ok'), 1))
        scene.configure({'batch.scenario.ok': {'queue': value}})
        check_plain(scene.coop(
                'batch', 'batch.scenario.ok', '--help', check=True).stdout)
        scene.configure({value: {'queue': 'x'}})
        result = scene.coop('check')
        check_plain(result.stdout + result.stderr)


@pytest.fixture
def secretive(scene):
    scene.configure({'batch.scenario.secretive': {
                'token': 'hunter2-conf', 'split_size': 2,
                'context': '{"company": 1, "api_key": "hunter2"}'}})
    scene.records(5, bad=[3])
    return scene


PARAMETERS = [
    '--password', 'hunter2', '--options', '{"a": 1, "secret": "hunter2"}']


def test_no_secret_is_shown_anywhere(secretive):
    scene = secretive
    execution = scene.batch('secretive', *PARAMETERS, '--json', status=1)
    assert execution.failed_units == [3]
    shown = [
        execution.stdout, execution.stderr, '\n'.join(scene.log('secretive')),
        scene.worker_log()]
    for command in [
            ['show', str(execution.id)], ['show', str(execution.id), '--json'],
            ['history', '--json'], ['check'],
            ['batch', 'batch.scenario.secretive', '--help'],
            ['batch', 'batch.scenario.secretive', '--plan', *PARAMETERS]]:
        result = scene.coop(*command)
        shown.append(result.stdout + result.stderr)
    # What a client sees
    shown.append(scene.script(READ))
    for text in shown:
        assert 'hunter2' not in text, text
    assert 'password=***' in shown[2] and 'password' in shown[4]
    assert '"company": 1' in shown[4]
    # What raised it is told, all the same
    assert "'password': '***'" in shown[4]


def test_a_retry_has_the_secrets_that_its_success_forgets(secretive):
    scene = secretive
    execution = scene.batch('secretive', *PARAMETERS, status=1)
    assert 'hunter2' in str(scene.execute(
            'SELECT parameters, given, settings FROM batch_execution'))
    scene.execute('UPDATE batch_scenario_record SET bad = false')
    scene.configure({'batch.scenario.secretive': {'split_size': 2}})
    scene.coop('retry', str(execution.id), check=True)
    assert set(scene.treated()) == {1, 2, 3, 4, 5}
    row, = scene.execute(
        'SELECT * FROM batch_execution WHERE id > %s' % execution.id)
    assert 'hunter2' not in str(row) and '***' in str(row)
    assert 'options' in str(row)


def test_what_was_refused_keeps_no_secret(secretive):
    scene = secretive
    result = scene.coop(
        'batch', 'batch.scenario.secretive', *PARAMETERS, '--key', 'hunter2')
    assert 'parameter "key" is "***", expected a whole number' in one_line(
        result, 2)
    assert 'hunter2' not in str(scene.execute(
            'SELECT * FROM batch_execution'))


@pytest.mark.parametrize('args', [
        ['--password', 'hunter2', '--options', '{"secret": "hunter2"'],
        ['--password', 'two', 'hunter2'],
        ['-password=hunter2 hunter2'],
        ['--password', 'x', '--api-key=hunter2'],
        ])
def test_no_error_quotes_a_secret(secretive, args):
    result = secretive.coop('batch', 'batch.scenario.secretive', *args)
    assert 'hunter2' not in one_line(result, 2)


@pytest.mark.parametrize('line', [
        'context = {"api_key": "hunter3" oops', 'password hunter3',
        'context = {"key": "hunter3"} {', 'key: hunter3\nkey: hunter3',
        'pasword hunter3 password=hunter3'])
def test_no_error_of_batch_conf_quotes_a_secret(scene, line):
    # Another one: the log of the worker is looked through for hunter2
    with open(scene.batch_conf, 'a') as file:
        file.write('\n[batch.scenario.ok]\n%s\n' % line)
    result = scene.coop('batch', 'batch.scenario.ok')
    assert result.returncode in {1, 2}
    told = one_line(result, result.returncode)
    assert 'hunter3' not in told.replace('pasword hunter3', '')

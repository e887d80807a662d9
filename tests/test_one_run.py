# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Settings for one run: ``coop batch NAME --split-size 10``."""
import re

import pytest
from scene import Execution, Scene, one_line

from trytond.modules.batch.config import BatchConfig
from trytond.modules.batch.exceptions import SettingError, UsageError
from trytond.modules.batch.given import split_given
from trytond.modules.batch.parameters import from_arguments
from trytond.modules.batch.settings import SETTINGS, shown

# What a run is given


def given(line):
    return split_given('a.b', from_arguments(line.split()))


@pytest.mark.parametrize('line, settings, parameters', [
        ('', {}, {}),
        ('--limit 5 --split-size 10', {'split_size': 10}, {'limit': '5'}),
        ('--split_size=10 --retry none', {'split_size': 10, 'retry': None},
            {}),
        ('--context {"company":1}', {'context': {'company': 1}}, {}),
        ('--disabled', {'disabled': True}, {}),
        ('--disabled no', {'disabled': False}, {}),
        ('--no-disabled', {'disabled': False}, {}),
        ('--no-split-size', {}, {'no_split_size': None}),
        ])
def test_settings_and_parameters_are_told_apart(line, settings, parameters):
    assert given(line) == (settings, parameters)


@pytest.mark.parametrize('line, problem', [
        ('--split-size many', 'expected a whole number from 1 to 1000000, got '
            '"many"'),
        ('--split-size', 'needs a value, expected a whole number from 1 to '
            '1000000'),
        ('--no-disabled yes', 'takes no value with --no-disabled'),
        ('--disabled --no-disabled', 'is given twice'),
        ('--disabled maybe', 'expected yes or no, got "maybe"'),
        ])
def test_a_malformed_setting_is_refused(line, problem):
    with pytest.raises(SettingError) as error:
        given(line)
    name = 'disabled' if 'disabled' in line else 'split_size'
    assert isinstance(error.value, UsageError)
    assert str(error.value) == (
        'batch "a.b": setting "%s" on the command line: %s' % (name, problem))


@pytest.mark.parametrize('setting', SETTINGS.values(), ids=list(SETTINGS))
def test_every_setting_can_be_given(setting):
    option = '--' + setting.name.replace('_', '-')
    settings, parameters = split_given('a.b', from_arguments(
            [option, shown(setting.default)]))
    assert (settings, parameters) == ({setting.name: setting.default}, {})
    resolved = BatchConfig().resolve('a.b', given=settings)
    assert resolved[setting.name][1] == (
        'the command line' if setting.name != 'retry'
        else '[database] of trytond.conf')


def test_what_is_given_wins_over_all_but_what_the_class_fixed():
    config = BatchConfig('FILE', {
            'a.b': {'split_size': '3'}, 'default': {'queue': 'slow'}})
    resolved = config.resolve(
        'a.b', fixed={'concurrency': 1}, defaults={'user': 'batch'},
        given={'split_size': 4, 'queue': 'night', 'user': 'me',
            'concurrency': 1})
    assert resolved['split_size'] == (4, 'the command line')
    assert resolved['queue'] == ('night', 'the command line')
    assert resolved['user'] == ('me', 'the command line')
    assert resolved['concurrency'] == (1, 'fixed by the class')
    with pytest.raises(SettingError) as error:
        config.resolve('a.b', fixed={'concurrency': 1},
            given={'concurrency': 4})
    assert str(error.value) == (
        'batch "a.b": setting "concurrency" on the command line: is 4, but '
        'the batch is only right with 1; leave it out')


# A run

def row_of(text, name):
    found, = re.findall(r'^ *%s +(\S+) +(\S.*?) *$' % name, text, re.MULTILINE)
    return found


def test_a_setting_holds_for_one_run_and_is_told_with_its_origin(scene):
    scene.records(5)
    scene.configure({'batch.scenario.ok': {'split_size': 4}})
    execution = scene.batch(
        'ok', '--split-size', '2', '--number', '7', status=0)
    assert [c['size'] for c in execution.chunks] == [2, 2, 1]
    assert 'split_size=2 (the command line)' in '\n'.join(execution.log())
    shown_ = scene.coop('show', str(execution.id), check=True).stdout
    assert row_of(shown_, 'split_size') == ('2', 'the command line')
    assert row_of(shown_, 'number') == ('7', 'the command line')
    assert len(scene.batch('ok', status=0).chunks) == 2


def test_the_help_of_a_batch_shows_what_a_run_would_have(scene):
    result = scene.coop('batch', 'batch.scenario.ok', '--help',
        '--split-size', '2', check=True)
    assert row_of(result.stdout, 'split_size') == ('2', 'the command line')
    assert '--SETTING VALUE' in result.stdout
    one_line(scene.coop('batch', 'batch.scenario.numbering', '--help',
            '--split-size', '2'), 2, 'only right with 1')


def test_a_plan_and_a_dry_run_heed_it(scene):
    scene.records(10)
    plan = scene.coop('batch', 'batch.scenario.ok', '--plan', '--split-size',
        '4', check=True)
    assert plan.stdout == (
        'batch.scenario.ok: 10 selected, 3 chunks of 2 to 4 units; nothing '
        'was executed\n')
    execution = scene.batch('ok', '--dry-run', '--split-size', '4', status=0)
    assert len(execution.chunks) == 3
    assert scene.treated() == {}


@pytest.mark.parametrize('batch, line, text', [
        ('ok', '--split-size many', 'setting "split_size" on the command '
            'line: expected a whole number'),
        ('ok', '--split-sise 5', 'parameter "split_sise" is unknown; did you '
            'mean "split_size"?'),
        ('ok', '--user nobody', 'setting "user" on the command line: is '
            '"nobody", expected the login of an active user'),
        ('ok', '--root-dir /nowhere', 'setting "root_dir" on the command '
            'line: is "/nowhere", expected a directory'),
        ('numbering', '--split-size 4', 'setting "split_size" on the command '
            'line: is 4, but the batch is only right with 1; leave it out'),
        ])
def test_a_setting_that_can_not_be_is_refused_with_2(scene, batch, line, text):
    scene.records(3)
    for more in [], ['--plan']:
        one_line(scene.coop('batch', 'batch.scenario.%s' % batch,
                *line.split(), *more), 2, text)
    assert scene.treated() == {}
    assert scene.execute('SELECT id FROM batch_execution_chunk') == []


def test_a_malformed_setting_makes_no_execution(scene):
    one_line(scene.coop('batch', 'batch.scenario.ok', '--retry', 'often'), 2,
        'setting "retry" on the command line')
    assert scene.last_execution() is None


def test_a_retry_and_a_resume_keep_what_the_first_run_was_given(scene):
    scene.records(9, bad=[2, 3])
    first = scene.batch('bad', '--split-size', '1', '--concurrency', '1',
        '--max-failures', '1', '--context', '{"language": "en"}', status=1)
    assert first.row['left'] == 6
    scene.coop('resume', str(first.id))
    first = Execution(scene)
    assert (first.row['done'], first.row['failed']) == (7, 2)
    for _ in range(2):
        scene.coop('retry', str(scene.last_execution()))
        retried = Execution(scene)
        assert retried.id != first.id
        assert [c['size'] for c in retried.planned] == [1, 1]
        log = '\n'.join(retried.log())
        for text in ['split_size=1', 'concurrency=1', 'max_failures=1',
                'context={"language": "en"}']:
            assert '%s (the command line)' % text in log


def test_a_queue_for_one_run_is_asked_for_from_the_first_message_on(
        postgresql, redis):
    with Scene(postgresql=postgresql, redis=redis) as scene:
        scene.records(3)
        one_line(scene.coop('batch', 'batch.scenario.ok', '--queue', 'night'),
            1, 'no worker answers for the queue "night"', '-Q night')
        scene.worker(1, '-Q', 'night')
        scene.batch('ok', '--queue', 'night', status=0)
        assert scene.treated() == {1: 1, 2: 1, 3: 1}

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the authors of batches may write, and what they may not."""
import json

import pytest
from scene import PATIENCE

from devel.process import free_port, wait_for


def test_rows_come_back_as_they_were(scene):
    scene.records(7, bad=[5])
    scene.configure({'default': {'split_size': 3}})
    execution = scene.batch('rows', status=1)
    assert scene.treated() == {i: 1 for i in [1, 2, 3, 4, 6, 7]}
    assert scene.column('note')[7] == '2026-01-07 1.10'
    assert '7 duplicates dropped' in '\n'.join(execution.log())
    assert 'total: 6.6' in execution.stderr


def test_records_that_were_deleted_are_said_and_left_out(scene):
    scene.records(8, bad=[2])
    scene.configure({'default': {'split_size': 5}})
    execution = scene.batch('gone', status=1)
    assert scene.treated() == {i: 1 for i in [1, 3, 4, 5, 6, 7, 8]}
    assert 'left out, as deleted since the selection: 2 records: 9, 10' in (
        '\n'.join(execution.log()))
    assert '10 selected, 9 done, 1 failed' in execution.stderr


@pytest.mark.parametrize('name', ['months', 'months_of_records'])
def test_a_number_that_is_no_id_is_never_taken_for_a_deleted_record(
        scene, name):
    execution = scene.batch(name, status=1)
    assert '12 selected, 11 done, 1 failed' in execution.stderr
    assert 'February is not there.' in execution.stderr


@pytest.mark.parametrize('args, conf, treated, given', [
        ([], {}, 9, {}),
        (['--extra-args', '{"party": 5}'], {}, 5, {'party': 5}),
        ([], {'extra_args': '{"party": 5, "all": [1]}'}, 5,
            {'party': 5, 'all': [1]}),
        ])
def test_a_batch_with_the_arguments_of_long_ago_runs_unchanged(
        scene, args, conf, treated, given):
    scene.records(10)
    scene.configure({'batch.scenario.old_arguments': conf})
    execution = scene.batch(
        'old_arguments', '--treatment-date', '2026-01-31', *args, status=0)
    assert scene.treated() == {i: 1 for i in range(1, treated + 1)}
    assert set(scene.column('note').values()) - {None} == {
        '2026-01-31 %s' % given}
    assert len(execution.chunks) == 4
    assert max(c['size'] for c in execution.chunks) <= treated // 4 + 1


def test_a_dry_run_changes_nothing_and_says_what_would_fail(scene):
    scene.records(20, bad=[3, 11])
    scene.configure({'default': {'split_size': 4}})
    for name in ['files', 'bad_at_work', 'tasks']:
        execution = scene.batch(name, '--dry-run', status=1)
        assert '20 selected, 18 done, 2 failed' in execution.stderr
        assert 'dry run' in execution.stderr
        assert scene.treated() == {}
        assert scene.files() == []
        assert scene.execute('SELECT COUNT(*) FROM ir_queue') == [(0,)]
    refused = scene.coop('retry', str(execution.id))
    assert refused.returncode and 'dry run' in refused.stderr


def test_a_plan_only_selects_and_splits(scene):
    scene.records(10)
    scene.configure({'default': {'split_size': 4}})
    plan = scene.coop('batch', 'batch.scenario.ok', '--plan', check=True)
    assert plan.stdout == (
        'batch.scenario.ok: 10 selected, 3 chunks of 2 to 4 units; nothing '
        'was executed\n')
    plan = scene.coop('batch', 'batch.scenario.rows', '--plan', '--json')
    assert json.loads(plan.stdout) == {
        'batch': 'batch.scenario.rows', 'selected': 10, 'chunks': 3,
        'duplicates': 10}
    plan = scene.coop('batch', 'batch.scenario.ok', '--plan', '--numbr', '1')
    assert plan.returncode == 2 and 'did you mean "number"' in plan.stderr
    assert scene.last_execution() is None


def test_a_batch_without_a_model_treats_what_it_selects(scene):
    scene.records(5, bad=[3])
    scene.configure({'default': {'split_size': 2}})
    execution = scene.batch('own_rows', status=1)
    assert '5 selected, 4 done, 1 failed, 0 left' in execution.stderr
    assert scene.treated() == {i: 1 for i in [1, 2, 4, 5]}
    assert scene.column('note')[5] == 'line 5'
    plan = scene.coop('batch', 'batch.scenario.own_rows', '--plan', check=True)
    assert '5 selected, 3 chunks' in plan.stdout
    dry = scene.batch('own_rows', '--dry-run', status=1)
    assert '5 selected, 4 done, 1 failed' in dry.stderr
    scene.execute('UPDATE batch_scenario_record SET bad = false')
    retried = scene.coop('retry', str(execution.id), check=True)
    assert '1 selected, 1 done' in retried.stdout
    assert scene.treated() == {i: 1 for i in range(1, 6)}


def test_a_batch_without_a_model_may_name_one(scene):
    scene.records(5)
    execution = scene.batch('own_records', status=0)
    assert '5 selected, 5 done' in execution.stdout
    assert scene.treated() == {i: 1 for i in range(1, 6)}


def test_parameters_are_checked_and_derived_once(scene):
    scene.records(10, bad=[4])
    scene.configure({'default': {'split_size': 2}})
    execution = scene.batch(
        'parsing', '--first', '3', '--last', '7', '--names', 'x+y', status=1)
    assert scene.treated() == {i: 1 for i in [3, 5, 6, 7]}
    assert scene.column('note')[7] == 'x and y'
    assert sum('parses' in line for line in execution.log()) == 1
    scene.execute('UPDATE batch_scenario_record SET bad = false')
    scene.coop('retry', str(execution.id), check=True)
    assert scene.treated() == {i: 1 for i in range(3, 8)}
    plan = scene.coop('batch', 'batch.scenario.parsing', '--plan',
        '--first', '3', '--last', '7', check=True)
    assert '5 selected' in plan.stdout


@pytest.mark.parametrize('last, status, expected', [
        (1, 2, 'batch "batch.scenario.parsing", parse_params: The first one '
            'is behind the last one.; nothing was executed'),
        (99, 1, "KeyError: 'a slip of the pen'; nothing was executed"),
        (98, 1, 'batch "batch.scenario.parsing", parse_params: returned None, '
            'expected the dict of parameters; nothing was executed'),
        (97, 1, 'batch "batch.scenario.parsing", parse_params: gave a value '
            'that the ledger can not keep'),
        (96, 2, 'batch "batch.scenario.parsing": parameter "span" is '
            'missing; give --span with a text; nothing was executed'),
        ])
def test_what_parse_params_raises_refuses_the_start(
        scene, last, status, expected):
    scene.records(5)
    execution = scene.batch(
        'parsing', '--first', '2', '--last', str(last), status=status)
    # A command that sees it before it is over says so first
    said = [
        line for line in execution.stderr.splitlines()
        if not line.endswith(': started')]
    assert expected in said[0]
    assert scene.treated() == {}
    assert execution.chunks == []


@pytest.mark.parametrize('way, status', [
        ('right', 0), ('one', 1), ('two', 1), ('three', 1)])
def test_what_the_selection_can_not_be_given_by_position_is_refused(
        scene, way, status):
    scene.records(5)
    execution = scene.batch('positional', '--way', way, status=status)
    if status:
        assert 'TypeError: super().select_ids of "batch.scenario.positional"' \
            in execution.stderr
        assert (
            'expected treatment_date, and behind it extra_args; give all '
            'others by name, as super().select_ids(treatment_date, x=x)'
            ) in execution.stderr
        assert scene.treated() == {}
    else:
        assert scene.treated() == {1: 1, 2: 1}


def test_what_execute_returns_is_never_ignored(scene):
    scene.records(2)
    execution = scene.batch('returning', status=1)
    assert 'returned 5, expected None or a dict of texts and numbers' \
        in execution.stderr


def test_whatever_is_logged_meanwhile_is_in_the_log_of_the_batch(scene):
    scene.records(2)
    execution = scene.batch('own_logger', status=0)
    lines = execution.log()
    label = '%s #%s.1' % (scene.database, execution.id)
    assert sum('INFO' in line and line.endswith(
            '%s treats [1, 2]' % label) for line in lines) == 1
    assert sum('WARNING' in line and line.endswith('%s two' % label)
        for line in lines) == 1
    assert sum(line == '%s   lines password=***' % label
        for line in lines) == 1
    assert not any('too much' in line for line in lines)
    assert 'treats' not in execution.stderr


@pytest.mark.parametrize('stage', ['workers'], indirect=True)
def test_others_begin_and_end_while_parameters_are_derived(scene, tmp_path):
    scene.records(3)
    command = scene.start_batch('slow_parsing', '--directory', str(tmp_path))
    wait_for((tmp_path / 'parses').exists, PATIENCE, "derive parameters")
    scene.batch('ok', status=0, timeout=30)
    assert scene.treated() == {i: 1 for i in [1, 2, 3]}
    (tmp_path / 'go').touch()
    assert command.wait(PATIENCE) == 0
    assert scene.treated() == {i: 2 for i in [1, 2, 3]}


# Mails

@pytest.mark.parametrize('stage', ['in-process'], indirect=True)
def test_a_mail_is_lost_without_strict_and_fails_its_unit_with_it(scene):
    scene.records(3)
    # No server is there
    env = {'TRYTOND_EMAIL__URI': 'smtp://127.0.0.1:%s' % free_port()}
    lost = scene.batch('mailing', env=env)
    assert (lost.row['done'], lost.row['failed']) == (3, 0)
    # Not in the log of the batch: its chunk is over
    assert 'fail to connect to' in lost.stderr
    assert 'fail to connect to' not in '\n'.join(lost.log())
    kept = scene.batch('mailing', '--strict', env=env)
    assert (kept.row['done'], kept.row['failed']) == (0, 3)

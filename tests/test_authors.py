# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the authors of batches may write, and what they may not."""
import json

import pytest

from trytond.modules.batch import BatchRoot, BatchRootNoSelect
from trytond.modules.batch.exceptions import DefinitionError


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


class Right(BatchRoot):
    __name__ = 'test.right'

    @classmethod
    def get_batch_main_model_name(cls):
        return 'ir.model'

    @classmethod
    def execute(cls, objects, ids):
        pass


class NoExecute(BatchRoot):
    __name__ = 'test.wrong'

    @classmethod
    def get_batch_main_model_name(cls):
        return 'ir.model'


class NoModel(BatchRoot):
    __name__ = 'test.wrong'

    @classmethod
    def execute(cls, objects, ids):
        pass


class NoHook(BatchRootNoSelect):
    __name__ = 'test.wrong'


class NoClassMethod(Right):
    __name__ = 'test.wrong'

    def execute(self, objects, ids):
        pass


class NoObjects(Right):
    __name__ = 'test.wrong'

    @classmethod
    def execute(cls):
        pass


class OddType(Right):
    __name__ = 'test.wrong'

    @classmethod
    def execute(cls, objects, ids, when: object):
        pass


class TakenName(Right):
    __name__ = 'test.wrong'

    @classmethod
    def execute(cls, objects, ids, json=False):
        pass


class UnknownSetting(Right):
    __name__ = 'test.wrong'
    default_config_items = {'split_siz': 10}


class WrongSetting(Right):
    __name__ = 'test.wrong'
    fixed_config_items = {'concurrency': 'one'}


def check(cls):
    cls._default_config_items = cls._merged('default_config_items')
    cls._check()


def test_a_class_that_works_is_accepted():
    check(Right)


@pytest.mark.parametrize('cls, texts', [
        (NoExecute, ['execute', 'is missing']),
        (NoModel, ['get_batch_main_model_name', 'is missing']),
        (NoHook, ['execute', 'is missing']),
        (NoClassMethod, ['execute', 'must be a classmethod']),
        (NoObjects, ['execute', 'objects, ids']),
        (OddType, ['execute', 'when', 'object']),
        (TakenName, ['json', 'rename it']),
        (UnknownSetting, ['split_siz', 'did you mean "split_size"?']),
        (WrongSetting, ['fixed_config_items', 'concurrency',
                'expected a whole number of 1 or more, got "one"']),
        ], ids=lambda value: getattr(value, '__name__', ''))
def test_a_class_that_can_not_work_is_refused(cls, texts):
    with pytest.raises(DefinitionError) as raised:
        check(cls)
    for text in ['test.wrong', *texts]:
        assert text in str(raised.value)

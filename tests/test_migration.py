# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""doc/migration.rst: each of its lines is shown by a test.

What runs has the name of its test here.  What is refused has a message, which
a test compares with the one that really comes.
"""
import ast
import re
from pathlib import Path

import pytest
from scene import one_line

from trytond.modules.batch.settings import SETTINGS

TESTS = Path(__file__).parent
only_in_process = pytest.mark.parametrize(
    'stage', ['in-process'], indirect=True)
TEXT = (TESTS.parent / 'doc' / 'migration.rst').read_text(encoding='utf-8')

#: what was written before -> the test that shows what becomes of it
SHOWN = {
    "execute(cls, objects, ids, treatment_date)":
        'test_adopted.test_of_2014_with_sql_of_its_own',
    "execute(cls, objects, ids), and select_ids(cls)":
        'test_authors.test_a_batch_without_a_model_may_name_one',
    "extra_args['kind']":
        'test_authors.'
        'test_a_batch_with_the_arguments_of_long_ago_runs_unchanged',
    "get_batch_args_name(), get_batch_name()":
        'test_adopted.test_of_2014_with_sql_of_its_own',
    "another getter of the class for a setting":
        'test_migration.test_what_is_not_called_is_not_refused',
    "cls._default_config_items.update(...) in __setup__":
        'test_adopted.'
        'test_a_base_class_without_a_name_and_rows_that_are_extended',
    "a setting that batch.conf must not change, by convention":
        'test_one_run.'
        'test_what_is_given_wins_over_all_but_what_the_class_fixed',
    "get_conf_item('split_size')":
        'test_retired.test_the_conf_item_of_a_parameter_is_its_value',
    "return cursor.fetchall() in select_ids":
        'test_adopted.test_of_2014_with_sql_of_its_own',
    "super().select_ids(treatment_date), looked into with x[0], or with + "
    "[(4,)]":
        'test_adopted.test_the_rows_of_the_root_are_looked_into',
    "get_batch_ordering(), which was never called":
        'test_migration.test_the_order_of_the_selection_is_asked_for',
    "a record that is selected twice, and was processed twice":
        'test_authors.test_rows_come_back_as_they_were',
    "a list in select_ids":
        'test_adopted.'
        'test_groups_and_an_extension_by_another_class_of_the_pool',
    "BatchRootNoSelect, without a select_ids of its own":
        'test_adopted.test_an_item_of_batch_conf_of_its_own_is_a_parameter',
    "a file that is moved to the archive in select_ids":
        'test_adopted.'
        'test_its_files_are_archived_where_it_is_written_as_now',
    "logger = logging.getLogger(__name__), logger = "
    "batch.get_logger(__name__)":
        'test_adopted.'
        'test_a_base_class_without_a_name_and_rows_that_are_extended',
    "logger.success(...) at the end of execute":
        'test_adopted.test_an_item_of_batch_conf_of_its_own_is_a_parameter',
    "try and except around each record, with a log line":
        'test_migration.test_what_is_caught_is_not_known',
    "open(cls.generate_filepath(name), 'w')":
        'test_migration.test_a_file_that_is_opened_stays',
    "kwargs.get('kind'), which another hook names":
        'test_adopted.'
        'test_groups_and_an_extension_by_another_class_of_the_pool',
    "parse_params(cls, params)":
        'test_authors.test_parameters_are_checked_and_derived_once',
    "a class with metaclass=PoolMeta that extends a batch":
        'test_adopted.'
        'test_groups_and_an_extension_by_another_class_of_the_pool',
    "[x[0] for x in ids] in convert_to_instances":
        'test_adopted.test_ids_are_rows_for_a_convert_to_instances_of_its_own',
    "BatchRootNoSelect with a select_ids of its own":
        'test_adopted.test_the_rows_of_a_batch_without_a_model_stay_rows',
    "a second batch that merges the files of the first, or sends its mail":
        'test_finish.test_it_is_called_once_with_the_outcome_and_the_files',
    "the name of the batch, handed to code that asks who calls it":
        'test_start.test_it_is_started_with_the_commit_of_its_transaction',
    "coop batch NAME; coop batch NEXT":
        'test_adopted.test_a_file_of_all_records_or_none',
    "%% for a percent sign":
        'test_migration.test_a_percent_sign_has_no_special_meaning',
    "all batches in the log of the worker":
        'test_logging.test_batches_write_only_to_the_file_of_their_name',
    "a file that is overwritten by the next of its name":
        'test_output.test_a_name_taken_gets_a_number',
    "results that are collected from a result backend, queues that are "
    "counted":
        'test_report.'
        'test_show_tells_some_failures_and_how_many_more_there_are',
    }


def words(text):
    return ' '.join(text.split())


def lines():
    "Yield the cells of each line, of the tables that have a message."
    for table in re.findall(
            r'\.\. list-table::\n(?:   :.*\n)+\n((?:   .*\n|\n)+)', TEXT):
        header, *rest = [
            tuple(map(words, re.split(r'\n     - ', row)))
            for row in re.split(r'(?:^|\n)   \* - ', table)[1:]]
        if header[-1] == 'Message':
            yield from rest


def is_silent(message):
    return message.startswith('none')


LINES = list(lines())


def test_the_lines_are_found():
    assert len(LINES) > 60
    assert all(len(cells) == 3 and all(cells) for cells in LINES)


def test_what_gives_no_message_is_shown_by_a_test():
    assert {before.replace('``', '') for before, _, message in LINES
        if is_silent(message)} == set(SHOWN)
    for place in SHOWN.values():
        file, _, name = place.partition('.')
        assert '\ndef %s(' % name in (
            TESTS / ('%s.py' % file)).read_text(encoding='utf-8'), place


def constants():
    "Yield the texts in the tests."
    for path in TESTS.glob('test_*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield words(node.value)


def test_each_message_is_compared_by_a_test():
    found = list(constants())
    missing = [
        message for _, _, messages in LINES if not is_silent(messages)
        for message in re.findall('``(.+?)``', messages)
        if not any(message in text for text in found)]
    assert missing == []


def test_the_other_defaults_are_those_of_the_settings():
    table = TEXT[TEXT.index('Other defaults\n'):]
    rows = {
        words(row[0]).replace('``', ''): words(row[2]).replace('``', '')
        for row in (
            re.split(r'\n     - ', row)
            for row in re.split(r'\n   \* - ', table)[2:])}
    assert rows.pop('split_mode, split_size') == '%s, %s' % (
        SETTINGS['split_mode'].default, SETTINGS['split_size'].default)
    assert rows.pop('isolate') == 'yes' and SETTINGS['isolate'].default
    assert rows == {
        'concurrency': '64', 'user': 'root', 'context': '{}',
        'root_dir': 'none', 'overlap': 'fail'}
    for name, text in rows.items():
        assert str(SETTINGS[name].default).lower() == text


# What is shown by no other test

@only_in_process
def test_the_variable_of_before_is_not_overlooked(scene, tmp_path):
    path = tmp_path / 'trytond.conf'
    path.write_text(re.sub(
            r'(?m)^config_file.*\n', '',
            Path(scene.trytond_conf).read_text(encoding='utf-8')))
    env = {'TRYTOND_BATCH_CONFIG': scene.batch_conf}
    one_line(scene.coop('-c', str(path), 'list', env=env), 1,
        'TRYTOND_BATCH_CONFIG: is a variable of before; name the file as '
        'config_file in [batch] of trytond.conf')
    scene.coop('list', env=env, check=True)


@only_in_process
def test_what_is_not_called_is_not_refused(scene):
    scene.records(4)
    execution = scene.batch('adopted.ways', status=0)
    assert [c['size'] for c in execution.chunks] == [4]


@only_in_process
def test_the_order_of_the_selection_is_asked_for(scene):
    scene.records(3)
    execution = scene.batch('adopted.ways', '--split-size', '1', status=0)
    assert [c['units'] for c in execution.chunks] == [[3], [2], [1]]


@only_in_process
def test_what_is_caught_is_not_known(scene):
    scene.records(3, bad=[2])
    scene.batch('adopted.ways', '--way', 'catch', status=0)
    assert scene.treated() == {1: 1, 2: 1, 3: 1}


@only_in_process
def test_a_file_that_is_opened_stays(scene):
    scene.records(1, bad=[1])
    (Path(scene.out_dir) / 'batch.scenario.adopted.ways').mkdir()
    scene.batch('adopted.ways', '--way', 'open', status=1)
    assert [p.name for p in scene.files()] == ['opened.txt']


@only_in_process
@pytest.mark.parametrize('way, status, told', [
        ('commit', 1, 'remove that, as the transaction is committed with the '
            'end of its chunk'),
        ('strptime', 1,
            'strptime() argument 1 must be str, not datetime.date'),
        ('assert', 2,
            "parse_params: assert params.get('kind') or params['way']"),
        ])
def test_what_is_refused_when_it_is_called(scene, way, status, told):
    scene.records(1)
    execution = scene.batch('adopted.ways', '--way', way, status=status)
    assert told in execution.stderr


@only_in_process
def test_an_empty_selection_has_no_chunk(scene):
    execution = scene.batch('adopted.ways', status=0)
    assert '0 selected (nothing to do)' in execution.stdout
    assert execution.chunks == []


@only_in_process
def test_a_percent_sign_has_no_special_meaning(scene):
    scene.configure({'batch.scenario.adopted.snapshot': {'label': '%%5%'}})
    scene.batch('adopted.snapshot', status=0)
    assert list(scene.column('note').values()) == ['%%5%']


@only_in_process
def test_what_batch_conf_has_of_before_stops_every_batch(scene):
    path = scene.batch_conf
    scene.configure({'default': {'job_size': '20'}, 'shop.renew': {}})
    for command in [['batch', 'batch.scenario.ok'], ['check']]:
        result = scene.coop(*command)
        assert result.returncode == 1
        said = (result.stdout + result.stderr).replace(path, 'FILE')
        assert 'FILE: [default] job_size: is a setting of before; write ' \
            'split_size = 20' in said
    assert '[shop.renew]: no batch has this name' in said

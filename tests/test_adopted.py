# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Batches as people wrote them for the older BatchRoot: what becomes of each.

Each one runs right, or says what to write instead.  Those that are refused
when the pool is set up are in test_retired.py.
"""
import pytest

only_in_process = pytest.mark.parametrize(
    'stage', ['in-process'], indirect=True)


def once(*ids):
    return {id: 1 for id in ids}


def log_of(scene, name):
    return '\n'.join(scene.log('adopted.%s' % name))


@only_in_process
def test_of_2014_with_sql_of_its_own(scene):
    scene.records(6)
    scene.batch(
        'adopted.terminate', '--treatment-date', '2026-01-31', status=0)
    assert scene.treated() == once(1, 2, 3, 4)
    assert set(scene.column('note').values()) == {None, 'ended 2026-01-31'}


@only_in_process
def test_a_base_class_without_a_name_and_rows_that_are_extended(scene):
    scene.records(5)
    execution = scene.batch(
        'adopted.hello', '--extra-args', '{"mark": "?"}', status=0)
    assert [c['units'] for c in execution.chunks] == [[1, 2], [4]]
    assert scene.treated() == once(1, 2, 4)
    assert set(scene.column('note').values()) == {None, 'hello?'}
    # By a logger of its own
    assert '%s #%s.1 2 records said hello' % (
        scene.database, execution.id) in log_of(scene, 'hello')


def test_the_rows_of_the_root_are_looked_into(scene):
    scene.records(4)
    execution = scene.batch('adopted.bye', status=0)
    # A list is a group, also of one
    assert [c['units'] for c in execution.chunks] == [[
            {'group': [1]}, {'group': [3]}, {'group': [4]}]]
    assert scene.treated() == once(1, 3, 4)


def test_a_generator_takes_the_rows_of_the_root_apart(scene):
    scene.records(3)
    scene.batch('adopted.pairs', status=0)
    assert scene.treated() == once(1, 2, 3)
    assert scene.column('note') == {1: 'pair 1', 2: 'pair 2', 3: 'pair 3'}


def test_ids_are_rows_for_a_convert_to_instances_of_its_own(scene):
    scene.records(3)
    execution = scene.batch('adopted.searching', status=0)
    assert [c['units'] for c in execution.chunks] == [[1, 2, 3]]
    assert scene.treated() == once(1, 2, 3)
    assert [p.read_text() for p in scene.files()] == ['[1, 2, 3] 1']


@only_in_process
def test_a_list_that_is_expected_of_the_root_is_to_be_made(scene):
    scene.records(3)
    execution = scene.batch('adopted.extending', status=1)
    assert (
        'the selection failed: TypeError: super().select_ids gives ids one by '
        'one, and no list with extend; make one: '
        'list(super().select_ids(...)); nothing was executed'
        ) in execution.stderr
    assert scene.treated() == {}


def test_groups_and_an_extension_by_another_class_of_the_pool(scene):
    scene.records(9, bad=[7])
    execution = scene.batch('adopted.together', '--kind', 'odd', status=1)
    # Units are [1, 3], [5, 7], [9], and the extension leaves the first out
    assert [c['units'] for c in execution.chunks] == [
        [{'group': [5, 7]}], [{'group': [9]}]]
    assert '2 selected, 1 done, 1 failed' in execution.stderr
    assert scene.treated() == once(9)
    assert scene.column('note')[9] == 'odd, rest 0, HERE'
    scene.execute('UPDATE batch_scenario_record SET bad = false')
    scene.coop('retry', str(execution.id), check=True)
    assert scene.treated() == once(5, 7, 9)


@only_in_process
@pytest.mark.parametrize('args, told', [
        (['--kind', 'all'], 'Invalid kind'),
        (['--kind', 'odd', '--size', '5'],
            "assert int(params.get('size')) < 5"),
        (['--kind', 'odd', '--size', 'two'],
            'parameter "size" is "two", expected a whole number'),
        ])
def test_what_parse_params_asserts_refuses_the_start(scene, args, told):
    scene.records(9)
    execution = scene.batch('adopted.together', *args, status=2)
    assert told + '; nothing was executed' in execution.stderr
    assert 'selection failed' not in execution.stderr
    assert execution.chunks == []


@pytest.fixture
def directory(tmp_path):
    (tmp_path / 'a.csv').write_text('1\n2\n')
    (tmp_path / 'b.csv').write_text('3\n')
    return tmp_path


def test_the_rows_of_a_batch_without_a_model_stay_rows(scene, directory):
    scene.records(4)
    execution = scene.batch(
        'adopted.load', '--directory', str(directory), status=0)
    assert scene.treated() == once(1, 2, 3)
    assert execution.row['selected'] == 2
    assert {p.name: p.read_text() for p in scene.files()} == {
        'a.csv.out': '2\n', 'b.csv.out': '1\n'}


def test_and_they_are_its_objects_also_in_a_retry(scene):
    scene.records(1)
    execution = scene.batch('adopted.rows', status=1)
    assert scene.treated() == once(1)
    assert execution.row['duplicates'] == 1
    assert execution.failed_units == [{'row': ['23']}]
    scene.execute("INSERT INTO batch_scenario_record (id, name, treated) "
        "VALUES (23, 'record 23', 0)")
    scene.coop('retry', str(execution.id), check=True)
    assert scene.treated() == once(1, 23)


@only_in_process
def test_its_files_are_archived_where_it_is_written_as_now(scene, directory):
    scene.records(4)
    execution = scene.batch(
        'adopted.files', '--directory', str(directory), status=0)
    assert scene.treated() == once(1, 2, 3)
    assert execution.row['selected'] == 3
    assert {p.relative_to(directory).as_posix()
        for p in directory.rglob('*.csv')} == {
            'archive/a.csv', 'archive/b.csv'}


@only_in_process
def test_a_file_of_all_records_or_none(scene):
    scene.records(5, bad=[3])
    execution = scene.batch('adopted.whole', status=1)
    assert '5 selected, 0 done, 5 failed' in execution.stderr
    assert scene.treated() == {} and scene.files() == []
    scene.execute('UPDATE batch_scenario_record SET bad = false')
    scene.coop('retry', str(execution.id), check=True)
    assert scene.treated() == once(1, 2, 3, 4, 5)
    file, = scene.files()
    assert file.read_text().count('record') == 5


@only_in_process
@pytest.mark.parametrize('conf, args, label', [
        ({}, [], 'none'), ({'label': 'conf'}, [], 'conf'),
        ({'label': 'conf'}, ['--label', 'given'], 'given')])
def test_an_item_of_batch_conf_of_its_own_is_a_parameter(
        scene, conf, args, label):
    scene.configure({'batch.scenario.adopted.snapshot': conf})
    execution = scene.batch('adopted.snapshot', *args, status=0)
    assert '1 selected, 1 done' in execution.stdout
    assert list(scene.column('note').values()) == [label]
    file, = scene.files()
    assert file.read_text() == label
    assert '[SUCCESS] snapshot ' in log_of(scene, 'snapshot')


@only_in_process
def test_what_no_hook_names_is_no_parameter(scene):
    scene.records(2)
    execution = scene.batch('adopted.unnamed', '--word', 'x', status=2)
    assert (
        'parameter "word" is unknown; the batch has treatment_date, '
        'extra_args: the arguments that its hooks name') in execution.stderr
    scene.configure({'batch.scenario.adopted.unnamed': {'word': 'x'}})
    execution = scene.batch('adopted.unnamed', status=1)
    assert '[batch.scenario.adopted.unnamed] word: is no setting, and no ' \
        'parameter of this batch' in execution.stderr
    assert scene.treated() == {}


@only_in_process
@pytest.mark.parametrize('name, told', [
        ('numbers', "TypeError: 'int' object is not subscriptable"),
        ('listing', 'execute: returned [1], expected None or a dict of texts '
            'and numbers, to be summed up'),
        ('formats', 'write_batch_output: is given 3 values, expected what to '
            'write and a name; a format is the end of the name: '
            'write_batch_output(text, "report.csv")'),
        ('queue', "has no attribute 'enqueue'; it is a method of before; "
            'write start(**parameters), which selects by itself'),
        ])
def test_what_is_refused_when_it_is_called_says_what_to_write(
        scene, name, told):
    scene.records(1)
    execution = scene.batch('adopted.' + name, status=1)
    assert told in execution.stderr
    assert scene.treated() == {} and scene.files() == []

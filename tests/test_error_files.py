# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What failed of a file is given back as a file, and is settled with it."""
import os

import pytest
from scene import Execution
from test_inputs import Inbox, names, told

from trytond.modules.batch.directories import content_of, identity


@pytest.fixture
def inbox(scene, tmp_path):
    path = tmp_path / 'in'
    path.mkdir()
    return Inbox(scene, path)


def states(scene):
    return [row for row in scene.execute(
            'SELECT state, reason FROM batch_failure ORDER BY id')]


def test_failed_rows_are_a_file_of_the_same_format(scene, inbox):
    scene.records(9, bad=[2, 4, 8])
    inbox.put('a.csv', 1, 2, 3, 4)
    inbox.put('b.csv', 5, 6)
    inbox.put('c.csv', 7, 8)
    execution = inbox.batch('lines', '--errors', 'errors', status=1)
    errors = inbox.path / 'errors'
    assert names(errors) == ['a.csv', 'c.csv']
    assert (errors / 'a.csv').read_text() == (
        '2;2026-01-31;1.10;"The record ""record 2"" is bad."\n'
        '4;2026-01-31;1.10;"The record ""record 4"" is bad."\n')
    # They are settled with it: the file that came in is done
    assert inbox.archived == ['a.csv', 'b.csv', 'c.csv']
    assert inbox.files == []
    assert sorted(states(scene)) == [
        ('dismissed', 'written to "%s/%s"' % (errors, name))
        for name in ['a.csv', 'a.csv', 'c.csv']]
    told(execution, '2 failed rows are written to "%s/a.csv"' % errors)
    assert 'failed rows are written to "%s/a.csv", "%s/c.csv"' % (
        errors, errors) in execution.stderr
    assert 'coop retry' not in execution.stderr
    shown = scene.coop('show', str(execution.id)).stdout
    assert '\nfiles:\n  %s/a.csv\n' % errors in shown
    assert 'dismissed: written to "%s/a.csv"' % errors in shown
    # Corrected, it comes in again; the next one with errors gets a number
    scene.execute(
        'UPDATE batch_scenario_record SET bad = false WHERE id = 2')
    inbox.put('a.csv', 2, 4)
    inbox.batch('lines', '--errors', 'errors', status=1)
    assert names(errors) == ['a.csv', 'a_1.csv', 'c.csv']
    assert (errors / 'a_1.csv').read_text().startswith('4;2026-01-31')
    assert inbox.archived == ['a.csv', 'a_1.csv', 'b.csv', 'c.csv']
    assert scene.treated() == {i: 1 for i in [1, 2, 3, 5, 6, 7]}


def test_a_batch_may_have_a_format_of_its_own(scene, inbox, tmp_path):
    scene.records(3, bad=[2])
    inbox.put('a.csv', 1, 2, 3)
    inbox.batch('payments', '--errors', str(tmp_path / 'wrong'), status=1)
    assert (tmp_path / 'wrong' / 'a.csv').read_text() \
        == '2 2: The record "record 2" is bad.\n'


@pytest.mark.parametrize('way, why', [
        ('none', 'the failed rows of "a.csv" are not written'),
        ('crash', 'the failed rows can not be written: ValueError: no format'),
        ])
def test_what_can_not_be_written_is_retried(scene, inbox, way, why):
    scene.records(3, bad=[2])
    inbox.put('a.csv', 1, 2, 3)
    execution = inbox.batch(
        'payments', '--errors', 'errors', '--way', way, status=1)
    told(execution, why, '1 of its 3 rows failed: coop retry')
    assert names(inbox.path / 'errors') == []
    assert states(scene) == [('open', None)]
    scene.execute('UPDATE batch_scenario_record SET bad = false')
    scene.coop('retry', str(execution.id), check=True)
    assert inbox.archived == ['a.csv']
    assert scene.treated() == {1: 1, 2: 1, 3: 1}


def test_what_failed_again_in_a_retry_is_written_then(scene, inbox):
    scene.records(40, bad=range(1, 41))
    scene.configure({'default': {'split_size': 20, 'concurrency': 1}})
    inbox.put('a.csv', *range(1, 31))
    first = inbox.batch('lines', '--errors', 'errors', status=1)
    # It was stopped: that is no fault of the rows
    assert names(inbox.path / 'errors') == []
    scene.execute(
        'UPDATE batch_scenario_record SET bad = false WHERE id != 3')
    assert scene.coop('retry', str(first.id)).returncode == 1
    assert names(inbox.path / 'errors') == []
    # Rows are left in the first one
    scene.coop('resume', str(first.id))
    second = Execution(scene)
    assert states(scene).count(('open', None)) == 1
    assert inbox.files == ['a.csv']
    scene.coop('retry', str(second.id))
    assert names(inbox.path / 'errors') == ['a.csv']
    assert inbox.archived == ['a.csv']


@pytest.mark.parametrize('errors, status, text', [
        ('.', 2, 'parameter "errors" is "{}", expected another directory'),
        ('a.csv', 1, 'parameter "errors" is "{}/a.csv", which is no '
            'directory'),
        ('link', 1, 'parameter "errors" is "{}/link", which is a link'),
        ])
def test_a_directory_of_no_use_is_told(scene, inbox, errors, status, text):
    scene.records(1)
    inbox.put('a.csv', 1)
    (inbox.path / 'link').symlink_to(inbox.path.parent)
    execution = inbox.batch('lines', '--errors', errors, status=status)
    assert text.format(inbox.path) in execution.stderr
    assert 'nothing was executed' in execution.stderr
    assert scene.treated() == {}


def test_a_rehearsal_writes_no_errors(scene, inbox):
    scene.records(2, bad=[2])
    inbox.put('a.csv', 1, 2)
    inbox.batch('lines', '--errors', 'errors', '--dry-run', status=1)
    assert not (inbox.path / 'errors').exists()


# What was rewritten, and long names

def test_a_file_that_was_rewritten_in_place_is_not_done(scene, inbox):
    scene.records(3)
    inbox.put('a.csv', 1, 2)
    path = inbox.path / 'a.csv'
    before, content = identity(path), content_of(path)
    # With the same size, and with its time given back
    execution = inbox.batch('lines', '--rewrite', str(path), status=0)
    assert identity(path) == before and content_of(path) != content
    assert inbox.files == ['a.csv']
    told(execution, '"a.csv" is not archived: it was changed after')


@pytest.mark.parametrize('name', [
        251 * 'a' + '.csv', 83 * '\u20ac' + 'ab.csv',
        'a.' + 249 * 'b' + '.csv'])
def test_names_of_any_length_are_archived(scene, inbox, name):
    assert len(name.encode()) == 255
    scene.records(3, bad=[3])
    for id in [1, 2]:
        inbox.put(name, id)
        inbox.batch('lines', status=0)
    first, second = sorted(inbox.archived, key=lambda n: n != name)
    assert first == name
    assert len(second.encode()) in range(253, 256)
    assert second.endswith('_1.csv')
    inbox.put(name, 3)
    inbox.batch('lines', '--errors', 'errors', status=1)
    assert names(inbox.path / 'errors') == [name]
    assert os.listdir(inbox.path / 'errors') == [name]


CLOSE = '''\
from unittest import mock
from trytond.modules.batch import ledger
from trytond.modules.batch.engine import ending, selection, turn
from trytond.modules.batch.transaction import load_pool, transact
load_pool(database)
execution = transact(database, lambda cursor: ledger.executions.create(
    cursor, 'batch.scenario.lines', {
        'directory': sys.argv[1], 'errors': 'errors'}))
todo = []
def select():
    selection.select_and_plan(database, 'batch.scenario.lines', execution,
        send=lambda _, chunk, number=None: todo.append(chunk))
with mock.patch.object(turn, 'close'):
    select()
    while todo:
        turn.take_turn(database, execution, todo.pop(),
            send=lambda _, chunk, number=None: todo.append(chunk))
def state():
    print(transact(database, lambda cursor: ledger.executions.columns(
        cursor, execution, 'state'))['state'])
ending.close(database, execution)
state()
# As the keeper does
select()
state()
'''


@pytest.mark.parametrize('stage', ['in-process'], indirect=True)
def test_who_may_call_no_hook_leaves_the_end_to_a_worker(scene, inbox):
    scene.records(2, bad=[2])
    inbox.put('a.csv', 1, 2)
    assert scene.script(CLOSE, str(inbox.path)).split() == [
        'running', 'failed']
    assert names(inbox.path / 'errors') == ['a.csv']

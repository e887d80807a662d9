# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Input files: each unit once, and into the archive when all are done."""
import json
import os
import re
import signal
from collections import Counter
from pathlib import Path

import pytest
from scene import PATIENCE, Execution, Scene

from devel.process import wait_for
from trytond.modules.batch import BatchRootFiles, files
from trytond.modules.batch.batch_meta import doc_of
from trytond.modules.batch.chunking import Distinct
from trytond.modules.batch.directories import identity
from trytond.modules.batch.exceptions import OutputError
from trytond.modules.batch.names import tag_of

TAG = tag_of('tryton', 42)


class Inbox:
    "The directory of the input files of a scene."

    def __init__(self, scene, path):
        self.scene = scene
        self.path = path

    def put(self, name, *ids, rows=True):
        text = ''.join(
            '%s;2026-01-31;1.10\n' % id if rows else '%s\n' % id
            for id in ids)
        (self.path / name).write_text(text)

    def batch(self, name, *args, **options):
        return self.scene.batch(
            name, '--directory', str(self.path), *args, **options)

    @property
    def files(self):
        return names(self.path)

    @property
    def archived(self):
        return names(self.path / 'archive')


def names(directory):
    if not directory.is_dir():
        return []
    return sorted(p.name for p in directory.iterdir() if p.is_file())


def told(execution, *texts):
    log = '\n'.join(execution.log())
    for text in texts:
        assert text in log, log
    return log


def again(scene, command, execution, status=0):
    result = scene.coop(command, str(execution.id))
    assert result.returncode == status, result.stdout + result.stderr
    return Execution(scene, result)


@pytest.fixture
def inbox(scene, tmp_path):
    path = tmp_path / 'in'
    path.mkdir()
    return Inbox(scene, path)


# All is well

def test_a_file_is_a_unit_and_is_archived_when_it_is_done(scene, inbox):
    scene.records(6)
    for name, ids in [('a.txt', [1, 2]), ('b.txt', [3]), ('c.csv', [4])]:
        inbox.put(name, *ids, rows=False)
    execution = inbox.batch('letters', '--pattern', '*.txt', status=0)
    assert scene.treated() == {1: 1, 2: 1, 3: 1}
    assert [c['units'] for c in execution.chunks] == [['a.txt', 'b.txt']]
    assert inbox.archived == ['a.txt', 'b.txt']
    assert inbox.files == ['c.csv']
    told(execution, '"a.txt" is archived as "%s/archive/a.txt"' % inbox.path)
    shown = scene.coop('show', str(execution.id), check=True).stdout
    assert 'archived as %s/archive/b.txt' % inbox.path in shown
    inputs = json.loads(scene.coop(
            'show', str(execution.id), '--json', check=True).stdout)['inputs']
    assert [(i['path'], i['held']) for i in inputs] == [
        (str(inbox.path / name), False) for name in ['a.txt', 'b.txt']]


def test_a_row_is_a_unit_with_its_values(scene, inbox):
    scene.records(30)
    scene.configure({'default': {'split_size': 4}})
    inbox.put('a.csv', *range(1, 11))
    inbox.put('b.csv', *range(11, 31))
    inbox.put('empty.csv')
    execution = inbox.batch('lines', status=0)
    assert scene.treated() == {i: 1 for i in range(1, 31)}
    assert execution.row['selected'] == 30
    assert 'amount: 33' in execution.stdout
    assert inbox.archived == ['a.csv', 'b.csv', 'empty.csv']
    assert inbox.files == []


def test_only_whole_and_visible_files_are_taken(scene, inbox):
    scene.records(3)
    inbox.put('a.csv', 1)
    inbox.put('b.csv.part', 2)
    inbox.put('.c.csv', 2)
    (inbox.path / 'd.csv').symlink_to(inbox.path / 'b.csv.part')
    (inbox.path / 'e.csv').mkdir()
    Path(os.fsdecode(bytes(inbox.path) + b'/f\xff.csv')).touch()
    execution = inbox.batch('lines', status=0)
    assert execution.row['selected'] == 1
    assert inbox.archived == ['a.csv']
    assert len(inbox.files) == 4
    told(execution, '"f\\udcff.csv" is left out: its name is not UTF-8')


def test_a_name_that_is_taken_in_the_archive_gets_a_number(scene, inbox):
    scene.records(3)
    for night in [1, 2, 3]:
        inbox.put('a.csv', night)
        execution = inbox.batch('lines', status=0)
    assert scene.treated() == {1: 1, 2: 1, 3: 1}
    assert inbox.archived == ['a.csv', 'a_1.csv', 'a_2.csv']
    assert [
        (inbox.path / 'archive' / name).read_text()[0]
        for name in inbox.archived] == ['1', '2', '3']
    told(execution, '/archive/a_2.csv"')


def test_the_archive_may_be_elsewhere(scene, inbox, tmp_path):
    scene.records(1)
    scene.configure({'batch.scenario.lines': {
                'directory': str(inbox.path), 'delimiter': ',',
                'archive': str(tmp_path / 'old' / 'lines')}})
    (inbox.path / 'a.csv').write_text('1,2026-01-31,2\n')
    scene.batch('lines', status=0)
    assert names(tmp_path / 'old' / 'lines') == ['a.csv']


def test_a_rehearsal_takes_and_archives_nothing(scene, inbox):
    scene.records(3, bad=[2])
    inbox.put('a.csv', 1)
    inbox.put('b.csv', 2)
    assert '2 selected' in inbox.batch('lines', '--plan', status=0).stdout
    execution = inbox.batch('lines', '--dry-run', status=1)
    assert execution.failed_units == [{'row': ['b.csv', 1, {
                    'id': 2, 'day': {'__class__': 'date', 'year': 2026,
                        'month': 1, 'day': 31},
                    'amount': {'__class__': 'Decimal', 'decimal': '1.10'}}]}]
    assert not (inbox.path / 'archive').exists()
    assert scene.treated() == {}
    inbox.batch('lines', status=1)
    assert scene.treated() == {1: 1}
    assert inbox.archived == ['a.csv']


# Something fails

def test_a_file_is_archived_when_its_failed_rows_were_retried(scene, inbox):
    scene.records(10, bad=[3, 7])
    inbox.put('a.csv', *range(1, 6))
    inbox.put('b.csv', *range(6, 9))
    inbox.put('c.csv', *range(9, 11))
    first = inbox.batch('lines', status=1)
    assert inbox.archived == ['c.csv']
    told(first,
        '"a.csv" is not archived: 1 of its 5 rows failed: coop retry %s'
        % first.id,
        '"b.csv" is not archived: 1 of its 3 rows failed')

    # The next night
    inbox.put('d.csv', 9)
    night = inbox.batch('lines', status=0)
    assert night.row['selected'] == 1
    assert inbox.archived == ['c.csv', 'd.csv']
    told(night, '"a.csv" is left out: execution #%s holds it, 1 of its '
        '5 rows failed: coop retry %s' % (first.id, first.id))
    assert 'left out: "a.csv"' in night.stdout
    assert '(and 1 more: see the log)' in night.stdout

    scene.execute(
        'UPDATE batch_scenario_record SET bad = false WHERE id = 3')
    second = again(scene, 'retry', first, 1)
    assert inbox.archived == ['a.csv', 'c.csv', 'd.csv']
    told(second, '"a.csv" is archived',
        '"b.csv" is not archived: 1 of its 3 rows failed: coop retry %s'
        % second.id)
    scene.execute('UPDATE batch_scenario_record SET bad = false')
    third = again(scene, 'retry', second)
    assert inbox.archived == ['a.csv', 'b.csv', 'c.csv', 'd.csv']
    told(third, '"b.csv" is archived')
    assert scene.treated() == {i: 2 if i == 9 else 1 for i in range(1, 11)}


def test_a_file_is_archived_when_what_was_left_is_done(scene, inbox):
    scene.records(60, bad=range(21, 61))
    # In order: 20 done and 20 failed alike, which stops the execution
    scene.configure({'default': {'split_size': 20, 'concurrency': 1}})
    inbox.put('a.csv', *range(1, 61))
    first = inbox.batch('lines', status=1)
    assert first.row['left'] > 0
    log = told(first, 'coop retry %s' % first.id)
    assert re.search(
        r'"a.csv" is not archived: \d+ of its 60 rows are left: '
        r'coop resume %s, 20 of its 60 rows failed' % first.id, log), log
    scene.execute('UPDATE batch_scenario_record SET bad = false')
    again(scene, 'resume', first, 1)
    assert inbox.archived == []
    again(scene, 'retry', first)
    assert inbox.archived == ['a.csv']
    assert set(scene.treated().values()) == {1}
    assert len(scene.treated()) == 60


def test_a_file_that_failed_is_read_again_as_it_is_now(scene, inbox):
    scene.records(3, bad=[2])
    inbox.put('a.txt', 1, rows=False)
    inbox.put('b.txt', 2, rows=False)
    inbox.put('c.txt', 'x', rows=False)
    first = inbox.batch('letters', status=1)
    told(first,
        '"b.txt" is not archived: it failed: coop retry %s' % first.id)
    assert inbox.archived == ['a.txt']
    # Away for a night, it is in no custody; by its retry it is
    os.rename(inbox.path / 'b.txt', inbox.path / 'b.txt.part')
    inbox.batch('letters', status=0)
    inbox.put('b.txt', 3, rows=False)
    os.unlink(inbox.path / 'c.txt')
    second = again(scene, 'retry', first, 1)
    assert inbox.archived == ['a.txt', 'b.txt']
    assert inbox.files == ['b.txt.part']
    told(second, '"%s/c.txt" no longer exists' % inbox.path)
    assert scene.treated() == {1: 1, 3: 1}


def test_a_file_that_can_not_be_read_is_one_unit_that_fails(scene, inbox):
    scene.records(4)
    inbox.put('a.csv', 1, 2)
    # Known only after a row that was good
    (inbox.path / 'b.csv').write_bytes(b'3;2026-01-31;1\n4;2026-01-31;\xff\n')
    first = inbox.batch('lines', status=1)
    assert first.failed_units == ['b.csv']
    assert inbox.archived == ['a.csv']
    told(first, '"b.csv" can not be read: UnicodeDecodeError',
        'unit b.csv failed alone: UnicodeDecodeError')
    inbox.put('b.csv', 3, 4)
    second = again(scene, 'retry', first)
    assert second.row['selected'] == 2
    assert inbox.archived == ['a.csv', 'b.csv']
    assert scene.treated() == {i: 1 for i in range(1, 5)}


def test_a_file_that_was_changed_meanwhile_stays_and_says_so(scene, inbox):
    scene.records(3)
    inbox.put('a.csv', 1, 2)
    path = inbox.path / 'a.csv'
    first = inbox.batch('lines', '--change', str(path), status=0)
    assert inbox.files == ['a.csv']
    told(first, '"a.csv" is not archived: it was changed')
    # Its first rows would be done twice, by whatever way one comes to it
    link = inbox.path.with_name('link')
    link.symlink_to(inbox.path)
    second = scene.batch('lines', '--directory', str(link), status=0)
    assert second.row['selected'] == 0
    told(second, '"a.csv" is left out: execution #%s holds it, it was '
        'changed after it was selected' % first.id)
    scene.execute("UPDATE batch_execution SET ended_at = "
        "'2020-01-01 00:00:00' WHERE id = %s" % first.id)
    assert scene.coop('prune').stdout.startswith(
        'kept because of open failures')
    # Who says that it is another one gives it another name
    path.rename(inbox.path / 'b.csv')
    inbox.put('b.csv', 3)
    inbox.batch('lines', status=0)
    assert inbox.archived == ['b.csv']
    assert scene.treated() == {1: 1, 2: 1, 3: 1}
    inbox.put('a.csv', 3)
    inbox.batch('lines', status=0)
    assert inbox.archived == ['a.csv', 'b.csv']
    assert scene.coop('prune').stdout.startswith('1 execution deleted')
    assert (first.id,) not in scene.execute(
        'SELECT execution FROM batch_execution_input')


def test_a_file_that_is_taken_away_is_in_no_hands_any_more(scene, inbox):
    scene.records(3, bad=[2])
    inbox.put('a.csv', 1, 2)
    inbox.batch('lines', status=1)
    # Not if the directory was only not mounted
    away = inbox.path.rename(inbox.path.with_name('away'))
    inbox.path.mkdir()
    inbox.batch('lines', status=0)
    inbox.path.rmdir()
    away.rename(inbox.path)
    assert inbox.batch('lines', status=0).row['selected'] == 0
    (inbox.path / 'a.csv').unlink()
    inbox.batch('lines', status=0)
    inbox.put('a.csv', 3)
    inbox.batch('lines', status=0)
    assert inbox.archived == ['a.csv']
    assert scene.treated() == {1: 1, 3: 1}


def test_a_file_that_could_not_be_archived_is_at_the_next_time(scene, inbox):
    scene.records(1)
    inbox.put('a.csv', 1)
    # Made once it is in hand
    archive = inbox.path / 'archive'
    first = inbox.batch('lines', '--spoil', str(archive), status=0)
    told(first, '"a.csv" is not archived: output', 'name the directory itself')
    archive.unlink()
    archive.mkdir()
    second = inbox.batch('lines', status=0)
    assert second.row['selected'] == 0
    told(second, 'is archived as "%s/a.csv"' % archive)
    assert scene.treated() == {1: 1}


# Nothing is done

@pytest.mark.parametrize('args, status, texts', [
        (['--directory', '/does/not/exist'], 1,
            ['parameter "directory" is "/does/not/exist"', 'does not exist']),
        (['--directory', 'in'], 2, ['expected an absolute path']),
        (['--directory', __file__], 1, ['is no directory']),
        (['--directory', '{}', '--archive', '.'], 2,
            ['expected another directory']),
        (['--directory', '{}', '--archive', 'a.csv'], 1,
            ['parameter "archive"', 'is no directory']),
        (['--directory', '{}', '--archive', '/dev/shm/archive'], 1,
            ['is of another file system']),
        (['--directory', '{}', '--archive', 'link'], 1,
            ['parameter "archive"', 'is a link or below one']),
        (['--directory', '{}', '--archive', 'link/deeper'], 1,
            ['is a link or below one: name the directory itself']),
        (['--directory', '{}', '--archive', '../link'], 1,
            ['is a link or below one']),
        ])
def test_a_directory_of_no_use_is_told_before_anything_is_done(
        scene, inbox, args, status, texts):
    scene.records(1)
    inbox.put('a.csv', 1)
    elsewhere = inbox.path.parent / 'elsewhere'
    elsewhere.mkdir()
    for directory in [inbox.path, inbox.path.parent]:
        (directory / 'link').symlink_to(elsewhere)
    execution = scene.batch(
        'lines', *[a.format(inbox.path) for a in args], status=status)
    for text in texts:
        assert text in execution.stderr
    assert 'nothing was executed' in execution.stderr
    assert execution.row['state'] == 'failed'
    assert scene.treated() == {}
    assert inbox.files == ['a.csv']


@pytest.mark.parametrize('stage', ['workers'], indirect=True)
@pytest.mark.parametrize('at_once', [1, 2])
def test_two_executions_take_a_file_once(scene, inbox, tmp_path, at_once):
    scene.records(3)
    scene.configure({'default': {'overlap': 'allow'}})
    inbox.put('a.csv', 1, 2, 3)
    # Read after the other one
    inbox.put('go.csv')
    go = tmp_path / 'go'
    commands = [
        scene.start_batch('lines', '--directory', str(inbox.path), '--wait',
            str(go)) for _ in range(at_once)]
    wait_for(lambda: len(list(tmp_path.glob('go-*'))) == at_once, PATIENCE,
        "select %s times at once" % at_once)
    if at_once == 1:
        # It has read what the other one archives meanwhile
        inbox.batch('lines', status=0)
        assert inbox.archived == ['a.csv', 'go.csv']
    go.touch()
    texts = [command.communicate(timeout=4 * PATIENCE) for command in commands]
    assert {c.returncode for c in commands} == {0}, texts
    assert sorted(scene.execute('SELECT selected FROM batch_execution')) == [
        (0,), (3,)]
    assert scene.treated() == {1: 1, 2: 1, 3: 1}
    assert inbox.archived == ['a.csv', 'go.csv']
    assert inbox.files == []


# Somebody dies

def test_a_worker_that_dies_before_the_archive_costs_nothing(
        postgresql, redis, tmp_path):
    with Scene(postgresql=postgresql, redis=redis) as scene:
        scene.worker(2)
        scene.records(2)
        inbox = Inbox(scene, tmp_path)
        inbox.put('a.csv', 1, 2)
        execution = inbox.batch(
            'lines', '--mark', str(tmp_path / 'died'), '--pattern', '*.csv',
            status=0)
        assert (tmp_path / 'died').exists()
        told(execution, '"a.csv" is archived')
        assert inbox.archived == ['a.csv']
        assert scene.treated() == {1: 1, 2: 1}


@pytest.mark.parametrize('stage', ['in-process'], indirect=True)
@pytest.mark.parametrize('moved', [False, True])
def test_who_resumes_archives_for_a_command_that_died(
        scene, inbox, tmp_path, moved):
    scene.records(2)
    inbox.put('a.csv', 1, 2)
    command = inbox.batch('lines', '--mark', str(tmp_path / 'died'))
    assert command.status == -signal.SIGKILL
    assert command.row['state'] == 'running'
    assert inbox.files == ['a.csv']
    if moved:
        # It died later: the file is moved, and nobody committed it
        scene.script(SETTLE, str(command.id))
        assert inbox.archived == ['a.csv']
    execution = again(scene, 'resume', command)
    assert inbox.archived == ['a.csv']
    assert inbox.files == []
    told(execution, '"a.csv" is archived as "%s/archive/a.csv"' % inbox.path)
    assert scene.treated() == {1: 1, 2: 1}
    inbox.put('a.csv', 1)
    inbox.batch('lines', status=0)
    assert inbox.archived == ['a.csv', 'a_1.csv']


SETTLE = '''\
from trytond.modules.batch.engine import input_files
from trytond.modules.batch.transaction import load_pool
from trytond.transaction import Transaction
load_pool(database)
with Transaction().start(database, 0) as transaction:
    input_files.settle(
        transaction.connection.cursor(), int(sys.argv[1]), 'tag')
    transaction.rollback()
'''


# What moves a file

def test_a_file_that_was_replaced_at_the_last_moment_is_put_back(tmp_path):
    source = tmp_path / 'a.txt'
    source.write_text('one')
    expected = identity(source)
    source.write_text('another')
    with pytest.raises(OutputError, match='another file took its place'):
        files.move(source, tmp_path / 'archive', expected, TAG)
    assert source.read_text() == 'another'
    assert list((tmp_path / 'archive').iterdir()) == []


def test_a_file_is_found_where_it_was_moved_to(tmp_path):
    source = tmp_path / 'a.txt'
    source.write_text('one')
    expected = identity(source)
    assert files.moved(tmp_path / 'archive', expected) is None
    path = files.move(source, tmp_path / 'archive', expected, TAG)
    assert path == tmp_path / 'archive' / 'a.txt'
    (tmp_path / 'archive' / 'b.txt').write_text('two')
    assert files.moved(tmp_path / 'archive', expected) == path


def test_an_archive_that_became_a_link_gets_nothing(tmp_path):
    (tmp_path / 'in').mkdir()
    (tmp_path / 'elsewhere').mkdir()
    source = tmp_path / 'in' / 'a.txt'
    source.write_text('one')
    (tmp_path / 'in' / 'archive').symlink_to(tmp_path / 'elsewhere')
    for archive in ['archive', 'archive/deeper']:
        with pytest.raises(OutputError, match='"archive" on its path is a '
                'link; name the directory itself'):
            files.move(
                source, tmp_path / 'in' / archive, identity(source), TAG)
    assert source.read_text() == 'one'
    assert list((tmp_path / 'elsewhere').iterdir()) == []


def test_what_is_in_the_archive_is_neither_opened_nor_overwritten(tmp_path):
    archive = tmp_path / 'archive'
    archive.mkdir()
    os.mkfifo(archive / 'a.txt')
    (archive / 'a_1.txt').symlink_to(tmp_path / 'nowhere')
    # Somebody else is about to have the next one
    (archive / '.a_2.txt.taken').symlink_to(tag_of('tryton', 43))
    before = {p.name: p.lstat().st_ino for p in archive.iterdir()}
    source = tmp_path / 'a.txt'
    source.write_text('one')
    path = files.move(source, archive, identity(source), TAG)
    assert path == archive / 'a_3.txt'
    assert path.read_text() == 'one' and not source.exists()
    assert {p.name: p.lstat().st_ino for p in archive.iterdir()} == {
        **before, 'a_3.txt': path.lstat().st_ino}


def test_units_that_are_known_to_be_distinct_are_not_remembered():
    units = Distinct([('a', 1), ('a', 1)], known=True)
    assert Counter(units) == {('a', 1): 2}
    assert units.count == 2 and not units._others


# What they are called

def test_a_class_without_a_docstring_has_not_that_of_batchrootfiles():
    class Silent(BatchRootFiles):
        __name__ = 'a.b'

    class Told(BatchRootFiles):
        "Read the payments of the bank"
        __name__ = 'a.b'

    class Extended(Told):
        __name__ = 'a.b'

    assert doc_of(Silent) == ''
    assert doc_of(Extended) == "Read the payments of the bank"

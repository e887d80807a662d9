# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Nobody's files but one's own; and a committed file is never lost silently.

On SQLite and in the command itself, where who dies is the command: what is
done with files is the same code on workers.
"""
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from scene import PREAMBLE, Execution, Scene

#: what the closing process may do last before it dies
STEPS = {
    'before the files': (
        'trytond.modules.batch.ledger.executions', 'claim'),
    'before a file appears': ('os', 'link'),
    'after a file has appeared': ('os', 'unlink'),
    'before the end is written': (
        'trytond.modules.batch.ledger.executions', 'update'),
    'before the end is committed': (
        'trytond.modules.batch.outcome.Outcome', 'load'),
    'after the end is committed': (
        'trytond.modules.batch.engine.ending', 'log_path_of'),
    }
CLOSE = '''\
import importlib, signal
from unittest import mock
from trytond.modules.batch.engine import ending, running
from trytond.modules.batch.transaction import load_pool
load_pool(database)
running.open_configured_logs()
execution, where, name = int(sys.argv[1]), sys.argv[2], sys.argv[3]
if where[-7:] == 'Outcome':
    from trytond.modules.batch.outcome import Outcome as place
else:
    place = importlib.import_module(where)
def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
with mock.patch.object(place, name, die):
    ending.close(database, execution)
'''


@pytest.fixture
def two():
    "Two scenes on databases of their own, with one root_dir."
    with Scene() as first, Scene() as second:
        second.out_dir = first.out_dir
        for scene in [first, second]:
            scene.configure()
            scene.records(10, bad=[3])
        yield first, second


@pytest.fixture(scope='module')
def kept():
    with Scene() as scene:
        yield scene


@pytest.fixture
def scene(kept):
    kept.reset()
    for path in Path(kept.directory).glob('died*'):
        path.unlink()
    kept.records(10, bad=[3])
    return kept


def die_after_commit(scene):
    "Return an execution that died before its one file could appear."
    execution = scene.batch(
        'committed', '--directory', scene.directory, status=-signal.SIGKILL)
    assert execution.row['state'] == 'running'
    return execution


def die_before_commit(scene):
    "Return an execution that died when its one file was ready."
    execution = scene.batch(
        'voted', '--mark', str(Path(scene.directory, 'died')),
        status=-signal.SIGKILL)
    assert execution.row['state'] == 'running'
    return execution


def resume(scene, execution, status=0):
    result = scene.coop('resume', str(execution.id))
    assert result.returncode == status, result.stdout + result.stderr
    found = Execution(scene, result)
    found.id = execution.id
    return found


def shown(scene, execution):
    return json.loads(scene.coop(
            'show', str(execution.id), '--json', check=True).stdout)


def contents(execution):
    "Return what each committed file has to hold."
    return {
        path: ''.join('%s\n' % u for u in chunk['units'])
        for chunk in execution.chunks for path in chunk['files']}


def written(scene):
    return {str(path): path.read_text() for path in scene.files()}


def hidden(scene):
    return [p for p in Path(scene.out_dir).rglob('.*')]


# Whose file it is

def test_a_committed_file_of_another_database_is_left_to_it(two):
    first, second = two
    mine, other = die_after_commit(first), die_before_commit(second)
    # It has a death, so it looks for what its attempts have left
    resume(second, other)
    resume(first, mine)
    assert contents(Execution(first)) == {
        path: text for path, text in written(first).items()
        if 'scenario.committed' in path}
    assert hidden(first) == []


def test_two_databases_that_want_one_name_get_two(two):
    first, second = two
    mine, other = die_after_commit(first), die_after_commit(second)
    # Only the ledgers know that both are committed
    for scene, execution in [(second, other), (first, mine)]:
        resume(scene, execution)
    names = [list(contents(Execution(s))) for s in two]
    assert [Path(p).name for n in names for p in n] == [
        'records.txt', 'records_1.txt']
    assert len(written(first)) == 2 and hidden(first) == []


def test_databases_of_one_name_are_told_apart():
    with Scene(database='tryton') as first, \
            Scene(database='tryton') as second:
        second.out_dir = first.out_dir
        for scene in [first, second]:
            scene.configure()
            scene.records(10, bad=[3])
        mine, other = die_after_commit(first), die_before_commit(second)
        assert mine.id == other.id
        resume(second, other)
        resume(first, mine)
        assert contents(Execution(first)).items() <= written(first).items()


def test_hidden_files_of_somebody_else_are_never_opened(scene):
    out = Path(scene.out_dir)
    os.mkfifo(out / '.download.part')
    (out / '.x.ready').write_text("theirs")
    place = out / 'batch.scenario.voted'
    place.mkdir()
    # Under the very names that the files of the batch had for a while
    os.mkfifo(place / '.records.txt.part')
    (place / '.records.txt.ready').symlink_to(out / '.x.ready')
    before = {p: p.lstat() for p in out.rglob('.*')}
    resume(scene, die_before_commit(scene))
    assert {p: p.lstat().st_ino for p in hidden(scene)} == {
        p: status.st_ino for p, status in before.items()}
    assert (out / '.x.ready').read_text() == "theirs"
    # The name that its dead attempt had was not to be had
    assert [Path(p).name for p in Execution(scene).chunks[0]['files']] == [
        'records_1.txt']


@pytest.mark.parametrize('where', ['itself', 'above', 'below'])
def test_a_root_dir_with_links_loses_nothing(scene, tmp_path, where):
    real = Path(scene.out_dir)
    if where == 'itself':
        (tmp_path / 'link').symlink_to(real)
        root = tmp_path / 'link'
    elif where == 'above':
        (tmp_path / 'link').symlink_to(real.parent)
        root = tmp_path / 'link' / real.name
    else:
        (real / 'elsewhere').mkdir()
        (real / 'batch.scenario.committed').symlink_to('elsewhere')
        root = real
    scene.configure({'default': {'root_dir': root}})
    execution = die_after_commit(scene)
    # Who closes another one looks for what its dead attempts have left
    resume(scene, die_before_commit(scene))
    execution = resume(scene, execution)
    (path, text), = contents(execution).items()
    assert Path(path).read_text() == text
    assert hidden(scene) == []


# A committed file that is missing

def test_a_missing_file_is_in_the_outcome_and_the_exit_status(scene):
    execution = die_after_commit(scene)
    path, = hidden_of(scene)
    path.unlink()
    execution = resume(scene, execution, 1)
    name, = contents(execution)
    assert execution.row['state'] == 'failed'
    assert execution.row['done'] == 10
    for text in ['10 done, 0 failed, 0 left', name, 'is missing',
            'coop resume %s' % execution.id]:
        assert text in execution.stderr
    assert shown(scene, execution)['missing'] == [name]
    assert 'missing files:\n  %s' % name in scene.coop(
        'show', str(execution.id), check=True).stdout
    assert any(name in line and 'missing' in line for line in execution.log())
    scene.execute("UPDATE batch_execution SET ended_at = "
        "'2020-01-01 00:00:00'")
    said = scene.coop('prune', check=True).stdout
    assert said.startswith(
        'kept because of open failures: 1 execution: %s;' % execution.id)


def hidden_of(scene):
    return [p for p in hidden(scene) if p.name.endswith('.ready')]


def test_a_file_of_a_directory_that_is_mounted_again_appears(scene):
    execution = die_after_commit(scene)
    out = Path(scene.out_dir)
    away = out.rename(out.with_name('away'))
    out.mkdir()
    try:
        execution = resume(scene, execution, 1)
        assert shown(scene, execution)['missing'] == list(contents(execution))
        resume(scene, execution, 1)
    finally:
        out.rmdir()
        away.rename(out)
    execution = resume(scene, execution)
    assert execution.row['state'] == 'succeeded'
    assert execution.row['message'] is None
    assert shown(scene, execution)['missing'] == []
    assert written(scene) == contents(execution)


def test_a_file_that_somebody_fetched_is_not_missing(scene):
    scene.execute('UPDATE batch_scenario_record SET bad = false')
    scene.configure({'default': {'split_size': 5, 'concurrency': 1}})
    # The second chunk fetches what the first has written
    execution = scene.batch('fetching', status=0)
    assert execution.row['state'] == 'succeeded'
    assert len(contents(execution)) == 2
    assert len(scene.files()) == 1
    assert shown(scene, execution)['missing'] == []


@pytest.mark.parametrize('change, why', [
        ('link', 'a second name'), ('other', 'not the file'),
        ('fifo', 'no regular file'), ('name', 'another file has')])
def test_only_what_was_committed_appears(scene, tmp_path, change, why):
    execution = die_after_commit(scene)
    path, = hidden_of(scene)
    name, = contents(execution)
    if change == 'link':
        os.link(path, tmp_path / 'elsewhere')
    elif change == 'other':
        text = path.read_text()
        path.unlink()
        path.write_text(text.replace('1', '2'))
    elif change == 'fifo':
        path.unlink()
        os.mkfifo(path)
    else:
        Path(name).write_text("theirs")
    execution = resume(scene, execution, 1)
    assert 'is missing' in execution.stderr and why in execution.stderr
    assert path.exists()
    assert change == 'name' or not Path(name).exists()
    assert change != 'name' or Path(name).read_text() == "theirs"


@pytest.mark.parametrize('step', STEPS)
def test_whoever_closes_may_die_at_any_step(scene, step):
    execution = die_after_commit(scene)
    module, name = STEPS[step]
    result = scene.run([
            sys.executable, '-c', PREAMBLE + CLOSE,
            str(execution.id), module, name])
    assert result.returncode == -signal.SIGKILL, result.stderr
    if scene.state(execution.id) == 'running':
        resume(scene, execution)
    else:
        assert step == 'after the end is committed'
    execution = Execution(scene)
    assert execution.row['state'] == 'succeeded'
    assert written(scene) == contents(execution)


def test_a_file_of_the_selection_is_kept_account_of(scene):
    execution = scene.batch(
        'selecting', '--mark', str(Path(scene.directory, 'died-selection')),
        status=-signal.SIGKILL)
    assert hidden_of(scene)
    execution = resume(scene, execution)
    assert [p.name for p in scene.files()] == ['selection.txt']
    assert shown(scene, execution)['files'] == [str(scene.files()[0])]


def test_a_file_belongs_to_its_chunk_whatever_transaction_wrote_it(scene):
    # In a transaction of its own, that is committed before the chunk fails
    scene.configure({'default': {'split_size': 5}})
    execution = scene.batch('nested', status=1)
    assert execution.failed_units == [3]
    assert sorted(contents(execution)) == sorted(map(str, scene.files()))
    assert written(scene) == contents(execution)


def test_what_a_lost_connection_left_is_removed_at_the_end(scene):
    execution = scene.batch('littering', status=0)
    assert written(scene) == contents(execution)
    assert hidden(scene) == []


def test_what_was_left_where_it_was_not_seen_is_removed_later(scene):
    first = die_before_commit(scene)
    out = Path(scene.out_dir)
    away = out.rename(out.with_name('away'))
    out.mkdir()
    # It ends where its directory is not mounted
    scene.coop('cancel', str(first.id), check=True)
    assert scene.state(first.id) == 'cancelled'
    out.rmdir()
    away.rename(out)
    assert hidden(scene)
    Path(scene.directory, 'died').unlink()
    # Another batch does not touch it, the next execution of this one does
    resume(scene, die_after_commit(scene))
    assert hidden(scene)
    second = die_before_commit(scene)
    resume(scene, second)
    assert hidden(scene) == []
    assert set(contents(Execution(scene))) <= set(written(scene))

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import datetime as dt
import errno
import fcntl
import hashlib
import io
import multiprocessing
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from trytond.modules.batch import directories, files, names, output
from trytond.modules.batch.exceptions import OutputError
from trytond.modules.batch.files import discard, leftovers
from trytond.modules.batch.output import Outputs, filepath

fork = multiprocessing.get_context('fork')
TAG = names.tag_of('tryton', 42)
OTHER = names.tag_of('other', 42)


class Connection:
    "The database's side: what happens at its commit, and if it is lost"
    closed = False

    def __init__(self, at_commit=lambda: None):
        self.commit = at_commit


class Transaction:
    "Calls data managers in the order of trytond.transaction.Transaction."

    def __init__(self, at_commit=lambda: None, tag=TAG):
        self.connection = Connection(at_commit)
        self.tag = tag
        self._datamanagers = []

    def join(self, datamanager):
        try:
            return self._datamanagers[self._datamanagers.index(datamanager)]
        except ValueError:
            self._datamanagers.append(datamanager)
            return datamanager

    def commit(self):
        try:
            for datamanager in self._datamanagers:
                datamanager.tpc_begin(self)
            for datamanager in self._datamanagers:
                datamanager.commit(self)
            for datamanager in self._datamanagers:
                datamanager.tpc_vote(self)
            self.connection.commit()
        except Exception:
            self.rollback()
            raise
        # trytond logs what is raised here
        for datamanager in self._datamanagers:
            datamanager.tpc_finish(self)

    def rollback(self):
        for datamanager in self._datamanagers:
            datamanager.tpc_abort(self)

    @property
    def outputs(self):
        return self.join(Outputs(self.tag))

    def write(self, path, buffer):
        return self.outputs.write(path, buffer)

    @property
    def files(self):
        return self.outputs.files


class Refusal(Outputs):
    "Another data manager, that votes no"

    def __eq__(self, other):
        return self is other

    def tpc_vote(self, transaction):
        raise ValueError("no")


@pytest.fixture
def root(tmp_path):
    root = tmp_path / 'root'
    root.mkdir()
    yield root
    # No test leaves a lock or a descriptor
    root = str(root)
    for link in Path('/proc/self/fd').iterdir():
        try:
            assert not os.readlink(link).startswith(root)
        except FileNotFoundError:
            pass


@pytest.fixture
def small_files():
    "Let no file grow beyond 4096 bytes, as on a full disk."
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def tree(root, names=True):
    """Return the names of all below root, hidden ones too.

    :param names: whether with the links that keep names
    """
    return sorted(
        str(p.relative_to(root)) for p in root.rglob('*')
        if names or not p.name.endswith('.taken'))


def part(name, tag=TAG):
    return '.%s.%s.part' % (name, tag)


def ready(name, tag=TAG):
    return '.%s.%s.ready' % (name, tag)


def publish(path, identity, tag=TAG):
    "Return why a file can not appear, None if it has."
    try:
        files.publish(path, identity, tag)
    except OSError as error:
        return error.strerror


# Where a file goes

def where(root, filename, **settings):
    return filepath(filename, {
            'root_dir': str(root),
            'filepath_template': '%{BATCHNAME}/%{FILENAME}',
            'filepath_timestamp_format': '%Y%m%d_%Hh%Mm%Ss',
            } | settings, 'test.batch', 42, '7.2',
        dt.datetime(2025, 1, 31, 23, 30), 'production')


def test_template_is_filled(root, monkeypatch):
    monkeypatch.setenv('TRYTOND_TZ', 'Asia/Kathmandu')
    assert where(root, 'a.txt') == root / 'test.batch' / 'a.txt'
    assert where(
        root, 'sub/%{CHUNK}.txt', filepath_template='%{TIMESTAMP}/%{EXECUTION}'
        '-%{CHUNK}/%{FILENAME}') == (
            root / '20250201_05h15m00s' / '42-7.2' / 'sub' / '%{CHUNK}.txt')
    assert where(root, 'a', filepath_template='%{DATABASE}/%{FILENAME}') \
        == root / 'production' / 'a'


def test_an_aware_time_and_no_chunk_are_understood(root, monkeypatch):
    monkeypatch.setenv('TRYTOND_TZ', 'UTC')
    zone = dt.timezone(dt.timedelta(hours=2))
    assert filepath('a', {
            'root_dir': root,
            'filepath_template': '%{TIMESTAMP}_%{CHUNK}_%{FILENAME}',
            'filepath_timestamp_format': '%H',
            }, 'test.batch', 42, None,
        dt.datetime(2025, 1, 1, 12, tzinfo=zone)) == root / '10_0_a'


@pytest.mark.parametrize('filename', [
        '', '.', '/etc/passwd', '..', '../a', 'a/../../b', 'a\0b', 'a/',
        '.hidden', 'sub/.hidden'])
def test_a_name_that_is_none_or_leads_out_is_refused(root, filename):
    with pytest.raises(OutputError, match='batch "test.batch": output name'):
        where(root, filename)
    assert not tree(root)


@pytest.mark.parametrize(['setting', 'value'], [
        ('root_dir', None),
        ('root_dir', ''),
        ('root_dir', '/does/not/exist'),
        ('root_dir', __file__),
        ('filepath_template', '../%{FILENAME}'),
        ('filepath_template', 'a/../%{FILENAME}'),
        ('filepath_template', '/tmp/%{FILENAME}'),
        ('filepath_template', '%{FILE}'),
        ('filepath_template', '.'),
        ])
def test_an_unusable_setting_is_named_with_a_remedy(root, setting, value):
    with pytest.raises(OutputError) as e:
        where(root, 'a.txt', **{setting: value})
    assert setting in str(e.value)
    assert '; ' in str(e.value)
    assert str(value or 'not set') in str(e.value)


def test_a_link_out_of_root_is_refused_and_one_within_is_not(root):
    outside = root.parent / 'root2'
    outside.mkdir()
    (root / 'out').symlink_to(outside)
    (root / 'in').symlink_to(root / 'real')
    (root / 'loop').symlink_to(root / 'loop')
    with pytest.raises(OutputError, match='leads out'):
        where(root, 'out/a', filepath_template='%{FILENAME}')
    with pytest.raises(OutputError):
        Outputs().write(
            where(root, 'loop/a', filepath_template='%{FILENAME}'), 'a')
    assert where(
        root, 'in/a', filepath_template='%{FILENAME}') == root / 'real' / 'a'
    link = root.parent / 'link'
    link.symlink_to(root)
    assert where(link, 'a') == root / 'test.batch' / 'a'


# What a transaction does

def test_a_file_appears_at_commit_and_not_before(root):
    transaction = Transaction(
        lambda: seen.append((root / 'sub' / 'a.txt').exists()))
    seen = []
    path = transaction.write(root / 'sub' / 'a.txt', "é\n")
    assert path == root / 'sub' / 'a.txt' and not path.exists()
    assert transaction.files == [path]
    transaction.commit()
    assert seen == [False]
    assert transaction.files == [path]
    assert tree(root) == ['sub', 'sub/a.txt']
    assert path.read_bytes() == "é\n".encode()
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_it_is_whole_on_the_disk_before_the_database_commits(
        root, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(os, 'fsync', lambda fd: (
            synced.append(os.readlink('/proc/self/fd/%s' % fd)), fsync(fd)))
    at_commit = []
    transaction = Transaction(lambda: at_commit.extend(synced))
    transaction.write(root / 'sub' / 'a.txt', "text")
    transaction.commit()
    assert at_commit[0] == str(root / 'sub' / part('a.txt'))
    assert set(at_commit[1:]) == {str(root), str(root / 'sub')}
    assert str(root / 'sub') in synced[len(at_commit):]


@pytest.mark.parametrize(['buffer', 'content'], [
        ("text", b'text'),
        ("", b''),
        (b'bytes', b'bytes'),
        (bytearray(b'bytes'), b'bytes'),
        (memoryview(b'bytes'), b'bytes'),
        (io.StringIO("a\r\nb"), b'a\r\nb'),
        (io.BytesIO(b'bytes'), b'bytes'),
        (["a\n", b'b\n'], b'a\nb\n'),
        ((str(n % 10) for n in range(3 * 2 ** 20)),
            (b'0123456789' * 2 ** 19)[:3 * 2 ** 20]),
        (io.BytesIO(b'x' * 5_000_000), b'x' * 5_000_000),
        ])
def test_any_kind_of_buffer_is_written(root, buffer, content):
    transaction = Transaction()
    path = transaction.write(root / 'a', buffer)
    transaction.commit()
    assert path.read_bytes() == content


def test_a_long_buffer_is_not_held_in_memory(root):
    def buffer():
        for _ in range(4):
            yield "x" * output.BLOCK
            sizes.append((root / part('a')).stat().st_size)

    sizes = []
    transaction = Transaction()
    transaction.write(root / 'a', buffer())
    transaction.commit()
    # A piece is written when the next is asked for
    assert sizes == [n * output.BLOCK for n in range(1, 5)]


def test_an_error_of_the_buffer_is_raised_as_it_is(root):
    def buffer():
        yield "some text"
        raise OSError("of the author")

    transaction = Transaction()
    for wrong, error in [
            (buffer(), OSError), (None, TypeError), ([1], TypeError),
            ("\ud800", UnicodeEncodeError)]:
        with pytest.raises(error) as e:
            transaction.write(root / 'new' / 'sub' / 'a', wrong)
        assert not isinstance(e.value, OutputError)
    assert tree(root) == transaction.files == []
    # And the transaction may go on
    transaction.write(root / 'a', "text")
    transaction.commit()
    assert tree(root) == ['a']


def test_a_name_taken_gets_a_number(root):
    (root / 'a.tar.gz').write_text("before")
    for names_ in [['a.tar_1.gz', 'a.tar_2.gz'], ['a.tar_3.gz']]:
        transaction = Transaction()
        for name in names_:
            assert transaction.write(root / 'a.tar.gz', name).name == name
        transaction.commit()
    assert {p.name: p.read_text() for p in root.iterdir()} == {
        'a.tar.gz': "before", 'a.tar_1.gz': 'a.tar_1.gz',
        'a.tar_2.gz': 'a.tar_2.gz', 'a.tar_3.gz': 'a.tar_3.gz'}


def test_a_link_or_a_directory_with_the_name_is_not_touched(root):
    (root / 'a').symlink_to(root.parent / 'elsewhere')
    (root / 'b').mkdir()
    transaction = Transaction()
    transaction.write(root / 'a', "text")
    transaction.write(root / 'b', "text")
    transaction.commit()
    assert tree(root) == ['a', 'a_1', 'b', 'b_1']
    assert not (root.parent / 'elsewhere').exists()


def test_two_transactions_at_once_get_names_of_their_own(root):
    first, second, third = Transaction(), Transaction(), Transaction()
    assert first.write(root / 'a', "1").name == 'a'
    assert second.write(root / 'a', "2").name == 'a_1'
    first.rollback()
    assert third.write(root / 'a', "3").name == 'a'
    third.commit()
    second.commit()
    assert {p.name: p.read_text() for p in root.iterdir()} == {
        'a': "3", 'a_1': "2"}


def test_a_name_used_many_times_stays_cheap(root, monkeypatch):
    calls = []
    for place, name in [
            (os, 'open'), (os, 'readlink'),
            (directories.Directory, 'status')]:
        def count(*args, function=getattr(place, name), **options):
            calls.append(args)
            return function(*args, **options)
        monkeypatch.setattr(place, name, count)
    transaction = Transaction()
    for _ in range(500):
        transaction.write(root / 'a.txt', "text")
    transaction.commit()
    monkeypatch.undo()
    assert len(tree(root)) == 500
    assert (root / 'a_499.txt').exists()
    assert len(calls) < 500 * 100


def test_more_files_than_descriptors_are_written(root):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, limits[1]))
    try:
        transaction = Transaction()
        for number in range(300):
            transaction.write(root / str(number), "text")
        transaction.commit()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(tree(root)) == 300


def test_an_abort_leaves_nothing(root):
    (root / 'mine').mkdir()
    transaction = Transaction()
    transaction.rollback()
    transaction.write(root / 'x' / 'y' / 'a', "text")
    transaction.write(root / 'x' / 'b', "text")
    transaction.write(root / 'mine' / 'c', "text")
    assert len(tree(root, names=False)) == 6
    transaction.rollback()
    assert tree(root) == ['mine']
    assert transaction.files == []
    transaction.rollback()


def test_an_abort_after_the_vote_leaves_nothing(root):
    def refuse():
        assert ready('a') in tree(root)
        raise ValueError("no")

    transaction = Transaction(refuse)
    transaction.write(root / 'a', "text")
    with pytest.raises(ValueError):
        transaction.commit()
    assert tree(root) == []

    transaction = Transaction()
    transaction.write(root / 'a', "text")
    transaction.join(Refusal())
    with pytest.raises(ValueError):
        transaction.commit()
    assert tree(root) == []


def test_a_connection_lost_at_commit_leaves_the_verdict_to_the_ledger(root):
    def lose():
        transaction.connection.closed = True
        raise ConnectionError("lost")

    for name in ['a', 'b']:
        transaction = Transaction(lose)
        transaction.write(root / name, "text")
        (identity,) = transaction.outputs.identities.values()
        with pytest.raises(ConnectionError):
            transaction.commit()
        leftover, = leftovers(root)
        assert (leftover.directory, leftover.stem) == (root, name)
        assert transaction.outputs.appeared == []
        if name == 'a':
            assert publish(root / name, identity) is None
        else:
            discard(leftover)
    assert tree(root) == ['a']


def test_a_transaction_may_commit_more_than_once(root):
    transaction = Transaction()
    a = transaction.write(root / 'a', "text")
    transaction.commit()
    transaction.commit()
    transaction.write(root / 'b', "text")
    transaction.rollback()
    c = transaction.write(root / 'c', "text")
    assert transaction.files == [a, c]
    transaction.commit()
    assert tree(root) == ['a', 'c']

    d = transaction.write(root / 'new' / 'd', "text")
    transaction.commit()
    d.unlink()
    transaction.rollback()
    assert tree(root) == ['a', 'c', 'new']


def test_a_file_that_appears_between_two_looks_is_seen(root, monkeypatch):
    def open_(path, *args, **options):
        if steps == ['write'] and str(path).endswith('.part'):
            first.outputs.tpc_vote(first)
            steps.append('vote')
        return os_open(path, *args, **options)

    def look(self, name):
        seen = status(self, name)
        if steps == ['write', 'vote']:
            steps.append('finish')
            first.outputs.tpc_finish(first)
        return seen

    first, second = Transaction(), Transaction()
    first.write(root / 'a', "1")
    steps = ['write']
    os_open, status = os.open, directories.Directory.status
    monkeypatch.setattr(os, 'open', open_)
    monkeypatch.setattr(directories.Directory, 'status', look)
    assert second.write(root / 'a', "2").name == 'a_1'
    second.commit()
    assert steps[-1] == 'finish'
    assert (root / 'a').read_text() == "1"
    assert tree(root) == ['a', 'a_1']


@pytest.mark.parametrize(['end', 'names'], [
        (Transaction.commit, ['a', 'a_1']), (Transaction.rollback, ['a'])])
def test_a_file_that_ends_before_its_lock_is_not_touched(
        root, monkeypatch, end, names):
    def lock(descriptor, operation):
        if not first.connection.closed:
            first.connection.closed = True
            end(first)
        return flock(descriptor, operation)

    first, second = Transaction(), Transaction()
    first.write(root / 'a', "1")
    flock = fcntl.flock
    monkeypatch.setattr(fcntl, 'flock', lock)
    second.write(root / 'a', "2")
    second.commit()
    assert tree(root) == names
    assert (root / names[-1]).read_text() == "2"
    assert (root / 'a').read_text() == "21"[len(names) - 1]


def test_a_directory_that_others_use_survives_the_abort(root):
    first, second = Transaction(), Transaction()
    first.write(root / 'new' / 'a', "text")
    second.write(root / 'new' / 'b', "text")
    first.rollback()
    second.commit()
    assert tree(root) == ['new', 'new/b']


def test_a_directory_removed_in_between_is_created_again(root, monkeypatch):
    removed = []

    def reserve_and_remove(directory, *args):
        if not removed:
            removed.append(directory)
            directory.path.rmdir()
        return files.reserve(directory, *args)

    monkeypatch.setattr(output, 'reserve', reserve_and_remove)
    transaction = Transaction()
    transaction.write(root / 'new' / 'a', "text")
    transaction.commit()
    assert removed and tree(root) == ['new', 'new/a']


def test_without_hard_links_a_file_appears_too(root, monkeypatch):
    def link(source, target, **options):
        raise PermissionError(errno.EPERM, "no hard links")

    monkeypatch.setattr(os, 'link', link)
    transaction = Transaction()
    transaction.write(root / 'a', "text")
    transaction.write(root / 'b', "text")
    (root / 'b').write_text("of somebody else")
    with pytest.raises(OutputError, match='another file has its name'):
        transaction.commit()
    assert (root / 'a').read_text() == "text"
    assert (root / 'b').read_text() == "of somebody else"
    assert transaction.outputs.appeared == [str(root / 'a')]
    identity = transaction.outputs.identities[str(root / 'b')]
    assert publish(root / 'b', identity) == 'another file has its name'
    (root / 'b').unlink()
    assert publish(root / 'b', identity) is None
    assert tree(root) == ['a', 'b']


def test_what_another_program_wrote_meanwhile_is_not_overwritten(
        root):
    transaction = Transaction()
    path = transaction.write(root / 'a', "ours")
    transaction.write(root / 'b', "ours")
    path.write_text("theirs")
    with pytest.raises(OutputError, match='another file has its name'):
        transaction.commit()
    assert path.read_text() == "theirs"
    assert (root / 'b').read_text() == "ours"
    identity = transaction.outputs.identities[str(path)]
    assert publish(path, identity) == 'another file has its name'
    path.unlink()
    assert publish(path, identity) is None
    assert path.read_text() == "ours"


# What the system refuses

def test_a_full_disk_is_explained_and_leaves_nothing(root, small_files):
    transaction = Transaction()
    with pytest.raises(OutputError) as e:
        transaction.write(root / 'new' / 'a', "x" * 5000)
    for words in [str(root / 'new' / 'a'), os.strerror(errno.EFBIG), 'limit']:
        assert words in str(e.value)
    assert e.value.__cause__.errno == errno.EFBIG
    assert tree(root) == []


@pytest.mark.parametrize(['code', 'advice'], [
        (errno.ENOSPC, 'free space'), (errno.EACCES, 'let the workers'),
        (errno.EIO, 'see to the directory')])
def test_an_error_while_writing_is_explained(root, monkeypatch, code, advice):
    def write(descriptor, data):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, 'write', write)
    transaction = Transaction()
    with pytest.raises(OutputError, match=advice) as e:
        transaction.write(root / 'a', "text")
    assert str(root / 'a') in str(e.value)
    assert os.strerror(code) in str(e.value)
    assert tree(root) == []


def test_an_error_at_the_vote_prevents_the_commit(root, monkeypatch):
    def fsync(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    committed = []
    transaction = Transaction(lambda: committed.append(True))
    transaction.write(root / 'a', "text")
    monkeypatch.setattr(os, 'fsync', fsync)
    with pytest.raises(OutputError, match='free space'):
        transaction.commit()
    assert not committed
    assert tree(root) == []


def test_a_place_that_is_no_directory_is_explained(root):
    (root / 'a').write_text("text")
    with pytest.raises(OutputError, match='Not a directory'):
        Transaction().write(root / 'a' / 'b', "text")
    with pytest.raises(OutputError, match='shorten its name'):
        Transaction().write(root / ('x' * 256), "text")
    with pytest.raises(OutputError, match='surrogates'):
        Transaction().write(root / '\ud800', "text")
    for name, to in [('dangling', root / 'nowhere'), ('link', root)]:
        (root / name).symlink_to(to)
        with pytest.raises(OutputError, match='"%s" on its path is a link'
                % name):
            Transaction().write(root / name / 'b', "text")
    assert tree(root) == ['a', 'dangling', 'link']


def test_half_a_block_is_completed(root, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, 'write', lambda fd, data: write(fd, data[:3]))
    transaction = Transaction()
    transaction.write(root / 'a', "some text")
    transaction.commit()
    assert (root / 'a').read_text() == "some text"


# Many processes, some of them dying

def _write_reports(root, number):
    for i in range(50):
        transaction = Transaction()
        text = '%s.%s\n' % (number, i) * 1000
        path = transaction.write(root / 'new' / 'report.txt', text)
        if i % 5 == 0:
            transaction.rollback()
            path = transaction.write(root / 'new' / 'report.txt', text)
        transaction.commit()
        assert path.read_text() == text


def test_8_processes_writing_one_name_get_400_whole_files(root):
    processes = [
        fork.Process(target=_write_reports, args=(root, n)) for n in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [p.exitcode for p in processes] == [0] * 8
    names = [name for name in tree(root) if name != 'new']
    assert len(names) == 400
    assert not [name for name in names if '/.' in name]
    texts = {(root / name).read_text() for name in names}
    assert texts == {
        '%s.%s\n' % (n, i) * 1000 for n in range(8) for i in range(50)}


def _die(root, moment, tag):
    def kill():
        os.kill(os.getpid(), signal.SIGKILL)

    transaction = Transaction(
        kill if moment == 'commit' else lambda: None, tag)
    transaction.write(root / 'a.txt', "text")
    if moment == 'write':
        kill()
    elif moment == 'finish':
        os.unlink = lambda path, **options: kill()
    transaction.commit()


def die(root, moment, tag=TAG):
    process = fork.Process(target=_die, args=(root, moment, tag))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


#: what _die writes, as the ledger has it
IDENTITY = '%s-4-%s' % (
    os.geteuid(), hashlib.blake2b(b'text', digest_size=16).hexdigest())


def test_what_a_killed_process_was_writing_is_written_over(root):
    die(root, 'write')
    assert tree(root) == ['.a.txt.taken', part('a.txt')]
    transaction = Transaction()
    transaction.write(root / 'a.txt', "")
    transaction.commit()
    assert tree(root) == ['a.txt']
    assert (root / 'a.txt').read_text() == ""


def test_a_file_committed_by_a_killed_process_is_published(root):
    die(root, 'commit')
    assert tree(root, names=False) == [ready('a.txt')]
    # The name is kept meanwhile
    transaction = Transaction()
    assert transaction.write(root / 'a.txt', "").name == 'a_1.txt'
    transaction.rollback()
    assert publish(root / 'a.txt', IDENTITY) is None
    assert tree(root) == ['a.txt']
    assert (root / 'a.txt').read_text() == "text"
    assert publish(root / 'a.txt', IDENTITY) is None


def test_a_process_killed_while_publishing_has_published(root):
    die(root, 'finish')
    assert tree(root) == ['.a.txt.taken', ready('a.txt'), 'a.txt']
    assert publish(root / 'a.txt', IDENTITY) is None
    assert tree(root) == ['a.txt']


def test_what_can_not_appear_says_why(root):
    why = publish(root / 'unmounted' / 'a', IDENTITY)
    assert why == "its directory does not exist"
    assert publish(root / 'a', IDENTITY) == \
        "neither the file nor its hidden file exists"
    (root / 'a').mkdir()
    assert publish(root / 'a', IDENTITY) == \
        "neither the file nor its hidden file exists"
    (root / 'link').symlink_to(root)
    assert publish(root / 'link' / 'b', IDENTITY) == \
        '"link" on its path is a link'


@pytest.mark.parametrize('moment', ['write', 'commit'])
def test_what_was_not_committed_is_discarded(root, moment):
    die(root, moment)
    alive = Transaction()
    alive.write(root / 'alive', "text")
    found = leftovers(root.parent, below=True)
    assert {(l.directory, l.stem, l.tag, l.execution) for l in found} == {
        (root, 'a.txt', TAG, 42), (root, 'alive', TAG, 42)}
    assert leftovers(root.parent) == set()
    for leftover in found:
        discard(leftover)
        discard(leftover)
    alive.commit()
    assert tree(root) == ['alive']


def test_a_name_that_is_kept_for_nothing_is_let_go(root):
    die(root, 'write')
    (root / part('a.txt')).unlink()
    leftover, = leftovers(root)
    discard(leftover)
    assert tree(root) == []


def test_who_closes_publishes_beside_who_is_publishing(root, monkeypatch):
    # Whoever of the two is first
    for name in ['a', 'b']:
        transaction = Transaction()
        outputs = transaction.outputs
        path = outputs.write(root / name, "text")
        outputs.tpc_vote(transaction)
        if name == 'a':
            assert publish(path, IDENTITY) is None
            outputs.tpc_finish(transaction)
        else:
            place = directories.Directory.place

            def place_behind(self, source, target):
                monkeypatch.undo()
                assert publish(path, IDENTITY) is None
                with pytest.raises(FileNotFoundError):
                    place(self, source, target)
                raise FileExistsError

            monkeypatch.setattr(directories.Directory, 'place', place_behind)
            outputs.tpc_finish(transaction)
        assert outputs.appeared == [str(path)]
    assert tree(root) == ['a', 'b']


def test_a_file_that_is_gone_at_its_appearance_has_not_appeared(root):
    transaction = Transaction(lambda: (root / ready('a')).unlink())
    path = transaction.write(root / 'a', "text")
    with pytest.raises(OutputError, match='is gone'):
        transaction.commit()
    assert transaction.outputs.appeared == []
    assert list(transaction.outputs.identities) == [str(path)]


# Other executions, other databases, other programs

def test_an_execution_leaves_the_hidden_files_of_others_alone(root):
    die(root, 'commit', OTHER)
    kept = tree(root)
    transaction = Transaction()
    assert transaction.write(root / 'a.txt', "mine").name == 'a_1.txt'
    transaction.commit()
    assert publish(root / 'a.txt', IDENTITY) == \
        "neither the file nor its hidden file exists"
    leftover, = leftovers(root)
    assert (leftover.tag, leftover.execution) == (OTHER, 42)
    assert tree(root) == [*kept, 'a_1.txt']
    assert publish(root / 'a.txt', IDENTITY, OTHER) is None
    assert tree(root) == ['a.txt', 'a_1.txt']


def test_a_hidden_name_that_is_used_otherwise_costs_only_the_name(root):
    for name, make in [
            ('fifo', os.mkfifo), ('directory', os.mkdir),
            ('link', lambda path: os.symlink(root, path)),
            ('hard', lambda path: os.link(root / 'theirs', path)),
            ('foreign', lambda path: (
                    Path(path).touch(), os.chown(path, 1, 1)))]:
        (root / 'theirs').write_text("theirs")
        make(root / part(name))
        transaction = Transaction()
        assert transaction.write(root / name, "text").name == name + '_1'
        transaction.commit()
        os.link(root / 'theirs', root / (name + '.hard'))
        os.mkfifo(root / ('.%s.taken' % name))
        assert (root / 'theirs').read_text() == "theirs"
        transaction = Transaction()
        assert transaction.write(root / name, "text").name == name + '_2'
        transaction.rollback()
        assert (root / part(name)).exists()


def test_a_file_with_a_second_name_is_not_committed(root):
    committed = []
    transaction = Transaction(lambda: committed.append(True))
    transaction.write(root / 'a', "text")
    os.link(root / part('a'), root / 'elsewhere')
    with pytest.raises(OutputError, match='a second name elsewhere'):
        transaction.commit()
    assert not committed and tree(root) == ['elsewhere']


def test_names_of_any_length_are_told_apart(root):
    names_ = ['x' * n for n in [182, 183, 184, 254, 255]]
    names_.append('x' * 254 + 'y')
    transactions = [Transaction(tag=tag) for tag in [TAG, OTHER]]
    for name in names_:
        for transaction in transactions:
            if len(name) < 250 or transaction is transactions[0]:
                transaction.write(root / name, name)
    assert all(len(os.fsencode(n)) < 256 for n in tree(root))
    found = leftovers(root)
    assert {l.stem for l in found} >= set(map(names.stem_of, names_))
    for leftover in found:
        # They are alive
        discard(leftover)
    for transaction in transactions:
        transaction.commit()
    assert tree(root) == sorted([*names_, *(n + '_1' for n in names_[:3])])


def test_a_directory_that_was_replaced_by_a_link_is_not_followed(root):
    transaction = Transaction()
    (root / 'out').mkdir()
    outside = root.parent / 'outside'
    outside.mkdir()
    path = where(root, 'out/a', filepath_template='%{FILENAME}')
    (root / 'out').rename(root / 'moved')
    (root / 'out').symlink_to(outside)
    with pytest.raises(OutputError, match='"out" on its path is a link'):
        transaction.write(path, "text")
    (root / 'out').unlink()
    (root / 'moved').rename(root / 'out')
    transaction.write(path, "text")
    # From now on it is the directory that is meant, whatever it is called
    (root / 'out').rename(root / 'moved')
    (root / 'out').symlink_to(outside)
    transaction.commit()
    assert tree(root) == ['moved', 'moved/a', 'out']
    assert list(outside.iterdir()) == []


def test_without_symbolic_links_files_appear_too(root, monkeypatch):
    def symlink(source, target, **options):
        raise OSError(errno.EOPNOTSUPP, "no links")

    monkeypatch.setattr(os, 'symlink', symlink)
    first, second, other = Transaction(), Transaction(), Transaction(tag=OTHER)
    assert first.write(root / 'a', "1").name == 'a'
    assert second.write(root / 'a', "2").name == 'a_1'
    # The name is not kept from it; but nothing is lost, or not said
    other.write(root / 'a', "3")
    first.commit()
    second.commit()
    with pytest.raises(OutputError, match='another file has its name'):
        other.commit()
    assert tree(root) == [ready('a', OTHER), 'a', 'a_1']


@pytest.mark.parametrize('database', [
        'tryton', '', 'a/../b', 'ä' * 99, '.x', 'a.b', 'a\nb'])
def test_a_tag_tells_databases_and_executions_apart(database):
    tags = {
        names.tag_of(database, execution, start, oid)
        for execution in [1, 2 ** 62] for start in 'xy' for oid in [1, 2]}
    assert len(tags) == 8
    for tag in tags:
        assert len(os.fsencode(tag)) <= 64
        for name in ['a.txt', 'x' * 255, '.', 'a-1-b.part']:
            hidden = names.hidden(name, tag, 'part')
            assert names.parsed(hidden)[:2] == (names.stem_of(name), tag)


def test_a_lock_does_not_outlive_the_transaction_in_a_child(root):
    def lose():
        transaction.connection.closed = True
        raise ConnectionError("lost")

    transaction = Transaction(lose)
    path = transaction.write(root / 'a', "text")
    parent, child = os.pipe()
    process = fork.Process(target=os.read, args=(parent, 1))
    process.start()
    try:
        with pytest.raises(ConnectionError):
            transaction.commit()
        leftover, = leftovers(root)
        discard(leftover)
    finally:
        os.write(child, b'x')
        process.join(60)
        os.close(parent)
        os.close(child)
    assert path.name == 'a' and tree(root) == []


def test_it_is_a_data_manager_of_trytond(root):
    code = '\n'.join([
            'import sys, trytond.config as config',
            'config.set("database", "uri", "sqlite://")',
            'from trytond.transaction import Transaction',
            'from trytond.modules.batch.output import Outputs',
            'from pathlib import Path',
            'root = Path(sys.argv[1])',
            'for name, fails in [("a", False), ("b", True)]:',
            '    try:',
            '        with Transaction().start(":memory:", 0) as transaction:',
            '            outputs = transaction.join(Outputs("x-1"))',
            '            assert transaction.join(Outputs()) is outputs',
            '            outputs.write(root / name, "text")',
            '            1 / (not fails)',
            '    except ZeroDivisionError:',
            '        pass'])
    subprocess.run([sys.executable, '-c', code, str(root)], check=True)
    assert tree(root) == ['a']

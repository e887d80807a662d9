# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Files that appear, whole, when their transaction commits.

The life of a file "name", always in the directory where it will appear, and
always locked (flock) by the transaction that writes it:

    .name.part   it is being written           no trace is left by an abort
    .name.ready  it is whole, and on the disk  from the vote, before the commit
    name         it is published               after the commit

The lock tells the living from the dead: a .part without a lock is rubbish; a
.ready without a lock belongs to a process that died around its commit, and
only the ledger knows whether before (discard) or after (publish).

Imports nothing of Tryton or Celery.
"""
import contextlib
import datetime as dt
import errno
import fcntl
import itertools
import logging
import os
import re
import resource
import stat
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePath

from .exceptions import OutputError
from .logging import server_zone

__all__ = [
    'Outputs', 'discard', 'filepath', 'identity', 'leftovers', 'move',
    'moved', 'publish', 'sync']

#: bytes handed to the system at once
BLOCK = 1 << 20
#: seconds that publish waits for a process that is publishing the same file
PATIENCE = 10

logger = logging.getLogger(__name__)
_advice = {
    errno.ENOSPC: "free space on its file system",
    errno.EDQUOT: "raise the quota of the workers' user",
    errno.EFBIG: "write less into it or raise the limit of file sizes",
    errno.EACCES: "let the workers' user write there",
    errno.EPERM: "let the workers' user write there",
    errno.EROFS: "let the workers' user write there",
    errno.ENAMETOOLONG: "shorten its name",
    errno.EMFILE: "raise the limit of open files or lower split_size",
    errno.ENFILE: "raise the limit of open files or lower split_size",
    errno.EXDEV: "name a directory of the same file system",
    }
#: what file systems answer that have no hard links
_no_links = {
    errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def filepath(filename, settings, batch, execution, chunk, started_at):
    """Return the Path that the settings give to filename.

    settings is a mapping with root_dir, filepath_template and
    filepath_timestamp_format; started_at a datetime, in UTC if it is naive;
    chunk may be None.  Raises OutputError if root_dir is unusable, or if the
    path would leave it, links followed.
    """
    def error(problem, remedy):
        return OutputError('batch "%s": %s; %s' % (batch, problem, remedy))

    root = settings['root_dir']
    if not root:
        raise error(
            'setting "root_dir" is not set, so there is no place for "%s"'
            % filename, "set it in batch.conf to the directory of outputs")
    if not os.path.isdir(root):
        raise error(
            'setting "root_dir" is "%s", which %s' % (root, (
                    "is no directory" if os.path.lexists(root)
                    else "does not exist")),
            "create or mount it on each machine that has workers")
    filename = os.fspath(filename)
    parts = PurePath(filename).parts
    if (not parts or parts[0] == os.sep or '..' in parts
            or '\0' in filename or filename.endswith(os.sep)):
        raise error(
            'output name "%s" names no file below "root_dir"'
            % filename.replace('\0', '\\0'),
            'pass a relative name without ".."')
    started_at = started_at or dt.datetime.now(dt.timezone.utc)
    if started_at.tzinfo is None:
        started_at = started_at.replace(tzinfo=dt.timezone.utc)
    values = {
        'BATCHNAME': batch,
        'FILENAME': filename,
        'TIMESTAMP': started_at.astimezone(server_zone()).strftime(
            settings['filepath_timestamp_format']),
        'EXECUTION': execution,
        'CHUNK': '0' if chunk is None else chunk,
        }
    template = settings['filepath_template']
    try:
        # At once, as a value may look like a placeholder
        name = re.sub(
            r'%\{(\w*)\}', lambda match: str(values[match[1]]), template)
    except KeyError as e:
        raise error(
            'setting "filepath_template" is "%s", with an unknown placeholder'
            % template, "use %s instead of %s" % (
                ', '.join(map('%%{%s}'.__mod__, values)), e)) from None
    root = Path(root).resolve()
    path = root / name
    try:
        path = path.parent.resolve() / path.name
        inside = path.is_relative_to(root)
    except (OSError, RuntimeError, ValueError):
        # Links in a circle, no Unicode
        inside = False
    if not inside or '..' in PurePath(name).parts or path == root:
        raise error(
            'setting "filepath_template" ("%s") leads out of "root_dir": "%s" '
            'is not in "%s"' % (template, name, root),
            "correct it, or the links in that directory")
    if path.name.startswith('.'):
        raise error(
            'output name "%s" is hidden' % path.name,
            "choose one that does not begin with a dot")
    return path


class Outputs:
    """The files that one transaction writes: a two-phase data manager.

    ``transaction.join(Outputs())`` returns the one of the transaction.
    """

    def __init__(self):
        self._pending = []
        self._published = []
        #: directories created on the way
        self._created = []

    def __eq__(self, other):
        # Transaction.join finds the one that has joined already
        return isinstance(other, Outputs)

    @property
    def files(self):
        "The Path of each file written, but for those that were aborted."
        return self._published + [file.path for file in self._pending]

    def write(self, path, buffer):
        """Write buffer, to appear at path when the transaction commits.

        buffer is a str (written as UTF-8), bytes, or a file or an iterable of
        either.  Returns the Path of the file to be, ``name_1.ext`` etc. if
        the name is taken.  Raises OutputError if the system refuses.
        """
        path = Path(path)
        file = None
        try:
            with _explained(path):
                file = self._reserve(path)
            for block in _blocks(buffer):
                with _explained(file.path):
                    view = memoryview(block)
                    while view:
                        view = view[os.write(file.descriptor, view):]
        except BaseException:
            if file:
                file.remove()
            self._remove_directories()
            raise
        self._pending.append(file)
        return file.path

    def _reserve(self, path):
        for candidate in _free_names(path):
            while True:
                file = _File(candidate, self._open_part(candidate))
                if not file.lock():
                    # Somebody alive is writing it
                    file.close()
                    break
                if not file.is_at('part'):
                    # Locked too late: it was published or removed
                    file.close()
                    continue
                if _is_taken(candidate):
                    file.remove()
                    break
                os.truncate(file.descriptor, 0)
                return file

    def _open_part(self, path):
        for attempt in range(100):
            self._create_directories(path.parent)
            try:
                return _open(_hidden(path, 'part'), os.O_CREAT)
            except FileNotFoundError:
                # An abort elsewhere has just removed the directory
                if attempt == 99:
                    raise

    def _create_directories(self, directory):
        missing = list(itertools.takewhile(
                lambda d: not d.exists(), [directory, *directory.parents]))
        for directory in reversed(missing):
            try:
                directory.mkdir()
            except FileExistsError:
                continue
            except FileNotFoundError:
                break
            self._created.append(directory)

    def _remove_directories(self):
        # Never one that others use: it is not empty, or they create it again
        for directory in self._created[::-1]:
            try:
                directory.rmdir()
            except OSError:
                continue
            self._created.remove(directory)

    def tpc_begin(self, transaction):
        pass

    def commit(self, transaction):
        pass

    def tpc_vote(self, transaction):
        "Have all files on the disk, or raise OutputError."
        for file in self._pending:
            with _explained(file.path):
                os.fsync(file.descriptor)
                os.rename(file.hidden, _hidden(file.path, 'ready'))
                file.state = 'ready'
        self._sync()

    def tpc_finish(self, transaction):
        "Let all files appear; raise OutputError for the first that can not."
        files, self._pending, error = self._pending, [], None
        for file in files:
            self._published.append(file.path)
            try:
                file.publish()
            except OSError as e:
                # It stays ready
                error = error or (file.path, e)
            finally:
                file.close()
        self._sync(files)
        self._created.clear()
        if error:
            with _explained(error[0]):
                raise error[1]

    def tpc_abort(self, transaction):
        "Leave no trace; raises nothing, as the rollback must go on."
        # After the vote, with the connection lost, nobody here can tell
        # whether the database has committed: the ledger will
        closed = getattr(
            getattr(transaction, 'connection', None), 'closed', False)
        for file in self._pending:
            if file.state == 'ready' and closed:
                file.close()
            else:
                file.remove()
        self._pending.clear()
        self._remove_directories()
        self._created.clear()

    def _sync(self, files=None):
        paths = [f.path for f in (self._pending if files is None else files)]
        for directory in {p.parent for p in paths + self._created if paths}:
            with _explained(directory):
                sync(directory)


def publish(paths):
    """Let the files appear that were committed by a process that then died.

    paths are those that the ledger says are committed.  Returns the list of
    those that could not appear: their directory is missing here, another file
    has the name, or the system refuses (logged as a warning).
    """
    missing = []
    for path in map(Path, paths):
        try:
            with _leftover(path, 'ready', PATIENCE) as file:
                if file:
                    file.publish()
                    sync(path.parent)
                elif not path.parent.is_dir():
                    missing.append(path)
        except OSError as e:
            logger.warning("%s can not appear: %s", path, e)
            missing.append(path)
    return missing


def leftovers(root_dir):
    "Yield each Path of which a dead process has left an unpublished file."
    for directory, _, names in os.walk(root_dir):
        for name in sorted(names):
            match = re.fullmatch(r'\.(.+)\.(part|ready)', name, re.DOTALL)
            if match:
                path = Path(directory, match[1])
                with _leftover(path, match[2]) as file:
                    if file:
                        yield path


def discard(paths):
    """Remove what dead processes have left unpublished of paths.

    paths are some of leftovers that the ledger does not know: read them
    before the ledger.  Raises OutputError.
    """
    for path in map(Path, paths):
        for state in ['part', 'ready']:
            with _explained(path), _leftover(path, state) as file:
                if file:
                    os.unlink(file.hidden)


def identity(path):
    """Return a text that no other file has, nor this one once it is changed.

    Raises OSError, also where path is no regular file.
    """
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError(errno.ENOENT, "it is no file", str(path))
    return '%s-%s-%s' % (
        status.st_ino, status.st_size, status.st_mtime_ns)


def move(source, directory, expected):
    """Move a file into a directory of its file system; return its Path there.

    A name that is taken gets a number.  Whoever calls syncs the directories.
    Raises OutputError where the system refuses, and where source is not what
    has the identity expected: it stays then.
    """
    path = Path(directory, source.name)
    with _explained(path):
        # Holds the name while the file, which is there already, comes to it
        file = Outputs()._reserve(path)
        try:
            os.rename(source, file.path)
        finally:
            file.remove()
        if identity(file.path) != expected:
            # Another one came, after whoever calls had looked
            _place(file.path, source)
            raise OSError("another file took its place")
    return file.path


def moved(directory, expected):
    "Return the Path of the file in directory with that identity, or None."
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if (expected.startswith('%s-' % entry.inode())
                    and identity(entry.path) == expected):
                return Path(entry.path)


class _File:
    "An open hidden file, and the path at which it wants to appear."

    def __init__(self, path, descriptor, state='part'):
        self.path = path
        self.descriptor = descriptor
        self.state = state

    @property
    def hidden(self):
        return _hidden(self.path, self.state)

    def is_at(self, state):
        try:
            return os.path.samestat(
                os.fstat(self.descriptor),
                os.lstat(_hidden(self.path, state)))
        except FileNotFoundError:
            return False

    def lock(self):
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def publish(self):
        try:
            _place(self.hidden, self.path)
        except FileExistsError:
            # Ours if the process died between its two steps
            if not os.path.samestat(
                    os.fstat(self.descriptor), os.lstat(self.path)):
                raise
            os.unlink(self.hidden)

    def remove(self):
        try:
            os.unlink(self.hidden)
        except OSError as e:
            # Not raised: a roll back, or another error, is on its way
            logger.warning("%s can not be removed: %s", self.hidden, e)
        self.close()

    def close(self):
        # A forked child may have the descriptor too: closing is not enough
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        os.close(self.descriptor)


@contextmanager
def _leftover(path, state, patience=0):
    """Give the locked _File of path in that state, None if there is none.

    One that a living process keeps is none; with patience (seconds) its end
    is waited for, and raises TimeoutError.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            file = _File(path, _open(_hidden(path, state)), state)
        except FileNotFoundError:
            yield None
            return
        try:
            if not file.lock():
                if not patience:
                    yield None
                    return
                if time.monotonic() > deadline:
                    raise TimeoutError("a living process keeps it")
                time.sleep(0.02)
            elif file.is_at(state):
                yield file
                return
        finally:
            file.close()


def _place(source, target):
    "Move a file, never over another one; raises FileExistsError."
    try:
        os.link(source, target)
    except OSError as e:
        if e.errno not in _no_links:
            raise
        # Only a program that does not ask for our lock can come between
        if os.path.lexists(target):
            raise FileExistsError(
                errno.EEXIST, os.strerror(errno.EEXIST), target)
        os.rename(source, target)
        return
    os.unlink(source)


def _hidden(path, state):
    return path.with_name('.%s.%s' % (path.name, state))


def _open(path, flags=0):
    flags |= os.O_RDWR | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o666)
    except OSError as e:
        # Each file stays open to the end of the transaction, and the usual
        # limit of 1024 is low only for the sake of programs that select()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if e.errno != errno.EMFILE or soft == hard:
            raise
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return os.open(path, flags, 0o666)


def _is_taken(path, *states):
    # In this order, as publishing links the one before it removes the other
    return any(
        os.path.lexists(p) for p in [
            *(_hidden(path, state) for state in [*states, 'ready']), path])


def _free_names(path):
    "Yield path and its successors, from about the first that is free."
    def numbered(number):
        return path.with_name(
            '%s_%s%s' % (path.stem, number, path.suffix))

    if not _is_taken(path):
        yield path
    # Doubling and halving, or a name used n times would cost n * n / 2 looks.
    # What a dead process was writing is passed over here, that is harmless.
    taken, free = 0, 1
    while _is_taken(numbered(free), 'part'):
        taken, free = free, 2 * free
    while free - taken > 1:
        number = (taken + free) // 2
        if _is_taken(numbered(number), 'part'):
            taken = number
        else:
            free = number
    yield from map(numbered, itertools.count(free))


def _blocks(buffer):
    "Yield what is in buffer as bytes, BLOCK or more at once."
    if isinstance(buffer, (str, bytes, bytearray, memoryview)):
        buffer = [buffer]
    elif hasattr(buffer, 'read'):
        buffer = itertools.takewhile(
            bool, iter(partial(buffer.read, BLOCK), None))
    block = bytearray()
    for piece in buffer:
        block += piece.encode('utf-8') if isinstance(piece, str) else piece
        if len(block) >= BLOCK:
            yield block
            block = bytearray()
    yield block


def sync(directory):
    "Have the names in a directory on the disk; raises OSError."
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as e:
        # Some file systems have no such thing
        if e.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(descriptor)


@contextmanager
def _explained(path):
    "Turn an error of the system into an OutputError."
    try:
        yield
    except (OSError, UnicodeEncodeError) as e:
        raise OutputError('output "%s" can not be written: %s; %s' % (
                path, getattr(e, 'strerror', None) or e,
                _advice.get(getattr(e, 'errno', None),
                    'see to the directory "%s"' % path.parent))) from e

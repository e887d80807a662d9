# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Hidden files: outputs until they appear, and the names that they keep.

The life of a file "name", always in the directory where it will appear, and
always locked (flock) by the transaction that writes it:

    .name.TAG.part   it is being written           no trace is left by an abort
    .name.TAG.ready  it is whole, and on the disk  from the vote, before the
                                                   commit
    name             it is published               after the commit

TAG says whose it is: a database and an execution of it.  Nobody else opens,
publishes or removes it.  Meanwhile ``.name.taken``, a symbolic link that leads
nowhere and whose text is TAG, keeps the name from everybody else.

The lock tells the living from the dead: a .part without a lock is rubbish; a
.ready without a lock belongs to a process that died around its commit, and
only the ledger knows whether before (discard) or after (publish).

Imports nothing of Tryton or Celery.
"""
import contextlib
import errno
import fcntl
import hashlib
import itertools
import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from . import names
from .directories import Directory, explained, identity_of, open_file, readable

__all__ = [
    'Hidden', 'Leftover', 'discard', 'leftovers', 'move', 'moved', 'publish',
    'reserve']

#: bytes read at once
BLOCK = 1 << 20
logger = logging.getLogger(__name__)


def reserve(directory, name, tag):
    "Return a new Hidden, locked, for the first free of name, name_1 ..."
    for candidate in names.free_names(directory, name, tag):
        if file := Hidden.create(directory, candidate, tag):
            return file


class Hidden:
    """An open hidden file, and the name at which it wants to appear.

    :param flags: of os.open; without O_EXCL the file has to be there, and to
        be a regular one
    :raises: OSError
    """

    def __init__(self, directory, name, tag, state, flags=os.O_RDWR):
        self.directory = directory
        self.name = name
        self.tag = tag
        self.state = state
        #: whether it is this one that keeps the name
        self.has_name = True
        self.descriptor = None
        self._size = 0
        self._digest = hashlib.blake2b(digest_size=16)
        if not flags & os.O_EXCL:
            # Before it is opened: that alone may block, or do something
            self._require_file(os.stat(
                    self.hidden, dir_fd=directory.descriptor,
                    follow_symlinks=False))
        self.descriptor = open_file(
            self.hidden, flags | os.O_NONBLOCK, directory.descriptor)
        try:
            self._require_file(os.fstat(self.descriptor))
        except BaseException:
            self.close()
            raise

    def _require_file(self, status):
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, '"%s" is no regular file'
                % self.hidden)

    @classmethod
    def create(cls, directory, name, tag):
        "Return a new one, locked; None where the name is not to be had."
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        while True:
            try:
                file = cls(directory, name, tag, 'part', flags)
            except FileExistsError:
                # Of a transaction that lives, or one that is dead
                try:
                    file = cls(directory, name, tag, 'part')
                except FileNotFoundError:
                    continue
                except OSError:
                    # Not ours, though it has our tag
                    return None
                if not file.is_ours():
                    file.close()
                    return None
            if not file.lock():
                file.close()
                return None
            if not file.is_at(file.hidden):
                # Locked too late: it was published or removed
                file.close()
                continue
            try:
                # One that was ours before may be of another transaction
                file.has_name = names.claim(directory, name, tag)
                if names.is_taken(directory, name, tag, mine=True):
                    file.remove()
                    return None
                file.has_name = True
                os.truncate(file.descriptor, 0)
            except BaseException:
                file.remove()
                raise
            return file

    def __del__(self):
        # Where a transaction ends in no regular way, its locks end too
        if self.descriptor is not None:
            os.close(self.descriptor)

    @property
    def path(self):
        return self.directory.path / self.name

    @property
    def hidden(self):
        return names.hidden(self.name, self.tag, self.state)

    @property
    def identity(self):
        "A text that tells what was written, and by which user."
        return '%s-%s-%s' % (
            os.fstat(self.descriptor).st_uid, self._size,
            self._digest.hexdigest())

    def lock(self):
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def is_at(self, name):
        status = self.directory.status(name)
        return status is not None and os.path.samestat(
            os.fstat(self.descriptor), status)

    def is_ours(self):
        "Return whether nobody else has, or has had, a way to write into it."
        status = os.fstat(self.descriptor)
        return status.st_nlink <= 1 and status.st_uid == os.geteuid()

    def write(self, block):
        view = memoryview(block)
        while view:
            count = os.write(self.descriptor, view)
            self._digest.update(view[:count])
            self._size += count
            view = view[count:]

    def read(self):
        "Read it to its end, for its identity; return that."
        while block := os.read(self.descriptor, BLOCK):
            self._digest.update(block)
            self._size += len(block)
        return self.identity

    def get_ready(self):
        "Have it on the disk, whole, before the commit; raises OSError."
        os.fsync(self.descriptor)
        self._check_names()
        ready = names.hidden(self.name, self.tag, 'ready')
        os.rename(
            self.hidden, ready, src_dir_fd=self.directory.descriptor,
            dst_dir_fd=self.directory.descriptor)
        self.state = 'ready'

    def _check_names(self):
        if not self.is_at(self.hidden):
            raise OSError(errno.ESTALE, '"%s" was replaced' % self.hidden)
        if os.fstat(self.descriptor).st_nlink > 1:
            raise OSError(errno.EMLINK,
                '"%s" has a second name elsewhere (a hard link)'
                % self.hidden)

    def check(self, expected):
        "Raise OSError where it is not what has the identity expected."
        self._check_names()
        if self.read() != expected:
            raise OSError(errno.ESTALE,
                '"%s" is not the file that was committed' % self.hidden)

    def publish(self):
        "Let it appear; it may have appeared already.  Raises OSError."
        # Who closes the execution may come first, or have died in between
        if not self.is_at(self.name):
            if not self.is_at(self.hidden):
                raise OSError(errno.ESTALE, '"%s" is gone' % self.hidden)
            try:
                self.directory.place(self.hidden, self.name)
            except FileExistsError as e:
                if not self.is_at(self.name):
                    raise OSError(
                        errno.EEXIST, "another file has its name") from e
        names.release(self.directory, self.name, self.tag)
        self.directory.unlink(self.hidden)

    def remove(self):
        try:
            if self.has_name:
                names.release(self.directory, self.name, self.tag)
            self.directory.unlink(self.hidden)
        except OSError as e:
            # Not raised: a roll back, or another error, is on its way
            logger.warning("%s can not be removed: %s",
                self.directory.path / self.hidden, e)
        self.close()

    def close(self):
        descriptor, self.descriptor = self.descriptor, None
        # A forked child may have the descriptor too: closing is not enough
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


# What a process that died has left

def publish(path, expected, tag):
    """Let a file appear that was committed by a process that then died.

    :param path: the ledger says that it is committed
    :param expected: the identity that it was committed with
    :raises: OSError, whose strerror says why it can not appear, or that it is
        missing
    """
    path = Path(path)
    try:
        directory = Directory(path.parent)
    except FileNotFoundError as e:
        raise FileNotFoundError(
            errno.ENOENT, "its directory does not exist") from e
    with directory:
        try:
            file = Hidden(
                directory, path.name, tag, 'ready', os.O_RDONLY)
        except FileNotFoundError as e:
            if directory.has_file(path.name):
                return
            raise FileNotFoundError(
                errno.ENOENT,
                "neither the file nor its hidden file exists") from e
        try:
            if not file.is_at(path.name):
                file.check(expected)
            file.publish()
        finally:
            file.close()
        directory.sync()


@dataclass(frozen=True)
class Leftover:
    "Hidden files of one name, and the name that they keep."
    directory: Path
    #: the name, or what stands for it
    stem: str
    tag: str
    #: id
    execution: int


def leftovers(directory, below=False):
    """Return each Leftover in a directory, whosesoever.

    :param below: also in those below it
    :raises: OSError
    """
    found = set()
    walk = os.fwalk(os.path.realpath(directory))
    for path, _, entries, descriptor in itertools.islice(
            walk, None if below else 1):
        for name in entries:
            if stem := names.taken_stem(name):
                # As if it were a hidden file of its owner
                with contextlib.suppress(OSError):
                    name = names.hidden(
                        stem, os.readlink(name, dir_fd=descriptor), 'part')
            if of := names.parsed(name):
                found.add(Leftover(Path(path), *of))
    return found


def discard(leftover):
    """Remove what a dead process has left, and let its name go.

    :param leftover: no file that the ledger says is committed: read what is
        left before the ledger
    :raises: OSError
    """
    tag, is_over = leftover.tag, True
    with Directory(leftover.directory) as directory:
        for state in ['part', 'ready']:
            try:
                file = Hidden(directory, leftover.stem, tag, state)
            except FileNotFoundError:
                continue
            try:
                if file.lock() and file.is_at(file.hidden):
                    directory.unlink(file.hidden)
                else:
                    is_over = False
            finally:
                file.close()
        if is_over:
            names.release(directory, leftover.stem, tag)


# Files that come in

def move(source, directory, expected, tag):
    """Move a file into a directory of its file system; return its Path there.

    The directory is made if need be; whoever calls syncs both.  A name that is
    taken gets a number.  Raises OutputError where the system refuses, and
    where source is not what has the identity expected: it stays then.

    :param tag: of the execution that moves it
    """
    path = Path(directory, source.name)
    with explained(path), Directory(source.parent) as here, \
            Directory(directory, make=True) as there:
        name = next(
            name for name in names.free_names(there, source.name, tag)
            if _move(here, source.name, there, name, tag))
        if identity_of(there.status(name)) != expected:
            # Another one came, after whoever calls had looked
            there.place(name, source.name, here)
            there.unlink(name)
            raise OSError(errno.ESTALE, "another file took its place")
    return path.with_name(name)


def _move(here, source, there, name, tag):
    "Return whether the name was free, and source has it now."
    claimed = names.claim(there, name, tag)
    try:
        # One that was ours before is of a process that died
        if names.is_taken(there, name, tag, mine=True):
            return False
        os.rename(
            source, name, src_dir_fd=here.descriptor,
            dst_dir_fd=there.descriptor)
        claimed = True
        return True
    finally:
        if claimed:
            names.release(there, name, tag)


def moved(directory, expected):
    "Return the Path of the file in directory with that identity, or None."
    with contextlib.suppress(OSError), Directory(directory) as directory:
        with readable(directory.descriptor) as descriptor, \
                os.scandir(descriptor) as entries:
            for entry in entries:
                if (expected.startswith('%s-' % entry.inode())
                        and identity_of(directory.status(entry.name))
                        == expected):
                    return directory.path / entry.name

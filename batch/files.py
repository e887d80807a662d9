# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Hidden files: output files until they appear, and their reserved names.

A file "name" goes through these names, always in the directory where it will
appear.  It is locked (flock) by the transaction that writes it:

    .name.TAG.part   it is being written       an abort removes it
    .name.TAG.ready  complete and on the disk  from the vote on, before the
                                               commit
    name             published                 after the commit

TAG names the owner: a database and one of its executions.  No other execution
opens, publishes or removes the file.  Meanwhile ``.name.taken``, a dangling
symbolic link with the text TAG, reserves the name.

The lock shows whether the process is alive.  A .part file without a lock is
useless.  A .ready file without a lock belongs to a process that died around
its commit; only the ledger knows whether before (discard it) or after (publish
it).

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
from .directories import (
    CLOSED, Directory, explained, identity_of, open_file, readable)

__all__ = [
    'Hidden', 'Leftover', 'discard', 'leftovers', 'move', 'moved', 'publish',
    'reserve']

#: bytes read at once
BLOCK = 1 << 20
logger = logging.getLogger(__name__)


def reserve(directory: Directory, name: str, tag: str) -> 'Hidden':
    "Return a new Hidden, locked, for the first free of name, name_1 ..."
    return next(filter(None, (
                Hidden.create(directory, candidate, tag)
                for candidate in names.free_names(directory, name, tag))))


class Hidden:
    """An open hidden file, with the name at which it will appear.

    :param flags: of os.open; without O_EXCL the file must exist and be
        a regular file
    :raises: OSError
    """

    def __init__(
            self, directory: Directory, name: str, tag: str, state: str,
            flags: int = os.O_RDWR) -> None:
        self.directory = directory
        self.name = name
        self.tag = tag
        self.state = state
        #: whether this object reserved the name
        self.has_name = True
        self.descriptor = CLOSED
        self._size = 0
        self._digest = hashlib.blake2b(digest_size=16)
        if not flags & os.O_EXCL:
            # Check before opening: to open a FIFO or a device may block or
            # have an effect
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

    def _require_file(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, '"%s" is no regular file'
                % self.hidden)

    @classmethod
    def create(
            cls, directory: Directory, name: str, tag: str) -> 'Hidden | None':
        "Return a new locked file; None if the name is not free."
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        while True:
            try:
                file = cls(directory, name, tag, 'part', flags)
            except FileExistsError:
                # It belongs to a transaction that is alive or dead
                try:
                    file = cls(directory, name, tag, 'part')
                except FileNotFoundError:
                    continue
                except OSError:
                    # Another program made it, with our tag
                    return None
                if not file.is_ours():
                    file.close()
                    return None
            if not file.lock():
                file.close()
                return None
            if not file.is_at(file.hidden):
                # It was published or removed before it was locked
                file.close()
                continue
            try:
                # If our tag has reserved it before, another transaction of the
                # execution may use it
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

    def __del__(self) -> None:
        # Where a transaction ends in no regular way, its locks end too
        if self.descriptor != CLOSED:
            os.close(self.descriptor)

    @property
    def path(self) -> Path:
        return self.directory.path / self.name

    @property
    def hidden(self) -> str:
        return names.hidden(self.name, self.tag, self.state)

    @property
    def identity(self) -> str:
        "A text that identifies the content and its owner."
        return '%s-%s-%s' % (
            os.fstat(self.descriptor).st_uid, self._size,
            self._digest.hexdigest())

    def lock(self) -> bool:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def is_at(self, name: str) -> bool:
        status = self.directory.status(name)
        return status is not None and os.path.samestat(
            os.fstat(self.descriptor), status)

    def is_ours(self) -> bool:
        "Return whether no other user or name gives access to the file."
        status = os.fstat(self.descriptor)
        return status.st_nlink <= 1 and status.st_uid == os.geteuid()

    def write(self, block: bytes | bytearray) -> None:
        view = memoryview(block)
        while view:
            count = os.write(self.descriptor, view)
            self._digest.update(view[:count])
            self._size += count
            view = view[count:]

    def read(self) -> str:
        "Read the file to its end and return its identity."
        while block := os.read(self.descriptor, BLOCK):
            self._digest.update(block)
            self._size += len(block)
        return self.identity

    def get_ready(self) -> None:
        "Sync the file and rename it to .ready; raises OSError."
        os.fsync(self.descriptor)
        self._check_names()
        ready = names.hidden(self.name, self.tag, 'ready')
        os.rename(
            self.hidden, ready, src_dir_fd=self.directory.descriptor,
            dst_dir_fd=self.directory.descriptor)
        self.state = 'ready'

    def _check_names(self) -> None:
        if not self.is_at(self.hidden):
            raise OSError(errno.ESTALE, '"%s" was replaced' % self.hidden)
        if os.fstat(self.descriptor).st_nlink > 1:
            raise OSError(errno.EMLINK,
                '"%s" has a second name elsewhere (a hard link)'
                % self.hidden)

    def check(self, expected: str) -> None:
        "Raise OSError if the file does not have the expected identity."
        self._check_names()
        if self.read() != expected:
            raise OSError(errno.ESTALE,
                '"%s" is not the file that was committed' % self.hidden)

    def publish(self) -> None:
        "Publish the file, unless it is published already; raises OSError."
        # The process that closes the execution may publish it at the same time
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

    def remove(self) -> None:
        try:
            if self.has_name:
                names.release(self.directory, self.name, self.tag)
            self.directory.unlink(self.hidden)
        except OSError as e:
            # Not raised: this is part of a rollback or of another error
            logger.warning("%s can not be removed: %s",
                self.directory.path / self.hidden, e)
        self.close()

    def close(self) -> None:
        descriptor, self.descriptor = self.descriptor, CLOSED
        # A forked child may have the descriptor, so unlock it explicitly
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


# Hidden files of dead processes

def publish(path: str | os.PathLike[str], expected: str, tag: str) -> None:
    """Publish a committed file whose process has died.

    :param path: of a file that is committed according to the ledger
    :param expected: its identity at the commit
    :raises: OSError, whose strerror says why it can not appear
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
    "The hidden files of one name, with the reserved name."
    directory: Path
    #: the name, or its hash
    stem: str
    tag: str
    #: id
    execution: int


def leftovers(
        directory: str | os.PathLike[str],
        below: bool = False) -> set[Leftover]:
    """Return each Leftover in a directory, of all executions.

    :param below: whether to search the directories below it, too
    :raises: OSError
    """
    found = set()
    walk = os.fwalk(os.path.realpath(directory))
    for path, _, entries, descriptor in itertools.islice(
            walk, None if below else 1):
        for name in entries:
            if stem := names.taken_stem(name):
                # Handle the link like a hidden file of its owner
                with contextlib.suppress(OSError):
                    name = names.hidden(
                        stem, os.readlink(name, dir_fd=descriptor), 'part')
            if of := names.parsed(name):
                found.add(Leftover(Path(path), *of))
    return found


def discard(leftover: Leftover) -> None:
    """Remove the hidden files of a dead process, and release the name.

    :param leftover: must not be committed: list the leftovers first, and read
        the ledger afterwards
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


# Input files

def move(source: Path, directory: Path, expected: str, tag: str) -> Path:
    """Move a file into a directory on its file system; return the new Path.

    The directory is created if it is missing; the caller syncs both.  If the
    name is in use, the file gets a number.  Raises OutputError on an error of
    the system, and if source does not have the expected identity; then it
    stays where it is.

    :param tag: of the execution that moves the file
    """
    path = Path(directory, source.name)
    with explained(path), Directory(source.parent) as here, \
            Directory(directory, make=True) as there:
        name = next(
            name for name in names.free_names(there, source.name, tag)
            if _move(here, source.name, there, name, tag))
        if identity_of(there.status(name)) != expected:
            # The file was replaced after the caller had checked it
            there.place(name, source.name, here)
            there.unlink(name)
            raise OSError(errno.ESTALE, "another file took its place")
    return path.with_name(name)


def _move(
        here: Directory, source: str, there: Directory, name: str,
        tag: str) -> bool:
    "Move source to name if that is free; return whether it was."
    claimed = names.claim(there, name, tag)
    try:
        # If our tag has reserved it before, that process is dead
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


def moved(directory: Path, expected: str) -> Path | None:
    "Return the Path of the file in directory with that identity, or None."
    with contextlib.suppress(OSError), Directory(directory) as there:
        with readable(there.descriptor) as descriptor, \
                os.scandir(descriptor) as entries:
            for entry in entries:
                if (expected.startswith('%s-' % entry.inode())
                        and identity_of(there.status(entry.name))
                        == expected):
                    return there.path / entry.name
    return None

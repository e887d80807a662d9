# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Opens directories and files without following links.

All operations in a directory use its descriptor.  So the directory that was
checked is the one that is used, even if its path is replaced meanwhile.

Imports nothing of Tryton or Celery.
"""
import contextlib
import errno
import hashlib
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .exceptions import OutputError

__all__ = [
    'CLOSED', 'NO_LINKS', 'Directory', 'content_of', 'explained', 'identity',
    'identity_of', 'open_file', 'open_to_append', 'readable']

# O_PATH needs no permission to read the directory
_directory = os.O_DIRECTORY | getattr(os, 'O_PATH', os.O_RDONLY)
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
    errno.ELOOP: "name the directory itself",
    }
_kinds = {
    stat.S_IFLNK: 'a link', stat.S_IFIFO: 'a FIFO',
    stat.S_IFDIR: 'a directory', stat.S_IFSOCK: 'a socket',
    stat.S_IFCHR: 'a device', stat.S_IFBLK: 'a device'}
#: the descriptor of what is closed.  None would be the working directory
CLOSED = -1
#: errors of file systems without hard links, or without symbolic links
NO_LINKS = {
    errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


@contextmanager
def explained(path: str | os.PathLike[str]) -> Iterator[None]:
    "Turn an error of the system into an OutputError."
    try:
        yield
    except (OSError, UnicodeEncodeError) as e:
        raise OutputError('output "%s" can not be written: %s; %s' % (
                path, getattr(e, 'strerror', None) or e,
                _advice.get(getattr(e, 'errno', 0),
                    'see to the directory "%s"' % Path(path).parent))) from e


class Directory:
    """An open directory, a context manager that closes it.

    ``descriptor`` is the ``dir_fd`` for operations in the directory.

    :param path: absolute, and without links
    :param make: whether to create missing directories
    :raises: OSError, ELOOP where a part of path is a link
    """

    def __init__(
            self, path: str | os.PathLike[str], make: bool = False) -> None:
        self.path = Path(path)
        #: (descriptor of its parent, name) of each created directory
        self.made: list[tuple[int, str]] = []
        self.descriptor = open_file(os.sep, _directory)
        try:
            for name in self.path.parts[1:]:
                inner = self._open(name, make)
                os.close(self.descriptor)
                self.descriptor = inner
        except BaseException:
            self.remove_made()
            self.close()
            raise

    def _open(self, name: str, make: bool) -> int:
        while True:
            try:
                return open_file(name, _directory, self.descriptor)
            except FileNotFoundError:
                if not make:
                    raise
            except OSError as e:
                # For a link, systems return ELOOP or ENOTDIR
                status = self.status(name)
                if status is not None and stat.S_ISLNK(status.st_mode):
                    raise OSError(errno.ELOOP, '"%s" on its path is a link'
                        % name) from e
                raise
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=self.descriptor)
                self.made.append((
                        open_file('.', _directory, self.descriptor), name))

    def __enter__(self) -> 'Directory':
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        while self.made:
            os.close(self.made.pop()[0])
        if self.descriptor != CLOSED:
            os.close(self.descriptor)
            self.descriptor = CLOSED

    def remove_made(self) -> None:
        "Remove the created directories that are empty."
        while self.made:
            parent, name = self.made.pop()
            # Not if it is in use.  A process that needs it creates it again
            with contextlib.suppress(OSError):
                os.rmdir(name, dir_fd=parent)
            os.close(parent)

    def status(self, name: str) -> os.stat_result | None:
        "Return the status of a name without following links, or None."
        try:
            return os.stat(
                name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def has_file(self, name: str) -> bool:
        "Return whether a regular file has the name."
        status = self.status(name)
        return status is not None and stat.S_ISREG(status.st_mode)

    def unlink(self, name: str) -> None:
        "Remove a name, if it is there."
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def place(
            self, source: str, target: str,
            directory: 'Directory | None' = None) -> None:
        """Link or rename source to target, and never overwrite a file.

        The old name may remain.  Raises FileExistsError.

        :param directory: the directory of target, None for this one
        """
        directory = directory or self
        fds = {
            'src_dir_fd': self.descriptor,
            'dst_dir_fd': directory.descriptor}
        try:
            os.link(source, target, follow_symlinks=False, **fds)
        except OSError as e:
            if e.errno not in NO_LINKS:
                raise
            # Only a program that ignores reserved names can interfere here
            if directory.status(target) is not None:
                raise FileExistsError(
                    errno.EEXIST, os.strerror(errno.EEXIST), target)
            os.rename(source, target, **fds)

    def sync(self) -> None:
        "Sync the directory, and the parents of created ones, to the disk."
        for descriptor in [self.descriptor, *(fd for fd, _ in self.made)]:
            with readable(descriptor) as directory:
                try:
                    os.fsync(directory)
                except OSError as e:
                    # Some file systems can not sync a directory
                    if e.errno not in {errno.EINVAL, errno.ENOTSUP}:
                        raise


@contextmanager
def readable(descriptor: int) -> Iterator[int]:
    "Yield a descriptor of the same directory that can be read and synced."
    directory = open_file('.', os.O_DIRECTORY, descriptor)
    try:
        yield directory
    finally:
        os.close(directory)


def open_file(
        path: str | os.PathLike[str], flags: int,
        directory: int | None = None) -> int:
    """Open a file or a directory, but no link; return its descriptor.

    :param directory: descriptor of the directory that path is relative to
    """
    flags |= os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o666, dir_fd=directory)
    except OSError as e:
        # Each file stays open until the end of the transaction.  The usual
        # soft limit is 1024 only because of programs that use select()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if e.errno != errno.EMFILE or soft == hard:
            raise
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return os.open(path, flags, 0o666, dir_fd=directory)


def identity(path: str | os.PathLike[str]) -> str:
    """Return a text that identifies a file in its present state.

    Raises OSError, also if path is no regular file.
    """
    return identity_of(os.lstat(path))


def identity_of(status: os.stat_result | None) -> str:
    "As identity(), of what os.lstat() returned."
    if status is None or not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError(errno.ENOENT, "it is no file")
    return '%s-%s-%s' % (
        status.st_ino, status.st_size, status.st_mtime_ns)


def content_of(path: str | os.PathLike[str]) -> str:
    """Return a hash of the content of a file.

    It also changes if a program restores the time of a file that it rewrites,
    or rewrites it within the few milliseconds that its time is exact to.
    """
    digest = hashlib.blake2b(digest_size=16)
    with open(open_file(path, os.O_RDONLY | os.O_NONBLOCK), 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def open_to_append(path: str | os.PathLike[str]) -> int:
    """Open a file to append to it; return its descriptor.

    Raises OSError if path is a link, has a second name (a hard link), or is no
    regular file.
    """
    def check(status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, 'it is %s, expected a regular file' % (
                    _kinds.get(stat.S_IFMT(status.st_mode), 'no file')))
        if status.st_nlink > 1:
            raise OSError(
                errno.EMLINK, 'it has a second name elsewhere (a hard link)')

    with contextlib.suppress(FileNotFoundError):
        check(os.lstat(path))
    descriptor = open_file(
        path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK)
    try:
        check(os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor

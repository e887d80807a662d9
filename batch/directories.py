# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Directories and files, handled so that nobody else's is touched.

A directory is opened without following a link, and all that is done in it is
done through its descriptor: so the one that was checked is the one that is
used, whatever is put at its path meanwhile.

Imports nothing of Tryton or Celery.
"""
import contextlib
import errno
import hashlib
import os
import resource
import stat
from contextlib import contextmanager
from pathlib import Path

from .exceptions import OutputError

__all__ = [
    'NO_LINKS', 'Directory', 'content_of', 'explained', 'identity',
    'identity_of', 'open_file', 'open_to_append', 'readable']

# Enough to go through a directory that must not be read
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
#: what file systems answer that have no hard links, or no symbolic ones
NO_LINKS = {
    errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


@contextmanager
def explained(path):
    "Turn an error of the system into an OutputError."
    try:
        yield
    except (OSError, UnicodeEncodeError) as e:
        raise OutputError('output "%s" can not be written: %s; %s' % (
                path, getattr(e, 'strerror', None) or e,
                _advice.get(getattr(e, 'errno', None),
                    'see to the directory "%s"' % Path(path).parent))) from e


class Directory:
    """An open directory, a context manager that closes it.

    ``descriptor`` is for the ``dir_fd`` of what is done in it.

    :param path: absolute, and without links
    :param make: whether to make what is missing of it
    :raises: OSError, ELOOP where a part of path is a link
    """

    def __init__(self, path, make=False):
        self.path = Path(path)
        #: (descriptor of its parent, name) of each one that was made
        self.made = []
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

    def _open(self, name, make):
        while True:
            try:
                return open_file(name, _directory, self.descriptor)
            except FileNotFoundError:
                if not make:
                    raise
            except OSError as e:
                # ELOOP or ENOTDIR, as the system likes
                status = self.status(name)
                if status is not None and stat.S_ISLNK(status.st_mode):
                    raise OSError(errno.ELOOP, '"%s" on its path is a link'
                        % name) from e
                raise
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=self.descriptor)
                self.made.append((
                        open_file('.', _directory, self.descriptor), name))

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        while self.made:
            os.close(self.made.pop()[0])
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def remove_made(self):
        "Remove what was made on the way to it, and is empty."
        while self.made:
            parent, name = self.made.pop()
            # Others may use it: it is not empty, or they make it again
            with contextlib.suppress(OSError):
                os.rmdir(name, dir_fd=parent)
            os.close(parent)

    def status(self, name):
        "Return the status of what has the name, links not followed, or None."
        try:
            return os.stat(
                name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def has_file(self, name):
        status = self.status(name)
        return status is not None and stat.S_ISREG(status.st_mode)

    def unlink(self, name):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def place(self, source, target, directory=None):
        """Give a file its name, never that of another one.

        The file may keep its old name.  Raises FileExistsError.

        :param directory: that of target, None for this one
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
            # Only a program that does not ask for our names can come between
            if directory.status(target) is not None:
                raise FileExistsError(
                    errno.EEXIST, os.strerror(errno.EEXIST), target)
            os.rename(source, target, **fds)

    def sync(self):
        "Have the names in it on the disk, and in those where it was made."
        for descriptor in [self.descriptor, *(fd for fd, _ in self.made)]:
            with readable(descriptor) as directory:
                try:
                    os.fsync(directory)
                except OSError as e:
                    # Some file systems have no such thing
                    if e.errno not in {errno.EINVAL, errno.ENOTSUP}:
                        raise


@contextmanager
def readable(descriptor):
    "Give a descriptor of the same directory that can be read and synced."
    directory = open_file('.', os.O_DIRECTORY, descriptor)
    try:
        yield directory
    finally:
        os.close(directory)


def open_file(path, flags, directory=None):
    """Return a descriptor of a file, or a directory, that is no link.

    :param directory: descriptor of the directory that path starts from
    """
    flags |= os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o666, dir_fd=directory)
    except OSError as e:
        # Each file stays open to the end of the transaction, and the usual
        # limit of 1024 is low only for the sake of programs that select()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if e.errno != errno.EMFILE or soft == hard:
            raise
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return os.open(path, flags, 0o666, dir_fd=directory)


def identity(path):
    """Return a text that no other file has, nor this one once it is changed.

    Raises OSError, also where path is no regular file.
    """
    return identity_of(os.lstat(path))


def identity_of(status):
    if status is None or not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError(errno.ENOENT, "it is no file")
    return '%s-%s-%s' % (
        status.st_ino, status.st_size, status.st_mtime_ns)


def content_of(path):
    """Return a hash of the content of a file, as a text.

    A program may rewrite a file and give it back its time, or come within the
    few milliseconds in which the time of a file does not move.
    """
    digest = hashlib.blake2b(digest_size=16)
    with open(open_file(path, os.O_RDONLY | os.O_NONBLOCK), 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def open_to_append(path):
    """Return a descriptor of a file that is written at its end.

    Raises OSError where path is a link, has a second name elsewhere, or is no
    regular file: those are never opened.
    """
    def check(status):
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

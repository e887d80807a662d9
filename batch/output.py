# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The paths of output files, and their data manager in a transaction.

Imports nothing of Tryton or Celery.
"""
import datetime as dt
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path, PurePath
from typing import IO, Any, TypeAlias

from .aliases import Settings
from .exceptions import OutputError
from .files import BLOCK, Directory, Hidden, explained, reserve
from .logging import server_zone

__all__ = ['Outputs', 'filepath']

#: how often a directory is created that other processes remove at once
ATTEMPTS = 100
#: what is written: a str (as UTF-8), bytes, or a file or an iterable of those
Buffer: TypeAlias = (
    str | bytes | bytearray | memoryview | IO[str] | IO[bytes]
    | Iterable[str | bytes])


def filepath(
        filename: str | os.PathLike[str], settings: Settings, batch: str,
        execution: int, chunk: str | None, started_at: dt.datetime | None,
        database: str = '') -> Path:
    """Return the Path that the settings give to filename.

    Raises OutputError if root_dir is unusable, or if the path would leave it,
    links followed.

    :param settings: root_dir, filepath_template, filepath_timestamp_format
    :param execution: id
    :param chunk: number
    :param started_at: in UTC if it is naive; None for now
    """
    def error(problem: str, remedy: str) -> OutputError:
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
        'DATABASE': database,
        'FILENAME': filename,
        'TIMESTAMP': started_at.astimezone(server_zone()).strftime(
            settings['filepath_timestamp_format']),
        'EXECUTION': execution,
        'CHUNK': '0' if chunk is None else chunk,
        }
    template = settings['filepath_template']
    try:
        # In one pass, as a value may look like a placeholder
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
        # A circle of links, or no valid Unicode
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

    ``transaction.join(Outputs(tag))`` returns the Outputs of the transaction.

    :param tag: the owner in the names of its hidden files, see files.py
    """

    def __init__(self, tag: str = '') -> None:
        self.tag = tag
        self._pending: list[Hidden] = []
        #: path -> identity of each file that was committed
        self._committed: dict[str, str] = {}
        #: paths of those that have appeared, in directories that are synced
        self.appeared: list[str] = []
        self._directories: dict[Path, Directory] = {}

    def __eq__(self, other: object) -> bool:
        # So Transaction.join finds the one that has joined already
        return isinstance(other, Outputs)

    @property
    def identities(self) -> dict[str, str]:
        "The identity of each file by its path, without aborted files."
        return {
            **self._committed,
            **{str(file.path): file.identity for file in self._pending}}

    @property
    def files(self) -> list[Path]:
        "The Path of each file written, without those aborted."
        return list(map(Path, self.identities))

    def write(self, path: str | os.PathLike[str], buffer: Buffer) -> Path:
        """Write buffer into a file that appears when the transaction commits.

        buffer is a str (written as UTF-8), bytes, or a file or an iterable of
        either.  Returns the Path at which the file will appear, ``name_1.ext``
        etc. if the name is in use.  Raises OutputError on an error of the
        system.

        :param path: absolute, and without links in its directory
        """
        path = Path(path)
        file: Hidden | None = None
        try:
            with explained(path):
                file = self._reserve(path)
            for block in _blocks(buffer):
                with explained(file.path):
                    file.write(block)
        except BaseException:
            if file:
                file.remove()
            self._close_directories(unused=True)
            raise
        self._pending.append(file)
        return file.path

    def _reserve(self, path: Path) -> Hidden:
        attempts = 0
        while True:
            directory = self._directories.get(path.parent)
            try:
                if not directory:
                    directory = Directory(path.parent, make=True)
                    self._directories[path.parent] = directory
                return reserve(directory, path.name, self.tag)
            except FileNotFoundError:
                # An abort in another process has just removed the directory
                self._close_directories(unused=True)
                attempts += 1
                if attempts == ATTEMPTS:
                    raise

    def _close_directories(
            self, unused: bool = False, remove: bool = True) -> None:
        """Close the directories, and remove the empty ones that were created.

        :param unused: only those without a pending file
        """
        used = {file.path.parent for file in self._pending if unused}
        for path in set(self._directories) - used:
            directory = self._directories.pop(path)
            if remove:
                directory.remove_made()
            directory.close()

    def tpc_begin(self, transaction: Any) -> None:
        "Do nothing."

    def commit(self, transaction: Any) -> None:
        "Do nothing: tpc_finish comes after the commit of the database."

    def tpc_vote(self, transaction: Any) -> None:
        "Sync all files and rename them to .ready, or raise OutputError."
        for file in self._pending:
            with explained(file.path):
                file.get_ready()
        self._sync()

    def tpc_finish(self, transaction: Any) -> None:
        "Let all files appear; raises OutputError for the first that can not."
        files, self._pending = self._pending, []
        error: tuple[Path, OSError] | None = None
        appeared = []
        for file in files:
            self._committed[str(file.path)] = file.identity
            try:
                file.publish()
                appeared.append(str(file.path))
            except OSError as e:
                # The .ready file stays: closing the execution publishes it
                error = error or (file.path, e)
            finally:
                file.close()
        try:
            self._sync()
            self.appeared += appeared
        finally:
            self._close_directories(remove=False)
        if error:
            with explained(error[0]):
                raise error[1]

    def tpc_abort(self, transaction: Any) -> None:
        "Remove all files.  It never raises, as the rollback must go on."
        # If the connection was lost after the vote, the database may have
        # committed.  Then the file stays, and the ledger decides later
        closed = getattr(
            getattr(transaction, 'connection', None), 'closed', False)
        for file in self._pending:
            if file.state == 'ready' and closed:
                file.close()
            else:
                file.remove()
        self._pending.clear()
        self._close_directories()

    def _sync(self) -> None:
        for path, directory in self._directories.items():
            with explained(path):
                directory.sync()


def _blocks(buffer: Buffer) -> Iterator[bytes | bytearray]:
    "Yield what is in buffer as bytes, BLOCK or more at once."
    pieces: Iterable[Any] = buffer
    "Yield the content of buffer as bytes, in blocks of BLOCK or more."
    if isinstance(buffer, (str, bytes, bytearray, memoryview)):
        pieces = [buffer]
    elif hasattr(buffer, 'read'):
        pieces = itertools.takewhile(
            bool, iter(partial(buffer.read, BLOCK), None))
    block = bytearray()
    for piece in pieces:
        block += piece.encode('utf-8') if isinstance(piece, str) else piece
        if len(block) >= BLOCK:
            yield block
            block = bytearray()
    yield block

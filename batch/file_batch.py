# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Batches whose units are files of a directory, or the rows of such files.

Knows neither Celery nor the ledger: which files may be taken is asked of
what the selection has in ``current``.
"""
import errno
import fnmatch
import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Optional

from trytond import backend
from trytond.transaction import TransactionError

from . import error_lines, texts
from .aliases import Params, Unit
from .batch import BatchRoot
from .context import Custody, current_work, end_child
from .directories import Directory, content_of, identity
from .exceptions import DefinitionError, InputError, ParameterError
from .ledger.units import dump_units
from .signatures import call_hook
from .texts import calls_hooks
from .transaction import is_shutdown

__all__ = ['BatchRootFiles', 'SelectAgain', 'check_unchanged']

#: ends the name of a file that is still being written
UNFINISHED = '.part'


class SelectAgain(TransactionError):
    "Raised when another execution came first to a file that was read."


class BatchRootFiles(BatchRoot):
    """A batch that treats the files of a directory, or the rows of them.

    Without ``read_file`` each file is a unit: ``ids`` has its name and
    ``objects`` its Path.  With it each row is one: ``objects`` has the rows,
    ``ids`` (name of the file, number of the row from 1 on, row).

    A file is moved to the archive once all of its units are committed.  Until
    then the execution that selected it holds it, and no other one selects it.
    """

    @classmethod
    def read_file(
            cls, path: Path, *_: Any,
            **parameters: Any) -> Iterable[Any] | None:
        """Return the rows of a file, as any iterable, or None if it has none.

        A row is a value of JSON, of dates and of Decimals.  It may be
        a generator; called twice in the selection, to count and to select.
        """

    @classmethod
    def select_ids(
            cls, directory: Path, archive: Path = Path('archive'),
            pattern: str = '*', errors: Optional[Path] = None,
            **parameters: Any) -> Iterator[Unit]:
        """Yield the units of all files in directory.

        Hidden files, directories, links and what ends with ``.part`` are
        passed over.  Raises InputError where a directory is of no use.

        :param directory: absolute
        :param archive: where files go in the end, below directory if it is
            relative; it is made if need be
        :param pattern: of the names, as in a shell
        :param errors: where files with the failed rows are written, as archive
        """
        parameters.update(
            directory=directory, archive=archive, pattern=pattern,
            errors=errors)
        check_directories(
            cls.__name__, directory, archive_of(directory, archive),
            errors and archive_of(directory, errors))
        custody = current_custody()
        # Resolved, as the ledger knows a file by its path
        for path in files_of(directory.resolve(), pattern):
            if problem := is_no_name(path) \
                    or custody and custody.refusal(path):
                cls.logger.warning('"%s" is left out: %s',
                    texts.excerpt(path.name), problem)
            else:
                yield from cls.units_of(path, parameters)

    @classmethod
    def convert_to_instances(  # type: ignore[no-untyped-def]
            cls, ids, directory, **parameters):
        "Return the rows; of a unit that is a file, its Path."
        # An annotation would give the parameter directory a type
        parameters['directory'] = directory
        return [
            id[-1] if isinstance(id, tuple)
            else cls.file_of(directory / id, parameters) for id in ids]

    @classmethod
    def format_errors(
            cls, path: Path, failed: list[tuple[int, Any, str]],
            **parameters: Any) -> Any:
        """Return what is written of the rows of a file that failed.

        Text, bytes, or an iterable of either; None: they can not be given
        back, and stay to be retried.  Called at the end of an execution that
        has a parameter ``errors``.  By default the lines of the rows are
        copied as they are, each with one more column that has the error.

        :param path: the file that came in
        :param failed: (number of the row, row, error) of each, by number
        """
        delimiter = parameters.get('delimiter')
        return error_lines.copied(
            path, failed,
            lambda path: call_hook(cls, 'read_file', parameters, path),
            lambda row, other: dump_units([row]) == dump_units([other]),
            delimiter if isinstance(delimiter, str) and len(delimiter) == 1
            else None)

    # What the engine asks

    # By their numbers: to remember a million rows would take hundreds of MB
    has_distinct_units = True
    has_input_files = True

    @classmethod
    @calls_hooks
    def units_of(cls, path: Path, parameters: Params) -> Iterator[Unit]:
        """Yield the units of a file, and have the execution hold it.

        A file that can not be read is one unit, which will fail.  Raises
        InputError where the file is changed meanwhile.
        """
        count = 0
        try:
            before = identity(path)
        except FileNotFoundError:
            # Another execution has just archived it
            return
        try:
            rows = call_hook(cls, 'read_file', parameters, path)
            if rows is not None:
                count = sum(1 for _ in rows)
            end_child()
        except (TransactionError, backend.DatabaseOperationalError):
            raise
        except BaseException as error:
            if is_shutdown(error):
                raise
            if not is_file(path):
                return
            rows = None
            cls.logger.error('"%s" can not be read: %s: %s',
                texts.excerpt(path.name), texts.name_of(type(error)),
                texts.excerpt(error, texts.TEXT))
        if custody := current_custody():
            try:
                content = content_of(path)
            except FileNotFoundError as error:
                raise SelectAgain('"%s" is gone' % path) from error
            custody.take(path, before, content, 1 if rows is None else count,
                archive_of(parameters['directory'], parameters['archive']))
        if rows is None:
            yield path.name
            return
        number = 0
        try:
            for number, row in enumerate(
                    call_hook(cls, 'read_file', parameters, path), 1):
                yield path.name, number, row
        except FileNotFoundError:
            if is_file(path):
                raise
        check_unchanged(path, before)
        if number != count:
            raise DefinitionError(
                cls.__name__, 'gave %s rows of "%s" at first, and then %s; '
                'expected the same rows each time' % (count, path, number),
                hook='read_file')

    @classmethod
    def units_again(
            cls, units: Iterable[Unit], parameters: Params) -> Iterator[Unit]:
        "Yield units that failed; a file that failed as such is read again."
        for unit in units:
            if isinstance(unit, str):
                path = parameters['directory'].resolve() / unit
                if is_file(path):
                    yield from cls.units_of(path, parameters)
                    continue
            yield unit

    @classmethod
    @calls_hooks
    def file_of(cls, path: Path, parameters: Params) -> Path:
        "Return path; raises InputError if its file can not be a unit."
        if not is_file(path):
            raise InputError('"%s" no longer exists' % path)
        rows = call_hook(cls, 'read_file', parameters, path)
        if rows is not None:
            # Its rows are no units, as it could not be read
            for _ in rows:
                pass
            raise InputError('"%s" could not be read when it was selected, '
                'and can be read now: retry it' % path)
        return path


def current_custody() -> Custody | None:
    "Return the Custody of the selection, None outside of one."
    work = current_work()
    return work.custody if work else None


def files_of(directory: Path, pattern: str) -> list[Path]:
    "Return the Paths of the files to select, by name."
    with os.scandir(directory) as entries:
        return sorted(
            Path(entry.path) for entry in entries
            if not entry.name.startswith('.')
            and not entry.name.endswith(UNFINISHED)
            and fnmatch.fnmatchcase(entry.name, pattern)
            and entry.is_file(follow_symlinks=False))


def is_file(path: Path) -> bool:
    "Return whether a regular file is there, no link."
    try:
        return bool(identity(path))
    except OSError:
        return False


def check_unchanged(path: Path, expected: str) -> None:
    "Raise SelectAgain if the file is gone, InputError if it was changed."
    try:
        found = identity(path)
    except FileNotFoundError as error:
        raise SelectAgain('"%s" is gone' % path) from error
    if found != expected:
        raise InputError(
            '"%s" was changed while it was selected; who writes it should '
            'write it under a name that ends with "%s", and rename it when it '
            'is whole' % (path, UNFINISHED))


def is_no_name(path: Path) -> str | None:
    "Return why the name of a file can not be used, None if it can."
    try:
        str(path).encode('utf-8')
    except UnicodeEncodeError:
        return 'its name is not UTF-8: rename it'
    return None


def archive_of(directory: Path, archive: Path) -> Path:
    """Return the path of the archive, in which links are refused.

    Links that lead to it are followed here, but not those below directory,
    which may be made by whoever delivers files.
    """
    directory = Path(os.path.realpath(directory))
    archive = Path(os.path.normpath(directory / archive))
    if archive.is_relative_to(directory):
        return archive
    return Path(os.path.realpath(archive.parent), archive.name)


def check_directories(
        batch: str, directory: Path, archive: Path,
        errors: Path | None = None) -> None:
    """See that files can be moved from directory to archive.

    :param archive: as of archive_of
    :param errors: likewise, None for none
    :raises: ParameterError, InputError
    """
    def error(name: str, path: Path, problem: str) -> InputError:
        return InputError(
            'batch "%s": parameter "%s" is "%s", which %s on %s' % (
                batch, name, path, problem, socket.gethostname()))

    if not directory.is_absolute():
        raise ParameterError(batch, 'directory', 'is "%s", expected an '
            'absolute path' % directory)
    paths = {'directory': directory, 'archive': archive}
    if errors is not None:
        paths['errors'] = errors
    existing = {}
    for name, path in paths.items():
        if name != 'directory' and path == Path(os.path.realpath(directory)):
            raise ParameterError(batch, name, 'is "%s", expected another '
                'directory than "directory"' % path)
        # It may not exist yet: look at the nearest parent that does
        nearest = path
        while name != 'directory' and not os.path.lexists(nearest):
            nearest = nearest.parent
        existing[name] = nearest
        if name == 'directory':
            # A link to it is followed
            continue
        try:
            Directory(nearest).close()
        except OSError as e:
            # What else is wrong with it is told below
            if e.errno == errno.ELOOP:
                raise error(name, path, 'is a link or below one: name '
                    'the directory itself')
    for name, nearest in existing.items():
        if not nearest.is_dir():
            raise error(name, paths[name], (
                    'is no directory' if os.path.lexists(nearest)
                    else 'does not exist: create or mount it'))
        if not os.access(nearest, os.R_OK | os.W_OK | os.X_OK):
            raise error(name, paths[name], "can not be read and written by "
                "the workers' user: let it, or files could not be archived")
    if existing['archive'].stat().st_dev != directory.stat().st_dev:
        raise error('archive', archive, 'is of another file system than '
            '"directory": name one of the same')

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Which execution holds which input file, and when it is archived.

The execution that selected a file holds it (``held``) until it is archived, or
gone.  Meanwhile no other one selects it, so that no row of it is done twice.

A file is moved when no unit of it is failed or left, in the execution and its
retries.  For that only chunks that are not done are read.
"""
import contextlib
import os
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from trytond import backend

from .. import files, ledger
from ..aliases import Cursor
from ..directories import Directory, content_of, identity
from ..exceptions import InputError, OutputError
from ..file_batch import SelectAgain, check_unchanged
from ..ledger.inputs import InputFile, Undone
from ..ledger.states import OPEN_EXECUTIONS

__all__ = ['Custody', 'Settled', 'settle', 'settle_earlier']


class Settled(NamedTuple):
    "What became of an input file that an execution held."
    path: Path
    #: where it is now
    archived: Path | None
    #: why it is not archived
    why: str | None


class Custody:
    """The input files that a selection may take, and those that it took.

    :param retry_of: id of the execution that is retried, which has them
    :param keep: whether to write that they are held; not in a dry run
    """

    def __init__(
            self, cursor: Cursor, execution: int, retry_of: int | None = None,
            keep: bool = True) -> None:
        self.cursor = cursor
        self.execution = execution
        self.root = retry_of and ledger.inputs.root_of(
            cursor, retry_of)
        self.keep = keep
        #: why files were left out, by name
        self.left_out: dict[str, str] = {}
        self._files: list[tuple[Path, str, int, Path]] = []
        self._before: dict[Path, str] = {}
        self._whys: dict[int, dict[Path, str | None] | None] = {}

    @cached_property
    def _holders(self) -> dict[str, int]:
        return ledger.inputs.holders_by_path(self.cursor)

    def refusal(self, path: Path) -> str | None:
        "Return why a file may not be selected, None if it may."
        holder = self._holders.get(str(path))
        if holder is None:
            return None
        if holder not in self._whys:
            self._whys[holder] = None if is_running(self.cursor, holder) \
                else {s.path: s.why
                    for s in settle(self.cursor, holder)}
        whys = self._whys[holder]
        why = 'execution #%s holds it, %s' % (
            holder, 'and is running (coop show %s)' % holder
            if whys is None else whys[path])
        self.left_out[path.name] = why
        return why

    def take(
            self, path: Path, before: str, content: str, units: int,
            archive: Path) -> None:
        """Hold a file; raises InputError if another execution does.

        :param before: its identity before it was read
        :param content: of directories.content_of
        :param units: how many
        """
        if not self.keep:
            return
        identity = '%s-%s' % (before, content)
        if self.root:
            # It failed as a whole, and is read again
            try:
                ledger.inputs.hold_again(
                    self.cursor, self.root, path, identity, units)
            except backend.DatabaseIntegrityError as error:
                raise InputError(
                    '"%s" is held by a later execution, which selected it '
                    'after it had been moved away and back; coop history '
                    'lists the executions' % path) from error
            return
        self._files.append((path, identity, units, archive))
        self._before[path] = before
        if len(self._files) >= ledger.inputs.BULK:
            self.flush()

    def flush(self) -> None:
        """Write which files are held.

        Raises SelectAgain if another execution holds one, InputError where an
        archive can not be made or a file was changed.
        """
        if not self._files:
            return
        try:
            ledger.inputs.add(self.cursor, self.execution, self._files)
        except backend.DatabaseIntegrityError as error:
            raise SelectAgain('another execution took a file first') from error
        for path, _, _, archive in self._files:
            # Another execution may have archived it before we held it
            check_unchanged(path, self._before.pop(path))
            try:
                Directory(archive, make=True).close()
            except OSError as error:
                raise InputError('the archive "%s" can not be made: %s'
                    % (archive, error.strerror)) from error
        self._files = []

    @property
    def message(self) -> str | None:
        "Return what the outcome says of files left out, None without any."
        if not self.left_out:
            return None
        name, why = next(iter(self.left_out.items()))
        more = len(self.left_out) - 1
        return 'left out: "%s": %s%s' % (
            name, why, ' (and %s more: see the log)' % more if more else '')


def is_running(cursor: Cursor, root: int) -> bool:
    "Return whether an execution, or one of its retries, is not over."
    return any(
        ledger.executions.existing(cursor, execution, 'state')['state']
        in OPEN_EXECUTIONS
        for execution in ledger.inputs.tree_of(cursor, root))


def settle(
        cursor: Cursor, execution: int,
        tag: str | None = None) -> list[Settled]:
    """Archive the files of an execution, or of what it retries, that are done.

    Called before the end of the execution is committed.  If the process dies
    in between, the next caller finds the file in the archive.

    :param tag: of the execution that archives, see names.py; None to move
        nothing
    :return: a Settled for each file that was held
    """
    root = ledger.inputs.root_of(cursor, execution)
    if not (found := ledger.inputs.held_by(cursor, root)):
        return []
    undone = ledger.inputs.count_undone(
        cursor, ledger.inputs.tree_of(cursor, root))
    settled, directories = [], set()
    for file in found:
        archived, why, values = None, undone_of(file, undone), {}
        try:
            if not os.path.lexists(file.path):
                if is_in_sight(file):
                    # A process moved it and died, or somebody removed it
                    archived = None if why else files.moved(
                        file.archive, stat_of(file))
                    values = {'held': None}
                if not archived:
                    why = 'it no longer exists'
            elif why:
                pass
            elif not is_unchanged(file):
                why = 'it was changed after it was selected; to have it ' \
                    'processed as a new file, rename it'
            elif not tag:
                why = 'but has not archived it yet'
            else:
                archived = files.move(
                    file.path, file.archive, stat_of(file), tag)
                directories |= {file.path.parent, file.archive}
                values = {'held': None}
        except (OSError, OutputError) as error:
            why = getattr(error, 'strerror', None) or str(error)
        if tag and values:
            ledger.inputs.update_input(
                cursor, file.id, archived=archived and str(archived),
                **values)
        settled.append(Settled(file.path, archived, why))
    for directory in directories:
        # The execution ends even if the disk fails
        with contextlib.suppress(OSError), Directory(directory) as opened:
            opened.sync()
    return settled


def stat_of(file: InputFile) -> str:
    "Return the part of the identity that directories.identity() gives."
    return '-'.join(file.identity.split('-')[:3])


def is_unchanged(file: InputFile) -> bool:
    "Return whether a file is as it was when it was selected."
    if identity(file.path) != stat_of(file):
        return False
    # Files selected by an earlier version have no hash
    _, _, _, *content = file.identity.split('-')
    return not content or content == [content_of(file.path)]


def is_in_sight(file: InputFile) -> bool:
    """Return whether a file that is not there is gone for good.

    Not if its directory may not be mounted: then the archive, which was made
    when the file was selected, is not there either.
    """
    try:
        return os.lstat(file.archive).st_dev == file.path.parent.stat().st_dev
    except OSError:
        return False


def settle_earlier(cursor: Cursor, batch: str, tag: str) -> list[Settled]:
    """Archive files of earlier executions of the batch that are done.

    Those could not, or their process died.  Returns what was archived.

    :param tag: of the execution that archives
    """
    return [
        settled for root in ledger.inputs.holders(cursor, batch)
        if not is_running(cursor, root)
        for settled in settle(cursor, root, tag) if settled.archived]


def undone_of(
        file: InputFile, undone: Mapping[str, Counter[Undone]]) -> str | None:
    "Return which units are not done, with the command to run; None if none."
    return ', '.join(
        '%s %s: coop %s %s' % (
            '%s of its %s rows' % (count, file.units) if is_row else 'it',
            'failed' if failed else 'is left' if count == 1 else 'are left',
            'retry' if failed else 'resume', execution)
        for (failed, execution, is_row), count in sorted(
            undone.get(file.path.name, {}).items())) or None

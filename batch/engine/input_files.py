# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Which execution has which input file in hand, and when it is archived.

A file that an execution selected is in its custody (``held``) until it is in
the archive, or somebody took it away.  Meanwhile no other one selects it, so
that no row of it is done twice, whatever failed and whoever retries it.

A file is moved when no unit of it is failed or left, be it in the execution
or in the retries of it.  That is asked of the chunks that are not done, page
by page: those of an execution that went well are none.
"""
import contextlib
import os
from collections import namedtuple
from functools import cached_property

from trytond import backend

from .. import files, ledger
from ..directories import Directory, content_of, identity
from ..exceptions import InputError, OutputError
from ..file_batch import SelectAgain, check_unchanged
from ..ledger.states import OPEN_EXECUTIONS

__all__ = ['Custody', 'settle', 'settle_earlier']

#: archived: the Path there; why: the reason if it is not archived
Settled = namedtuple('Settled', 'path archived why')


class Custody:
    """The input files that a selection may take, and those that it took.

    :param retry_of: id of the execution that is retried, which has them
    :param keep: whether they are taken, unlike in a rehearsal
    """

    def __init__(self, cursor, execution, retry_of=None, keep=True):
        self.cursor = cursor
        self.execution = execution
        self.root = retry_of and ledger.inputs.root_of(
            cursor, retry_of)
        self.keep = keep
        #: why files were left out, by name
        self.left_out = {}
        self._files = []
        self._before = {}
        self._whys = {}

    @cached_property
    def _holders(self):
        return ledger.inputs.holders_by_path(self.cursor)

    def refusal(self, path):
        "Return why a file may not be selected, None if it may."
        holder = self._holders.get(str(path))
        if holder is None:
            return None
        if holder not in self._whys:
            self._whys[holder] = None if is_running(self.cursor, holder) \
                else {s.path: s.why
                    for s in settle(self.cursor, holder)}
        whys = self._whys[holder]
        why = 'execution #%s has it in hand, %s' % (
            holder, 'and is running (coop show %s)' % holder
            if whys is None else whys[path])
        self.left_out[path.name] = why
        return why

    def take(self, path, before, content, units, archive):
        """Have a file in hand that was read.

        :param before: its identity, before that
        :param content: a hash of it, see directories.content_of
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
                    '"%s" was taken by a later execution, since it was away '
                    'for a while; coop history shows it' % path) from error
            return
        self._files.append((path, identity, units, archive))
        self._before[path] = before
        if len(self._files) >= ledger.inputs.BULK:
            self.flush()

    def flush(self):
        if not self._files:
            return
        try:
            ledger.inputs.add(self.cursor, self.execution, self._files)
        except backend.DatabaseIntegrityError as error:
            raise SelectAgain('another execution took a file first') from error
        for path, _, _, archive in self._files:
            # Before we had it in hand, another one may have archived it
            check_unchanged(path, self._before.pop(path))
            try:
                Directory(archive, make=True).close()
            except OSError as error:
                raise InputError('the archive "%s" can not be made: %s'
                    % (archive, error.strerror)) from error
        self._files = []

    @property
    def message(self):
        "Return what the outcome says of files left out, None without any."
        if not self.left_out:
            return None
        name, why = next(iter(self.left_out.items()))
        more = len(self.left_out) - 1
        return 'left out: "%s": %s%s' % (
            name, why, ' (and %s more: see the log)' % more if more else '')


def is_running(cursor, root):
    return any(
        ledger.executions.columns(cursor, execution, 'state')['state']
        in OPEN_EXECUTIONS
        for execution in ledger.inputs.tree_of(cursor, root))


def settle(cursor, execution, tag=None):
    """Archive what the execution, or what it retries, is done with.

    Called by whoever ends an execution, before its end is committed: who dies
    in between leaves it to the next one, who finds the file moved.

    :param tag: of the execution that archives, see names.py; None to ask only
    :return: a Settled for each file that was in hand
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
                    # By one who died before the commit, or else by somebody
                    archived = None if why else files.moved(
                        file.archive, stat_of(file))
                    values = {'held': None}
                if not archived:
                    why = 'it is not there any more'
            elif why:
                pass
            elif not is_unchanged(file):
                why = 'it is not as it was when it was selected; to have ' \
                    'it treated as a new one, rename it'
            elif not tag:
                why = 'and has still to archive it'
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
        # No disk is a reason for an execution not to end
        with contextlib.suppress(OSError), Directory(directory) as opened:
            opened.sync()
    return settled


def stat_of(file):
    "Return the identity of a file that was selected, see directories."
    return '-'.join(file.identity.split('-')[:3])


def is_unchanged(file):
    "Return whether a file is as it was when it was selected."
    if identity(file.path) != stat_of(file):
        return False
    # Those of an earlier version have no hash
    _, _, _, *content = file.identity.split('-')
    return not content or content == [content_of(file.path)]


def is_in_sight(file):
    """Return whether a file that is not there is gone for good.

    A directory that is not mounted seems to be empty.  Then the archive, which
    was made when the file was taken, is not there either.
    """
    try:
        return os.lstat(file.archive).st_dev == file.path.parent.stat().st_dev
    except OSError:
        return False


def settle_earlier(cursor, batch, tag):
    """Archive what earlier executions of the batch are done with.

    They could not, or their process died.  Returns what was archived.

    :param tag: of the execution that does so
    """
    return [
        settled for root in ledger.inputs.holders(cursor, batch)
        if not is_running(cursor, root)
        for settled in settle(cursor, root, tag) if settled.archived]


def undone_of(file, undone):
    "Return what of a file is not done and what to do, None if all is."
    return ', '.join(
        '%s %s: coop %s %s' % (
            '%s of its %s rows' % (count, file.units) if is_row else 'it',
            'failed' if failed else 'is left' if count == 1 else 'are left',
            'retry' if failed else 'resume', execution)
        for (failed, execution, is_row), count in sorted(
            undone.get(file.path.name, {}).items())) or None

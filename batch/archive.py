# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Which execution has which input file in hand, and when it is archived.

A file that an execution selected is in its hands (``held``) until it is in
the archive, or somebody took it away.  Meanwhile no other one selects it, so
that no row of it is done twice, whatever failed and whoever retries it.

A file is moved when no unit of it is failed or left, be it in the execution
or in the retries of it.  That is asked of the chunks that are not done, page
by page: those of an execution that went well are none.
"""
import contextlib
import os
from collections import Counter, namedtuple
from functools import cached_property
from pathlib import Path

from sql import Null

from trytond import backend

from . import files as files_
from . import ledger
from .directories import Directory, identity
from .exceptions import InputError, OutputError
from .input import SelectAgain, check_unchanged
from .ledger.tables import chunk_, execution_, input_
from .ledger.units import names

__all__ = [
    'Hands', 'chain_of', 'files', 'holders', 'settle', 'settle_earlier']

#: rows per statement
BULK = 200
#: states of a chunk of which no unit is done
UNDONE = [*ledger.states.OPEN, 'cancelled', 'failed']

File = namedtuple('File', 'id path identity units archive')
#: archived: the Path there; why: the reason if it is not archived
Settled = namedtuple('Settled', 'path archived why')


class Hands:
    """The input files that a selection may take, and those that it took.

    :param retry_of: id of the execution that is retried, which has them
    :param keep: whether they are taken, unlike in a rehearsal
    """

    def __init__(self, cursor, execution, retry_of=None, keep=True):
        self.cursor = cursor
        self.execution = execution
        self.root = retry_of and root_of(cursor, retry_of)
        self.keep = keep
        #: why files were left out, by name
        self.left_out = {}
        self._rows = []
        self._whys = {}

    @cached_property
    def _holders(self):
        self.cursor.execute(*input_.select(
                input_.held, input_.execution, where=input_.held != Null))
        return dict(self.cursor.fetchall())

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

    def take(self, path, identity, units, archive):
        if not self.keep:
            return
        if self.root:
            # It failed as a whole, and is read again
            try:
                self.cursor.execute(*input_.update(
                        [input_.held, input_.identity, input_.units],
                        [str(path), identity, units],
                        where=(input_.execution == self.root)
                        & (input_.path == str(path))))
            except backend.DatabaseIntegrityError as error:
                raise InputError(
                    '"%s" was taken by a later execution, since it was away '
                    'for a while; coop history shows it' % path) from error
            return
        self._rows.append([
                self.execution, str(path), str(path), identity, units,
                str(archive), ledger.tables.now(self.cursor), 0])
        if len(self._rows) >= BULK:
            self.flush()

    def flush(self):
        if not self._rows:
            return
        try:
            self.cursor.execute(*input_.insert(
                    [input_.execution, input_.path, input_.held,
                        input_.identity, input_.units, input_.archive,
                        input_.create_date, input_.create_uid], self._rows))
        except backend.DatabaseIntegrityError as error:
            raise SelectAgain('another execution took a file first') from error
        for _, path, _, before, _, archive, *_ in self._rows:
            # Before we had it in hand, another one may have archived it
            check_unchanged(path, before)
            try:
                Directory(archive, make=True).close()
            except OSError as error:
                raise InputError('the archive "%s" can not be made: %s'
                    % (archive, error.strerror)) from error
        self._rows = []

    @property
    def message(self):
        "Return what the outcome says of files left out, None without any."
        if not self.left_out:
            return None
        name, why = next(iter(self.left_out.items()))
        more = len(self.left_out) - 1
        return 'left out: "%s": %s%s' % (
            name, why, ' (and %s more: see the log)' % more if more else '')


def root_of(cursor, execution):
    "Return the execution of which this one is a retry, of a retry ..."
    while row := ledger.executions.columns(cursor, execution, 'retry_of'):
        if row['retry_of'] is None:
            break
        execution = row['retry_of']
    return execution


def chain_of(cursor, root):
    "Return the ids of an execution and of those that took up its failures."
    ids = [root]
    while True:
        cursor.execute(*execution_.select(
                execution_.id, where=(execution_.retry_of == ids[-1])
                & (execution_.selected > 0), order_by=execution_.id.desc))
        row = cursor.fetchone()
        if row is None:
            return ids
        ids.append(row[0])


def is_running(cursor, root):
    return any(
        ledger.executions.columns(cursor, execution, 'state')['state'] in {
            'selecting', 'running'}
        for execution in chain_of(cursor, root))


def in_hand(cursor, root):
    cursor.execute(*input_.select(
            input_.id, input_.path, input_.identity, input_.units,
            input_.archive,
            where=(input_.execution == root) & (input_.held != Null),
            order_by=input_.id))
    return [
        File(id, Path(path), identity, units, Path(archive))
        for id, path, identity, units, archive in cursor.fetchall()]


def files(cursor, execution):
    "Return the input files of an execution: (path, archived, is in hand)."
    cursor.execute(*input_.select(
            input_.path, input_.archived, input_.held != Null,
            where=input_.execution == execution, order_by=input_.id))
    return cursor.fetchall()


def settle(cursor, execution, tag=None):
    """Archive what the execution, or what it retries, is done with.

    Called by whoever ends an execution, before its end is committed: who dies
    in between leaves it to the next one, who finds the file moved.

    :param tag: of the execution that archives, see names.py; None to ask only
    :return: a Settled for each file that was in hand
    """
    root = root_of(cursor, execution)
    if not (found := in_hand(cursor, root)):
        return []
    undone = count_undone(cursor, chain_of(cursor, root))
    settled, directories = [], set()
    for file in found:
        archived, why, values = None, undone_of(file, undone), {}
        try:
            if not os.path.lexists(file.path):
                if is_in_sight(file):
                    # By one who died before the commit, or else by somebody
                    archived = None if why else files_.moved(
                        file.archive, file.identity)
                    values = {'held': None}
                if not archived:
                    why = 'it is not there any more'
            elif why:
                pass
            elif identity(file.path) != file.identity:
                why = 'it is not as it was when it was selected; to have ' \
                    'it treated as a new one, rename it'
            elif not tag:
                why = 'and has still to archive it'
            else:
                archived = files_.move(
                    file.path, file.archive, file.identity, tag)
                directories |= {file.path.parent, file.archive}
                values = {'held': None}
        except (OSError, OutputError) as error:
            why = getattr(error, 'strerror', None) or str(error)
        if tag and values:
            values['archived'] = archived and str(archived)
            cursor.execute(*input_.update(
                    [getattr(input_, n) for n in values],
                    list(values.values()), where=input_.id == file.id))
        settled.append(Settled(file.path, archived, why))
    for directory in directories:
        # No disk is a reason for an execution not to end
        with contextlib.suppress(OSError), Directory(directory) as opened:
            opened.sync()
    return settled


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
        settled for root in holders(cursor, batch)
        if not is_running(cursor, root)
        for settled in settle(cursor, root, tag) if settled.archived]


def holders(cursor, batch=None):
    "Return the executions that have files in hand; retries have none."
    where = input_.held != Null
    if batch:
        where &= execution_.batch == batch
    cursor.execute(*input_
        .join(execution_, condition=input_.execution == execution_.id)
        .select(input_.execution, where=where, group_by=input_.execution,
            order_by=input_.execution))
    return [execution for execution, in cursor.fetchall()]


def count_undone(cursor, executions):
    """Return how many units of each file are not done, by name and why.

    :param executions: a chain: what failed in one was taken up by the next
    """
    counts, last = {}, 0
    while True:
        cursor.execute(*chunk_.select(
                chunk_.id, chunk_.execution, chunk_.state, chunk_.units,
                where=chunk_.execution.in_(executions)
                & chunk_.state.in_(UNDONE) & (chunk_.id > last),
                order_by=chunk_.id, limit=BULK))
        rows = cursor.fetchall()
        if not rows:
            return counts
        for last, execution, state, units in rows:
            if state == 'failed' and execution != executions[-1]:
                continue
            for name, is_row in names(units):
                if isinstance(name, str):
                    counts.setdefault(name, Counter())[
                        state == 'failed', execution, is_row] += 1


def undone_of(file, undone):
    "Return what of a file is not done and what to do, None if all is."
    return ', '.join(
        '%s %s: coop %s %s' % (
            '%s of its %s rows' % (count, file.units) if is_row else 'it',
            'failed' if failed else 'is left' if count == 1 else 'are left',
            'retry' if failed else 'resume', execution)
        for (failed, execution, is_row), count in sorted(
            undone.get(file.path.name, {}).items())) or None

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The outputs of an execution, from the ledger's side.

A file is committed with its chunk, by its path and its identity, and appears
after that; its process then writes so in the ledger.  Of the others, whoever
closes the execution lets those appear that are there, and lists those that
are missing.
"""
import contextlib
import os
from collections.abc import Iterable

from trytond import backend

from .. import files, ledger, names
from ..aliases import Cursor
from ..ledger.states import OPEN_EXECUTIONS
from ..logging import BatchLogger
from ..output import Outputs
from ..transaction import transact
from .tags import tag_of

__all__ = ['discard_leftovers', 'note_appeared', 'publish']


def note_appeared(
        database: str, execution: int, outputs: Outputs | None,
        chunk: int | None = None) -> None:
    """Write that files have appeared: then they may be moved away.

    Raises nothing and waits for nothing: without it, whoever closes the
    execution looks for the files once more.

    :param outputs: the Outputs of a transaction that was committed
    :param chunk: id of the chunk that wrote them, None for the selection
    """
    def note(cursor: Cursor) -> None:
        if backend.name == 'postgresql':
            cursor.execute('SET LOCAL synchronous_commit = off')
        ledger.outputs.appeared(cursor, execution, paths, chunk)

    if paths := outputs.appeared if outputs else []:
        with contextlib.suppress(Exception):
            transact(database, note, retry=1)


def publish(cursor: Cursor, execution: int, tag: str) -> dict[str, str]:
    """Let files appear that are committed and not known to have appeared.

    Returns {path: why} of those that are missing.
    """
    missing = {}
    for chunk, identities in ledger.outputs.unseen_files(cursor, execution):
        appeared = []
        for path, identity in identities.items():
            try:
                files.publish(path, identity, tag)
                appeared.append(path)
            except (OSError, UnicodeError) as error:
                missing[path] = getattr(error, 'strerror', None) or str(error)
        if appeared:
            ledger.outputs.appeared(cursor, execution, appeared, chunk)
    return missing


def discard_leftovers(
        database: str, execution: int, places: Iterable[tuple[str, bool]],
        logger: BatchLogger) -> None:
    """Remove the hidden files of attempts that died before their commit.

    Those of this execution, and of others of its batch that are over.

    :param places: (directory, whether to look below it too)
    :param logger: logs what can not be searched or removed
    """
    found = set()
    for place, below in places:
        try:
            found |= files.leftovers(place, below)
        except OSError as error:
            logger.warning('"%s" can not be searched for what dead processes '
                'have left: %s', place, error.strerror)
    if not found:
        return
    # The ledger is read after the files, so that it knows each committed one
    kept = transact(database, lambda cursor: stems_to_keep(
            cursor, database, execution,
            {(leftover.execution, leftover.tag) for leftover in found}))
    for leftover in found:
        if leftover.stem not in kept.get(leftover.tag, {leftover.stem}):
            try:
                files.discard(leftover)
            except OSError as error:
                logger.warning('the hidden file of "%s", which a dead process '
                    'left, can not be removed: %s',
                    leftover.directory / leftover.stem, error.strerror)


def stems_to_keep(
        cursor: Cursor, database: str, execution: int,
        owners: Iterable[tuple[int, str]]) -> dict[str, set[str]]:
    """Return {tag: stems of committed files} of executions that are over.

    Also of this one, but not of those that the ledger does not know.

    :param owners: (id of the execution, tag) of hidden files
    """
    batch = ledger.executions.existing(cursor, execution, 'batch')['batch']
    kept = {}
    for id, tag in owners:
        row = ledger.executions.columns(
            cursor, id, 'batch', 'state', 'started_at')
        if (row is not None and row['batch'] == batch
                and (id == execution
                    or row['state'] not in OPEN_EXECUTIONS)
                and tag == tag_of(database, id, row['started_at'])):
            kept[tag] = {
                names.stem_of(os.path.basename(path))
                for _, identities in ledger.outputs.unseen_files(cursor, id)
                for path in identities}
    return kept

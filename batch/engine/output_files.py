# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The outputs of an execution, from the ledger's side.

A file is committed with its chunk, by its path and its identity, and appears
after that.  Its process then says so in the ledger.  Of what nobody said so,
whoever closes the execution looks for the file: it lets it appear, or says
that it is missing.
"""
import contextlib
import os
from functools import lru_cache

from trytond import backend
from trytond.transaction import Transaction

from .. import files, ledger, names
from ..ledger.states import OPEN_EXECUTIONS
from ..transaction import transact

__all__ = [
    'database_facts', 'discard_leftovers', 'note_appeared', 'publish',
    'tag_of']


def tag_of(database, execution, started_at):
    """Return the tag of the hidden files of an execution, see names.py.

    Called in a transaction on the database.

    :param started_at: as the ledger has it
    """
    return names.tag_of(
        database, execution, str(started_at), *_facts_of(database))


@lru_cache(maxsize=64)
def _facts_of(database):
    return database_facts(Transaction().connection.cursor())


def database_facts(cursor):
    """Return what tells a database from others of its name.

    Where its files were copied, the copy has them too: then the start of an
    execution is all that tells them apart.
    """
    if backend.name == 'sqlite':
        cursor.execute('PRAGMA database_list')
        return tuple(file for _, _, file in cursor.fetchall())
    cursor.execute("SELECT oid, "
        "has_function_privilege('pg_control_system()', 'EXECUTE') "
        'FROM pg_database WHERE datname = current_database()')
    oid, may_ask = cursor.fetchone()
    if not may_ask:
        return oid,
    cursor.execute('SELECT system_identifier FROM pg_control_system()')
    return oid, *cursor.fetchone()


def note_appeared(database, execution, outputs, chunk=None):
    """Write that files have appeared; who takes them away then may do so.

    Without it, they are only looked for once more: so no disk is waited for,
    and no outage.

    :param outputs: the Outputs of a transaction that was committed
    :param chunk: id of the chunk that wrote them, None for the selection
    """
    def note(cursor):
        if backend.name == 'postgresql':
            cursor.execute('SET LOCAL synchronous_commit = off')
        ledger.outputs.appeared(cursor, execution, outputs.appeared, chunk)

    if outputs and outputs.appeared:
        # Nothing that goes wrong here is worth more than to look again
        with contextlib.suppress(Exception):
            transact(database, note, retry=1)


def publish(cursor, execution, tag):
    """Let files appear that are committed and that nobody saw appear.

    Returns what is missing, and why, by path.
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


def discard_leftovers(database, execution, places, logger):
    """Remove the hidden files of attempts that died before their commit.

    Those of this execution, and those of other ones of its batch that are
    over: whoever closed them did not see the directory.

    :param places: (directory, whether to look below it too)
    :param logger: is told what can not be searched or removed
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
    # The ledger after the files: what is committed meanwhile is known to it
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


def stems_to_keep(cursor, database, execution, owners):
    """Return the stems that are committed, by tag, where the ledger knows.

    :param owners: (id of the execution, tag) of hidden files
    """
    batch = ledger.executions.columns(cursor, execution, 'batch')['batch']
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

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The tag in the names of an execution's hidden files, see names.py."""
import datetime as dt
from functools import lru_cache

from trytond import backend
from trytond.transaction import Transaction

from .. import names
from ..aliases import Cursor

__all__ = ['database_facts', 'tag_of']


def tag_of(database: str, execution: int, started_at: dt.datetime) -> str:
    """Return the tag of the hidden files of an execution, see names.py.

    Called in a transaction on the database.

    :param started_at: as the ledger has it
    """
    return names.tag_of(
        database, execution, str(started_at), *_facts_of(database))


@lru_cache(maxsize=64)
def _facts_of(database: str) -> tuple[object, ...]:
    return database_facts(Transaction().connection.cursor())


def database_facts(cursor: Cursor) -> tuple[object, ...]:
    """Return what tells a database from others of its name.

    A copy of its files has the same: what differs then is ``started_at`` of
    an execution.
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

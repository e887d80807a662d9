# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Whether the database was updated to the series of Tryton that is installed.

Tryton itself does not look.  A worker of a new series would begin with the
open executions of a database of the old one, and every unit would fail.
"""
from trytond import __series__, backend
from trytond.model import ModelSQL, fields
from trytond.pool import Pool

from .aliases import Cursor
from .exceptions import DatabaseError

__all__ = ['check_updated']

_POSTGRESQL = """
    SELECT c.relname, a.attname FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
        AND (c.relname LIKE 'ir\\_%' OR c.relname LIKE 'res\\_%')"""
_SQLITE = """
    SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c
    WHERE t.name LIKE 'ir%' OR t.name LIKE 'res%'"""


def check_updated(database: str, pool: Pool, cursor: Cursor) -> None:
    "Raise DatabaseError if the tables are those of an earlier series."
    if column := missing_column(pool, cursor):
        Pool.stop(database)
        raise DatabaseError(
            'the database "%s" is not updated to trytond %s: it has no column '
            '%s; trytond-admin -d %s --all' % (
                database, __series__, column, database))


def missing_column(pool: Pool, cursor: Cursor) -> str | None:
    """Return a column of Tryton's own tables that is not there, or None.

    As ``res_user.administrator``.  No other tables are looked at: a module may
    make its own as it likes.
    """
    cursor.execute(_SQLITE if backend.name == 'sqlite' else _POSTGRESQL)
    columns: dict[str, set[str]] = {}
    for table, column in cursor.fetchall():
        columns.setdefault(table, set()).add(column)
    for name, Model in pool.iterobject():
        if name.split('.')[0] not in {'ir', 'res'} \
                or not issubclass(Model, ModelSQL) \
                or Model._table not in columns:
            continue
        for field_name, field in Model._fields.items():
            if not isinstance(field, fields.Function) and field.sql_type() \
                    and field_name not in columns[Model._table]:
                return '%s.%s' % (Model._table, field_name)
    return None

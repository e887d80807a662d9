# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Whether the tables of the ledger are those of this version of the module."""
from trytond import backend
from trytond.model import fields
from trytond.transaction import Transaction

from .execution import Execution, ExecutionChunk, ExecutionInput

__all__ = ['is_outdated']

#: fields without a column
COMPUTED = fields.Function, fields.One2Many


def is_outdated():
    """Return whether a table or a column is missing in the database.

    No pool is loaded: the columns are the fields of the classes.
    """
    cursor = Transaction().connection.cursor()
    for Model in [Execution, ExecutionChunk, ExecutionInput]:
        table = Model.__name__.replace('.', '_')
        if not backend.TableHandler.table_exist(table):
            return True
        cursor.execute('SELECT * FROM "%s" LIMIT 0' % table)
        columns = {column[0] for column in cursor.description}
        if not columns >= {
                name for name, field in vars(Model).items()
                if isinstance(field, fields.Field)
                and not isinstance(field, COMPUTED)}:
            return True
    return False

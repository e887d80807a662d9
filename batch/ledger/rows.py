# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The rows of a query, as a stream."""
import secrets

from trytond import backend

__all__ = ['ROWS', 'streamed']

#: rows that are read at once
ROWS = 10_000


def streamed(cursor, query, size=ROWS):
    """Yield the rows of a query of python-sql, in lists of up to size.

    The client of PostgreSQL would hold all rows of an ordinary cursor.  The
    cursor given may be used meanwhile: the rows come by another one.
    """
    cursor = cursor.connection.cursor()
    if backend.name != 'postgresql':
        cursor.execute(*query)
        while rows := cursor.fetchmany(size):
            yield rows
        return
    name = 'batch_%s' % secrets.token_hex(4)
    sql, params = query
    # All rows will be read, not only the first of them
    cursor.execute('SET LOCAL cursor_tuple_fraction = 1')
    cursor.execute('DECLARE %s NO SCROLL CURSOR FOR %s' % (name, sql), params)
    while True:
        cursor.execute('FETCH %s FROM %s' % (size, name))
        if not (rows := cursor.fetchall()):
            break
        yield rows
    cursor.execute('CLOSE %s' % name)

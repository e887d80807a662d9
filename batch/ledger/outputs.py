# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The files that an execution has committed, and which have appeared."""
import json
from collections.abc import Iterable

from sql import Null

from ..aliases import Cursor
from .tables import chunk_, execution_

__all__ = ['appeared', 'files', 'unseen_files']


def appeared(
        cursor: Cursor, execution: int, paths: Iterable[str],
        chunk: int | None = None) -> None:
    """Write that committed files have appeared.

    :param chunk: id of the chunk that wrote them, None for the selection
    """
    table, column, id = (execution_, execution_.outputs, execution) \
        if chunk is None else (chunk_, chunk_.files, chunk)
    cursor.execute(*table.select(column, where=table.id == id))
    if (row := cursor.fetchone()) is not None:
        files = json.loads(row[0])
        files.update(dict.fromkeys(paths))
        cursor.execute(*table.update(
                [column], [json.dumps(files)], where=table.id == id))


def files(cursor: Cursor, execution: int) -> list[str]:
    "Return the paths of the files that the execution committed."
    return [
        path for _, identities in _files(cursor, execution)
        for path in identities]


def unseen_files(
        cursor: Cursor,
        execution: int) -> list[tuple[int | None, dict[str, str]]]:
    """Return the committed files that are not known to have appeared.

    As (id of the chunk, identity by path); the id is None for files that the
    selection wrote.
    """
    found = []
    # Each path is followed by an identity or null, and has no quotation mark
    # in JSON without a backslash: so only an identity makes this match
    for chunk, identities in _files(cursor, execution, '%": "%'):
        unseen = {p: i for p, i in identities.items() if i is not None}
        if unseen:
            found.append((chunk, unseen))
    return found


def _files(
        cursor: Cursor, execution: int,
        like: str = '%') -> list[tuple[int | None, dict[str, str | None]]]:
    "Return (id of the chunk or None, identity or None by path)."
    found: list[tuple[int | None, dict[str, str | None]]] = []
    for table, column, key in [
            (execution_, execution_.outputs, execution_.id),
            (chunk_, chunk_.files, chunk_.execution)]:
        cursor.execute(*table.select(
                table.id, column, where=(key == execution)
                & (column != Null) & column.like(like),
                order_by=table.id))
        found.extend(
            (id if table is chunk_ else None, json.loads(text))
            for id, text in cursor.fetchall())
    return found

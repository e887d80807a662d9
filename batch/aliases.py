# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The types that several rooms have in their signatures.

Imports nothing of Tryton or Celery.
"""
from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

__all__ = [
    'Cursor', 'Given', 'Identities', 'Params', 'Resolved', 'Rows', 'Send',
    'Settings', 'Unit', 'Units']

#: an item of a selection: an id, a row (a tuple), any other value of JSON, of
#: dates and of Decimals, or a list of those, which is a group.  Only the
#: batch knows which of these
Unit: TypeAlias = Any
#: the units of a chunk; None: the batch selects nothing
Units: TypeAlias = list[Unit] | None
#: name -> value, each of the type that the table of settings says
Settings: TypeAlias = Mapping[str, Any]
#: name -> (value, where it comes from)
Resolved: TypeAlias = dict[str, tuple[Any, str]]
#: name of a parameter -> its text; None where no value follows
Given: TypeAlias = Mapping[str, str | None]
#: name of a parameter -> its value
Params: TypeAlias = Mapping[str, Any]
#: path of a committed file -> its identity; None once it has appeared
Identities: TypeAlias = Mapping[str, str | None]
#: rows of a query, as the database's driver gives them
Rows: TypeAlias = list[tuple[Any, ...]]


class Send(Protocol):
    "Gives a chunk to whoever executes it."

    def __call__(
            self, execution: int, chunk: int, number: str | None = ...,
            /) -> None:
        """Send the chunk.

        :param chunk: id
        :param number: of the chunk, where it is known
        """


class Cursor(Protocol):
    "A cursor of PEP 249, with what psycopg and sqlite3 both add to it."
    connection: Any
    description: Any
    rowcount: int
    #: id of the row that was inserted; SQLite only
    lastrowid: Any

    def execute(self, statement: str, params: Any = ..., /) -> Any:
        "Execute a statement."

    def fetchone(self) -> Any:
        "Return the next row as a tuple, None if there is none."

    def fetchmany(self, size: int = ..., /) -> Rows:
        "Return the next rows, none at the end."

    def fetchall(self) -> Rows:
        "Return all rows that are left."

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The chunks of an execution, written when they are planned."""
from typing import Any

from ..aliases import Cursor, Units
from .rows import insert_many
from .states import ChunkState
from .tables import chunk_, input_, now
from .units import dump_units

__all__ = [
    'ChunkWriter', 'PLANNED', 'discard', 'firsts', 'insert_chunks']

#: the columns of a chunk that is planned
PLANNED = [
    'execution', 'number', 'units', 'size', 'state', 'successor', 'attempts',
    'create_uid', 'create_date']


def firsts(concurrency: int) -> list[str]:
    "Return the numbers of the first chunks of the lanes that begin later."
    return [str(i) for i in range(2, concurrency + 1)]


class ChunkWriter:
    """Writes the chunks of an execution as they come, in bulk.

    The first ``concurrency`` chunks are the first ones of the lanes: the
    successor of chunk k is chunk k + ``concurrency``.  One of them is queued,
    the others are as processes are free for them, see begin_lanes().
    """
    #: rows of a statement, and characters of their units, at most
    BULK, BYTES = 1000, 1 << 20

    def __init__(
            self, cursor: Cursor, execution: int, concurrency: int) -> None:
        self.cursor = cursor
        self.execution = execution
        self.concurrency = concurrency
        #: chunks, and units in them
        self.count = 0
        self.selected = 0
        self._rows: list[list[Any]] = []
        self._bytes = 0
        self._now = now(cursor)

    def add(self, units: Units, size: int) -> None:
        """Plan a chunk; raises what dump_units raises.

        :param size: how many units
        """
        self.count += 1
        self.selected += size
        text = dump_units(units)
        self._rows.append([
                self.execution, str(self.count), text, size,
                ChunkState.WAITING if self.count > 1 else ChunkState.QUEUED,
                str(self.count + self.concurrency), 0, 0, self._now])
        self._bytes += len(text or '')
        if len(self._rows) >= self.BULK or self._bytes >= self.BYTES:
            self.flush()

    def flush(self) -> None:
        "Write the chunks that are not written yet."
        if not self._rows:
            return
        insert_many(self.cursor, chunk_, PLANNED, self._rows)
        self._rows.clear()
        self._bytes = 0


def insert_chunks(cursor: Cursor, rows: list[list[Any]], **more: Any) -> None:
    """Insert chunks.

    :param rows: the values of the columns PLANNED
    :param more: values of other columns, the same for all
    """
    cursor.execute(*chunk_.insert(
            [getattr(chunk_, n) for n in [*PLANNED, *more]],
            [r + list(more.values()) for r in rows]))


def discard(cursor: Cursor, execution: int) -> None:
    "Delete the rows that a failed selection committed, as a hook committed."
    for table in [chunk_, input_]:
        cursor.execute(*table.delete(where=table.execution == execution))

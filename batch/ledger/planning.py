# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The chunks of an execution, written when they are planned."""
from .states import ChunkState
from .tables import chunk_, input_, now
from .units import dump_units

__all__ = ['ChunkWriter', 'PLANNED', 'discard', 'insert_chunks']

#: the columns of a chunk that is planned
PLANNED = [
    'execution', 'number', 'units', 'size', 'state', 'successor', 'attempts',
    'create_uid', 'create_date']


class ChunkWriter:
    """Writes the chunks of an execution as they come, in bulk.

    Chunk k is followed by the one concurrency places on; the first
    concurrency chunks are queued.
    """
    #: rows per statement, and bytes of units
    BULK, BYTES = 1000, 1 << 20

    def __init__(self, cursor, execution, concurrency):
        self.cursor = cursor
        self.execution = execution
        self.concurrency = concurrency
        self.count = 0
        self.selected = 0
        self._rows = []
        self._bytes = 0
        self._now = now(cursor)

    def add(self, units, size):
        self.count += 1
        self.selected += size
        text = dump_units(units)
        self._rows.append([
                self.execution, str(self.count), text, size,
                ChunkState.QUEUED if self.count <= self.concurrency
                else ChunkState.WAITING,
                str(self.count + self.concurrency), 0, 0, self._now])
        self._bytes += len(text or '')
        if len(self._rows) >= self.BULK or self._bytes >= self.BYTES:
            self.flush()

    def flush(self):
        if not self._rows:
            return
        if hasattr(self.cursor, 'copy'):
            # Parameters by the thousand take longer than all the rest
            with self.cursor.copy('COPY batch_execution_chunk (%s) FROM STDIN'
                    % ', '.join(PLANNED)) as copy:
                for row in self._rows:
                    copy.write_row(row)
        else:
            insert_chunks(self.cursor, self._rows)
        self._rows.clear()
        self._bytes = 0


def insert_chunks(cursor, rows, **more):
    cursor.execute(*chunk_.insert(
            [getattr(chunk_, n) for n in [*PLANNED, *more]],
            [r + list(more.values()) for r in rows]))


def discard(cursor, execution):
    "Delete what a selection that failed has committed nevertheless."
    for table in [chunk_, input_]:
        cursor.execute(*table.delete(where=table.execution == execution))

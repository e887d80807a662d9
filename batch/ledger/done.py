# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The end of a chunk in the round trip of its commit; PostgreSQL only."""
from collections.abc import Callable, Mapping
from typing import Any

from sql.aggregate import Count
from sql.operators import Div

from ..aliases import Cursor, Identities
from ..exceptions import StateError
from .chunks import (
    LANE_END, Chunk, Queued, claim_successor, done_values, ending, write_both)
from .states import ChunkState
from .tables import execute_written, written

__all__ = ['Done']

#: of PostgreSQL
DIVISION_BY_ZERO = '22012'


class Done:
    """done() as what goes with a commit, and the claim of the successor.

    PostgreSQL only.  ``queued`` is what done() returns, after the commit; or
    the successor where another process has queued it, but we lock it.  None
    where the answer to the commit was lost.

    :param on_refused: called before StateError is raised; may raise another
        error
    """

    def __init__(
            self, chunk: Chunk, attempts: int, files: Identities | None,
            numbers: Mapping[str, float] | None,
            on_refused: Callable[[], object]) -> None:
        self.chunk = chunk
        self.transaction = chunk.transaction
        self.on_refused = on_refused
        self.values, self.key = ending(
            chunk, ChunkState.DONE, chunk.successor, attempts,
            **done_values(files, numbers))
        self.queued: Queued | None = LANE_END

    def end(self, cursor: Cursor) -> None:
        execute_written(
            cursor, written(_write_or_refuse, *self.values), **self.key,
            **self.values)

    def refuse(self, error: Exception) -> None:
        if getattr(error, 'sqlstate', None) == DIVISION_BY_ZERO:
            self.on_refused()
            raise StateError(self.chunk.label, ChunkState.DONE) from error

    def read(self, cursor: Cursor | None, ahead: Any = None) -> None:
        if cursor is None:
            self.queued = None
            return
        _, id = cursor.fetchone()
        if ahead is not None:
            id = ahead[0]
        if id is not None and self.chunk.successor is not None:
            self.queued = Queued(id, self.chunk.successor)

    def begin(self, cursor: Cursor) -> bool:
        if self.chunk.successor is None:
            return False
        execute_written(cursor, written(claim_successor),
            execution=self.chunk.execution, number=self.chunk.successor)
        return True


def _write_or_refuse(*names: str) -> Any:
    query = write_both(*names)
    ended, _ = query.with_
    # An error where no row has ended, so that the commit behind it fails, too
    query.columns = [
        Div(1, ended.select(Count(ended.id))), query.columns[1]]
    return query

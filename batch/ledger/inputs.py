# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The input files that executions selected, and which execution holds each.

The execution that selected a file holds it (``held``) until it is archived or
gone.  A retry of its units has no row of its own.
"""
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from sql import Null

from ..aliases import Cursor
from .executions import columns
from .rows import streamed
from .states import OPEN_CHUNKS, OPEN_EXECUTIONS, ChunkState, FailureState
from .tables import chunk_, execution_, failure_, input_, now
from .units import names

__all__ = [
    'InputFile', 'Undone', 'add', 'count_undone', 'held_by', 'hold_again',
    'holders', 'holders_by_path', 'list_inputs', 'root_of', 'tree_of',
    'update_input']

#: rows per statement
BULK = 200
#: states of a chunk whose units are left
UNDONE = [*OPEN_CHUNKS, ChunkState.CANCELLED]

#: (whether they failed, id of the execution, whether they are rows) of units
#: that are not done
Undone: TypeAlias = tuple[bool, int, bool]


class InputFile(NamedTuple):
    "An input file that an execution holds."
    id: int
    path: Path
    #: as of directories.identity() when it was selected
    identity: str
    #: how many
    units: int
    #: the directory
    archive: Path


def add(
        cursor: Cursor, execution: int,
        files: Iterable[tuple[Path, str, int, Path]]) -> None:
    """Insert files as held by the execution.

    The unique key of held locks each path until the commit.  Raises
    DatabaseIntegrityError where another execution holds one.

    :param files: (path, identity, how many units, archive) of each
    """
    at = now(cursor)
    cursor.execute(*input_.insert(
            [input_.execution, input_.path, input_.held, input_.identity,
                input_.units, input_.archive, input_.create_date,
                input_.create_uid],
            [
                [execution, str(path), str(path), identity, units,
                    str(archive), at, 0]
                for path, identity, units, archive in files]))


def hold_again(
        cursor: Cursor, execution: int, path: Path, identity: str,
        units: int) -> None:
    """Write that the execution holds one of its files again, as it is now.

    Locks its row.  Raises DatabaseIntegrityError where another execution
    holds it.

    :param units: how many
    """
    cursor.execute(*input_.update(
            [input_.held, input_.identity, input_.units],
            [str(path), identity, units],
            where=(input_.execution == execution)
            & (input_.path == str(path))))


def update_input(cursor: Cursor, id: int, **values: Any) -> None:
    "Write columns of a row; locks it."
    cursor.execute(*input_.update(
            [getattr(input_, n) for n in values],
            list(values.values()), where=input_.id == id))


def holders_by_path(cursor: Cursor) -> dict[str, int]:
    "Return the id of the execution that holds a file, by its path (str)."
    cursor.execute(*input_.select(
            input_.held, input_.execution, where=input_.held != Null))
    return dict(cursor.fetchall())


def holders(cursor: Cursor, batch: str | None = None) -> list[int]:
    """Return the ids of the executions that hold files.

    :param batch: only those of this batch
    """
    where = input_.held != Null
    if batch:
        where &= execution_.batch == batch
    cursor.execute(*input_
        .join(execution_, condition=input_.execution == execution_.id)
        .select(input_.execution, where=where, group_by=input_.execution,
            order_by=input_.execution))
    return [execution for execution, in cursor.fetchall()]


def held_by(cursor: Cursor, execution: int) -> list[InputFile]:
    "Return an InputFile for each file that the execution holds."
    cursor.execute(*input_.select(
            input_.id, input_.path, input_.identity, input_.units,
            input_.archive,
            where=(input_.execution == execution) & (input_.held != Null),
            order_by=input_.id))
    return [
        InputFile(id, Path(path), identity, units, Path(archive))
        for id, path, identity, units, archive in cursor.fetchall()]


def list_inputs(
        cursor: Cursor, execution: int) -> list[tuple[str, str | None, bool]]:
    "Return (path, where it is archived, whether it is held) of each file."
    cursor.execute(*input_.select(
            input_.path, input_.archived, input_.held != Null,
            where=input_.execution == execution, order_by=input_.id))
    return cursor.fetchall()


def root_of(cursor: Cursor, execution: int) -> int:
    "Return the id of the first execution in the chain of retries."
    while row := columns(cursor, execution, 'retry_of'):
        if row['retry_of'] is None:
            break
        execution = row['retry_of']
    return execution


def tree_of(cursor: Cursor, root: int) -> list[int]:
    "Return the ids of an execution, of its retries, of the retries of those."
    ids, last = [root], [root]
    while last:
        cursor.execute(*execution_.select(
                execution_.id, where=execution_.retry_of.in_(last)
                & ((execution_.selected > 0)
                    | execution_.state.in_(OPEN_EXECUTIONS)),
                order_by=execution_.id))
        last = [id for id, in cursor.fetchall()]
        ids += last
    return ids


def count_undone(
        cursor: Cursor, executions: list[int]) -> dict[str, Counter[Undone]]:
    """Return how many units of each file are not done, by name and Undone.

    A failure counts until a retry has planned its unit, which is then left or
    failed there, or until it is dismissed.

    :param executions: of tree_of
    """
    counts: dict[str, Counter[Undone]] = {}
    for table, texts, where in [
            (chunk_, chunk_.units,
                (chunk_.ended_at == Null) & chunk_.state.in_(UNDONE)),
            (failure_, failure_.unit,
                failure_.state == FailureState.OPEN)]:
        query = table.select(
            table.execution, texts,
            where=table.execution.in_(executions) & where)
        for rows in streamed(cursor, query, BULK):
            for execution, text in rows:
                for name, is_row in names(text):
                    if isinstance(name, str):
                        counts.setdefault(name, Counter())[
                            table is failure_, execution, is_row] += 1
    return counts

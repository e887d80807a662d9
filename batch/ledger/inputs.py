# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The input files that executions selected, by the execution that has them.

A file is in hand (``held``) of the execution that selected it; a retry takes
up its units, and has no row of its own.
"""
from collections import Counter, namedtuple
from pathlib import Path

from sql import Null

from .executions import columns
from .rows import streamed
from .states import OPEN_CHUNKS, OPEN_EXECUTIONS, ChunkState, FailureState
from .tables import chunk_, execution_, failure_, input_, now
from .units import names

__all__ = [
    'InputFile', 'add', 'count_undone', 'held_by', 'hold_again', 'holders',
    'holders_by_path', 'list_inputs', 'root_of', 'tree_of', 'update_input']

#: rows per statement
BULK = 200
#: states of a chunk whose units are left
UNDONE = [*OPEN_CHUNKS, ChunkState.CANCELLED]

InputFile = namedtuple('InputFile', 'id path identity units archive')


def add(cursor, execution, files):
    """Insert files as held by the execution.

    The unique key of held locks each path until the commit.  Raises
    DatabaseIntegrityError where another execution holds one.

    :param files: (path, identity, units, archive) of each
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


def hold_again(cursor, execution, path, identity, units):
    """Write that the execution holds one of its files again, as it is now.

    Locks its row.  Raises DatabaseIntegrityError where another execution
    holds it.
    """
    cursor.execute(*input_.update(
            [input_.held, input_.identity, input_.units],
            [str(path), identity, units],
            where=(input_.execution == execution)
            & (input_.path == str(path))))


def update_input(cursor, id, **values):
    "Write columns of a row; locks it."
    cursor.execute(*input_.update(
            [getattr(input_, n) for n in values],
            list(values.values()), where=input_.id == id))


def holders_by_path(cursor):
    "Return the id of the execution that holds a file, by its path (str)."
    cursor.execute(*input_.select(
            input_.held, input_.execution, where=input_.held != Null))
    return dict(cursor.fetchall())


def holders(cursor, batch=None):
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


def held_by(cursor, execution):
    "Return an InputFile for each file that the execution holds."
    cursor.execute(*input_.select(
            input_.id, input_.path, input_.identity, input_.units,
            input_.archive,
            where=(input_.execution == execution) & (input_.held != Null),
            order_by=input_.id))
    return [
        InputFile(id, Path(path), identity, units, Path(archive))
        for id, path, identity, units, archive in cursor.fetchall()]


def list_inputs(cursor, execution):
    "Return (path, where it is archived, whether it is held) of each file."
    cursor.execute(*input_.select(
            input_.path, input_.archived, input_.held != Null,
            where=input_.execution == execution, order_by=input_.id))
    return cursor.fetchall()


def root_of(cursor, execution):
    "Return the execution of which this one is a retry, of a retry ..."
    while row := columns(cursor, execution, 'retry_of'):
        if row['retry_of'] is None:
            break
        execution = row['retry_of']
    return execution


def tree_of(cursor, root):
    "Return the ids of an execution and of all that took up its failures."
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


def count_undone(cursor, executions):
    """Return how many units of each file are not done, by name and why.

    What failed is not done until a retry has taken it up, where it is left
    or may fail, or somebody has dismissed it.

    :param executions: an execution and its retries
    """
    counts = {}
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

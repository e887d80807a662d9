# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The units that failed, one row each, and what became of them.

A row is written with the end of its chunk, which has the text of the error
and the traceback: these are long, and kept once.
"""
import hashlib

from sql import Literal, Null
from sql.aggregate import Count

from trytond.tools import grouped_slice

from .rows import streamed
from .states import FAILURE, FailureState
from .tables import (
    Hole, chunk_, execute_written, failure_, has_not_ended, written)
from .units import Unreadable, dump_units, load_units, names, shown_unit

__all__ = [
    'BULK', 'COLUMNS', 'count_by_state', 'count_free', 'count_open', 'dismiss',
    'give_back', 'insert_failures', 'insert_rows', 'list_errors', 'list_free',
    'list_taken', 'note_planned', 'record_of', 'retries', 'settled_in',
    'solve', 'take_up', 'texts_of']

#: the columns that a row begins with
COLUMNS = [
    'execution', 'chunk', 'unit', 'record', 'fingerprint', 'state',
    'create_date', 'create_uid']
#: rows per statement
BULK = 1000


def insert_failures(cursor, chunk, fingerprint, model, dry_run):
    """Insert a failure for each unit of a chunk that has failed.

    :param chunk: a Chunk
    :param model: name of the model of the records, None for none
    """
    state = FailureState.DISMISSED if dry_run else FailureState.OPEN
    assert (None, state) in FAILURE
    insert_rows(cursor, (
            [chunk.execution, chunk.id, text, record, fingerprint, state,
                chunk.claimed_at, 0]
            for text, record in texts_of(chunk.units, model)))


def texts_of(units, model=None):
    """Yield (JSON, reference to its record) of each unit.

    The JSON is that of a list of this one unit.  Units that can not be loaded
    fail as one.
    """
    if units is None:
        yield None, None
    elif isinstance(units, Unreadable):
        yield units.text, None
    else:
        for unit in units:
            record = record_of(unit) if model else None
            yield dump_units([unit]), None if record is None \
                else '%s,%s' % (model, record)


def record_of(unit):
    "Return the id that a unit is, or begins with; None if it does not."
    if isinstance(unit, list) and unit:
        unit = unit[0]
    if isinstance(unit, tuple) and unit:
        unit = unit[0]
    return unit if type(unit) is int else None


def insert_rows(cursor, rows):
    "Insert rows of COLUMNS, in bulk."
    block = []
    for row in rows:
        block.append(row)
        if len(block) == BULK:
            _insert(cursor, block)
            block = []
    _insert(cursor, block)


def _insert(cursor, rows):
    if len(rows) == 1:
        # The usual case: it failed alone
        execute_written(
            cursor, written(_write_insert), **dict(zip(COLUMNS, rows[0])))
    elif rows and hasattr(cursor, 'copy'):
        with cursor.copy('COPY batch_failure (%s) FROM STDIN'
                % ', '.join(COLUMNS)) as copy:
            for row in rows:
                copy.write_row(row)
    elif rows:
        cursor.execute(*failure_.insert(
                [getattr(failure_, n) for n in COLUMNS], rows))


def _write_insert():
    return failure_.insert(
        [getattr(failure_, n) for n in COLUMNS], [list(map(Hole, COLUMNS))])


def free(execution):
    "Where the failures are of an execution that wait for somebody."
    return (failure_.execution == execution) \
        & (failure_.state == FailureState.OPEN) \
        & (failure_.retried_by == Null)


def list_free(cursor, execution, limit=None):
    "Yield (id, text of the unit as it is shown) of each free failure."
    query = failure_.select(
        failure_.id, failure_.unit, where=free(execution),
        order_by=[failure_.chunk, failure_.id], limit=limit)
    for rows in streamed(cursor, query):
        for id, text in rows:
            yield id, 'the batch' if text is None \
                else shown_unit(load_units(text)[0])


def list_errors(cursor, execution):
    "Yield (id, units, error) of each free failure; units has the one."
    query = failure_.join(
        chunk_, condition=failure_.chunk == chunk_.id).select(
        failure_.id, failure_.unit, chunk_.error_type, chunk_.error,
        where=free(execution), order_by=failure_.id)
    for rows in streamed(cursor, query, BULK):
        for id, text, type_, error in rows:
            yield id, load_units(text), error or type_


def count_by_state(cursor, execution):
    "Return how many failures of an execution are in each state."
    cursor.execute(*failure_.select(
            failure_.state, Count(Literal(1)),
            where=failure_.execution == execution, group_by=failure_.state))
    return dict(cursor.fetchall())


def count_open(cursor, executions=None):
    """Return how many failures are open, by execution.

    :param executions: only those of these ids
    """
    counts = {}
    slices = [None] if executions is None else grouped_slice(executions, BULK)
    for ids in slices:
        where = failure_.state == FailureState.OPEN
        if ids is not None:
            where &= failure_.execution.in_(list(ids))
        cursor.execute(*failure_.select(
                failure_.execution, Count(Literal(1)), where=where,
                group_by=failure_.execution))
        counts.update(cursor.fetchall())
    return counts


def count_free(cursor, executions):
    "Return how many failures wait for somebody, by execution, if any do."
    counts = {}
    for ids in grouped_slice(executions, BULK):
        cursor.execute(*failure_.select(
                failure_.execution, Count(Literal(1)),
                where=failure_.execution.in_(list(ids))
                & (failure_.state == FailureState.OPEN)
                & (failure_.retried_by == Null),
                group_by=failure_.execution))
        counts.update(cursor.fetchall())
    return counts


def retries(cursor, execution):
    "Return the ids of the executions that took up failures of this one."
    cursor.execute(*failure_.select(
            failure_.retried_by,
            where=(failure_.execution == execution)
            & (failure_.retried_by != Null),
            group_by=failure_.retried_by, order_by=failure_.retried_by))
    return [id for id, in cursor.fetchall()]


def settled_in(cursor, chunks):
    """Return what became of the failures of chunks, where it is something.

    :param chunks: ids
    :return: a list of (state, retried_by, reason, how many) by chunk
    """
    found = {}
    if chunks:
        columns = [
            failure_.chunk, failure_.state, failure_.retried_by,
            failure_.reason]
        cursor.execute(*failure_.select(
                *columns, Count(Literal(1)),
                where=failure_.chunk.in_(chunks)
                & ((failure_.state != FailureState.OPEN)
                    | (failure_.retried_by != Null)),
                group_by=columns, order_by=columns))
        for chunk, *settled in cursor.fetchall():
            found.setdefault(chunk, []).append(tuple(settled))
    return found


# What becomes of them

def _update(cursor, where, ids=None, **values):
    "Write columns of failures; return how many.  Locks their rows."
    count = 0
    for some in [None] if ids is None else grouped_slice(ids, BULK):
        cursor.execute(*failure_.update(
                [getattr(failure_, n) for n in values], list(values.values()),
                where=where if some is None
                else where & failure_.id.in_(list(some))))
        count += cursor.rowcount
    return count


def take_up(cursor, execution, retry, ids=None):
    """Give free failures to a retry, which still has to select them.

    Returns how many.  They are open until it has planned them.

    :param ids: only those
    """
    return _update(cursor, free(execution), ids, retried_by=retry)


def give_back(cursor, retry):
    "Free what a retry took up and will not plan."
    _update(cursor, _taken(retry, FailureState.OPEN), retried_by=None)


def list_taken(cursor, retry):
    "Yield the units that a retry took up, as load_units() gives them."
    query = failure_.select(
        failure_.unit, where=_taken(retry, FailureState.OPEN),
        order_by=[failure_.chunk, failure_.id])
    for rows in streamed(cursor, query):
        for text, in rows:
            yield load_units(text)


def note_planned(cursor, retry):
    "open -> retried"
    _update(cursor, _taken(retry, FailureState.OPEN),
        state=FailureState.RETRIED)


def _taken(retry, state):
    return (failure_.retried_by == retry) & (failure_.state == state)


def dismiss(cursor, execution, reason, ids=None):
    """open -> dismissed; returns how many.

    :param reason: text, or None
    :param ids: only those
    """
    return _update(
        cursor, free(execution), ids, state=FailureState.DISMISSED,
        reason=reason)


def solve(cursor, retry):
    """retried -> solved, of what a retry that has ended has done.

    A file that was read again is done when all of its rows are.
    """
    undone = set()
    for rows in streamed(cursor, failure_.select(
                failure_.unit, where=failure_.execution == retry)):
        for text, in rows:
            undone.update(_digests(text))
    for rows in streamed(cursor, chunk_.select(
                chunk_.units, where=has_not_ended(retry))):
        for units, in rows:
            for text, _ in texts_of(load_units(units)):
                undone.update(_digests(text))
    where = _taken(retry, FailureState.RETRIED)
    solved = None
    if undone:
        solved = [
            id for rows in streamed(cursor, failure_.select(
                    failure_.id, failure_.unit, where=where))
            for id, text in rows if _digest(text) not in undone]
    _update(cursor, where, solved, state=FailureState.SOLVED)


def _digests(text):
    "Yield what tells a unit, and the file that it is a row of."
    yield _digest(text)
    for name, is_row in names(text or ''):
        if is_row and isinstance(name, str):
            yield _digest(dump_units([name]))


def _digest(text):
    # Rows of a file may be long, and there may be many
    return hashlib.blake2b((text or '').encode(), digest_size=16).digest()

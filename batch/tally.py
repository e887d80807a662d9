# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What an execution came to: the ledger, read and summed up."""
import json

from sql import Literal, Null
from sql.aggregate import Count, Sum

from .ledger import chunk_, execution_, has_ended, has_not_ended
from .rows import streamed
from .units import load_units

__all__ = [
    'alike', 'batches', 'counts', 'failed_units', 'failures', 'files',
    'had_deaths', 'history', 'numbers', 'planned_chunks', 'retries',
    'unseen_files', 'waits']


def batches(cursor):
    "Return the set of the names of batches that were executed."
    cursor.execute(*execution_.select(
            execution_.batch, group_by=execution_.batch))
    return {name for name, in cursor.fetchall()}


def counts(cursor, execution):
    "Return units by state of their chunk, with chunks and transactions."
    cursor.execute(*chunk_.select(
            chunk_.state, Sum(chunk_.size), Count(chunk_.id),
            Sum(chunk_.attempts),
            where=chunk_.execution == execution, group_by=chunk_.state))
    units, chunks, transactions = {}, {}, 0
    for state, size, count, attempts in cursor.fetchall():
        units[state] = int(size or 0)
        chunks[state] = count
        transactions += int(attempts or 0)
    return {
        'done': units.get('done', 0),
        'failed': units.get('failed', 0),
        'left': sum(
            units.get(s, 0) for s in ['waiting', 'queued', 'cancelled']),
        'cancelled': units.get('cancelled', 0),
        'chunks': sum(chunks.values()),
        'split': chunks.get('split', 0),
        'transactions': transactions,
        }


def planned_chunks(cursor, execution):
    "Return how many chunks of the plan were treated, in whatever parts."
    cursor.execute(*chunk_.select(
            Count(chunk_.id),
            where=(chunk_.execution == execution) & (chunk_.parent == Null)
            & chunk_.state.in_(['done', 'split', 'failed'])))
    return cursor.fetchone()[0]


def failures(cursor, execution, limit=None, tracebacks=False):
    """Yield (number, units, type, error) of each failed chunk, by its id.

    :param limit: how many at most
    :param tracebacks: whether the traceback is a fifth item: they are long
    """
    columns = [chunk_.number, chunk_.units, chunk_.error_type, chunk_.error]
    if tracebacks:
        columns.append(chunk_.traceback)
    query = chunk_.select(
        *columns,
        where=has_ended(execution) & (chunk_.state == 'failed'),
        order_by=chunk_.id, limit=limit)
    for rows in streamed(cursor, query, 100 if tracebacks else 1000):
        for number, units, *error in rows:
            yield number, load_units(units), *error


def waits(cursor, execution, limit=3):
    """Return the (number, error) of chunks that wait after some trouble.

    :param limit: how many at most
    """
    cursor.execute(*chunk_.select(
            chunk_.number, chunk_.error,
            where=has_not_ended(execution) & (chunk_.state == 'queued')
            & (chunk_.error != Null),
            order_by=chunk_.id, limit=limit))
    return cursor.fetchall()


def files(cursor, execution):
    "Return the paths of the files that the execution committed."
    return [
        path for _, identities in _files(cursor, execution)
        for path in identities]


def unseen_files(cursor, execution):
    """Return the committed files that nobody said have appeared.

    As (id of the chunk, identities by path); the id is None for what the
    selection wrote.
    """
    found = []
    # A path has no quotation marks in JSON without a backslash
    for chunk, identities in _files(cursor, execution, '%": "%'):
        unseen = {p: i for p, i in identities.items() if i is not None}
        if unseen:
            found.append((chunk, unseen))
    return found


def _files(cursor, execution, like='%'):
    "Return (id of the chunk or None, identity or None by path)."
    found = []
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


def had_deaths(cursor, execution):
    "Return whether a process may have died at a chunk of the execution."
    cursor.execute(*chunk_.select(
            Literal(1),
            where=(chunk_.execution == execution) & (chunk_.begun != Null),
            limit=1))
    return cursor.fetchone() is not None


def numbers(cursor, execution):
    "Return the sums of what the chunks returned, by name."
    cursor.execute(*chunk_.select(
            chunk_.numbers,
            where=(chunk_.execution == execution)
            & (chunk_.numbers != Null)))
    sums = {}
    for text, in cursor.fetchall():
        for name, value in json.loads(text).items():
            sums[name] = sums.get(name, 0) + value
    return sums


def history(cursor, batch=None, limit=20):
    "Return the last executions, the newest first, as dicts."
    names = ['id', 'batch', 'state', 'selected', 'done', 'failed', 'left',
        'started_at', 'ended_at', 'dry_run', 'message']
    where = Literal(True)
    if batch:
        where &= execution_.batch == batch
    cursor.execute(*execution_.select(
            *[getattr(execution_, n) for n in names], where=where,
            order_by=execution_.id.desc, limit=limit))
    return [dict(zip(names, row)) for row in cursor.fetchall()]


def failed_units(cursor, execution):
    cursor.execute(*chunk_.select(
            Sum(chunk_.size),
            where=has_ended(execution) & (chunk_.state == 'failed')))
    return int(cursor.fetchone()[0] or 0)


def alike(cursor, execution, count):
    """Return the fingerprint of the last count failures, else None.

    None where they differ, or where something succeeded since the first.
    """
    cursor.execute(*chunk_.select(
            chunk_.fingerprint, chunk_.ended_at,
            where=has_ended(execution) & (chunk_.state == 'failed'),
            order_by=chunk_.ended_at.desc, limit=count))
    rows = cursor.fetchall()
    fingerprints = {fingerprint for fingerprint, _ in rows}
    if len(rows) < count or len(fingerprints) > 1:
        return None
    cursor.execute(*chunk_.select(
            Literal(1),
            where=has_ended(execution) & (chunk_.state == 'done')
            & (chunk_.ended_at > rows[-1][1]),
            order_by=chunk_.ended_at, limit=1))
    return None if cursor.fetchone() else fingerprints.pop()


def retries(cursor, execution):
    """Return the ids of the executions that retry this one.

    One that was refused, disabled or skipped retried nothing.
    """
    cursor.execute(*execution_.select(
            execution_.id,
            where=(execution_.retry_of == execution)
            & ((execution_.selected > 0)
                | execution_.state.in_(['selecting', 'running'])),
            order_by=execution_.id))
    return [id for id, in cursor.fetchall()]

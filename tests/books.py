# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The ledger in the hands of a test, in this very process, on SQLite."""
import contextlib

import trytond.config as config
from trytond.modules.batch import ledger
from trytond.transaction import Transaction

__all__ = ['execution_of', 'open_ledger', 'take', 'write']

IDS = iter(range(1, 1 << 30))


@contextlib.contextmanager
def open_ledger(scene):
    "Give a cursor on the ledger of a scene; what is written is forgotten."
    path = config.get('database', 'path')
    config.set('database', 'path', scene._sqlite_dir)
    try:
        with Transaction().start(scene.database, 0) as transaction:
            yield transaction.connection.cursor()
            transaction.rollback()
    finally:
        config.set('database', 'path', path)


def execution_of(cursor, *chunks, concurrency=64):
    "Return the id of a running execution with chunks, lists of units."
    execution = ledger.executions.create(cursor, 'batch.scenario.ok', {})
    plan = ledger.planning.ChunkWriter(cursor, execution, concurrency)
    for units in chunks:
        plan.add(units, len(units))
    plan.flush()
    ledger.executions.update(
        cursor, execution, state='running', selected=plan.selected)
    return execution


def take(cursor, execution, id=None):
    "Take a chunk, the first that is queued; return it, or None."
    if id is None:
        id, *_ = ledger.open_chunks.list_queued(cursor, execution)
    return ledger.chunks.claim(cursor, execution, id, sleep=lambda _: None)


def write(cursor, table, id, **values):
    "Write columns of a row whatever the ledger thinks of it."
    cursor.execute(*table.update(
            [getattr(table, n) for n in values], list(values.values()),
            where=table.id == id))

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The ledger: the only truth about an execution, as statements on two tables.

Statements and not models, because a worker must lock exactly one row, a
state and the work it stands for must be one commit, and the command has to
read the ledger without loading a pool.  ``execution.py`` declares the tables.

Whether somebody works on a row is asked of its lock, never of a clock.
"""
import datetime as dt
import json
import os
import socket
import time
from dataclasses import dataclass
from functools import lru_cache

from sql import For, Literal, Null, Select, Table, With
from sql.aggregate import Count
from sql.conditionals import Case, Coalesce
from sql.functions import Function
from sql.operators import Exists

from .exceptions import StateError
from .masking import mask_given
from .units import dump_units, load_units

__all__ = ['CHUNK', 'EXECUTION', 'OPEN', 'Chunk']

execution_ = Table('batch_execution')
chunk_ = Table('batch_execution_chunk')
input_ = Table('batch_execution_input')

#: (from, to) -> the cause.  What is not here does not happen: each statement
#: below that moves a row names the state that it moves from.
EXECUTION = {
    (None, 'selecting'): "somebody started the batch",
    ('selecting', 'running'): "the selection is planned: its chunks exist",
    ('selecting', 'failed'): "the selection raised, or the start was refused",
    ('selecting', 'cancelled'): "cancelled before it was selected",
    ('running', 'succeeded'): "the last chunk ended and every unit is done",
    ('running', 'failed'): "the last chunk ended and some unit failed",
    ('running', 'cancelled'): "the last chunk ended and some were cancelled",
    ('failed', 'running'): "resumed: some chunks were left",
    ('cancelled', 'running'): "resumed: some chunks were left",
    }
CHUNK = {
    (None, 'waiting'): "planned, or a part behind another one",
    (None, 'queued'): "among the first of the plan, or the first part",
    ('waiting', 'queued'): "its predecessor ended, or it was resumed",
    ('queued', 'done'): "its work is in the same commit",
    ('queued', 'split'): "it failed, and its parts replace it",
    ('queued', 'failed'): "it failed and can not be split",
    ('waiting', 'cancelled'): "the execution was cancelled",
    ('queued', 'cancelled'): "the execution was cancelled, nobody was at it",
    ('cancelled', 'waiting'): "the execution was resumed",
    }
#: seconds before each look at a row that is locked
LOOKS = 0, 0.02, 0.05
#: states of a chunk that still has to be treated
OPEN = ['waiting', 'queued']


@dataclass(frozen=True)
class Chunk:
    "The units that one transaction treats."
    id: int
    execution: int
    number: str
    #: None: the batch selects nothing, and is executed once
    units: list | None
    size: int
    parent: int | None
    successor: str | None
    #: None: nobody is known to have begun with it before.  Else it is
    #: begun with care: '' says so, ``host:pid`` who did so last
    begun: str | None
    #: how many processes are known to have died at it
    deaths: int
    #: how the last of them died
    error: str | None
    #: id of the transaction that has the lock; None on SQLite
    transaction: int | None = None

    @property
    def label(self):
        return '#%s.%s' % (self.execution, self.number)


def now():
    return dt.datetime.now()


def worker_name():
    return '%s:%s' % (socket.gethostname(), os.getpid())


def _is_shared():
    "Return whether rows have locks; SQLite locks the whole database."
    from trytond import backend
    return backend.name != 'sqlite'


class _TransactionId(Function):
    __slots__ = ()
    _function = 'TXID_CURRENT'


class _SkipLocked(For):
    def __str__(self):
        return super().__str__() + ' SKIP LOCKED'


@dataclass(frozen=True)
class _Hole:
    "Stands in a statement for a value that is given later."
    name: str


@lru_cache(maxsize=64)
def _written(write, *args):
    """Return what write(*args) gives, as text and parameters with holes.

    Those of every chunk are written once per process.
    """
    return tuple(write(*args))


def _execute(cursor, statement, **values):
    text, params = statement
    cursor.execute(text, [
            values[p.name] if isinstance(p, _Hole) else p for p in params])


def _for_update(wait=False):
    if _is_shared():
        return (For if wait else _SkipLocked)('UPDATE')


# An execution

def create(cursor, batch, parameters, retry_of=None, dry_run=False):
    """Insert an execution in the state selecting and return its id.

    :param parameters: name -> text, as given by the command line
    :param retry_of: id of the execution whose failed units it selects
    :param dry_run: whether the work of each chunk is rolled back
    """
    insert = execution_.insert(
        [execution_.batch, execution_.given, execution_.state,
            execution_.retry_of, execution_.dry_run, execution_.started_at,
            execution_.create_date, execution_.create_uid],
        [[batch, json.dumps(parameters), 'selecting', retry_of, dry_run,
            now(), now(), 0]])
    if not _is_shared():
        cursor.execute(*insert)
        return cursor.lastrowid
    insert.returning = [execution_.id]
    cursor.execute(*insert)
    return cursor.fetchone()[0]


def read(cursor, execution, *names):
    "Return the named columns of the execution as a dict, None without it."
    cursor.execute(*execution_.select(
            *[getattr(execution_, n) for n in names],
            where=execution_.id == execution))
    row = cursor.fetchone()
    return None if row is None else dict(zip(names, row))


def take_execution(cursor, execution, state, wait=False):
    """Lock the execution if it is in state; return its columns, or None.

    None also where somebody else has the lock, unless wait is set.
    """
    names = [
        'id', 'batch', 'given', 'settings', 'started_at', 'retry_of',
        'dry_run', 'stopping', 'message']
    if not _is_shared():
        # The first write takes the lock of the whole database
        cursor.execute(*execution_.update(
                [execution_.state], [state],
                where=(execution_.id == execution)
                & (execution_.state == state)))
    cursor.execute(*execution_.select(
            *[getattr(execution_, n) for n in names],
            where=(execution_.id == execution) & (execution_.state == state),
            for_=_for_update(wait)))
    row = cursor.fetchone()
    return None if row is None else dict(zip(names, row))


def selection_died(cursor, execution):
    """Write that the process that selected died; return how many did so.

    None where it is not there to be selected.
    """
    if take_execution(cursor, execution, 'selecting') is None:
        return None
    cursor.execute(*execution_.update(
            [execution_.deaths], [Coalesce(execution_.deaths, 0) + 1],
            where=execution_.id == execution))
    return read(cursor, execution, 'deaths')['deaths']


def lock_executions(cursor):
    """Let nobody else make, admit or end an execution until the commit.

    The first statement of its transaction: what is read afterwards is then
    newer than what others did under this lock.
    """
    if _is_shared():
        cursor.execute(
            'LOCK TABLE batch_execution IN SHARE ROW EXCLUSIVE MODE')


def others(cursor, batch, execution):
    """Return the open executions of the batch, but for this one.

    Those that are not admitted yet do not count: they will ask themselves.
    """
    cursor.execute(*execution_.select(
            execution_.id,
            where=(execution_.batch == batch) & (execution_.id != execution)
            & execution_.state.in_(['selecting', 'running'])
            & (execution_.settings != Null),
            order_by=execution_.id))
    return [id for id, in cursor.fetchall()]


def stop(cursor, execution, state, message):
    """Let no further chunk be taken; return whether it ran on until now.

    What runs goes on to the end of its chunk, and the last one of those
    closes the execution.

    :param state: in which it will end, ``failed`` or ``cancelled``
    """
    assert ('running', state) in EXECUTION, state
    cursor.execute(*execution_.update(
            [execution_.stopping, execution_.message], [state, message],
            where=(execution_.id == execution)
            & (execution_.state == 'running')
            & (execution_.stopping == Null)))
    return bool(cursor.rowcount)


def update_execution(cursor, execution, **values):
    "Write columns of an execution; a change of state must be in EXECUTION."
    where = execution_.id == execution
    if 'state' in values:
        where &= execution_.state.in_([
                old for old, new in EXECUTION
                if new == values['state'] and old is not None])
    cursor.execute(*execution_.update(
            [getattr(execution_, n) for n in values], list(values.values()),
            where=where))
    return cursor.rowcount


def forget_secrets(cursor, execution):
    "Mask the secrets that the execution was given: nobody needs them again."
    names = ['given', 'parameters', 'settings']
    row = read(cursor, execution, *names)
    masked = {name: mask_given(row[name]) for name in names}
    if masked != row:
        update_execution(cursor, execution, **masked)


def discard_plan(cursor, execution):
    "Delete what a selection that failed has committed nevertheless."
    for table in [chunk_, input_]:
        cursor.execute(*table.delete(where=table.execution == execution))


# Its chunks

#: the columns of a chunk that is planned
PLANNED = [
    'execution', 'number', 'units', 'size', 'state', 'successor', 'attempts',
    'create_uid', 'create_date']


class Plan:
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

    def add(self, units, size):
        self.count += 1
        self.selected += size
        text = dump_units(units)
        self._rows.append([
                self.execution, str(self.count), text, size,
                'queued' if self.count <= self.concurrency else 'waiting',
                str(self.count + self.concurrency), 0, 0, now()])
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
            _insert_chunks(self.cursor, self._rows)
        self._rows.clear()
        self._bytes = 0


def _insert_chunks(cursor, rows, **more):
    cursor.execute(*chunk_.insert(
            [getattr(chunk_, n) for n in [*PLANNED, *more]],
            [r + list(more.values()) for r in rows]))


def has_ended(execution):
    "Where to search for chunks by a state that is an end, see has_not_ended."
    return (chunk_.execution == execution) & (chunk_.ended_at != Null)


def has_not_ended(execution):
    """Where to search for chunks by a state that is no end.

    In the words of the index: that the state implies it is not seen by
    PostgreSQL, once a statement is prepared.
    """
    return (chunk_.execution == execution) & (chunk_.ended_at == Null)


def queued(cursor, execution):
    """Return the ids of the queued chunks that nobody works on, in order.

    Only meant where the answer may be old at once: sending again is safe.
    """
    cursor.execute(*chunk_.select(
            chunk_.id,
            where=has_not_ended(execution) & (chunk_.state == 'queued'),
            for_=_for_update()))
    # PostgreSQL might go through all chunks in their order
    return sorted(id for id, in cursor.fetchall())


def count_queued(cursor, execution):
    "Return how many chunks are queued, worked on or not."
    cursor.execute(*chunk_.select(
            Count(chunk_.id),
            where=has_not_ended(execution) & (chunk_.state == 'queued')))
    return cursor.fetchone()[0]


def take(cursor, execution, chunk, sleep=time.sleep):
    """Lock the chunk if it is queued and nobody has it; return it, or None.

    None also where the execution is stopping.

    The lock is held until the transaction ends, and is what "running" means.
    A follower that asks for locks holds them for a moment: so a second look
    comes before the conclusion that somebody works on it.
    """
    key = {'execution': execution, 'chunk': chunk}
    if not _is_shared():
        # The first write takes the lock of the whole database
        _execute(cursor, _written(_touch), **key)
    for delay in LOOKS:
        if delay:
            # Even sleep(0) gives the processor away
            sleep(delay)
        _execute(cursor, _written(_take), **key)
        if row := cursor.fetchone():
            id, execution, number, units, *others = row
            return Chunk(id, execution, number, load_units(units), *others)
        cursor.execute(*chunk_.select(Literal(1), where=_is_takeable(**key)))
        if not cursor.fetchone():
            return None


def _is_takeable(
        execution=_Hole('execution'), chunk=_Hole('chunk')):
    # Not by the execution too: right after a plan, PostgreSQL would take all
    # of its chunks for as quickly found as the one that has the id
    return (chunk_.id == chunk) & (chunk_.state == 'queued') \
        & Exists(execution_.select(
            Literal(1),
            where=(execution_.id == execution)
            & (execution_.stopping == Null)))


def _touch():
    return chunk_.update([chunk_.state], ['queued'], where=_is_takeable())


def _take():
    return chunk_.select(
        chunk_.id, chunk_.execution, chunk_.number, chunk_.units,
        chunk_.size, chunk_.parent, chunk_.successor, chunk_.begun,
        Coalesce(chunk_.deaths, 0), chunk_.error,
        *([_TransactionId()] if _is_shared() else []),
        where=_is_takeable(), for_=_for_update())


def done(cursor, chunk, started_at, attempts, files=None, numbers=None):
    "queued -> done; returns the id of the successor it queues, or None."
    return _end(cursor, chunk, 'done', chunk.successor, started_at, attempts,
        files=json.dumps(files) if files else None,
        numbers=json.dumps(numbers) if numbers else None)


def fail(cursor, chunk, started_at, attempts, error):
    "queued -> failed; returns the id of the successor it queues, or None."
    return _end(
        cursor, chunk, 'failed', chunk.successor, started_at, attempts,
        **error)


def begin(cursor, chunk):
    """Write that this process begins with a chunk delivered before.

    Who wrote that before us, and has not the lock, has died.
    """
    dead = chunk.begun not in {None, '', worker_name()}
    cursor.execute(*chunk_.update(
            [chunk_.begun, chunk_.deaths],
            [worker_name(), chunk.deaths + dead],
            where=chunk_.id == chunk.id))


def died(cursor, chunk, blame, error=None):
    """Write that whoever had the chunk is gone; it is begun with care now.

    :param blame: whether its process is known to have died at it
    """
    cursor.execute(*chunk_.update(
            [chunk_.begun, chunk_.deaths, chunk_.error],
            ['', chunk.deaths + bool(blame), error or chunk.error],
            where=chunk_.id == chunk.id))


def lost(cursor, chunks):
    """Write that whoever had the chunks (ids) is gone, as their messages are.

    A process that wrote that it begins, and vanished, has died.
    """
    if not chunks:
        return
    cursor.execute(*chunk_.update(
            [chunk_.begun, chunk_.deaths],
            ['', Coalesce(chunk_.deaths, 0) + Case(
                    (Coalesce(chunk_.begun, '') != '', 1), else_=0)],
            where=chunk_.id.in_(chunks) & (chunk_.state == 'queued')))


def at_work(cursor, chunk):
    """Return the id of the chunk that a task given chunk had come to.

    A turn goes along a lane: past what has ended, to what is queued.  None at
    the end of the lane.
    """
    columns = [
        chunk_.id, chunk_.execution, chunk_.number, chunk_.state,
        chunk_.successor]
    cursor.execute(*chunk_.select(*columns, where=chunk_.id == chunk))
    while row := cursor.fetchone():
        id, execution, number, state, successor = row
        if state == 'queued':
            return id
        if state == 'split':
            successor = number + '.1'
        cursor.execute(*chunk_.select(
                *columns, where=(chunk_.execution == execution)
                & (chunk_.number == successor)))


def split(cursor, chunk, parts, started_at, attempts, error, suspect=None,
        begun=None):
    """queued -> split; the parts take its place.  Returns the first's id.

    The parts come one behind the other, the last before the successor.

    :param suspect: index of the part that is the suspect
    :param begun: of the parts, see Chunk
    """
    numbers = ['%s.%s' % (chunk.number, i + 1) for i in range(len(parts))]
    _end(cursor, chunk, 'split', None, started_at, attempts,
        suspect=numbers[suspect] if suspect is not None else None, **error)
    _insert_chunks(cursor, [
            [chunk.execution, number, dump_units(part), len(part),
                'waiting', successor, 0, 0, now()]
            for number, successor, part in zip(
                numbers, numbers[1:] + [chunk.successor], parts)],
        parent=chunk.id, begun=begun)
    return _queue(cursor, chunk.execution, numbers[0])


def _end(cursor, chunk, state, successor, started_at, attempts, **values):
    """End the chunk and queue its successor; return the id of that, or None.

    :param successor: number, None to queue nothing
    """
    assert ('queued', state) in CHUNK, state
    values = {
        'state': state, 'started_at': started_at, 'ended_at': now(),
        'attempts': attempts, 'worker': worker_name(), 'write_date': now(),
        **values}
    key = {
        'chunk': chunk.id, 'execution': chunk.execution, 'number': successor,
        'transaction': chunk.transaction if state == 'done' else None}
    if _is_shared():
        # One trip to the server, as this is in the way of every chunk
        _execute(cursor, _written(_write_both, *values), **key, **values)
        ended, queued = cursor.fetchone()
    else:
        _execute(cursor, _written(_write_end, *values), **key, **values)
        ended = cursor.rowcount
        queued = _queue(cursor, chunk.execution, successor)
    if not ended:
        raise StateError(chunk.label, state)
    return queued


def _write_both(*names):
    ended, queued = map(With, ['id', 'id'])
    ended.query, queued.query = _write_end(*names), _write_queued()
    for update in [ended.query, queued.query]:
        update.returning = [chunk_.id]
    return Select(
        [ended.select(ended.id), queued.select(queued.id)],
        with_=[ended, queued])


def _write_end(*names):
    return chunk_.update(
        [getattr(chunk_, n) for n in names], list(map(_Hole, names)),
        where=(chunk_.id == _Hole('chunk')) & (chunk_.state == 'queued')
        # A hook may have ended the transaction that had the lock
        & (_TransactionId() == Coalesce(
                _Hole('transaction'), _TransactionId())
            if _is_shared() else Literal(True)))


def _queue(cursor, execution, number):
    _execute(
        cursor, _written(_write_queued), execution=execution, number=number)
    if not cursor.rowcount:
        return None
    cursor.execute(*chunk_.select(
            chunk_.id, where=(chunk_.execution == execution)
            & (chunk_.number == number)))
    id, = cursor.fetchone()
    return id


def _write_queued():
    return chunk_.update(
        [chunk_.state], ['queued'],
        where=(chunk_.execution == _Hole('execution'))
        & (chunk_.number == _Hole('number')) & (chunk_.state == 'waiting'))


def lineage(cursor, chunk):
    """Return (error_type, error, trust) from what chunk is a part of.

    trust: whether the suspects were right so far: the last one did fail
    alone, or there was none to find.
    """
    if chunk.parent is None:
        return None, None, True
    cursor.execute(*chunk_.select(
            chunk_.error_type, chunk_.error, chunk_.suspect, chunk_.parent,
            where=chunk_.id == chunk.parent))
    error_type, error, suspect, grandparent = cursor.fetchone()
    trust = True
    if suspect is not None:
        cursor.execute(*chunk_.select(
                chunk_.state, where=(chunk_.execution == chunk.execution)
                & (chunk_.number == suspect)))
        row = cursor.fetchone()
        trust = row is not None and row[0] == 'failed'
    elif grandparent is not None:
        # Halved: because none was found, or because one had lied
        trust = not _lied(cursor, chunk.execution, grandparent)
    return error_type, error, trust


def _lied(cursor, execution, ancestor):
    "Return whether a suspect of the ancestor or of those above was innocent."
    other = Table('batch_execution_chunk')
    while ancestor is not None:
        cursor.execute(*chunk_
            .join(other, 'LEFT', condition=(other.execution == execution)
                & (other.number == chunk_.suspect))
            .select(chunk_.suspect, other.state, chunk_.parent,
                where=chunk_.id == ancestor))
        suspect, state, ancestor = cursor.fetchone()
        if suspect is not None and state != 'failed':
            return True
    return False


def cancel(cursor, execution):
    """waiting or queued -> cancelled; returns how many chunks.

    Only where nobody works on one.
    """
    cursor.execute(*chunk_.update(
            [chunk_.state], ['cancelled'],
            where=(chunk_.execution == execution)
            & chunk_.state.in_(OPEN)))
    return cursor.rowcount


def resume(cursor, execution):
    """cancelled -> waiting, and queue what no open chunk will queue.

    A lane whose chunks all wait has nobody to queue it: its first chunk is.
    """
    cursor.execute(*chunk_.update(
            [chunk_.state], ['waiting'],
            where=(chunk_.execution == execution)
            & (chunk_.state == 'cancelled')))
    cursor.execute(*chunk_.select(
            chunk_.id, chunk_.number, chunk_.successor, chunk_.state,
            where=has_not_ended(execution) & chunk_.state.in_(OPEN),
            order_by=chunk_.id))
    rows = cursor.fetchall()
    expected = {successor for _, _, successor, _ in rows}
    for id, number, _, state in rows:
        if state == 'waiting' and number not in expected:
            _queue(cursor, execution, number)


def is_over(cursor, execution):
    """Return whether no chunk of the execution will be treated any more.

    Either none is left, or it is stopping and nobody works on one.
    """
    cursor.execute(*chunk_.select(
            Literal(1),
            where=has_not_ended(execution) & chunk_.state.in_(OPEN),
            limit=1))
    if cursor.fetchone() is None:
        return True
    row = read(cursor, execution, 'stopping')
    return bool(row['stopping']) and is_idle(cursor, execution)


def is_idle(cursor, execution):
    "Return whether nobody works on a chunk of the execution."
    return len(queued(cursor, execution)) == count_queued(cursor, execution)


def forget(cursor, execution):
    "Delete an execution that is over, with its chunks; return how many."
    over = (execution_.id == execution) \
        & execution_.state.in_(['succeeded', 'failed', 'cancelled'])
    # SQLite cascades nothing
    for table in [chunk_, input_]:
        cursor.execute(*table.delete(
                where=table.execution.in_(
                    execution_.select(execution_.id, where=over))))
    cursor.execute(*execution_.delete(where=over))
    return cursor.rowcount

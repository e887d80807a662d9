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
from dataclasses import dataclass, field
from functools import lru_cache

from sql import For, Literal, Null, Select, Table, With
from sql.conditionals import Coalesce
from sql.functions import AtTimeZone, ClockTimestamp, Function
from sql.operators import Exists

from trytond.tools import grouped_slice

from . import transaction
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
    ('running', 'failed'):
        "the last chunk ended and some unit failed, or a file is missing",
    ('running', 'cancelled'): "the last chunk ended and some were cancelled",
    ('failed', 'running'): "resumed: chunks were left, or files missing",
    ('cancelled', 'running'): "resumed: chunks were left, or files missing",
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
#: of the advisory locks of PostgreSQL: tells ours from those of others
LOCKS = 0x62617463
#: the worker that this process belongs to, and whose lock its keeper holds;
#: 0 outside of a worker
worker_key = 0
#: what is known of a death that nobody could tell of
GONE = 'worker lost, with its whole worker'
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
    #: time of the database at which it was claimed
    claimed_at: dt.datetime = field(compare=False)
    #: id of the transaction that has the lock; None on SQLite
    transaction: int | None = None

    @property
    def label(self):
        return '#%s.%s' % (self.execution, self.number)


def clock():
    """Return the time of the database, UTC, as an expression.

    The clocks of the workers may differ by an hour.
    """
    if _is_shared():
        return AtTimeZone(ClockTimestamp(), 'UTC')
    return dt.datetime.now()


def now(cursor):
    "Return the time of the database (datetime, UTC)."
    if not _is_shared():
        return clock()
    cursor.execute(*Select([clock()]))
    return cursor.fetchone()[0]


def worker_name():
    return '%s:%s' % (socket.gethostname(), os.getpid())


def claimant():
    "Return what is written of who begins: host, process and worker."
    return '%s:%s' % (worker_name(), worker_key)


def has_died(cursor, begun):
    """Return whether a process that began is known to be gone for good.

    Asked only where nobody has the lock of what it began with.  As long as
    its worker lives, the worker itself tells of its death: else the process
    was only cut off from the database, and is not to blame.
    """
    if not begun or begun == claimant():
        return False
    key = int((begun.split(':') + ['0'])[2])
    if not key or not _is_shared():
        return True
    if key == worker_key:
        return False
    cursor.execute(
        "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted "
        "AND database = (SELECT oid FROM pg_database "
        "WHERE datname = current_database()) "
        "AND classid = %s AND objid = %s", [LOCKS, key])
    return cursor.fetchone() is None


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

def create(
        cursor, batch, parameters, retry_of=None, dry_run=False, local=False):
    """Insert an execution in the state selecting and return its id.

    :param parameters: name -> text, as given by the command line
    :param retry_of: id of the execution whose failed units it selects
    :param dry_run: whether the work of each chunk is rolled back
    :param local: whether the caller executes it itself: no keeper sends
        messages for it
    """
    insert = execution_.insert(
        [execution_.batch, execution_.given, execution_.state,
            execution_.retry_of, execution_.dry_run, execution_.started_at,
            execution_.local, execution_.create_date, execution_.create_uid],
        [[batch, json.dumps(parameters), 'selecting', retry_of, dry_run,
            clock(), local, clock(), 0]])
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
        'dry_run', 'stopping', 'message', 'begun', 'deaths']
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


def begin_selection(cursor, row):
    """Write that this process begins to select; return how many died so.

    :param row: of take_execution
    """
    deaths = (row['deaths'] or 0) + has_died(cursor, row['begun'])
    update_execution(cursor, row['id'], begun=claimant(), deaths=deaths)
    return deaths


def selection_died(cursor, execution):
    """Write that the process that selected died; return how many did so.

    None where it is not there to be selected.
    """
    row = take_execution(cursor, execution, 'selecting')
    if row is None:
        return None
    deaths = (row['deaths'] or 0) + 1
    update_execution(cursor, execution, begun=None, deaths=deaths)
    return deaths


def open_executions(cursor):
    "Return the executions that are not over, the oldest first, as dicts."
    names = ['id', 'batch', 'state', 'stopping', 'waiting_for', 'local']
    cursor.execute(*execution_.select(
            *[getattr(execution_, n) for n in names],
            where=(execution_.ended_at == Null)
            & execution_.state.in_(['selecting', 'running']),
            order_by=execution_.id))
    return [dict(zip(names, row)) for row in cursor.fetchall()]


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
        self._now = now(cursor)

    def add(self, units, size):
        self.count += 1
        self.selected += size
        text = dump_units(units)
        self._rows.append([
                self.execution, str(self.count), text, size,
                'queued' if self.count <= self.concurrency else 'waiting',
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


def queued(cursor, execution, lock=True):
    """Return the ids of the queued chunks, in order.

    :param lock: whether of those only that nobody works on; they are locked,
        so what is written of them is true until the commit
    """
    cursor.execute(*chunk_.select(
            chunk_.id,
            where=has_not_ended(execution) & (chunk_.state == 'queued'),
            for_=_for_update() if lock else None))
    # PostgreSQL might go through all chunks in their order
    return sorted(id for id, in cursor.fetchall())


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
            id, execution, number, units, *others = row[:12]
            if not _is_shared():
                others[-1] = clock()
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
        *([clock(), _TransactionId()] if _is_shared() else [Literal(None)]),
        # In the same trip to the server, as this is in the way of every chunk
        *transaction.client_checks(),
        where=_is_takeable(), for_=_for_update())


def done(cursor, chunk, attempts, files=None, numbers=None):
    """queued -> done; returns the id of the successor it queues, or None.

    :param files: path -> identity, see outputs.py
    """
    return _end(cursor, chunk, 'done', chunk.successor, attempts,
        files=json.dumps(files) if files else None,
        numbers=json.dumps(numbers) if numbers else None)


def fail(cursor, chunk, attempts, error):
    "queued -> failed; returns the id of the successor it queues, or None."
    return _end(
        cursor, chunk, 'failed', chunk.successor, attempts,
        **error)


def appeared(cursor, execution, paths, chunk=None):
    """Write that committed files have appeared.

    :param chunk: id of the chunk that wrote them, None for the selection
    """
    table, column, id = (execution_, execution_.outputs, execution) \
        if chunk is None else (chunk_, chunk_.files, chunk)
    cursor.execute(*table.select(column, where=table.id == id))
    if (row := cursor.fetchone()) is not None:
        files = json.loads(row[0])
        files.update(dict.fromkeys(paths))
        cursor.execute(*table.update(
                [column], [json.dumps(files)], where=table.id == id))


def begin(cursor, chunk):
    """Write that this process begins with a chunk delivered before.

    Who wrote that before us, and has not the lock, may have died.
    """
    died = has_died(cursor, chunk.begun)
    cursor.execute(*chunk_.update(
            [chunk_.begun, chunk_.deaths, chunk_.error],
            [claimant(), chunk.deaths + died, GONE if died else chunk.error],
            where=chunk_.id == chunk.id))


def give_back(cursor, execution, chunk=None):
    """Write that this process is told to go: it has not died at its work.

    :param chunk: id, None where the process selects
    """
    table, id, value = (execution_, execution, None) if chunk is None \
        else (chunk_, chunk, '')
    cursor.execute(*table.update(
            [table.begun], [value],
            where=(table.id == id) & (table.begun == claimant())))


def died(cursor, chunk, blame, error=None):
    """Write that whoever had the chunk is gone; it is begun with care now.

    :param blame: whether its process is known to have died at it
    """
    cursor.execute(*chunk_.update(
            [chunk_.begun, chunk_.deaths, chunk_.error],
            ['', chunk.deaths + bool(blame), error or chunk.error],
            where=chunk_.id == chunk.id))


def mark_deserted(cursor, chunks):
    """Let the chunks be begun with care, as their messages may be lost.

    A process that wrote that it begins, and is gone, has died.

    :param chunks: ids; the caller has their locks
    """
    if not chunks:
        return
    cursor.execute(*chunk_.select(
            chunk_.id, chunk_.begun, Coalesce(chunk_.deaths, 0),
            where=chunk_.id.in_(chunks) & (chunk_.state == 'queued')))
    for id, begun, deaths in cursor.fetchall():
        values = {'begun': ''}
        if has_died(cursor, begun):
            values['deaths'] = deaths + 1
            values['error'] = GONE
        if begun != '':
            cursor.execute(*chunk_.update(
                    [getattr(chunk_, n) for n in values],
                    list(values.values()), where=chunk_.id == id))


def note(cursor, chunk, error):
    "Keep why a chunk waits, which nobody is at."
    cursor.execute(*chunk_.update(
            [chunk_.error], [error],
            where=(chunk_.id == chunk) & (chunk_.state == 'queued')))


def first_open_in_lane(cursor, execution, chunk, concurrency):
    """Return the id of the queued chunk of the lane of a chunk, or None.

    A task goes along a lane: past what has ended, to what is queued.

    :param concurrency: how many lanes the execution was planned with
    """
    cursor.execute(*chunk_.select(
            chunk_.number, chunk_.execution, where=chunk_.id == chunk))
    row = cursor.fetchone()
    if row is None or row[1] != execution:
        return None
    number, _ = row
    cursor.execute(*chunk_.select(
            chunk_.id, chunk_.number,
            where=has_not_ended(execution) & (chunk_.state == 'queued')))
    lane = _place(number) % concurrency
    return next((
            id for id, other in cursor.fetchall()
            if _place(other) % concurrency == lane), None)


def _place(number):
    "Return the place in the plan of a chunk, or of what it is a part of."
    return int(number.split('.')[0])


def split(cursor, chunk, parts, attempts, error, suspect=None, begun=None):
    """queued -> split; the parts take its place.  Returns the first's id.

    The parts come one behind the other, the last before the successor.

    :param suspect: index of the part that is the suspect
    :param begun: of the parts, see Chunk
    """
    numbers = ['%s.%s' % (chunk.number, i + 1) for i in range(len(parts))]
    _end(cursor, chunk, 'split', None, attempts,
        suspect=numbers[suspect] if suspect is not None else None, **error)
    _insert_chunks(cursor, [
            [chunk.execution, number, dump_units(part), len(part),
                'waiting', successor, 0, 0, chunk.claimed_at]
            for number, successor, part in zip(
                numbers, numbers[1:] + [chunk.successor], parts)],
        parent=chunk.id, begun=begun)
    return _queue(cursor, chunk.execution, numbers[0])


def _end(cursor, chunk, state, successor, attempts, **values):
    """End the chunk and queue its successor; return the id of that, or None.

    :param successor: number, None to queue nothing
    """
    assert ('queued', state) in CHUNK, state
    values = {
        'state': state, 'started_at': chunk.claimed_at, 'ended_at': clock(),
        'attempts': attempts, 'worker': worker_name(), **values}
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
        [getattr(chunk_, n) for n in names],
        [clock() if n == 'ended_at' and _is_shared() else _Hole(n)
            for n in names],
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

    Either none is left, or it is stopping and nobody works on one.  To be
    asked with the lock of the execution: of two who ask for the locks of
    chunks at once, each may believe that the other one works.
    """
    if not has_open(cursor, execution):
        return True
    row = read(cursor, execution, 'stopping')
    return bool(row['stopping']) and (
        queued(cursor, execution) == queued(cursor, execution, lock=False))


def has_open(cursor, execution):
    "Return whether a chunk of the execution still has to be treated."
    cursor.execute(*chunk_.select(
            Literal(1),
            where=has_not_ended(execution) & chunk_.state.in_(OPEN),
            limit=1))
    return cursor.fetchone() is not None


def take_ended(cursor, executions):
    """Lock those of the executions that are over; return their ids.

    Without those that somebody else has.
    """
    taken = []
    for ids in grouped_slice(executions, 1000):
        cursor.execute(*execution_.select(
                execution_.id,
                where=execution_.id.in_(list(ids)) & execution_.state.in_(
                    ['succeeded', 'failed', 'cancelled']),
                for_=_for_update()))
        taken.extend(id for id, in cursor.fetchall())
    return taken


def forget(cursor, execution):
    """Delete an execution that is over, with its chunks; return how many.

    Not where somebody else has it.
    """
    ids = take_ended(cursor, [execution])
    if ids:
        # SQLite cascades nothing
        for table in [chunk_, input_]:
            cursor.execute(*table.delete(where=table.execution.in_(ids)))
        cursor.execute(*execution_.delete(where=execution_.id.in_(ids)))
    return len(ids)

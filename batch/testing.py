# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The test kit: run a batch in a test, and check the batches of a module.

The code is that of production, with a list for a broker.  ``doc/testing.rst``
says how it is used.
"""
import contextlib
import shutil
import signal
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from unittest import mock

from trytond.transaction import Transaction

from . import ledger, positions
from .aliases import Cursor, Unit
from .batch import get_batch, record_id
from .engine import isolation, operations, selection, starting, treatment, turn
from .engine.running import Job, load_job
from .exceptions import BatchError
from .ledger.states import ChunkState, ExecutionState
from .ledger.units import flattened, load_units
from .outcome import Outcome
from .parameters import given_text
from .savepoints import savepoints
from .testing_checks import BatchTestMixin
from .testing_environment import Log, Mail, environment, listening, no_mail
from .transaction import load_pool, transact

with warnings.catch_warnings():
    # trytond 8.2 asks itself for trytond.config.config
    warnings.filterwarnings(
        'ignore', r"trytond\.config\.config is deprecated",
        DeprecationWarning)
    from trytond.tests.test_tryton import DB_NAME


__all__ = [
    'BatchTestMixin', 'FailOnError', 'Mail', 'TestOutcome', 'resume_batch',
    'retry_batch', 'run_batch']

#: how a process died at a unit of kill_on
CAUSE = 'signal 9'


class FailOnError(Exception):
    "Raised at the end of ``execute`` where its chunk has a unit of fail_on."


class _Killed(SystemExit):
    "Raised in place of the death of the process; only the kit catches it."

    def __init__(self) -> None:
        super().__init__(signal.SIGKILL - 256)


class Chunk(NamedTuple):
    "A chunk of a TestOutcome."
    #: 7, 7.1
    number: str
    state: str
    units: list[Unit]
    attempts: int
    #: class and text
    error: str | None


@dataclass
class TestOutcome:
    "What a run came to.  Units are as ``select_ids`` gave them."
    #: id of the execution
    execution: int
    #: ``succeeded`` or ``failed``
    state: str
    #: why it ended so, where the units do not say it
    message: str | None
    #: how many units
    selected: int
    #: units
    done: list[Unit]
    #: unit -> exception; a group is a tuple here, a dict that of its items
    failed: dict[Any, BaseException]
    #: units that were neither done nor failed
    left: list[Unit]
    #: each with number, state, units, attempts and error
    chunks: list[Chunk] = field(repr=False)
    #: paths of the outputs
    files: list[Path]
    #: lines, tracebacks included
    log: list[str] = field(repr=False)
    #: what ``execute`` returned, summed up
    numbers: dict[str, float]
    #: the e-mails that would have been sent
    mails: list[Mail] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        return self.state == ExecutionState.SUCCEEDED


#: gives (id of the execution, ids of its queued chunks; None to select first)
Make: TypeAlias = Callable[[str], tuple[int, list[int] | None]]


def run_batch(
        name: str, /, *, settings: Mapping[str, Any] | None = None,
        fail_on: Iterable[Unit] = (), kill_on: Iterable[Unit] = (),
        deliveries: int = 1, **parameters: Any) -> TestOutcome:
    """Run a batch to its end, as ``coop batch`` does; return its TestOutcome.

    Inside of a transaction all is done in savepoints of it, and rolled back
    with it; else it is committed to the database of the tests.

    :param settings: by name, as in the section of the batch in batch.conf;
        without root_dir the outputs are in a directory that is removed with
        the Outcome
    :param fail_on: units at which ``execute`` raises FailOnError
    :param kill_on: units at which its process dies
    :param deliveries: how often each message is delivered
    :param parameters: values or texts, checked as on the command line
    :raises: the BatchError for which the start is refused; ValueError if
        fail_on or kill_on names a unit that was not selected
    """
    def make(database: str) -> tuple[int, None]:
        declared = transact(
            database, lambda cursor: get_batch(name).declared_parameters())
        given = {
            parameter: given_text(name, declared, parameter, value)
            for parameter, value in parameters.items()}
        return transact(database, lambda cursor: ledger.executions.create(
                cursor, name, given)), None

    return _run(name, make, settings, fail_on, kill_on, deliveries)


def resume_batch(
        execution: TestOutcome | int, /, *, fail_on: Iterable[Unit] = (),
        kill_on: Iterable[Unit] = (), deliveries: int = 1) -> TestOutcome:
    """Go on with an execution, as ``coop resume`` does.

    Returns its TestOutcome.  Also runs what ``Batch.start`` has made.

    :param execution: its TestOutcome, or its id
    :raises: ExecutionError if nothing of it is left
    """
    def make(database: str) -> tuple[int, list[int] | None]:
        _, chunks = operations.resume(database, id_of(execution))
        return id_of(execution), chunks

    return _run(
        batch_of(execution), make, None, fail_on, kill_on, deliveries,
        execution if isinstance(execution, TestOutcome) else None)


def retry_batch(
        execution: TestOutcome | int, /, *,
        settings: Mapping[str, Any] | None = None,
        fail_on: Iterable[Unit] = (), kill_on: Iterable[Unit] = (),
        deliveries: int = 1) -> TestOutcome:
    """Execute the units that failed, as ``coop retry`` does.

    Returns the TestOutcome of the new execution.

    :param execution: the TestOutcome of the one that failed, or its id
    :raises: ExecutionError if it has no failed units
    """
    def make(database: str) -> tuple[int, None]:
        id, _ = operations.retry(database, id_of(execution))
        return id, None

    return _run(
        batch_of(execution), make, settings, fail_on, kill_on, deliveries)


def id_of(execution: TestOutcome | int) -> int:
    return execution if isinstance(execution, int) else execution.execution


def batch_of(execution: TestOutcome | int) -> str:
    "Return the name of its batch; raises ExecutionError."
    def read(cursor: Cursor) -> str:
        return ledger.executions.existing(
            cursor, id_of(execution), 'batch')['batch']

    transaction = Transaction()
    if transaction.connection is not None:
        return read(transaction.connection.cursor())
    return transact(DB_NAME, read)


def _run(
        name: str, make: Make, settings: Mapping[str, Any] | None,
        fail_on: Iterable[Unit], kill_on: Iterable[Unit], deliveries: int,
        earlier: TestOutcome | None = None) -> TestOutcome:
    """Execute what make(database) gives; return its TestOutcome.

    :param earlier: the TestOutcome of the same execution before
    """
    if deliveries < 1:
        raise ValueError("deliveries is %s, expected 1 or more" % deliveries)
    transaction = Transaction()
    inside = transaction.connection is not None
    database = transaction.database.name if inside else DB_NAME
    with environment(name, settings) as directory, listening() as log, \
            no_mail() as mails, \
            savepoints(transaction) if inside else contextlib.nullcontext(), \
            mock.patch.object(starting, 'has_workers', lambda: False):
        load_pool(database)
        # Its id may be that of one which was rolled back
        load_job.cache_clear()
        with mock.patch.object(treatment, 'execute', faulty(fail_on, kill_on)):
            execution, chunks = make(database)
            deliver(database, name, execution, chunks, deliveries)
        # No variable: the frames of the errors keep ours
        return conclude(
            database, execution, log, directory, [*fail_on, *kill_on], mails,
            earlier)


def conclude(
        database: str, execution: int, log: Log, directory: Path,
        faults: list[Unit], mails: list[Mail],
        earlier: TestOutcome | None) -> TestOutcome:
    "Return the TestOutcome; the directory is removed with it."
    outcome = transact(database, lambda cursor: outcome_of(
            cursor, execution, log, earlier))
    outcome.mails = mails
    ids = [
        id for chunk in outcome.chunks for id, _ in flattened(chunk.units)]
    for unit in faults:
        if not holds(ids, unit):
            raise ValueError(
                "unit %r is to fail, but was not selected" % (unit,))
    weakref.finalize(outcome, shutil.rmtree, directory, ignore_errors=True)
    # Keep the earlier one, whose files are also those of this one
    weakref.finalize(outcome, lambda kept: None, earlier)
    return outcome


def deliver(
        database: str, name: str, execution: int, chunks: list[int] | None,
        deliveries: int) -> None:
    """Execute all chunks of an execution.

    :param chunks: ids of those that are queued; None to select first
    """
    messages: deque[tuple[int, bool]] = deque()

    def send(_: int, chunk: int, number: str | None = None) -> None:
        messages.extend((chunk, again > 0) for again in range(deliveries))

    for _ in range(deliveries if chunks is None else 0):
        selection.select_and_plan(database, name, execution, send=send)
    for chunk in chunks or ():
        send(execution, chunk)
    while messages:
        chunk, again = messages.popleft()
        try:
            turn.take_turn(
                database, execution, chunk, send=send, again=again)
        except _Killed:
            _, following = isolation.chunk_died(
                database, execution, positions.own()[positions.CHUNK], CAUSE,
                blame=True)
            if following is not None:
                send(execution, following)


def faulty(
        fail_on: Iterable[Unit],
        kill_on: Iterable[Unit]) -> Callable[[Job, Any, list[Unit]], Any]:
    """Return an ``execute`` that does its work, and then fails or dies.

    So a test sees what an attempt leaves behind that is rolled back.
    """
    real = treatment.execute

    def execute(job: Job, objects: Any, ids: list[Unit]) -> Any:
        numbers = real(job, objects, ids)
        for unit in kill_on:
            if holds(ids, unit):
                raise _Killed
        for unit in fail_on:
            if holds(ids, unit):
                raise FailOnError("told to fail on %r" % (unit,))
        return numbers
    return execute


def holds(ids: list[Unit], unit: Unit) -> bool:
    """Return whether the unit, or a part of it, is among ids.

    A row may be named by its id, a group by one of its ids.
    """
    if unit is None:
        # That of BatchRootNoSelect
        return ids in ([], [None])
    names = [*ids, *map(record_id, ids)]
    if unit in names:
        return True
    is_group = isinstance(unit, list) or (
        # And no row that is not there
        isinstance(unit, tuple)
        and not any(isinstance(id, tuple) for id in ids))
    return is_group and any(part in names for part in unit)


def outcome_of(
        cursor: Cursor, execution: int, log: Log,
        earlier: TestOutcome | None = None) -> TestOutcome:
    "Return the TestOutcome; raises the BatchError that refused the start."
    told = Outcome.load(cursor, execution)
    assert told is not None
    if told.is_refused:
        raise log.errors[None]
    table = ledger.tables.chunk_
    cursor.execute(*table.select(
            table.number, table.state, table.units, table.attempts,
            table.error_type, table.error,
            where=table.execution == execution))
    chunks = sorted((
            Chunk(number, state, load_units(units) or [None], attempts,
                ': '.join(filter(None, error)) or None)
            for number, state, units, attempts, *error in cursor.fetchall()),
        key=lambda chunk: [int(n) for n in chunk.number.split('.')])
    ends = {
        hashable(unit): chunk for chunk in chunks
        if chunk.state != ChunkState.SPLIT
        for unit in chunk.units}
    done, failed, left = [], {}, []
    for chunk in chunks:
        # In the order of the plan, whatever became of it
        for unit in chunk.units if '.' not in chunk.number else ():
            key = hashable(unit)
            if ends[key].state == ChunkState.DONE:
                done.append(unit)
            elif ends[key].state == ChunkState.FAILED:
                before = earlier.failed.get(key) if earlier else None
                failed[key] = log.errors.get(ends[key].number) or before \
                    or BatchError(ends[key].error)
            else:
                left.append(unit)
    return TestOutcome(
        execution, told.state, told.message, told.selected, done, failed,
        left, chunks,
        [Path(f) for f in ledger.outputs.files(cursor, execution)],
        log.lines, told.numbers)


def hashable(unit: Unit) -> Any:
    "Return a unit as a key of ``TestOutcome.failed``."
    if isinstance(unit, dict):
        unit = list(unit.items())
    if isinstance(unit, (list, tuple)):
        return tuple(map(hashable, unit))
    return unit

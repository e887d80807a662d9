# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The test kit: run a batch in a test, and check the batches of a module.

The code is that of production, with a list for a broker.  ``doc/testing.rst``
says how it is used.
"""
import atexit
import contextlib
import datetime as dt
import inspect
import shutil
import signal
import tempfile
import typing
import unittest
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

from trytond.pool import isregisteredby
from trytond.transaction import Transaction

from . import ledger
from .aliases import Cursor, Given, Unit
from .batch import BatchRoot, doc_of, get_batch, get_batches, record_id, today
from .config import BatchConfig
from .engine import isolation, selection, treatment
from .engine.running import Job, load_job
from .exceptions import ParameterError
from .ledger.states import ChunkState, ExecutionState
from .ledger.units import load_units
from .outcome import Outcome
from .parameters import resolve_parameters
from .savepoints import savepoints
from .signatures import arguments_of
from .testing_environment import Log, environment, listening, text_of
from .transaction import load_pool, transact

with warnings.catch_warnings():
    # trytond 8.2 asks itself for trytond.config.config
    warnings.filterwarnings(
        'ignore', r"trytond\.config\.config is deprecated",
        DeprecationWarning)
    from trytond.tests.test_tryton import DB_NAME, with_transaction


__all__ = ['BatchTestMixin', 'FailOnError', 'TestOutcome', 'run_batch']

# It stands before a TestCase, and is none
_TestCase: Any = unittest.TestCase if TYPE_CHECKING else object

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

    @property
    def succeeded(self) -> bool:
        return self.state == ExecutionState.SUCCEEDED


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
    if deliveries < 1:
        raise ValueError("deliveries is %s, expected 1 or more" % deliveries)
    transaction = Transaction()
    inside = transaction.connection is not None
    database = transaction.database.name if inside else DB_NAME
    with environment(name, settings) as directory, listening() as log, \
            savepoints(transaction) if inside else contextlib.nullcontext():
        load_pool(database)
        Batch = transact(database, lambda cursor: get_batch(name))
        given = {
            parameter: text_of(Batch, parameter, value)
            for parameter, value in parameters.items()}
        with mock.patch.object(treatment, 'execute', faulty(fail_on, kill_on)):
            execution = deliver(database, name, given, deliveries)
        # No variable: the frames of the errors keep ours
        return conclude(
            database, execution, log, directory, [*fail_on, *kill_on])


def conclude(
        database: str, execution: int, log: Log, directory: Path,
        faults: list[Unit]) -> TestOutcome:
    "Return the TestOutcome; the directory is removed with it."
    outcome = transact(database, lambda cursor: outcome_of(
            cursor, execution, log))
    ids = [
        id for chunk in outcome.chunks for unit in chunk.units
        for id in (unit if isinstance(unit, list) else [unit])]
    for unit in faults:
        if not holds(ids, unit):
            raise ValueError(
                "unit %r is to fail, but was not selected" % (unit,))
    weakref.finalize(outcome, shutil.rmtree, directory, ignore_errors=True)
    return outcome


def deliver(database: str, name: str, given: Given, deliveries: int) -> int:
    "Execute all chunks of an execution; return its id."
    execution = transact(
        database, lambda cursor: ledger.executions.create(
            cursor, name, given))
    # Its id may be that of one which was rolled back
    load_job.cache_clear()
    messages: deque[tuple[int, bool]] = deque()

    def send(_: int, chunk: int) -> None:
        messages.extend((chunk, again > 0) for again in range(deliveries))

    for _ in range(deliveries):
        selection.select_and_plan(database, name, execution, send=send)
    while messages:
        chunk, again = messages.popleft()
        try:
            treatment.take_turn(
                database, execution, chunk, send=send, again=again)
        except _Killed:
            _, following = isolation.chunk_died(
                database, execution, chunk, CAUSE, blame=True)
            if following is not None:
                send(execution, following)
    return execution


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


def outcome_of(cursor: Cursor, execution: int, log: Log) -> TestOutcome:
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
                failed[key] = log.errors[ends[key].number]
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


class BatchTestMixin(_TestCase):
    """Checks each batch that the module registers.

    It stands before ModuleTestCase, and needs ``module`` as that does.
    """
    #: of the module, as ModuleTestCase has it
    module: str
    #: name of a batch -> {parameter: value}, where not any value will do
    batch_parameters: Mapping[str, Mapping[str, Any]] = {}

    def batches(self) -> dict[str, type[BatchRoot]]:
        "Return the batches to check, by name."
        return {
            name: Batch for name, Batch in get_batches().items()
            if isregisteredby(Batch, self.module)}

    @with_transaction()
    def test_batch_docstrings(self) -> None:
        "Each batch says what it does"
        for name, Batch in self.batches().items():
            with self.subTest(batch=name):
                self.assertTrue(doc_of(Batch), msg="it has no docstring")

    @with_transaction()
    def test_batch_settings(self) -> None:
        "The defaults of the settings of each batch are valid"
        for name, Batch in self.batches().items():
            with self.subTest(batch=name):
                Batch.resolve_settings(BatchConfig())

    @with_transaction()
    def test_batch_parameters(self) -> None:
        "Each batch declares its parameters, and asks for what it needs"
        for name, Batch in self.batches().items():
            with self.subTest(batch=name):
                given = self.given(name, Batch)
                resolved(Batch, given)
                for parameter in Batch.declared_parameters().values():
                    if not parameter.required:
                        continue
                    with self.assertRaises(ParameterError) as caught:
                        resolved(Batch, {
                                k: v for k, v in given.items()
                                if k != parameter.name})
                    self.assertEqual(
                        caught.exception.parameter, parameter.name)

    @with_transaction()
    def test_batch_selections(self) -> None:
        "Each batch selects and splits, where there is next to nothing"
        for name, Batch in self.batches().items():
            with self.subTest(batch=name), environment(name) as directory:
                selection.select_and_split(
                    Transaction(), name, self.given(name, Batch))
                shutil.rmtree(directory)

    @with_transaction()
    def test_batch_hooks(self) -> None:
        "The hooks of each batch need nothing but its parameters"
        for name, Batch in self.batches().items():
            with self.subTest(batch=name):
                parameters = resolved(Batch, self.given(name, Batch))
                for hook, count in [
                        ('convert_to_instances', 1), ('execute', 2)]:
                    inspect.signature(getattr(Batch, hook)).bind(
                        *[[]] * count,
                        **arguments_of(Batch, hook, parameters))

    def given(self, name: str, Batch: type[BatchRoot]) -> dict[str, str]:
        "Return the texts of what is required, and of batch_parameters."
        values = {
            parameter.name: example(parameter.type)
            for parameter in Batch.declared_parameters().values()
            if parameter.required}
        values.update(self.batch_parameters.get(name, {}))
        return {k: text_of(Batch, k, v) for k, v in values.items()}


def resolved(Batch: type[BatchRoot], given: Given) -> dict[str, Any]:
    "Return the values of the parameters by name; raises ParameterError."
    return {
        name: value for name, (value, _, _) in resolve_parameters(
            Batch.__name__, Batch.declared_parameters(), given,
            lambda name: None, today).items()}


def example(type_: Any) -> Any:
    "Return a plausible value of the type of a parameter."
    if typing.get_origin(type_) is list:
        return [example(*typing.get_args(type_))]
    if typing.get_origin(type_) is typing.Literal:
        return typing.get_args(type_)[0]
    if members := getattr(type_, '__members__', None):
        return next(iter(members.values()))
    if type_ is Path:
        return empty_directory()
    examples = {str: 'example', bool: False, dt.date: today(),
        dt.datetime: dt.datetime.now()}
    return examples[type_] if type_ in examples else type_(1)


@lru_cache
def empty_directory() -> Path:
    "Return one that is there until the process ends."
    path = tempfile.mkdtemp(prefix='batch-testing-')
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return Path(path)

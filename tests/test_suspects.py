# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""How a failed chunk is taken apart: who is suspected, and what it costs."""
import random

import pytest
from books import execution_of, open_ledger, take

from trytond.modules.batch import ledger
from trytond.modules.batch.engine import bisection, suspects
from trytond.modules.batch.engine.watched import Watched

ERROR = {
    'error_type': 'ValueError', 'error': '', 'fingerprint': '',
    'traceback': ''}


# The parts

@pytest.mark.parametrize('suspect, parts', [
        (0, [[1], [2, 3, 4, 5]]),
        (2, [[3], [1, 2], [4, 5]]),
        (4, [[5], [1, 2, 3, 4]]),
        (None, [[1, 2], [3, 4, 5]])])
def test_the_suspect_comes_first_and_alone(suspect, parts):
    assert bisection.parts([1, 2, 3, 4, 5], suspect) == parts


@pytest.mark.parametrize('suspect, parts', [
        (0, [[1], [2, 3, 4, 5]]),
        (2, [[1, 2], [3], [4, 5]]),
        (4, [[1, 2, 3, 4], [5]]),
        (None, [[1, 2], [3, 4, 5]])])
def test_in_order_the_suspect_stays_in_its_place(suspect, parts):
    assert bisection.parts([1, 2, 3, 4, 5], suspect, in_order=True) == parts


def test_a_group_is_one_unit_of_the_parts():
    units = [[1, 2], [3], [4, 5, 6]]
    assert bisection.parts(units) == [[[1, 2]], [[3], [4, 5, 6]]]
    assert bisection.parts(units, 1) == [[[3]], [[1, 2]], [[4, 5, 6]]]
    assert bisection.parts_of_lost(units) == [[[1, 2]], [[3]], [[4, 5, 6]]]


@pytest.mark.parametrize('count', [2, 3, 10, 11, 999])
def test_parts_hold_each_unit_once_and_none_is_empty(count):
    units = list(range(count))
    for suspect in [None, *units]:
        for in_order in [True, False]:
            parts = bisection.parts(units, suspect, in_order)
            assert all(parts)
            assert 2 <= len(parts) <= 3
            assert sorted(u for part in parts for u in part) == units
    parts = bisection.parts_of_lost(units)
    assert [u for part in parts for u in part] == units
    assert len(parts) == min(count, 10)
    assert {len(p) for p in parts} <= {count // 10, count // 10 + 1, 1}


# The suspect

class Record:
    "What suspects knows a record of Tryton by."
    __name__ = 'test.record'
    _values = None

    def __init__(self, id):
        self.id = id


def found(function, count=10, units_of=None, objects=None):
    "Return the position of who is suspected when function raises."
    if objects is None:
        objects = [Record(i + 100) for i in range(count)]
    objects = Watched(objects)
    try:
        function(objects)
    except Exception as error:
        return suspects.find(
            error, objects, units_of or list(range(len(objects))))
    raise AssertionError('it did not raise')


def refuse(record, id=104):
    if record.id == id:
        raise ValueError(id)
    return record.id


def test_the_variable_of_a_loop_names_the_suspect():
    def execute(objects):
        for record in objects:
            if record.id == 104:
                raise ValueError
    assert found(execute) == 4


def test_a_call_down_the_stack_names_the_suspect():
    def execute(objects):
        for record in objects:
            refuse(record)
    assert found(execute) == 4


def test_a_comprehension_names_the_suspect():
    assert found(lambda objects: [refuse(r) for r in objects]) == 4


def test_a_generator_names_the_suspect():
    assert found(lambda objects: sum(refuse(r) for r in objects)) == 4


def test_a_sort_key_names_the_suspect():
    assert found(lambda objects: sorted(objects, key=refuse)) == 4


def test_a_sort_key_without_variables_is_told_by_the_iteration():
    # Nothing of Python stands between the loop in C and the error
    assert found(lambda objects: list(map(
                {r.id: r for r in objects if r.id != 104}.__getitem__,
                (r.id for r in objects)))) == 4


def test_slices_name_the_suspect():
    def execute(objects):
        for i in range(0, len(objects), 3):
            for record in objects[i:i + 3]:
                refuse(record)
    assert found(execute) == 4


def test_the_innermost_frame_is_believed_first():
    def execute(objects):
        first, *_ = objects
        for other in objects[3:]:
            refuse(other)
    assert found(execute) == 4


def test_of_several_records_the_iteration_chooses():
    def execute(objects):
        previous = None
        for record in objects:
            kept = record if record.id == 102 else previous
            if record.id == 104:
                raise ValueError
            previous = kept
        return kept
    assert found(execute) == 4


def test_a_record_browsed_again_is_the_same():
    def execute(objects):
        for id in [o.id for o in objects]:
            refuse(Record(id))
    assert found(execute) == 4


def test_a_record_of_another_model_is_nobody():
    class Other(Record):
        __name__ = 'test.other'

    def execute(objects):
        refuse(Other(104))
    assert found(execute) is None


def test_a_list_of_one_record_names_it():
    def write(records):
        raise ValueError

    assert found(lambda objects: write(objects[4:5])) == 4
    assert found(lambda objects: write(objects[4:6])) is None


def test_the_error_that_was_the_cause_names_the_suspect():
    def execute(objects):
        try:
            [refuse(r) for r in objects[:]]
        except ValueError as error:
            raise RuntimeError from error

    def careless(objects):
        try:
            [refuse(r) for r in objects[:]]
        except ValueError:
            raise RuntimeError
    assert found(execute) == 4
    assert found(careless) == 4


def test_a_left_over_variable_is_suspected_though_it_lies():
    def execute(objects):
        for record in objects:
            pass
        raise ValueError
    assert found(execute) == 9


def test_numbers_and_texts_are_no_evidence():
    def execute(objects):
        count, name, pair = 3, 'record 3', (104, 3)  # noqa: F841
        raise ValueError
    assert found(execute) is None
    assert found(execute, objects=list(range(10))) is None


def test_an_iteration_alone_tells_where_units_are_no_records():
    def execute(objects):
        for number in objects:
            if number == 4:
                raise ValueError
    assert found(execute, objects=list(range(10))) == 4


def test_an_object_of_any_kind_is_known_by_itself():
    class Thing:
        pass

    def execute(objects):
        thing = objects[4]  # noqa: F841
        raise ValueError
    assert found(execute, objects=[Thing() for _ in range(10)]) == 4


def test_a_record_of_a_group_names_the_group():
    def execute(objects):
        for record in objects:
            refuse(record)
    assert found(execute, units_of=[0, 0, 0, 1, 1, 1, 2, 2, 2, 2]) == 1


def test_a_second_pass_is_told_from_the_first():
    def execute(objects):
        for record in objects:
            pass
        del record
        for record in objects:
            refuse(record)
    assert found(execute) == 4


def test_whatever_objects_do_a_suspect_is_no_error():
    class Wild:
        _values = None
        __name__ = 'wild'

        @property
        def id(self):
            raise RuntimeError

        def __eq__(self, other):
            raise RuntimeError

        __hash__ = None

    def execute(objects):
        wild = objects[4]  # noqa: F841
        raise ValueError
    assert found(execute, objects=[Wild() for _ in range(10)]) is None


# What it costs: the rules of the ledger, without the work

@pytest.fixture
def cursor(stage):
    with open_ledger(stage) as cursor:
        yield cursor


only_in_process = pytest.mark.parametrize(
    'stage', ['in-process'], indirect=True)


class Run:
    """Takes apart one chunk of units by the rules, and counts.

    :param order: the order in which the work comes to the units of a chunk
    :param accuse: gives (units, the one that really failed) -> index
    """

    def __init__(self, cursor, units, bad, accuse, order=sorted,
            in_order=False):
        self.cursor = cursor
        self.bad = set(bad)
        self.accuse = accuse
        self.order = order
        self.in_order = in_order
        self.transactions = self.executed = self.failing = 0
        self.done, self.failed = [], []
        self.execution = execution_of(cursor, units)
        while ledger.open_chunks.list_queued(cursor, self.execution):
            self.treat(take(cursor, self.execution))
        assert ledger.executions.is_over(cursor, self.execution)
        assert sorted(self.failed) == sorted(bad)
        assert sorted(self.done + self.failed) == sorted(units)

    def treat(self, chunk):
        self.transactions += 1
        culprit = None
        for unit in self.order(chunk.units):
            self.executed += 1
            if unit in self.bad:
                culprit = unit
                break
        if culprit is None:
            self.done += chunk.units
            ledger.chunks.done(self.cursor, chunk, 1)
            return
        self.failing += 1
        if len(chunk.units) == 1:
            self.failed += chunk.units
            ledger.chunks.fail(self.cursor, chunk, 1, ERROR)
            return
        _, _, trust = ledger.failures.lineage(self.cursor, chunk)
        suspect = self.accuse(chunk.units, culprit) if trust else None
        parts = bisection.parts(chunk.units, suspect, self.in_order)
        ledger.chunks.replace_by_parts(self.cursor, chunk, parts, 1, ERROR,
            None if suspect is None else parts.index([chunk.units[suspect]]))


def right(units, culprit):
    return units.index(culprit)


def nobody(units, culprit):
    return None


def innocent(choose):
    "Return a witness that always names one other than who it was."
    def accuse(units, culprit):
        return choose([i for i, u in enumerate(units) if u != culprit])
    return accuse


LIARS = {
    'the first': innocent(lambda indexes: indexes[0]),
    'the last': innocent(lambda indexes: indexes[-1]),
    'the middle': innocent(lambda indexes: indexes[len(indexes) // 2]),
    'any': innocent(random.Random(7).choice),
    }
#: how 10 or 50 of 1000 may lie
PLACES = {
    'anywhere': lambda k: random.Random(k).sample(range(1000), k),
    'first': lambda k: list(range(k)),
    'last': lambda k: list(range(1000 - k, 1000)),
    'evenly': lambda k: list(range(0, 1000, 1000 // k)),
    'in two heaps': lambda k: [
        *range(100, 100 + k // 2), *range(800, 800 + k - k // 2)],
    }
#: transactions that plain halving needs for so many bad ones of 1000
HALVING = {1: 21, 10: 136, 50: 457}


@only_in_process
@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('k, bar', [(1, 4), (10, 31), (50, 151)])
def test_right_suspects_cost_three_transactions_each(cursor, k, bar, place):
    bad = PLACES[place](k)
    for in_order in [False, True]:
        run = Run(cursor, list(range(1000)), bad, right, in_order=in_order)
        assert run.transactions <= bar
        assert run.executed <= 2 * 1000 + 3 * k


@only_in_process
@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('k, bar', [(1, 4), (10, 31), (50, 151)])
def test_in_whatever_order_the_work_is_done(cursor, k, bar, place):
    units, bad = list(range(1000)), PLACES[place](k)
    run = Run(cursor, units, bad, right, lambda u: sorted(u, reverse=True))
    assert run.transactions <= bar
    assert run.executed <= 2 * 1000 + 3 * k
    ranks = random.Random(3).sample(range(1000), 1000)
    run = Run(cursor, units, bad, right,
        lambda u: sorted(u, key=ranks.__getitem__))
    assert run.transactions <= bar


@only_in_process
@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('k', [1, 10, 50])
def test_without_suspects_a_chunk_is_halved(cursor, k, place):
    run = Run(cursor, list(range(1000)), PLACES[place](k), nobody)
    assert run.transactions <= 2 * k * 10 + 1
    if place == 'anywhere':
        assert run.transactions <= HALVING[k] * 1.1


@only_in_process
@pytest.mark.parametrize('liar', LIARS)
@pytest.mark.parametrize('k, place', [
        (1, 'anywhere'), (1, 'last'), (10, 'anywhere'), (10, 'first'),
        (10, 'in two heaps'), (50, 'anywhere')])
def test_a_liar_costs_two_transactions_per_failing_chunk(
        cursor, k, place, liar):
    units, bad = list(range(1000)), PLACES[place](k)
    for in_order in [False, True]:
        plain = Run(cursor, units, bad, nobody, in_order=in_order)
        lied = Run(cursor, units, bad, LIARS[liar], in_order=in_order)
        assert lied.transactions <= plain.transactions + 2 * lied.failing


@only_in_process
@pytest.mark.parametrize('accuse', [right, nobody, *LIARS.values()])
def test_when_all_are_bad_it_ends_as_well(cursor, accuse):
    run = Run(cursor, list(range(200)), range(200), accuse)
    assert run.transactions <= 2 * 200 + 5

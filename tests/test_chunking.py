# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import datetime as dt
import tracemalloc
from decimal import Decimal

import pytest

from trytond.modules.batch.chunking import Distinct, split, unit_of
from trytond.modules.batch.engine.bisection import parts

DAY, NEXT = dt.date(2026, 1, 1), dt.date(2026, 1, 2)


@pytest.mark.parametrize('item, unit', [
        (7, 7),
        ('code', 'code'),
        ((7,), 7),
        ((7, 'x'), (7, 'x')),
        ([7, 8], [7, 8]),
        ([(7,), (8,)], [7, 8]),
        ([(7, 'x'), 8], [(7, 'x'), 8]),
        ([[(7,)], 8], [[7], 8]),
        ])
def test_a_row_of_one_column_is_its_value(item, unit):
    assert unit_of(item) == unit


@pytest.mark.parametrize('item', [
        7, ('x',), (7,), (7, 'x'), [('x',), ('y',)], {'a': (1,)}])
def test_a_row_stays_a_row_where_it_is_kept(item):
    assert unit_of(item, keep_rows=True) == item
    for known in [False, True]:
        assert list(Distinct([item], known, keep_rows=True)) == [item]


@pytest.mark.parametrize('units, distinct', [
        ([3, 1, 2], [3, 1, 2]),
        ([3, 1, 3, 1, 3], [3, 1]),
        ([0, 0, 8, 7, 8], [0, 8, 7]),
        ([65_535, 65_536, 65_535, 65_536, 2**40], [65_535, 65_536, 2**40]),
        ([-1, 1, -1], [-1, 1]),
        (['1', 1, '1', 1], ['1', 1]),
        ([True, 1, True], [True, 1]),
        ([[1, 2], [2, 1], [1, 2]], [[1, 2], [2, 1]]),
        ([(1, 2), [1, 2], (1, 2)], [(1, 2), [1, 2]]),
        ([{'a': 1, 'b': 2}, {'b': 2, 'a': 1}], [{'a': 1, 'b': 2}]),
        ([(1, DAY), (1, NEXT), (1, DAY)], [(1, DAY), (1, NEXT)]),
        ([Decimal('1.0'), Decimal('1.0')], [Decimal('1.0')]),
        ([None, None], [None]),
        ([], []),
        ])
def test_what_comes_again_is_dropped_and_counted(units, distinct):
    found = Distinct(iter(units))
    result = list(found)
    assert result == distinct
    assert list(map(type, result)) == list(map(type, distinct))
    assert found.count == len(distinct)
    assert found.duplicates == len(units) - len(distinct)


def test_many_ids_are_remembered_in_little_memory():
    count = 200_000
    tracemalloc.start()
    try:
        found = Distinct(i for _ in range(2) for i in range(count))
        assert sum(1 for _ in found) == count
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.duplicates == count
    # A set of them takes 14 MiB
    assert peak < 1 << 17


def test_distinct_units_come_as_a_stream():
    taken = []

    def select():
        for i in range(10):
            taken.append(i)
            yield i
    assert next(iter(Distinct(select()))) == 0
    assert taken == [0]


@pytest.mark.parametrize('count, size, sizes', [
        (0, 3, []),
        (1, 3, [1]),
        (3, 3, [3]),
        (7, 3, [3, 3, 1]),
        (4, 1, [1, 1, 1, 1]),
        ])
def test_number_makes_chunks_of_that_size(count, size, sizes):
    chunks = list(split(iter(range(count)), 'number', size))
    assert [len(chunk) for chunk in chunks] == sizes
    assert [unit for chunk in chunks for unit in chunk] == list(range(count))


def test_number_reads_no_more_than_a_chunk():
    units = iter(range(100))
    assert next(split(units, 'number', 10)) == list(range(10))
    assert next(units) == 10


@pytest.mark.parametrize('count', [*range(12), 99, 100, 101])
@pytest.mark.parametrize('size', [1, 2, 3, 7, 100])
def test_divide_is_balanced_to_within_one_unit_and_none_is_empty(
        count, size):
    chunks = list(split(iter(range(count)), 'divide', size))
    assert len(chunks) == min(count, size)
    assert [unit for chunk in chunks for unit in chunk] == list(range(count))
    sizes = {len(chunk) for chunk in chunks}
    assert 0 not in sizes
    assert not sizes or max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize('count', range(2, 10))
def test_the_parts_are_smaller_and_together_the_whole(count):
    units = list(range(count))
    halves = parts(units)
    assert [unit for part in halves for unit in part] == units
    assert len(halves) == 2
    assert abs(len(halves[0]) - len(halves[1])) <= 1
    assert all(halves)


def test_a_group_is_one_unit_for_all_of_them():
    units = [[1, 2, 3], [4], [5, 6]]
    assert list(split(units, 'number', 2)) == [[[1, 2, 3], [4]], [[5, 6]]]
    assert list(split(units, 'divide', 3)) == [[u] for u in units]
    assert [u for part in parts(units) for u in part] == units

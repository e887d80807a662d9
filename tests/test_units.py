# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Units come back from the ledger as they went in, or are refused before."""
import datetime as dt
import json
import math
from collections import namedtuple
from decimal import Decimal
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trytond.modules.batch import texts
from trytond.modules.batch.chunking import Distinct, unit_of
from trytond.modules.batch.ledger.units import (
    Unreadable, dump_units, load_units, names, shown_unit)

ZONES = st.sampled_from(
    [None, dt.timezone.utc, dt.timezone(dt.timedelta(hours=-3, minutes=-30))])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(),
    st.sampled_from(['__class__', 'date', 'batch.dict', 'group', 'row']),
    st.dates(), st.decimals(allow_nan=False), st.binary(), st.timedeltas(),
    st.builds(
        lambda value, zone: value.replace(tzinfo=zone), st.datetimes(), ZONES),
    st.builds(
        lambda value, zone: value.replace(tzinfo=zone), st.times(), ZONES))
KEYS = st.one_of(
    st.text(), st.integers(), st.dates(),
    st.sampled_from(['__class__', 'dict', 'items', 'group', 'row']))
VALUES = st.recursive(SCALARS, lambda values: st.one_of(
        st.lists(values), st.lists(values).map(tuple),
        st.dictionaries(KEYS, values)), max_leaves=10)


def same(one, other):
    "Return whether two values are equal, and of the same types throughout."
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            same(*pair) for items in zip(one.items(), other.items())
            for pair in zip(*items))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    if hasattr(one, 'fold'):
        # Python itself takes those for equal that differ by it alone
        one, other = (value.replace(fold=0) for value in [one, other])
    return one == other and repr(one) == repr(other)


@given(st.lists(VALUES))
def test_any_unit_comes_back_as_it_was(units):
    assert same(load_units(dump_units(units)), units)


@given(st.lists(VALUES))
def test_what_is_written_is_ascii_and_short(units):
    text = dump_units(units)
    assert text.isascii() and '\0' not in text
    assert json.loads(text) is not None


@given(VALUES)
def test_any_unit_has_one_short_line_that_shows_it(unit):
    line = shown_unit(unit)
    assert len(line) <= texts.EXCERPT
    assert len(line.splitlines()) <= 1 and line.isprintable() or not (
        set(line) & set(map(chr, [*range(32), *range(127, 160)])))


@given(st.lists(VALUES, max_size=6))
def test_two_units_are_the_same_only_where_they_are(units):
    kept = list(Distinct([*units, *units]))
    assert len(kept) <= len(units)
    for unit in units:
        unit = unit_of(unit)
        assert any(same(unit, other) or unit == other for other in kept)


@pytest.mark.parametrize('one, other', [
        ((1, (2,)), (1, [2])),
        ((1, Decimal('1')), (1, "Decimal('1')")),
        ({'a': dt.date(2026, 1, 1)}, {'a': 'datetime.date(2026, 1, 1)'}),
        ({1: 'a'}, {'1': 'a'}),
        ('1', 1)])
def test_units_that_only_look_alike_are_two(one, other):
    assert list(Distinct([one, other, one])) == [one, other]


Point = namedtuple('Point', 'x y')


class Colour(int, Enum):
    RED = 1


@pytest.mark.parametrize('unit, loaded', [
        ({'__class__': 'date', 'year': 'none'},) * 2,
        ({'__class__': ['list']},) * 2,
        ((1, {'deep': [{'__class__': 'Decimal'}]}),) * 2,
        ((1, {'__class__': 'batch.dict', 'items': 5}),) * 2,
        ([{'__class__': 'bytes'}, (1, {'__class__': 'x'})],) * 2,
        ((1, {1: 'a', None: 'b', (2, 3): 'c'}),) * 2,
        ((dt.timedelta(days=999_999_999, microseconds=1),) * 2,) * 2,
        # What equals it is enough
        (Point(1, 2), (1, 2)),
        ((Colour.RED, 2), (1, 2)),
        ])
def test_what_trytond_would_make_something_else_of_comes_back(unit, loaded):
    assert load_units(dump_units([unit])) == [loaded]


@pytest.mark.parametrize('unit', [
        {1, 2}, (1, {2}), (1, frozenset()), (1, bytearray(b'x')), object(),
        (1, complex(1, 2)), {'a': object()}, {object(): 1}, [{1}]])
def test_what_would_come_back_as_something_else_is_refused(unit):
    with pytest.raises(TypeError):
        dump_units([unit])


def test_what_is_too_deep_or_too_long_is_refused():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(RecursionError):
        dump_units([deep])
    with pytest.raises(ValueError):
        dump_units([10 ** 5000])
    circle = []
    circle.append(circle)
    with pytest.raises(RecursionError):
        dump_units([circle])


@pytest.mark.parametrize('text, units', [
        # As version 8.2.0 wrote them at first
        ('[1,2,3]', [1, 2, 3]),
        ('["code",null,true,1.5]', ['code', None, True, 1.5]),
        ('[{"group":[1,{"row":[2,"x"]}]}]', [[1, (2, 'x')]]),
        ('[{"dict":{"__class__":"mine","items":[1]}}]',
            [{'__class__': 'mine', 'items': [1]}]),
        ('[{"row":[1,{"__class__":"date","year":2026,"month":1,"day":31}]}]',
            [(1, dt.date(2026, 1, 31))]),
        ('[{"__class__":"timedelta","seconds":86402.0}]',
            [dt.timedelta(days=1, seconds=2)]),
        ('[{"dict":{"inner":{"list":[1,2]}}}]', [{'inner': {'list': [1, 2]}}]),
        ])
def test_what_was_written_before_still_loads(text, units):
    assert same(load_units(text), units)


@pytest.mark.parametrize('text', [
        '', 'nonsense', '[1,', 'null', '5', '{}', '[{}]', '[{"row":5}]',
        '[{"unknown":[1]}]', '[{"row":[1,{"__class__":"date"}]}]',
        '[{"row":[{"__class__":["x"]}]}]', '[' * 100_000,
        '[{"__class__":"batch.dict","items":[[[1],2]]}]'])
def test_units_that_can_not_be_loaded_are_one_that_says_so(text):
    units = load_units(text)
    assert isinstance(units, Unreadable)
    assert units == [texts.excerpt(text)]
    assert 'can not be loaded' in str(units.error)
    assert len(list(names(text))) <= 1


def test_files_are_known_by_the_first_value_of_their_rows():
    text = dump_units([
            'a.csv', ('b.csv', 1, {'__class__': 'date'}),
            [('c.csv', 1, 'x'), 'd.csv']])
    assert list(names(text)) == [
        ('a.csv', False), ('b.csv', True), ('c.csv', True), ('d.csv', False)]

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The parts of the ledger that need no database."""
import datetime as dt
import json
from decimal import Decimal

import pytest

from trytond.modules.batch.ledger.chunks import Chunk
from trytond.modules.batch.ledger.states import (
    CHUNK, EXECUTION, FAILURE, OPEN_CHUNKS)
from trytond.modules.batch.ledger.units import dump_units, load_units


@pytest.mark.parametrize('units', [
        None,
        [],
        [1, 2, 3],
        [2**40],
        ['code', 'other "code"', 'é€', ''],
        [1, '1', 1.5, True, None],
        [[1, 2], [3]],
        [[[1], 2], []],
        [(1, 'x'), (2, None)],
        [(1, dt.date(2026, 1, 31), Decimal('12.30'))],
        [[(1, dt.date(2026, 1, 31)), (2, dt.date(2026, 2, 28))]],
        [dt.datetime(2026, 1, 31, 12, 30, 59), dt.time(12, 30),
            dt.timedelta(days=1, seconds=2)],
        [Decimal('0.1'), Decimal('1E+3')],
        [b'bytes'],
        [{'id': 1, 'name': 'x'}, {}],
        [{'group': 1}, {'row': [1]}, {'dict': 2}],
        [{'date': dt.date(2026, 1, 31), 'inner': {'list': [1, 2]}}],
        ])
def test_units_come_back_as_they_were(units):
    text = dump_units(units)
    loaded = load_units(text)
    assert loaded == units
    assert shape(loaded) == shape(units)


def shape(value):
    "Return the types of a value: True == 1, and (1,) is not [1]."
    if isinstance(value, dict):
        return {key: shape(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value), [shape(v) for v in value]
    return type(value)


def test_ids_are_plain_numbers():
    assert dump_units([1, 2, 3]) == '[1,2,3]'
    assert json.loads(dump_units([[1, 2]])) == [{'group': [1, 2]}]


def test_what_is_no_json_is_refused_when_it_is_planned():
    with pytest.raises(TypeError):
        dump_units([object()])


@pytest.mark.parametrize('table', [EXECUTION, CHUNK, FAILURE])
def test_each_state_is_reached_from_the_first(table):
    reached, more = {None}, {None}
    while more:
        more = {new for old, new in table if old in reached} - reached
        reached |= more
    assert reached == {state for edge in table for state in edge}


@pytest.mark.parametrize('table', [EXECUTION, CHUNK, FAILURE])
def test_each_transition_says_its_cause(table):
    assert all(cause.strip() for cause in table.values())
    assert all(old != new for old, new in table)


def test_what_is_done_stays_done():
    assert not [edge for edge in CHUNK if edge[0] in {
            'done', 'split', 'failed'}]
    assert not [edge for edge in EXECUTION if edge[0] == 'succeeded']


def test_open_chunks_are_those_that_can_still_be_treated():
    ends = {'done', 'split', 'failed', 'cancelled'}
    states = {state for edge in CHUNK for state in edge} - {None}
    assert set(OPEN_CHUNKS) == states - ends
    # A chunk is ended by whoever has it, so it has to be queued first
    assert {old for old, new in CHUNK if new in ends - {'cancelled'}} == {
        'queued'}


def test_a_chunk_names_itself_with_its_execution():
    values = dict.fromkeys(Chunk.__dataclass_fields__)
    chunk = Chunk(**{**values, 'execution': 42, 'number': '7.2'})
    assert chunk.label == '#42.7.2'

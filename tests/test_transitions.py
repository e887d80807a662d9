# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Executions and chunks go the ways of the two tables, and no other."""
from itertools import product

import pytest
from books import execution_of, open_ledger, take, write

from trytond.modules.batch import ledger
from trytond.modules.batch.engine.input_files import is_running
from trytond.modules.batch.exceptions import ExecutionError, StateError

ERROR = {
    'error_type': 'ValueError', 'error': '', 'fingerprint': '',
    'traceback': ''}
EXECUTION_STATES = sorted({state for _, state in ledger.states.EXECUTION})
CHUNK_STATES = sorted({state for _, state in ledger.states.CHUNK})

pytestmark = pytest.mark.parametrize('stage', ['in-process'], indirect=True)


@pytest.fixture
def cursor(stage):
    with open_ledger(stage) as cursor:
        yield cursor


def ids(edges):
    return ['%s to %s' % edge for edge in edges]


# An execution

def state_of(cursor, execution):
    return ledger.executions.columns(cursor, execution, 'state')['state']


def test_an_execution_begins_as_selecting(cursor):
    execution = ledger.executions.create(cursor, 'batch.scenario.ok', {})
    assert state_of(cursor, execution) == 'selecting'
    assert [edge for edge in ledger.states.EXECUTION if edge[0] is None] == [
        (None, 'selecting')]


EDGES = list(product(EXECUTION_STATES, EXECUTION_STATES))


@pytest.mark.parametrize('old, new', EDGES, ids=ids(EDGES))
def test_an_execution_goes_where_the_table_says(cursor, old, new):
    execution = execution_of(cursor, [1])
    write(cursor, ledger.tables.execution_, execution, state=old)
    count = ledger.executions.update(cursor, execution, state=new)
    allowed = (old, new) in ledger.states.EXECUTION
    assert count == allowed
    assert state_of(cursor, execution) == (new if allowed else old)


@pytest.mark.parametrize('ask', [
        ledger.executions.existing, ledger.executions.forget_secrets,
        is_running])
def test_an_execution_that_was_pruned_is_named(cursor, ask):
    with pytest.raises(ExecutionError, match='#4711 does not exist'):
        ask(cursor, 4711)


def test_an_execution_can_not_begin_again(cursor):
    for state in EXECUTION_STATES:
        execution = execution_of(cursor, [1])
        write(cursor, ledger.tables.execution_, execution, state=state)
        taken = ledger.executions.claim(cursor, execution, 'selecting')
        assert bool(taken) == (state == 'selecting')


@pytest.mark.parametrize('state', EXECUTION_STATES)
def test_only_what_runs_is_stopped_and_only_once(cursor, state):
    execution = execution_of(cursor, [1])
    write(cursor, ledger.tables.execution_, execution, state=state)
    stopped = ledger.executions.stop(cursor, execution, 'failed', 'enough')
    assert stopped == (state == 'running')
    assert not ledger.executions.stop(
        cursor, execution, 'cancelled', 'again')
    assert state_of(cursor, execution) == state


# A chunk

class Lane:
    "Two chunks, one behind the other; the tests are about the second."

    def __init__(self, cursor, state):
        self.cursor = cursor
        self.execution = execution_of(cursor, [1, 2], [3, 4], concurrency=1)
        self.first = take(cursor, self.execution)
        ledger.chunks.queue(cursor, self.execution, '2')
        id, = set(ledger.open_chunks.list_queued(
                cursor, self.execution)) - {self.first.id}
        self.second = take(cursor, self.execution, id)
        write(cursor, ledger.tables.chunk_, id, state=state)

    @property
    def states(self):
        chunk = ledger.tables.chunk_
        self.cursor.execute(*chunk.select(
                chunk.number, chunk.state,
                where=chunk.execution == self.execution))
        return dict(self.cursor.fetchall())


def end(function, *args):
    def move(cursor, lane):
        function(cursor, lane.second, 1, *args)
    return move


#: how the second chunk of a lane comes to a state
WAYS = {
    'waiting': lambda cursor, lane: ledger.open_chunks.requeue(
        cursor, lane.execution),
    'queued': lambda cursor, lane: ledger.chunks.done(
        cursor, lane.first, 1),
    'done': end(ledger.chunks.done),
    'failed': end(ledger.chunks.fail, ERROR),
    'split': lambda cursor, lane: ledger.chunks.replace_by_parts(
        cursor, lane.second, [[3], [4]], 1, ERROR),
    'cancelled': lambda cursor, lane: ledger.open_chunks.cancel_open(
        cursor, lane.execution),
    }
EDGES = list(product(CHUNK_STATES, CHUNK_STATES))
assert sorted(WAYS) == CHUNK_STATES


@pytest.mark.parametrize('old, new', EDGES, ids=ids(EDGES))
def test_a_chunk_goes_where_the_table_says(cursor, old, new):
    lane = Lane(cursor, old)
    assert lane.states == {'1': 'queued', '2': old}
    try:
        WAYS[new](cursor, lane)
    except StateError as error:
        assert (old, new) not in ledger.states.CHUNK
        assert lane.second.label in str(error)
    allowed = (old, new) in ledger.states.CHUNK or old == new
    assert lane.states['2'] == (new if allowed else old)
    if (old, new) not in ledger.states.CHUNK:
        # Nor did it leave parts behind
        assert set(lane.states) == {'1', '2'}


@pytest.mark.parametrize('state', CHUNK_STATES)
def test_only_a_queued_chunk_is_taken(cursor, state):
    lane = Lane(cursor, state)
    taken = take(cursor, lane.execution, lane.second.id)
    assert (taken == lane.second) == (state == 'queued')
    ledger.executions.stop(cursor, lane.execution, 'failed', 'enough')
    assert take(cursor, lane.execution, lane.second.id) is None


def test_a_plan_has_as_many_lanes_as_chunks_may_run_at_once(cursor):
    execution = execution_of(cursor, *([i] for i in range(5)), concurrency=2)
    lane = Lane.__new__(Lane)
    lane.cursor, lane.execution = cursor, execution
    assert lane.states == {
        '1': 'queued', '2': 'waiting', '3': 'waiting', '4': 'waiting',
        '5': 'waiting'}
    firsts = ledger.planning.firsts(2)
    begun, = ledger.open_chunks.begin_lanes(cursor, execution, firsts, 3)
    assert ledger.open_chunks.list_numbers(cursor, execution)[begun.id] == '2'
    assert ledger.open_chunks.begin_lanes(cursor, execution, firsts) == []
    ledger.chunks.done(cursor, take(cursor, execution, begun.id), 1)
    assert lane.states['4'] == 'queued'
    assert lane.states['3'] == 'waiting'


def test_parts_take_the_place_of_their_chunk(cursor):
    lane = Lane(cursor, 'waiting')
    first = ledger.chunks.replace_by_parts(
        cursor, lane.first, [[1], [2]], 1, ERROR)
    assert lane.states == {
        '1': 'split', '1.1': 'queued', '1.2': 'waiting', '2': 'waiting'}
    assert first.number == '1.1'
    chunk = take(cursor, lane.execution, first.id)
    assert (chunk.number, chunk.units, chunk.parent) == (
        '1.1', [1], lane.first.id)
    second = ledger.chunks.fail(cursor, chunk, 1, ERROR)
    chunk = take(cursor, lane.execution, second.id)
    assert (chunk.number, chunk.units, chunk.successor) == ('1.2', [2], '2')
    ledger.chunks.done(cursor, chunk, 1)
    assert lane.states == {
        '1': 'split', '1.1': 'failed', '1.2': 'done', '2': 'queued'}


def test_a_resumed_lane_goes_on_where_it_was(cursor):
    lane = Lane(cursor, 'waiting')
    ledger.chunks.replace_by_parts(cursor, lane.first, [[1], [2]], 1, ERROR)
    assert ledger.open_chunks.cancel_open(cursor, lane.execution) == 3
    ledger.open_chunks.requeue(cursor, lane.execution)
    assert lane.states == {
        '1': 'split', '1.1': 'queued', '1.2': 'waiting', '2': 'waiting'}
    # Once more changes nothing
    ledger.open_chunks.requeue(cursor, lane.execution)
    assert lane.states == {
        '1': 'split', '1.1': 'queued', '1.2': 'waiting', '2': 'waiting'}


def lane_at(cursor, lane):
    return ledger.open_chunks.first_open_in_lane(
        cursor, lane.execution, lane.first.id, 1)


def test_what_a_task_was_at_is_found_along_its_lane(cursor):
    lane = Lane(cursor, 'waiting')
    assert lane_at(cursor, lane) == (lane.first.id, '1')
    first = ledger.chunks.replace_by_parts(
        cursor, lane.first, [[1], [2]], 1, ERROR)
    assert lane_at(cursor, lane) == first
    second = ledger.chunks.done(
        cursor, take(cursor, lane.execution, first.id), 1)
    assert lane_at(cursor, lane) == second
    third = ledger.chunks.done(
        cursor, take(cursor, lane.execution, second.id), 1)
    assert third == (lane.second.id, '2')
    ledger.chunks.done(cursor, lane.second, 1)
    assert lane_at(cursor, lane) is None

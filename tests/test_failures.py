# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Failures, one by one: each is retried once, solved or dismissed."""
import json

import pytest
from scene import one_line
from test_inputs import Inbox

from trytond.modules.batch.engine.chosen import LONGEST, candidates, units_in
from trytond.modules.batch.ledger.failed_units import record_of, texts_of
from trytond.modules.batch.ledger.units import load_units, shown_unit

only_workers = pytest.mark.parametrize('stage', ['workers'], indirect=True)


def failures(scene, execution):
    "Return (unit, state, the execution that took it up) of each failure."
    return sorted(
        (shown_unit(load_units(unit)[0]) if unit else None, state, retry)
        for unit, state, retry in scene.execute(
            'SELECT unit, state, retried_by FROM batch_failure '
            'WHERE execution = %s' % execution))


def column(scene, name):
    return [value for value, in scene.execute(
            'SELECT %s FROM batch_failure ORDER BY chunk, id' % name)]


def heal(scene, *ids):
    scene.execute('UPDATE batch_scenario_record SET bad = false WHERE id IN '
        '(%s)' % ', '.join(map(str, ids)))


def last(scene):
    return scene.last_execution()


# What is written

def test_a_unit_that_fails_is_a_failure_with_its_record(scene):
    scene.records(6, bad=[2, 5], party=lambda i: i // 2)
    first = scene.batch('bad', status=1).id
    assert failures(scene, first) == [('2', 'open', None), ('5', 'open', None)]
    assert column(scene, 'record') == [
        'batch.scenario.record,2', 'batch.scenario.record,5']
    chunks = dict(scene.execute(
            "SELECT id, fingerprint FROM batch_execution_chunk "
            "WHERE state = 'failed'"))
    assert dict(scene.execute(
            'SELECT chunk, fingerprint FROM batch_failure')) == chunks
    assert set(chunks.values()) == {'UserError scenarios.py:78'}
    # Groups and rows begin with it
    groups = scene.batch('groups', status=1).id
    assert failures(scene, groups) == [
        ('[2, 3]', 'open', None), ('[4, 5]', 'open', None)]
    rows = scene.batch('rows', status=1).id
    assert failures(scene, rows) == [
        ('(2, 2026-01-02, 1.10)', 'open', None),
        ('(5, 2026-01-05, 1.10)', 'open', None)]
    assert set(column(scene, 'record')) == {
        'batch.scenario.record,%s' % id for id in [2, 4, 5]}


def test_a_chunk_that_fails_whole_is_a_failure_for_each_of_its_units(scene):
    scene.configure({'default': {'split_mode': 'divide', 'split_size': 1}})
    scene.records(2500, bad=[7])
    execution = scene.batch('bad', status=1)
    assert execution.states == {'failed': 1}
    assert len(failures(scene, execution.id)) == 2500
    assert len(set(column(scene, 'chunk'))) == 1
    shown = scene.coop('show', str(execution.id)).stdout
    assert 'failures (2,500 open):' in shown
    said = scene.coop('dismiss', str(execution.id), '--unit', '7,9').stdout
    assert said == '2 failures of execution #%s dismissed, 2,498 still ' \
        'open\n' % execution.id
    assert '    2 of 2,500 dismissed' in scene.coop(
        'show', str(execution.id)).stdout


def test_the_batch_as_a_whole_is_a_unit(scene):
    first = scene.batch('once', '--crash', 'yes', status=1).id
    assert failures(scene, first) == [(None, 'open', None)]
    assert column(scene, 'record') == [None]
    one_line(scene.coop('retry', str(first), '--unit', '1'), 2,
        'has no open failure of unit 1; there is one of the batch')
    assert scene.coop('retry', str(first), '--unit', 'the batch'
        ).returncode == 1
    assert failures(scene, first) == [(None, 'retried', last(scene))]


def test_the_client_reads_failures_with_what_their_chunks_have(scene):
    scene.records(3, bad=[2])
    scene.batch('bad', status=1)
    told = json.loads(scene.script('''\
from trytond.pool import Pool
from trytond.transaction import Transaction
from trytond.modules.batch.transaction import load_pool
load_pool(database)
with Transaction().start(database, 0):
    Failure = Pool().get('batch.failure')
    failure, = Failure.search([
            ('record', '=', 'batch.scenario.record,2'),
            ('error', 'like', '%is bad%'), ('error_type', '=', 'UserError')])
    row, = Failure.read([failure.id], ['traceback', 'error', 'state'])
    print(json.dumps([
                row['traceback'].splitlines()[0], row['error'], row['state'],
                failure.record.name, failure.rec_name,
                len(Failure.search([('error', 'like', 'other')])),
                ('batch.scenario.record' in dict(Failure.get_models()))]))
'''))
    assert told == [
        'Traceback (most recent call last):', 'The record "record 2" is bad.',
        'open', 'record 2', told[4], 0, True]
    assert told[4].endswith(' (2)')


# Those that are chosen

def test_chosen_units_are_retried_and_the_others_later(scene):
    scene.records(9, bad=[2, 4, 6, 8])
    first = scene.batch('bad', status=1).id
    heal(scene, 2, 4)
    assert 'again: coop retry %s' % first in scene.coop(
        'show', str(first)).stdout
    result = scene.coop('retry', str(first), '--unit', '2,6')
    assert result.returncode == 1
    second = last(scene)
    assert failures(scene, first) == [
        ('2', 'solved', second), ('4', 'open', None),
        ('6', 'retried', second), ('8', 'open', None)]
    assert failures(scene, second) == [('6', 'open', None)]
    assert scene.treated() == {i: 1 for i in [1, 2, 3, 5, 7, 9]}

    # Each of them once; what failed again, from the retry
    one_line(scene.coop('retry', str(first), '--unit', '4, 6, 7'), 2,
        'execution #%s has no open failure of unit 6, 7; there are those of '
        '4, 8' % first)
    assert last(scene) == second
    one_line(scene.coop('resume', str(first)), 2,
        'nothing of it is left; failed units: coop retry %s' % first)
    heal(scene, 8)
    scene.coop('retry', str(first), check=True)
    # What is open of it is open in a retry
    for command in ['retry', 'resume', 'dismiss']:
        one_line(scene.coop(command, str(first)), 2,
            '; what failed there: coop retry %s' % second)
    heal(scene, 6)
    third = last(scene)
    scene.coop('retry', str(second), '--unit=6', check=True)
    fourth = last(scene)
    assert failures(scene, first) == [
        ('2', 'solved', second), ('4', 'solved', third),
        ('6', 'retried', second), ('8', 'solved', third)]
    assert failures(scene, second) == [('6', 'solved', fourth)]
    assert scene.treated() == {i: 1 for i in range(1, 10)}
    one_line(scene.coop('retry', str(first)), 2, 'was retried as #%s, #%s; '
        'nothing is left to do' % (second, third))
    assert one_line(scene.coop('resume', str(first)), 2).endswith(
        'is failed and nothing of it is left')
    shown = scene.coop('show', str(first)).stdout
    assert 'failures (1 retried, 3 solved):' in shown
    assert 'solved by #%s (coop show %s)' % (third, third) in shown
    assert 'again: coop retry' not in shown
    told = json.loads(scene.coop('show', str(first), '--json').stdout)
    assert told['open'] == 0
    assert [f['settled'] for f in told['failures']][0] == [
        {'state': 'solved', 'retried_by': second, 'reason': None, 'units': 1}]


def test_groups_and_rows_are_named_as_they_are_shown(scene):
    scene.records(6, bad=[2, 4, 6], party=lambda i: i // 2)
    groups = scene.batch('groups', status=1).id
    heal(scene, 2)
    scene.coop('retry', str(groups), '--unit', '[2, 3]', check=True)
    assert [state for _, state, _ in failures(scene, groups)] == [
        'solved', 'open', 'open']
    rows = scene.batch('rows', status=1).id
    heal(scene, 4, 6)
    scene.coop('retry', str(rows), '--unit',
        '(4, 2026-01-04, 1.10),(6, 2026-01-06, 1.10)', check=True)
    assert {state for _, state, _ in failures(scene, rows)} == {'solved'}


def test_a_retry_that_does_not_begin_gives_back_what_it_took(scene):
    scene.records(4, bad=[2, 3])
    first = scene.batch('bad', status=1).id
    scene.configure({'default': {'disabled': 'yes'}})
    assert 'nothing was run' in scene.coop(
        'retry', str(first), '--unit', '2').stdout
    assert failures(scene, first) == [('2', 'open', None), ('3', 'open', None)]
    scene.configure({'default': {'root_dir': '/does/not/exist'}})
    assert scene.coop('retry', str(first)).returncode == 1
    assert failures(scene, first) == [('2', 'open', None), ('3', 'open', None)]


def test_what_fails_in_a_dry_run_waits_for_nobody(scene):
    scene.records(3, bad=[2])
    first = scene.batch('bad', '--dry-run', status=1).id
    assert failures(scene, first) == [('2', 'dismissed', None)]
    for command in ['retry', 'dismiss']:
        one_line(scene.coop(command, str(first)), 2, 'was a dry run')


def test_what_was_left_of_a_retry_is_solved_when_it_is_resumed(scene):
    scene.configure({'default': {
                'max_failures': '50%', 'concurrency': 1, 'split_size': 1}})
    scene.records(12, bad=[2, 4, 6])
    first = scene.batch('bad', status=1).id
    scene.configure({'default': {
                'max_failures': 0, 'concurrency': 1, 'split_size': 1}})
    heal(scene, 6)
    assert scene.coop('retry', str(first)).returncode == 1
    second = last(scene)
    # Stopped at the first of them
    assert failures(scene, first) == [
        (unit, 'retried', second) for unit in '246']
    heal(scene, 4)
    assert scene.coop('resume', str(second)).returncode == 1
    assert failures(scene, first) == [
        ('2', 'retried', second), ('4', 'solved', second),
        ('6', 'solved', second)]


# Those that are dismissed

def test_what_is_dismissed_is_settled_for_history_show_and_prune(scene):
    scene.records(9, bad=[2, 4, 6])
    first = scene.batch('bad', status=1).id

    def opened():
        head, row = scene.coop('history', check=True).stdout.splitlines()
        assert head.split()[-3:] == ['failed', 'open', 'left']
        told, = json.loads(scene.coop('history', '--json').stdout)
        assert row.split()[-2] == str(told['open'])
        return told['open']

    assert opened() == 3
    result = scene.coop(
        'dismiss', str(first), '--unit', '4', '--reason', 'paid by hand')
    assert result.stdout == \
        '1 failure of execution #%s dismissed, 2 still open\n' % first
    assert opened() == 2
    shown = scene.coop('show', str(first)).stdout
    assert 'failures (2 open, 1 dismissed):' in shown
    assert '    dismissed: paid by hand\n' in shown
    one_line(scene.coop('retry', str(first), '--unit', '4'), 2,
        'no open failure of unit 4; there are those of 2, 6')
    scene.execute(
        "UPDATE batch_execution SET ended_at = '2020-01-01 00:00:00'")
    assert 'coop dismiss N' in scene.coop('prune').stdout
    scene.coop('dismiss', str(first), check=True)
    assert opened() == 0
    for command in ['retry', 'dismiss']:
        one_line(scene.coop(command, str(first)), 2,
            'has no open failures: 3 dismissed')
    assert scene.coop('prune').stdout.startswith('1 execution deleted')
    assert scene.execute('SELECT * FROM batch_failure') == []


@pytest.mark.parametrize('args, texts', [
        (['dismiss', '99'], ['#99 does not exist']),
        (['dismiss', 'x'], ['expected the number of an execution']),
        (['retry', '99', '--unit', '1'], ['#99 does not exist']),
        (['retry', '1', '--unit', ''],
            ['argument --unit: is "", expected a text of one line']),
        (['dismiss', '1', '--reason', 'a\nb'],
            ['argument --reason: is "a\\nb", expected a text of one line']),
        ])
def test_what_can_not_be_meant_is_refused(scene, args, texts):
    one_line(scene.coop(*args), 2, *texts)


def test_what_succeeded_has_nothing_to_dismiss(scene):
    scene.records(2)
    first = scene.batch('ok', status=0).id
    one_line(scene.coop('dismiss', str(first)), 2, 'has no failed units')


# Found by an index

READ = '''\
from trytond.pool import Pool
from trytond.transaction import Transaction
from trytond.modules.batch import ledger
from trytond.modules.batch.transaction import load_pool
load_pool(database)
FILL = """INSERT INTO batch_failure
    (execution, chunk, unit, record, fingerprint, state)
    SELECT %s::int, %s::int, '[' || i || ']', 'batch.scenario.record,' || i,
    'KeyError a.py:' || i, %s FROM generate_series(%s::int, %s::int) i"""
with Transaction().start(database, 0) as transaction:
    cursor = transaction.connection.cursor()
    cursor.execute('SELECT id, execution FROM batch_execution_chunk '
        'ORDER BY id')
    (chunk, big), (other, small) = cursor.fetchall()
    cursor.execute(FILL, [big, chunk, 'solved', 1, 30_000])
    cursor.execute(FILL, [small, other, 'open', 30_001, 30_020])
    cursor.execute(
        'UPDATE batch_failure SET retried_by = %s WHERE id %% 1000 = 0',
        [small])
    cursor.execute('ANALYZE batch_failure')
    Failure = Pool().get('batch.failure')
    F, counts = ledger.failed_units, {}

    def rows():
        cursor.execute('SELECT seq_tup_read + COALESCE(idx_tup_fetch, 0) '
            'FROM pg_stat_xact_user_tables WHERE relname = %s',
            ['batch_failure'])
        return cursor.fetchone()[0]

    for name, function in {
            'free': lambda: list(F.list_free(cursor, small)),
            'states': lambda: F.count_by_state(cursor, small),
            'open': lambda: F.count_open(cursor),
            'history': lambda: ledger.figures.history(cursor),
            'settled': lambda: F.settled_in(cursor, [other]),
            'errors': lambda: list(F.list_errors(cursor, small)),
            'taken': lambda: list(ledger.settling.list_taken(cursor, small)),
            'undone': lambda: ledger.inputs.count_undone(cursor, [small]),
            'dismissed': lambda: ledger.settling.dismiss(cursor, small, None),
            'chunk': lambda: cursor.execute(
                'DELETE FROM batch_failure WHERE chunk = %s', [other]),
            'record': lambda: Failure.search(
                [('record', '=', 'batch.scenario.record,5')]),
            'kind': lambda: Failure.search(
                [('fingerprint', '=', 'KeyError a.py:5')]),
            'states of all': lambda: Failure.search([('state', '=', 'open')]),
            }.items():
        before = rows()
        function()
        counts[name] = rows() - before
    transaction.rollback()
print(json.dumps(counts))
'''


@only_workers
def test_no_listing_of_failures_reads_all_of_them(scene):
    scene.records(1)
    for _ in range(2):
        scene.batch('ok', status=0)
    counts = json.loads(scene.script(READ))
    assert len(counts) == 13
    assert max(counts.values()) < 100, str(counts)


# Files

def test_a_file_is_archived_when_all_its_failures_are_dealt_with(
        scene, tmp_path):
    (tmp_path / 'in').mkdir()
    inbox = Inbox(scene, tmp_path / 'in')
    scene.records(5, bad=[1, 2, 3])
    inbox.put('a,b.csv', 1, 2, 3, 4)
    first = inbox.batch('lines', status=1).id
    shown = scene.coop('show', str(first)).stdout
    unit = {
        line[line.index('unit (') + 5:line.index(': UserError')]
        for line in shown.splitlines() if 'unit (' in line}
    assert len(unit) == 3
    one, two, three = sorted(unit)
    heal(scene, 1, 2)
    scene.coop('retry', str(first), '--unit', one, check=True)
    assert inbox.files == ['a,b.csv']
    scene.coop('retry', str(first), '--unit', two, check=True)
    assert inbox.files == ['a,b.csv']
    scene.coop('dismiss', str(first), check=True)
    # The next execution finds nothing to be done of it
    inbox.batch('lines', status=0)
    assert inbox.archived == ['a,b.csv']
    assert scene.treated() == {1: 1, 2: 1, 4: 1}


# Without a database

@pytest.mark.parametrize('text, known, found, unknown', [
        ('5', '5 7', ['5'], []),
        ('5,7', '5 7', ['5', '7'], []),
        (' 5 , 7,', '5 7', ['5', '7'], []),
        ('5,6,7', '5 7', ['5', '7'], ['6']),
        ('a,b.csv,c.csv', 'a,b.csv c.csv', ['a,b.csv', 'c.csv'], []),
        # The longest comes first
        ('a,b', 'a b a,b', ['a,b'], []),
        ('a,b,a', 'a b a,b', ['a,b', 'a'], []),
        ('', '5', [], []),
        ])
def test_a_list_names_units_that_may_have_commas(text, known, found, unknown):
    known = known.split(' ')
    assert units_in(text, known) == (found, unknown)
    assert set(found) <= candidates(text)


def test_a_row_is_named_with_its_commas():
    known = ['(5, 2026-01-31)', '(6, 2026-02-28)']
    assert units_in(', '.join(known), known) == (known, [])


def test_a_long_list_takes_no_long_time():
    text = ','.join(map(str, range(20_000)))
    assert len(candidates(text)) < 20_000 * LONGEST / 4
    assert len(units_in(text, {'5', '19999'})[1]) == 19_998


@pytest.mark.parametrize('unit, record', [
        (5, 5), ((5, 'x'), 5), ([5, 6], 5), ([(5, 'x'), (6, 'y')], 5),
        ('5', None), (True, None), (('x', 5), None), ([], None), ((), None),
        ({'id': 5}, None), ([[5]], None)])
def test_a_unit_is_a_record_where_it_begins_with_an_id(unit, record):
    assert record_of(unit) == record
    (text, reference), = texts_of([unit], 'a.b')
    assert load_units(text) == [unit]
    assert reference == (record and 'a.b,%s' % record)


def test_units_that_can_not_be_loaded_are_one_failure():
    broken = load_units('[{"group": [1]}, {"unknown": 1}]')
    assert list(texts_of(broken, 'a.b')) == [
        ('[{"group": [1]}, {"unknown": 1}]', None)]
    assert list(texts_of(None, 'a.b')) == [(None, None)]

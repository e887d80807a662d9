# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What is told of an execution, however much there is to tell."""
import datetime as dt
import json
import sys

import pytest
from scene import one_line

from devel.site import script
from trytond.modules.batch.outcome import GROUPS, KIND, KINDS, UNIT, Failures

only_in_process = pytest.mark.parametrize(
    'stage', ['in-process'], indirect=True)
NOW = dt.datetime.now(dt.timezone.utc)
#: about 40 kB
TRACEBACK = 'Traceback (most recent call last):\n' + 40 * (
    1000 * 'x' + '\n')
FAILED = """\
    INSERT INTO batch_execution
        (id, batch, state, given, parameters, settings, started_at, ended_at,
            selected, done, failed, "left")
    VALUES (%(id)s, 'batch.scenario.bad', 'failed', '{}', '{}', '{}',
        '2026-01-31 23:00:00', '2026-01-31 23:00:02.5', %(count)s, 0,
        %(count)s, 0)"""
#: the last unit fails first
CHUNKS = """\
    WITH RECURSIVE number (i) AS (
        SELECT 1 UNION ALL SELECT i + 1 FROM number WHERE i < %(count)s)
    INSERT INTO batch_execution_chunk
        (execution, number, units, size, state, attempts, ended_at,
            error_type, error, fingerprint, traceback)
    SELECT %(id)s, CAST(i AS VARCHAR),
        '[' || CAST(%(count)s + 1 - i AS VARCHAR) || ']', 1, 'failed', 1,
        '2026-01-31 23:00:02', 'ValueError', 'unit ' || CAST(i AS VARCHAR),
        'x', '%(traceback)s'
    FROM number"""
#: runs a command, and prints its status and how much memory it took
WEIGHED = """\
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""
#: reads what the last process of an execution reads to close it
CLOSE = """\
import resource
from trytond.transaction import Transaction
from trytond.modules.batch.outcome import Outcome
with Transaction().start(database, 0) as transaction:
    outcome = Outcome.load(transaction.connection.cursor(), int(sys.argv[1]))
    count = int(sys.argv[2])
    assert '%s x ValueError: unit 1    1, 2, 3 ... (+%s)' % (
        count, count - 3) in outcome.text('a.b'), outcome.text('a.b')
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def fail(scene, id, count, traceback='Traceback'):
    "Make an execution of which count units failed, the last one first."
    for statement in [FAILED, CHUNKS]:
        scene.execute(statement % {
                'id': id, 'count': count, 'traceback': traceback})
    return str(id)


def of_json(scene, *args, **options):
    return json.loads(scene.coop(*args, '--json', **options).stdout)


# Times

@pytest.mark.parametrize('zone', ['', 'Asia/Tokyo'])
def test_times_in_json_have_their_offset(scene, zone):
    scene.records(3)
    env = {'TRYTOND_TZ': zone, 'TZ': zone}
    outcome = of_json(scene, 'batch', 'batch.scenario.ok', env=env)
    execution = str(outcome['execution'])
    shown = of_json(scene, 'show', execution, env=env)
    row, = of_json(scene, 'history', env=env)
    for name in ['started_at', 'ended_at']:
        assert outcome[name] == shown[name] == row[name]
        time = dt.datetime.fromisoformat(outcome[name])
        assert time.utcoffset() == dt.timedelta(0)
        assert abs(time - NOW) < dt.timedelta(hours=1)
    scene.execute('UPDATE batch_execution SET ended_at = NULL')
    for told in [of_json(scene, 'history')[0],
            of_json(scene, 'show', execution)]:
        assert told['ended_at'] is None


def test_times_for_people_are_those_of_the_server(scene):
    execution = fail(scene, 1, 1)
    env = {'TRYTOND_TZ': 'Asia/Tokyo'}
    for args in [['show', execution], ['history']]:
        assert '2026-02-01 08:00:00+09:00' in scene.coop(
            *args, env=env).stdout
    assert of_json(scene, 'show', execution, env=env)['started_at'] \
        == '2026-01-31T23:00:00+00:00'


# Failures

def test_show_tells_some_failures_and_how_many_more_there_are(scene):
    execution = fail(scene, 1, 120)
    for args, count in [([], 100), (['--limit', '7'], 7),
            (['--limit', '120'], 120), (['--limit', '1000000'], 120)]:
        text = scene.coop('show', execution, *args, check=True).stdout
        told = [line for line in text.splitlines() if '  ValueError: ' in line
            or ': ValueError: unit ' in line]
        assert told[:2] == [
            '  #1.1  unit 120: ValueError: unit 1',
            '  #1.2  unit 119: ValueError: unit 2']
        assert len(told) == text.count('    Traceback') == count
        more = '... and %s more; coop show 1 --limit N shows N of them' % (
            120 - count)
        assert (more in text) == (count < 120)

        told = of_json(scene, 'show', execution, *args)
        assert [f['units'] for f in told['failures']] == [
            [121 - i] for i in range(1, count + 1)]
        assert set(told['failures'][0]) == {
            'chunk', 'units', 'error_type', 'error', 'settled'}
        assert told['more_failures'] == 120 - count
    one_line(scene.coop('show', execution, '--limit', '0'), 2,
        'expected a whole number from 1 to 1000000')


@only_in_process
def test_the_outcome_as_json_tells_some_failures(scene):
    # The others succeed, or it would be stopped
    scene.records(240, bad=range(2, 241, 2))
    scene.configure({'default': {'split_size': 10}})
    outcome = of_json(scene, 'batch', 'batch.scenario.bad')
    assert outcome['failed'] == 120
    assert len(outcome['failures']) == 100
    assert outcome['more_failures'] == 20


def test_many_failures_are_told_in_little_memory(scene):
    few = fail(scene, 1, 20, TRACEBACK)
    many = fail(scene, 2, 4000, TRACEBACK)
    coop = script('coop')
    for args in [[], ['--json'], ['--limit', '4000'],
            ['--limit', '4000', '--json']]:
        weights = []
        for execution in [few, many]:
            status, weight = map(int, scene.run([
                        sys.executable, '-c', WEIGHED, coop, 'show', execution,
                        *args], check=True).stdout.split())
            assert status == 0
            weights.append(weight)
        assert weights[1] - weights[0] < 30
    weights = [
        int(scene.script(CLOSE, *args)) for args in [(few, 20), (many, 4000)]]
    assert weights[1] - weights[0] < 30


def test_failures_are_summed_up_by_kind():
    failures = Failures()
    for i in range(9, 0, -1):
        failures.add(str(i), [i], 'ValueError', 'record %s of "%s"' % (i, i))
    failures.add('10', [[7, 8]], 'KeyError', 'x')
    failures.add('11', None, 'RuntimeError', 'the batch')
    failures.add('12', [{'a': 1}, 5], 'TypeError', 'mixed')
    assert [(g.text, g.count, g.units) for g in failures.groups()] == [
        ('ValueError: record 9 of "9"', 9, [1, 2, 3]),
        ('TypeError: mixed', 2, [{'a': 1}, 5]),
        ('KeyError: x', 1, [[7, 8]]),
        ('RuntimeError: the batch', 1, [])]
    assert failures.count == 12 and len(failures.first) == 12


def test_failures_of_any_kind_are_summed_up_in_bounds():
    failures = Failures()
    words = 'abcdefghij'
    for i in range(5 * KINDS):
        failures.add(str(i), [i], 'ValueError', ''.join(
                words[int(digit)] for digit in str(i)) + 10000 * 'x')
    failures.add('last', [3], 'ValueError', 'd' + 10000 * 'x')
    groups = failures.groups()
    assert failures.count == 5 * KINDS + 1 and len(failures.first) == 100
    assert len(groups) == GROUPS + 1
    assert (groups[0].count, groups[0].units) == (2, [3, 3])
    assert max(len(group.text) for group in groups) <= KIND
    assert groups[-1].text == 'other errors' and groups[-1].units == []
    assert sum(group.count for group in groups) == 5 * KINDS + 1


def test_a_long_row_is_cut_in_the_summary_and_not_where_it_is_chosen(scene):
    execution = fail(scene, 1, 3)
    row = ['a.csv', 1, 'x' * 1000]
    scene.execute("UPDATE batch_execution_chunk SET units = '%s'"
        % json.dumps([{'row': row}]))
    shown = scene.coop('show', execution, check=True).stdout
    summary, = [
        line for line in shown.splitlines() if '3 x ValueError' in line]
    assert len(summary) < 3 * (UNIT + 10) + 60
    assert summary.count('(a.csv, 1, xxx') == 3
    _, _, details = shown.partition('failures (')
    assert 'unit (a.csv, 1, %s' % (50 * 'x') in details

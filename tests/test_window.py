# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""``until = 06:00``: no chunk begins after it, and the rest is resumed."""
import datetime as dt
import json
import re
from zoneinfo import ZoneInfo

import pytest
from scene import Execution

from trytond.modules.batch.window import window_end

PARIS = ZoneInfo('Europe/Paris')
UTC = ZoneInfo('UTC')


@pytest.mark.parametrize('until, start, zone, end', [
        (None, '2026-11-27T22:00', UTC, None),
        ('06:00', '2026-11-27T22:00', UTC, '2026-11-28T06:00'),
        ('06:00', '2026-11-28T05:59:59', UTC, '2026-11-28T06:00'),
        ('06:00', '2026-11-28T06:00', UTC, '2026-11-29T06:00'),
        ('00:00', '2026-12-31T12:00', UTC, '2027-01-01T00:00'),
        # In the time zone of the server, and another day there
        ('06:00', '2026-11-27T22:00', PARIS, '2026-11-28T05:00'),
        ('00:30', '2026-11-27T23:15', PARIS, '2026-11-27T23:30'),
        ('06:00', '2026-07-01T22:00', PARIS, '2026-07-02T04:00'),
        # The clocks change within the window
        ('06:00', '2026-10-24T21:00', PARIS, '2026-10-25T05:00'),
        # A time that there is not, and one that comes twice
        ('02:30', '2026-03-28T22:00', PARIS, '2026-03-29T01:30'),
        ('02:30', '2026-10-24T21:00', PARIS, '2026-10-25T00:30'),
        ])
def test_a_window_ends_at_the_first_such_time(until, start, zone, end):
    start = dt.datetime.fromisoformat(start)
    end = end and dt.datetime.fromisoformat(end)
    assert window_end(until, start, zone) == end


def show(scene, execution):
    return json.loads(scene.coop(
            'show', '--json', str(execution.id), check=True).stdout)


@pytest.mark.parametrize('concurrency, treated', [(1, 3), (64, None)])
def test_no_chunk_begins_after_the_window(scene, concurrency, treated):
    count = 6 if treated else 200
    scene.records(count)
    execution = scene.batch('closing', '--until', '06:00', '--split-size', '1',
        '--concurrency', str(concurrency), status=1)
    said = 'stopped at the end of its window, '
    assert execution.row['message'].startswith(said)
    assert execution.row['message'].endswith(' (until = 06:00)')
    assert execution.row['state'] == 'cancelled'
    done = len(scene.treated())
    # Others were at work when it ended
    assert done == treated if treated else 3 <= done < count
    assert (execution.row['done'], execution.row['failed']) == (done, 0)
    assert execution.row['left'] == execution.states['cancelled'] \
        == count - done
    assert said in execution.stderr
    assert 'go on: coop resume %s' % execution.id in execution.stderr
    log = '\n'.join(execution.log())
    assert 'until=06:00 (the command line)' in log
    assert log.count('no further chunk begins') == 1
    text = scene.coop('show', str(execution.id), check=True).stdout
    assert said in text and 'window:     until 20' in text

    scene.coop('resume', str(execution.id), check=True)
    execution = Execution(scene)
    assert execution.row['state'] == 'succeeded'
    assert scene.treated() == {id: 1 for id in range(1, count + 1)}
    # Until the next such time
    told = show(scene, execution)
    closes_at = dt.datetime.fromisoformat(told['closes_at'])
    ended_at = dt.datetime.fromisoformat(told['ended_at'])
    assert dt.timedelta(0) < closes_at - ended_at <= dt.timedelta(1)


def test_the_window_is_that_of_the_start(scene):
    scene.records(3)
    told = show(scene, scene.batch('ok', '--until', '6:00', status=0))
    assert told['settings']['until'] == ['06:00', 'the command line']
    closes_at = dt.datetime.fromisoformat(told['closes_at'])
    started_at = dt.datetime.fromisoformat(told['started_at'])
    assert closes_at.strftime('%H:%M:%S %z') == '06:00:00 +0000'
    assert dt.timedelta(0) < closes_at - started_at <= dt.timedelta(1)
    told = show(scene, scene.batch('ok', status=0))
    assert told['closes_at'] is None


# isolate = no

def test_a_chunk_fails_whole_where_nothing_is_to_be_isolated(scene):
    scene.records(12, bad=[7])
    scene.configure({'batch.scenario.bad': {
                'split_size': 4, 'isolate': 'no'}})
    execution = scene.batch('bad', status=1)
    assert execution.failed_units == [5, 6, 7, 8]
    assert execution.states == {'done': 2, 'failed': 1}
    assert sorted(scene.treated()) == [1, 2, 3, 4, 9, 10, 11, 12]
    assert re.search('4 units failed .*never split: UserError',
        '\n'.join(execution.log()))
    # For one run
    execution = scene.batch('bad', '--isolate', status=1)
    assert execution.failed_units == [7]


@pytest.mark.parametrize('stage', ['workers'], indirect=True)
def test_a_chunk_that_kills_its_processes_fails_whole(scene):
    scene.records(8, bad=[3])
    execution = scene.batch(
        'lethal', '--split-size', '4', '--no-isolate', status=1)
    assert execution.failed_units == [1, 2, 3, 4]
    assert sorted(scene.treated()) == [5, 6, 7, 8]
    assert 'worker lost (signal 9)' in execution.stderr

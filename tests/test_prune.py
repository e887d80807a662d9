# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Old executions are forgotten, but none with open failures."""
import datetime as dt

import pytest
from scene import PATIENCE, one_line

from devel.process import wait_for
from trytond.modules.batch.engine.pruning import forgettable

only_workers = pytest.mark.parametrize('stage', ['workers'], indirect=True)
BEFORE = dt.datetime(2026, 1, 1)
OLD, YOUNG = BEFORE - dt.timedelta(1), BEFORE


def ended(id, state='succeeded', open=0, left=0, retry_of=None,
        ended_at=OLD, dry_run=False, in_hand=False, missing=None,
        finish=None):
    return locals()


@pytest.mark.parametrize('executions, deleted, open_', [
        ([], [], []),
        ([ended(1)], [1], []),
        ([ended(1, ended_at=YOUNG)], [], []),
        ([ended(1, 'running', ended_at=None)], [], []),
        ([ended(1, 'failed', open=1)], [], [1]),
        ([ended(1, 'cancelled', open=1)], [], [1]),
        # Dismissed
        ([ended(1, 'failed')], [1], []),
        # It stopped by itself: nobody decided to leave the rest
        ([ended(1, 'failed', left=5)], [], [1]),
        ([ended(1, 'failed', finish='failed')], [], [1]),
        ([ended(1, finish='done')], [1], []),
        ([ended(1, 'cancelled', left=5)], [1], []),
        # The selection failed, or the start was refused
        ([ended(1, 'failed', left=None)], [1], []),
        ([ended(1, 'failed', open=1, dry_run=True)], [1], []),
        # Retried with success
        ([ended(2, retry_of=1), ended(1, 'failed')], [2, 1], []),
        # What failed in the retry is open in its place
        ([ended(2, 'failed', open=1, retry_of=1),
            ended(1, 'failed')], [], [2]),
        ([ended(3, retry_of=2), ended(2, 'failed', retry_of=1),
            ended(1, 'failed')], [3, 2, 1], []),
        # Retried in part
        ([ended(2, retry_of=1), ended(1, 'failed', open=1)], [], [1]),
        ([ended(3, 'failed', open=1, retry_of=1), ended(2, retry_of=1),
            ended(1, 'failed')], [], [3]),
        # A chain stays whole
        ([ended(3, retry_of=2, ended_at=YOUNG),
            ended(2, 'failed', retry_of=1),
            ended(1, 'failed')], [], []),
        ([ended(2, 'running', retry_of=1, ended_at=None),
            ended(1, 'failed')], [], []),
        # Input files of it are not archived yet
        ([ended(2, retry_of=1, in_hand=True),
            ended(1, 'failed', in_hand=True)], [], [1, 2]),
        # A file that was committed is not there
        ([ended(1, missing='["/a"]')], [], [1]),
        ([ended(2, 'failed', retry_of=1, missing='["/a"]'),
            ended(1, 'failed')], [], [2]),
        # Retried, but for what was left
        ([ended(2, retry_of=1), ended(1, 'failed', left=5)], [], [1]),
        ])
def test_what_is_old_and_dealt_with_is_forgotten(executions, deleted, open_):
    assert forgettable(executions, BEFORE) == (deleted, open_)


def ids(scene):
    return [id for id, in scene.execute(
            'SELECT id FROM batch_execution ORDER BY id')]


def grow_old(scene, *executions):
    for id in executions:
        scene.execute("UPDATE batch_execution SET ended_at = "
            "'2020-01-01 00:00:00' WHERE id = %s" % id)


def test_prune_forgets_executions_and_their_chunks(scene):
    scene.records(10, bad=[3])
    old = scene.batch('ok').id
    failed = scene.batch('bad', status=1).id
    young = scene.batch('ok').id
    grow_old(scene, old, failed)
    result = scene.coop('prune', '--days', '30')
    assert result.returncode == 0
    said, kept = result.stdout.splitlines()
    # What it has deleted now
    assert scene.coop('prune', '--days', '30', '--quiet').stdout == kept + '\n'
    assert said.startswith('1 execution deleted that ended before 20')
    assert kept == ('kept because of open failures: 1 execution: %s; '
        'coop show N, then coop retry N, coop dismiss N or coop resume N'
        % failed)
    assert ids(scene) == [failed, young]
    assert {id for id, in scene.execute(
            'SELECT execution FROM batch_execution_chunk')} == {failed, young}

    scene.execute('UPDATE batch_scenario_record SET bad = false')
    assert scene.coop('retry', str(failed)).returncode == 0
    # A chain stays whole
    scene.coop('prune')
    assert failed in ids(scene)
    grow_old(scene, *ids(scene))
    # Cron mails whatever is said
    nothing = scene.coop('prune', 'batch.scenario.slow', check=True)
    assert nothing.stdout + nothing.stderr == ''
    assert scene.coop('prune').stdout.startswith('3 executions deleted')
    assert ids(scene) == []


def test_a_retry_that_was_disabled_can_be_done_again(scene):
    scene.records(4, bad=[3])
    failed = str(scene.batch('bad', status=1).id)
    scene.configure({'default': {'disabled': 'yes'}})
    assert 'nothing was run' in scene.coop('retry', failed).stdout
    scene.configure()
    scene.execute('UPDATE batch_scenario_record SET bad = false')
    assert scene.coop('retry', failed).returncode == 0
    one_line(scene.coop('retry', failed), 2, 'was retried as')


@pytest.mark.parametrize('days', ['-1', '1.5', 'x'])
def test_a_number_of_days_that_is_none_is_refused(scene, days):
    one_line(scene.coop('prune', '--days=' + days), 2,
        'argument --days: is "%s", expected a whole number from 0' % days)


# What somebody else is at

@only_workers
def test_prune_waits_for_nobody_who_has_an_execution(scene):
    scene.records(10, bad=[3])
    first = scene.batch('ok').id
    failed = scene.batch('bad', status=1).id
    scene.execute('UPDATE batch_scenario_record SET bad = false')
    scene.coop('retry', str(failed), check=True)
    retry = ids(scene)[-1]
    grow_old(scene, *ids(scene))
    with scene.postgresql.connect(scene.database) as other:
        # Who holds the retry keeps what it retries, too
        other.execute(
            'SELECT 1 FROM batch_execution WHERE id = %s FOR UPDATE', [retry])
        result = scene.coop('prune', timeout=30)
        assert result.stdout.startswith('1 execution deleted')
        assert ids(scene) == [failed, retry]
        assert first not in {id for id, in scene.execute(
                'SELECT execution FROM batch_execution_chunk')}
    assert scene.coop('prune').stdout.startswith('2 executions deleted')
    assert ids(scene) == []


@only_workers
def test_prune_lets_nobody_make_an_execution_meanwhile(scene):
    scene.records(3)
    old = scene.batch('ok').id
    grow_old(scene, old)
    with scene.postgresql.connect(scene.database) as other:
        # As who makes a retry does
        other.execute(
            'LOCK TABLE batch_execution IN SHARE ROW EXCLUSIVE MODE')
        command = scene.start_coop('prune')
        wait_for(lambda: scene.execute(
                "SELECT 1 FROM pg_locks WHERE NOT granted AND mode = "
                "'ShareRowExclusiveLock'"), PATIENCE, "ask for the lock")
        other.execute(
            'INSERT INTO batch_execution (batch, given, state, retry_of) '
            "VALUES ('batch.scenario.ok', '{}', 'selecting', %s)", [old])
    stdout, stderr = command.communicate(timeout=PATIENCE)
    assert (command.returncode, stdout, stderr) == (0, '', '')
    assert old in ids(scene)


def test_an_execution_that_runs_is_never_forgotten(scene):
    scene.records(3)
    id = scene.batch('ok').id
    grow_old(scene, id)
    scene.execute("UPDATE batch_execution SET state = 'running'")
    assert scene.coop('prune', check=True).stdout == ''
    assert ids(scene) == [id]

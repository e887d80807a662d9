# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A database of an earlier version is updated, and goes on."""
from pathlib import Path

import pytest
from scene import Execution, Scene
from stage import once

from devel.process import wait_for

#: seconds within which the keeper begins with what nobody began
BOUND = 15
VERSIONS = sorted((Path(__file__).parent / 'upgrades').glob('*.sql'))


@pytest.fixture(params=VERSIONS, ids=lambda path: path.stem)
def scene(request, postgresql, redis):
    with Scene(postgresql=postgresql, redis=redis) as scene:
        for table in ['failure', 'subscription']:
            scene.execute('DROP TABLE batch_%s' % table)
        for table in ['input', 'chunk']:
            scene.execute('DROP TABLE batch_execution_%s CASCADE' % table)
        scene.execute('DROP TABLE batch_execution CASCADE')
        scene.execute(request.param.read_text())
        yield scene


def schema(scene):
    "Return the columns and indexes of our tables."
    return (
        set(scene.execute(
                "SELECT table_name, column_name, data_type "
                "FROM information_schema.columns "
                "WHERE table_name LIKE 'batch_execution%' "
                "OR table_name IN ('batch_failure', 'batch_subscription')")),
        set(scene.execute(
                "SELECT indexdef FROM pg_indexes "
                "WHERE tablename LIKE 'batch_execution%' "
                "OR tablename IN ('batch_failure', 'batch_subscription')")))


def test_what_was_open_or_failed_goes_on_after_the_update(
        scene, postgresql, redis):
    scene.update('-u', 'batch')
    with Scene(postgresql=postgresql) as new:
        assert schema(scene) == schema(new)
    rows = dict(scene.execute(
            "SELECT id, admission || ' ' || coalesce(exit_status::text, '-') "
            "FROM batch_execution"))
    assert rows == {
        1: 'admitted 0', 2: 'admitted 1', 3: 'admitted 1', 4: None,
        **({5: 'disabled 0', 6: 'refused 2'} if 5 in rows else {})}
    # What is careful in the way of today
    assert set(scene.execute(
            "SELECT careful, begun_by FROM batch_execution_chunk")) <= {
        (None, None), (False, None), (True, None),
        (True, 'batch1:22909:17')}
    # Each unit of a chunk that failed is a failure
    assert failures(scene) == [
        (2, '[3]', 'open', None), (2, '[4]', 'open', None),
        (3, '[3]', 'open', None)]
    scene.records(40)
    history = scene.coop('history', check=True).stdout
    assert 'batch.scenario.failing' in history
    shown = scene.coop('show', '2', check=True).stdout
    assert '40 selected, 38 done, 2 failed, 0 left' in shown
    scene.worker()
    # Nobody asks for it
    wait_for(lambda: scene.state(4) == 'succeeded', BOUND, "begin")
    assert scene.treated() == once(range(1, 41))
    scene.execute('UPDATE batch_scenario_record SET treated = 0')
    assert scene.coop('resume', '3').returncode == 1
    assert Execution(scene, id=3).row['left'] == 0
    assert len(scene.treated()) == 39
    scene.execute('UPDATE batch_scenario_record SET treated = 0')
    scene.coop('retry', '2', check=True)
    assert scene.treated() == once([3, 4])
    retry = scene.last_execution()
    assert failures(scene)[:2] == [
        (2, '[3]', 'solved', retry), (2, '[4]', 'solved', retry)]


def test_what_was_retried_before_the_update_is_known(scene):
    # 3, where unit 3 failed again and others are left, is a retry of 2; and
    # 4 one of 3, which still has to select
    scene.execute('UPDATE batch_execution SET retry_of = 2 WHERE id = 3')
    scene.execute('UPDATE batch_execution SET retry_of = 3 WHERE id = 4')
    scene.update('-u', 'batch')
    assert failures(scene) == [
        (2, '[3]', 'retried', 3), (2, '[4]', 'retried', 3),
        (3, '[3]', 'open', 4)]
    scene.execute('DROP TABLE batch_failure')
    scene.execute('UPDATE batch_execution SET retry_of = NULL WHERE id = 4')
    scene.execute(
        "UPDATE batch_execution_chunk SET state = 'done', ended_at = "
        "'2026-01-01 00:00:00' WHERE execution = 3 AND ended_at IS NULL")
    scene.update('-u', 'batch')
    assert failures(scene) == [
        (2, '[3]', 'retried', 3), (2, '[4]', 'solved', 3),
        (3, '[3]', 'open', None)]
    assert '1 open' in scene.coop('show', '3', check=True).stdout


def failures(scene):
    return scene.execute(
        'SELECT execution, unit, state, retried_by FROM batch_failure '
        'ORDER BY execution, unit')


def test_what_is_not_updated_is_said_in_one_line(scene):
    for command in [['history'], ['batch', 'batch.scenario.ok'], ['worker']]:
        result = scene.coop(*command)
        assert result.returncode == 1
        assert 'Traceback' not in result.stderr
        assert 'trytond-admin -d %s -u batch' % scene.database \
            in result.stderr.splitlines()[-1]

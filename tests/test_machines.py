# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What commands answer to machines: JSON, and the plugins of Nagios."""
import argparse
import datetime as dt
import json
import re

import pytest
from scene import Scene, one_line

from trytond.modules.batch.command.moments import moment_of

only_workers = pytest.mark.parametrize('stage', ['workers'], indirect=True)
only_in_process = pytest.mark.parametrize(
    'stage', ['in-process'], indirect=True)
CHECKS = ['configuration', 'database', 'batches', 'broker', 'workers',
    'directories', 'schedule']
PERFDATA = r'time=\d+\.\d\ds;;;0 running_executions=0;;;0 ' \
    r'failed_executions=%s;;;0 open_failures=%s;;;0'


def plugin(scene, status, *args):
    "Return the line of the plugin, and what of it is perfdata."
    result = scene.coop('check', '--plugin', *args)
    assert result.returncode == status, result.stdout + result.stderr
    line, = result.stdout.splitlines()
    text, _, perfdata = line.partition(' | ')
    assert '|' not in text + perfdata
    return text, perfdata


def check(scene, status):
    "Return the state, and the checks by name, of coop check --json."
    result = scene.coop('check', '--json')
    assert (result.returncode, result.stderr) == (status, '')
    found = json.loads(result.stdout)
    assert list(found) == ['database', 'state', 'checks']
    assert found['database'] == scene.database
    assert [list(c) for c in found['checks']] == [
        ['name', 'state', 'messages']] * len(CHECKS)
    checks = {c['name']: (c['state'], c['messages']) for c in found['checks']}
    assert list(checks) == CHECKS
    return found['state'], checks


# coop check

def test_a_check_that_finds_all_well_is_ok(scene):
    scene.records(3, bad=[1, 2])
    scene.batch('bad', status=1)
    state, checks = check(scene, 0)
    assert state == 'ok'
    assert {state for state, _ in checks.values()} == {'ok'}
    text, perfdata = plugin(scene, 0)
    assert text == 'BATCH OK - %s: 7 checks' % scene.database
    assert re.fullmatch(PERFDATA % (1, 2), perfdata)


@only_in_process
def test_a_batch_that_is_overdue_is_a_warning(scene):
    for number in range(5):
        scene.batch('ok')
    ids = [id for id, in scene.execute(
            'SELECT id FROM batch_execution ORDER BY id DESC LIMIT 5')]
    now = dt.datetime.now(dt.timezone.utc).replace(tzinfo=None)
    for number, id in enumerate(ids):
        start = now - dt.timedelta(hours=3 + 2 * number)
        scene.execute(
            'UPDATE batch_execution SET started_at = ? WHERE id = ?',
            (start.isoformat(' '), id))
    state, checks = check(scene, 1)
    assert state == 'warning'
    level, (message,) = checks['schedule']
    assert level == 'warning'
    assert re.match(r'batch "batch\.scenario\.ok" is overdue: it was last '
        r'started at 20\S+ \S+, and is usually started again at ', message)


@only_workers
def test_a_queue_that_nobody_serves_is_critical(scene):
    scene.configure({
            'batch.scenario.ok': {'queue': 'night'},
            'batch.scenario.slow': {'queue': 'other', 'disabled': 'yes'}})
    said = 'no worker answers for the queue "night"; start one: coop worker ' \
        '-d %s -Q night (for batch.scenario.ok)' % scene.database
    state, checks = check(scene, 1)
    assert state == 'critical'
    assert checks['workers'] == ('critical', [said])
    assert plugin(scene, 2)[0] == 'BATCH CRITICAL - %s: workers: %s' % (
        scene.database, said)


def test_no_worker_is_critical(postgresql, redis):
    with Scene(postgresql=postgresql, redis=redis) as scene:
        state, checks = check(scene, 1)
        assert state == 'critical'
        (said,) = checks['workers'][1]
        assert said.startswith('no worker answers for the queue "celery"; '
            'start one: coop worker -d %s (for ' % scene.database)
        assert re.search(r'\(for \S+, \S+, \S+ and \d+ more\)$', said)


@only_workers
@pytest.mark.parametrize('queue, state', [
        ('celery', 'warning'), ('far', 'ok')])
def test_a_worker_that_refuses_what_another_takes_is_a_warning(
        scene, queue, state):
    scene.postgresql.create('elsewhere', template='scenarios')
    worker = scene.worker(1, '-d', 'elsewhere', '-Q', queue)
    try:
        found, checks = check(scene, int(state != 'ok'))
    finally:
        worker.stop()
        scene.postgresql.drop('elsewhere')
    assert found == checks['workers'][0] == state
    told = 'serves the databases elsewhere, not "%s"' % scene.database
    assert (told in checks['workers'][1][0]) == (state == 'warning')


@only_workers
def test_a_timeout_of_the_server_is_a_warning(scene):
    name = 'idle_in_transaction_session_timeout'
    alter = 'ALTER DATABASE "%s" ' % scene.database
    scene.execute(alter + "SET %s = '5s'" % name)
    try:
        state, checks = check(scene, 1)
        assert state == 'warning'
        assert checks['database'][0] == 'warning'
        assert '%s = 5s' % name in checks['database'][1][0]
        assert plugin(scene, 1)[0].startswith(
            'BATCH WARNING - %s: database: the server ends transactions '
            % scene.database)
    finally:
        scene.execute(alter + 'RESET %s' % name)


@only_in_process
def test_directories_of_input_files_are_checked(scene, tmp_path):
    path = tmp_path / 'absent'
    scene.configure({'batch.scenario.lines': {'directory': path}})
    state, checks = check(scene, 1)
    assert state == 'critical'
    (said,) = checks['directories'][1]
    assert 'batch "batch.scenario.lines": parameter "directory" is "%s", ' \
        'which does not exist' % path in said
    path.mkdir()
    assert check(scene, 0)[0] == 'ok'


@only_in_process
def test_what_is_wrong_stands_in_one_line(scene):
    with open(scene.batch_conf, 'w') as file:
        file.write('[default]\nsplit_size = a|b\nqueu = x\n')
    text, perfdata = plugin(scene, 2)
    assert re.match(
        r'BATCH CRITICAL - %s: configuration: .*got "a/b".*; batches: .*'
        'did you mean "queue"' % scene.database, text)
    assert re.fullmatch(PERFDATA % (0, 0), perfdata)


@only_in_process
def test_what_can_not_be_checked_is_unknown(scene, tmp_path):
    absent = tmp_path / 'absent.conf'
    assert plugin(scene, 3, '-c', absent) == (
        'BATCH UNKNOWN - %s: can not be read: No such file or directory; name '
        'the configuration of trytond with -c or TRYTOND_CONFIG' % absent, '')
    assert plugin(scene, 3, '-d', 'a', '-d', 'b')[0].startswith(
        'BATCH UNKNOWN - expected one database, got a b')
    for args in [['--bogus'], ['--json']]:
        assert plugin(scene, 3, *args) == (
            'BATCH UNKNOWN - the command line is wrong', '')


@only_in_process
def test_a_database_that_is_away_is_critical(scene):
    text, perfdata = plugin(scene, 2, '-d', 'absent')
    assert text.startswith('BATCH CRITICAL - absent: database: the database '
        '"absent" can not be reached')
    # What follows from it is not said again
    assert text.count('can not be reached') == 1
    assert re.fullmatch(r'time=\S+', perfdata)


# coop list, history, show

@only_in_process
def test_the_list_has_what_can_be_started(scene):
    batches = {
        b.pop('batch'): b
        for b in json.loads(scene.coop('list', '--json', check=True).stdout)}
    assert batches['batch.scenario.required'] == {
        'description': 'Need to be told a path',
        'parameters': [{
                'name': 'path', 'form': 'a path', 'required': True}]}
    assert batches['batch.scenario.ok']['description'] == 'Treat every record'
    assert 'ir.ui.view.validate' in batches


def history(scene, *args):
    result = scene.coop('history', '--json', *args)
    assert (result.returncode, result.stderr) == (0, '')
    return json.loads(result.stdout)


@only_in_process
def test_the_history_is_asked_for_what_failed_and_for_a_time(scene):
    scene.records(3, bad=[2])
    ok = scene.batch('ok', status=0)
    bad = scene.batch('bad', status=1)
    row, = history(scene, '--failed')
    shown = json.loads(
        scene.coop('show', str(bad.id), '--json', check=True).stdout)
    for name in ['started_at', 'ended_at']:
        assert row[name] == shown[name]
        assert dt.datetime.fromisoformat(row[name]).utcoffset() \
            == dt.timedelta()
    assert row == {
        'execution': bad.id, 'batch': 'batch.scenario.bad', 'state': 'failed',
        'selected': 3, 'done': 2, 'failed': 1, 'left': 0, 'open': 1,
        'started_at': row['started_at'], 'ended_at': row['ended_at'],
        'dry_run': False, 'retry_of': None, 'exit_status': 1,
        'message': None}
    scene.execute("UPDATE batch_execution SET ended_at = '2026-01-31 12:00' "
        'WHERE id = %s' % ok.id)

    def since(moment, *args):
        return [r['execution'] for r in history(
                scene, '--since', moment, *args)]

    assert since('1h') == [bad.id]
    assert since('2026-01-31T11:59+00:00') == [bad.id, ok.id]
    assert since('2026-01-31T12:01+00:00') == [bad.id]
    assert since('2026-01-30', '--limit', '1') == [bad.id]
    # What has not ended runs now
    scene.execute('UPDATE batch_execution SET ended_at = NULL '
        'WHERE id = %s' % ok.id)
    assert since('1h') == [bad.id, ok.id]
    result = scene.coop(
        'history', 'batch.scenario.ok', '--failed', check=True)
    assert result.stdout == ''
    assert result.stderr == \
        'no execution of "batch.scenario.ok" that was asked for\n'
    one_line(scene.coop('history', '--since', '31/01/2026'), 2,
        'is "31/01/2026", expected yesterday, today, a date as YYYY-MM-DD')


def test_a_moment_is_that_of_the_server(monkeypatch):
    monkeypatch.setenv('TRYTOND_TZ', 'America/New_York')
    assert moment_of('2026-01-31') == dt.datetime(2026, 1, 31, 5)
    assert moment_of('2026-01-31T18:00+01:00') == dt.datetime(2026, 1, 31, 17)
    now = dt.datetime.now(dt.timezone.utc).replace(tzinfo=None)
    for text, seconds in [('5m', 300), ('2h', 7200), ('3d', 259200)]:
        assert abs(now - moment_of(text) - dt.timedelta(seconds=seconds)) \
            < dt.timedelta(seconds=60)
    today, yesterday = map(moment_of, ['today', 'yesterday'])
    assert yesterday < today <= now < today + dt.timedelta(hours=25)
    # An hour more or less where the time changes
    assert abs(today - yesterday - dt.timedelta(days=1)) \
        <= dt.timedelta(hours=1)
    for text in ['', 'now', '0h', '1w', '2026-02-30', '12']:
        with pytest.raises(argparse.ArgumentTypeError):
            moment_of(text)

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What Prometheus, and its rules, are given of the ledger."""
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
import yaml
from prometheus_client import parser
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from scene import PATIENCE, one_line

from devel.process import free_port
from trytond.modules.batch.command.metrics import METRICS, UP, WORKERS

ROOT = Path(__file__).resolve().parent.parent
RULES = ROOT / 'share' / 'prometheus' / 'batch.rules.yml'
#: of node_exporter
FOREIGN = {'node_textfile_mtime_seconds'}
OK, BAD = 'batch.scenario.ok', 'batch.scenario.bad'
only_workers = pytest.mark.parametrize('stage', ['workers'], indirect=True)
only_in_process = pytest.mark.parametrize(
    'stage', ['in-process'], indirect=True)


def read(text, families=None):
    """Return the value of each sample, as a parser of Prometheus reads it.

    By the name, and the labels without that of the database.
    """
    if families is None:
        families = text_string_to_metric_families(text)
    found = {}
    for family in families:
        assert family.type == 'gauge'
        assert family.documentation
        for sample in family.samples:
            assert sample.labels.pop('database')
            found[(sample.name, *sample.labels.values())] = sample.value
    return found


def metrics(scene):
    return read(scene.coop('metrics', check=True).stdout)


def end_of(scene, execution):
    "Return the end of an execution as PostgreSQL counts its seconds."
    (end,), = scene.execute(
        "SELECT EXTRACT(EPOCH FROM ended_at AT TIME ZONE 'UTC') "
        "FROM batch_execution WHERE id = %s", [execution])
    return float(end)


def test_an_empty_ledger_has_metrics_of_no_batch(scene):
    found = metrics(scene)
    assert found[('batch_up',)] == 1
    assert {name for name, *_ in found} <= {UP[0], WORKERS[0]}


def test_each_batch_has_what_its_executions_came_to(scene):
    scene.records(5, bad=[2, 4])
    first = scene.batch('ok', status=0)
    failed = scene.batch('bad', status=1)
    before = time.time() - 60
    found = metrics(scene)
    for batch, state, done, open_ in [
            (OK, 'succeeded', 5, 0), (BAD, 'failed', 3, 2)]:
        assert found['batch_last_units', batch, 'selected'] == 5
        assert found['batch_last_units', batch, 'done'] == done
        assert found['batch_last_units', batch, 'failed'] == 5 - done
        assert found['batch_last_units', batch, 'left'] == 0
        assert {s: found['batch_last_end_state', batch, s] for s in [
                'succeeded', 'failed', 'cancelled']} == {
            'succeeded': state == 'succeeded', 'failed': state == 'failed',
            'cancelled': 0}
        assert found['batch_open_failures', batch] == open_
        assert found['batch_failed_executions', batch] == bool(open_)
        assert found['batch_running_executions', batch] == 0
        assert found['batch_deaths', batch] == 0
        assert 0 < found['batch_last_duration_seconds', batch] < 60
    assert found['batch_last_success_timestamp_seconds', OK] \
        == found['batch_last_end_timestamp_seconds', OK]
    assert ('batch_last_success_timestamp_seconds', BAD) not in found
    if scene.on_workers:
        end = end_of(scene, first.id)
        assert before < end < time.time()
        assert found['batch_last_end_timestamp_seconds', OK] \
            == pytest.approx(end, abs=0.001)
    # Nobody has to look at it any more
    scene.coop('dismiss', str(failed.id), check=True)
    found = metrics(scene)
    assert found['batch_open_failures', BAD] == 0
    assert found['batch_failed_executions', BAD] == 0


@only_in_process
def test_what_did_nothing_is_no_success(scene):
    scene.records(2)
    scene.batch('ok', '--dry-run', status=0)
    assert not {key for key in metrics(scene) if OK in key}
    scene.batch('ok', '--disabled', status=0)
    found = metrics(scene)
    assert found['batch_last_end_state', OK, 'succeeded'] == 1
    assert ('batch_last_success_timestamp_seconds', OK) not in found


@only_workers
def test_what_runs_has_its_start_and_its_progress(scene):
    (execution,), = scene.execute(
        "INSERT INTO batch_execution (batch, state, admission, started_at, "
        "deaths, settings) VALUES ('batch.scenario.ok', 'running', "
        "'admitted', '2026-01-31 01:00', 1, '{\"queue\": [\"far\", \"x\"]}') "
        "RETURNING id")
    started = 1769821200
    row = "(%s, '%s', 1, '%s', %s, %s, '2026-01-31 01:0%s')"
    scene.execute(
        "INSERT INTO batch_execution_chunk (execution, number, size, state, "
        "ended_at, deaths, create_date) VALUES " + ', '.join([
                row % (execution, 1, 'done', "'2026-01-31 01:30'", 'NULL', 1),
                row % (execution, 2, 'failed', "'2026-01-31 01:45'", 2, 2),
                row % (execution, 3, 'queued', 'NULL', 'NULL', 4),
                row % (execution, 4, 'queued', 'NULL', 'NULL', 3),
                row % (execution, 5, 'waiting', 'NULL', 'NULL', 0)]))
    # Or the keeper would end it
    scene.execute('UPDATE batch_execution SET local = true')
    found = metrics(scene)
    assert found['batch_running_executions', OK] == 1
    assert found['batch_running_since_timestamp_seconds', OK] == started
    assert found['batch_progress_timestamp_seconds', OK] \
        == started + 45 * 60
    assert found['batch_waiting_chunk_timestamp_seconds', OK] \
        == started + 3 * 60
    assert found['batch_deaths', OK] == 3
    assert ('batch_last_end_timestamp_seconds', OK) not in found
    # One worker serves the default queue, and none that of the execution
    assert found['batch_workers', 'celery'] == 1
    assert found['batch_workers', 'far'] == 0


@only_workers
def test_a_broker_that_is_away_has_no_workers(scene, tmp_path):
    scene.records(1)
    scene.batch('ok', status=0)
    path = tmp_path / 'more.conf'
    path.write_text('[celery]\nbroker_url = redis://:secret@127.0.0.1:%s/0\n'
        % free_port())
    result = scene.coop('metrics', '-c', scene.trytond_conf, '-c', path)
    assert result.returncode == 0
    found = read(result.stdout)
    assert found['batch_workers', 'celery'] == 0
    assert found['batch_last_units', OK, 'done'] == 1
    line, = result.stderr.splitlines()
    assert line.startswith('coop: ') and 'secret' not in line


@only_in_process
def test_a_file_for_node_exporter_is_written_whole_or_not_at_all(
        scene, tmp_path):
    scene.records(2)
    scene.batch('ok', status=0)
    path = tmp_path / 'batch.prom'
    result = scene.coop('metrics', '--textfile', path, check=True)
    assert (result.stdout, result.stderr) == ('', '')
    # It knows neither the types nor the end of OpenMetrics
    found = read(None, parser.text_string_to_metric_families(
            path.read_text()))
    assert found['batch_last_units', OK, 'done'] == 2
    assert '# EOF' not in path.read_text()
    assert list(tmp_path.iterdir()) == [path]
    written = path.read_text(), path.stat().st_mtime_ns

    one_line(scene.coop('metrics', '--textfile', path, '-d', 'absent'), 1,
        'the database "absent" can not be reached')
    assert (path.read_text(), path.stat().st_mtime_ns) == written
    one_line(scene.coop('metrics', '--textfile', tmp_path / 'no/batch.prom'),
        1, '--textfile: "%s/no/batch.prom" can not be written: No such file'
        % tmp_path)
    one_line(scene.coop('metrics', '--textfile', tmp_path / 'batch.txt'), 2,
        'expected a name that ends with .prom')
    assert list(tmp_path.iterdir()) == [path]


def listening(scene, address='127.0.0.1:0'):
    "Start to listen; return the process and the URL."
    command = scene.start_coop('metrics', '--listen', address)
    line = command.stderr.readline()
    found = re.fullmatch(r'coop: listening on (http://\S+)\n', line)
    assert found, line
    return command, found[1]


def scrape(url):
    with urllib.request.urlopen(urllib.request.Request(url, headers={
                'Accept': 'application/openmetrics-text; version=1.0.0'}),
            timeout=PATIENCE) as answer:
        assert 'openmetrics-text' in answer.headers['Content-Type']
        return read(answer.read().decode())


def test_each_scrape_reads_the_ledger(scene):
    scene.records(3)
    command, url = listening(scene)
    try:
        found = scrape(url)
        assert found[('batch_up',)] == 1
        assert ('batch_last_units', OK, 'done') not in found
        if scene.on_workers:
            assert found['batch_workers', 'celery'] == 1
        scene.batch('ok', status=0)
        assert scrape(url)['batch_last_units', OK, 'done'] == 3
        # A ledger that can not be read is a value, and the server stays
        rename = 'ALTER TABLE %s RENAME TO %s'
        scene.execute(rename % ('batch_failure', 'absent'))
        try:
            assert scrape(url) == {('batch_up',): 0}
            assert scrape(url) == {('batch_up',): 0}
        finally:
            scene.execute(rename % ('absent', 'batch_failure'))
        assert scrape(url)['batch_last_units', OK, 'done'] == 3
        one_line(scene.coop('metrics', '--listen', url.split('/')[2]), 1,
            '--listen: ', 'can not be used: Address already in use')
    finally:
        command.send_signal(signal.SIGTERM)
        stdout, stderr = command.communicate(timeout=PATIENCE)
    assert command.returncode == 0
    assert stdout == ''
    # It is said once
    assert stderr.count('is not updated') == len(stderr.splitlines()) == 1


@only_in_process
@pytest.mark.parametrize('address', ['9753', 'localhost:', 'a b:1', ':70000'])
def test_an_address_that_is_none_is_refused(scene, address):
    one_line(scene.coop('metrics', '--listen', address), 2,
        'is "%s", expected HOST:PORT, as localhost:9753' % address)


@only_in_process
def test_the_missing_extra_is_named(scene, tmp_path):
    (tmp_path / 'prometheus_client.py').write_text(
        "raise ImportError('as if it were not installed')")
    one_line(
        scene.coop('metrics', env={'PYTHONPATH': str(tmp_path)}), 1,
        "coop metrics needs the package prometheus_client",
        "pip install 'trytond-batch[metrics]'")


# The rules

def expressions():
    rules = yaml.safe_load(RULES.read_text())
    return [rule['expr'] for group in rules['groups']
        for rule in group['rules']]


def test_the_rules_name_only_metrics_that_there_are():
    names = {
        name for expression in expressions() for name in re.findall(
            r'\b(?:batch|node)_\w+', re.sub('"[^"]*"', '', expression))}
    assert names - FOREIGN <= {*METRICS, UP[0], WORKERS[0]}
    assert len(names) > 5


def test_each_rule_says_what_to_do_and_is_documented():
    text = (ROOT / 'doc' / 'monitoring.rst').read_text()
    rules = yaml.safe_load(RULES.read_text())['groups'][0]['rules']
    for rule in rules:
        assert set(rule) - {'for'} == {
            'alert', 'expr', 'labels', 'annotations'}
        assert set(rule['annotations']) == {'summary', 'description'}
        assert '\n``%s``\n' % rule['alert'] in text
    assert len(rules) == len(re.findall(r'^``Batch\w+``$', text, re.MULTILINE))


def test_each_metric_is_documented():
    text = (ROOT / 'doc' / 'monitoring.rst').read_text()
    assert set(re.findall(r'^``(batch_\w+)``', text, re.MULTILINE)) \
        == {*METRICS, UP[0], WORKERS[0]}


def test_promtool_accepts_the_rules():
    tool = shutil.which('promtool')
    if tool:
        subprocess.run([tool, 'check', 'rules', RULES], check=True)

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The lines of a log as JSON objects."""
import datetime as dt
import json
import logging
import os
import re
from pathlib import Path

import pytest
from scene import one_line
from test_docs import ROOT

from trytond.modules.batch import context
from trytond.modules.batch.json_log import JSONFormatter
from trytond.modules.batch.logging import get_logger, open_logs

only_in_process = pytest.mark.parametrize(
    'stage', ['in-process'], indirect=True)
run = context.Work('test.batch', 42, '7.1', database='tryton')


@pytest.fixture
def log(tmp_path, monkeypatch):
    "Return the objects of the log of test.batch."
    monkeypatch.setattr(logging.getLogger('batch'), 'level', logging.NOTSET)
    logging.Logger.manager._clear_cache()
    open_logs(tmp_path, as_json=True)
    yield lambda: [
        json.loads(line) for line in
        (tmp_path / 'test.batch.log').read_text('utf-8').splitlines()]
    open_logs(None)


def test_a_line_is_an_object_with_stable_fields(log):
    with context.working(run):
        get_logger('test.batch').info("%s treated\nin \u00fc", 12)
    line, = log()
    time = dt.datetime.fromisoformat(line.pop('time'))
    assert time.utcoffset() == dt.timedelta(0)
    assert abs(time - dt.datetime.now(dt.timezone.utc)) < dt.timedelta(
        minutes=1)
    assert line == {
        'level': 'INFO', 'logger': 'batch.test.batch', 'process': os.getpid(),
        'database': 'tryton', 'batch': 'test.batch', 'execution': 42,
        'chunk': '7.1', 'message': "12 treated\nin \u00fc"}


def test_what_another_logger_is_told_keeps_its_name(log):
    with context.working(run):
        logging.getLogger('party').warning("strange")
    line, = log()
    assert line['logger'] == 'party' and line['batch'] == 'test.batch'


def test_an_object_stays_one_whatever_is_said(log):
    secret = 'url https://me:hunter2@host/ password="hunter2" token=hunter2'
    with context.working(run):
        for text in [secret, '{"token": "hunter2"}', '\x00\x1b[2J\u2028\udcff',
                '"', '\\', 'x' * 100000]:
            try:
                raise ValueError(text)
            except ValueError:
                get_logger('test.batch').exception("%s", text)
    lines = log()
    assert len(lines) == 6
    assert 'hunter2' not in json.dumps(lines)
    assert all('ValueError' in line['traceback'] for line in lines)
    assert len(lines[-1]['message']) < 11000


def test_the_fields_are_documented(log):
    table, = re.findall(
        r'^=+ =+\nField +What it is\n=+ =+\n(.*?)^=+ =+$',
        (ROOT / 'doc' / 'usage.rst').read_text(), re.MULTILINE | re.DOTALL)
    documented = re.findall('^``(\\w+)``', table, re.MULTILINE)
    with context.working(run):
        try:
            1 / 0
        except ZeroDivisionError:
            get_logger('test.batch').exception(
                "x", extra={'outcome': {'state': 'failed'}})
    assert list(log()[0]) == documented


def test_a_file_of_logconf_may_name_it():
    record = logging.LogRecord(
        'celery', logging.INFO, 'x', 1, 'password=%s', ('hunter2',), None)
    line = json.loads(JSONFormatter().format(record))
    assert line['message'] == 'password=***'
    assert 'batch' not in line and 'execution' not in line


@only_in_process
def test_the_log_of_an_execution_is_one_of_objects(scene):
    scene.records(4, bad=[3])
    id = scene.batch(
        'bad', env={'TRYTOND_BATCH__LOG_FORMAT': 'json'}, status=1).id
    path = Path(scene.log_dir, 'batch.scenario.bad.log')
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line['execution'] for line in lines} == {id}
    assert [line['chunk'] for line in lines
        if 'failed alone' in line['message']] == ['1.1']
    last = lines[-1]
    assert last['message'].startswith('[FAILURE] batch.scenario.bad: ')
    seconds = last['outcome'].pop('seconds')
    assert 0 < seconds < 60
    assert last['outcome'] == {
        'state': 'failed', 'selected': 4, 'done': 3, 'failed': 1, 'left': 0}


@only_in_process
def test_an_unknown_format_is_refused_before_anything_is_done(scene):
    one_line(
        scene.coop('batch', 'batch.scenario.ok',
            env={'TRYTOND_BATCH__LOG_FORMAT': 'xml'}), 1,
        'trytond.conf: [batch] log_format: is "xml", expected text or json')
    assert scene.last_execution() is None

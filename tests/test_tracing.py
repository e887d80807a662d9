# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The spans of OpenTelemetry, made by its SDK."""
import json
import subprocess
import sys

import pytest

from trytond.modules.batch import tracing

pytestmark = pytest.mark.parametrize('stage', ['in-process'], indirect=True)
#: runs a command in this process, and prints the spans
TRACED = """\
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (
    InMemorySpanExporter)
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
from trytond.modules.batch.command.cli import main
sys.stdout = sys.stderr
main(sys.argv[1:])
sys.stdout = sys.__stdout__
print(json.dumps([json.loads(span.to_json())
            for span in exporter.get_finished_spans()]))
"""


@pytest.fixture
def traced(scene):
    "Return what runs a batch and returns its spans, by their kind."
    def run(name, *args):
        spans = json.loads(scene.script(
                TRACED, 'batch', 'batch.scenario.%s' % name, '--local', *args))
        kinds = {'execution': [], 'chunk': [], 'attempt': []}
        for span in spans:
            kind = span['name'].removeprefix('batch.scenario.%s' % name)
            kinds[kind.strip() or 'execution'].append(span)
        return kinds
    return run


def test_an_execution_is_a_trace_of_chunks_and_attempts(scene, traced):
    scene.records(5, bad=[3])
    spans = traced('bad')
    execution, = spans['execution']
    assert execution['parent_id'] is None
    assert len(spans['chunk']) == len(spans['attempt']) == 4
    own = execution['context']
    assert {s['context']['trace_id'] for kind in spans.values() for s in kind
        } == {own['trace_id']}
    assert {s['parent_id'] for s in spans['chunk']} == {own['span_id']}
    assert sorted(s['parent_id'] for s in spans['attempt']) == sorted(
        s['context']['span_id'] for s in spans['chunk'])
    # Its times are those of the ledger
    assert execution['start_time'] < min(
        s['start_time'] for s in spans['chunk'])
    assert execution['end_time'] > max(s['end_time'] for s in spans['chunk'])
    attributes = execution['attributes']
    assert {name: attributes[name] for name in [
                'db.namespace', 'batch.name', 'batch.execution', 'batch.state',
                'batch.selected', 'batch.done', 'batch.failed']} == {
        'db.namespace': scene.database, 'batch.name': 'batch.scenario.bad',
        'batch.execution': scene.last_execution(), 'batch.state': 'failed',
        'batch.selected': 5, 'batch.done': 4, 'batch.failed': 1}
    assert execution['status']['status_code'] == 'ERROR'


def test_an_error_is_in_the_chunk_and_its_attempt(scene, traced):
    scene.records(2, bad=[2])
    spans = traced('bad')
    failed = [
        s for s in spans['chunk'] + spans['attempt']
        if s['status']['status_code'] == 'ERROR']
    # The whole, and the unit alone
    assert len(failed) == 4
    for span in failed:
        assert span['attributes']['error.type'] == 'UserError'
        event, = span['events']
        assert event['name'] == 'exception'
        assert 'The record "record 2" is bad.' in event['attributes'][
            'exception.message']
        assert 'Traceback' in event['attributes']['exception.stacktrace']
    assert {s['attributes']['batch.chunk'] for s in failed
        if 'batch.chunk' in s['attributes']} == {'1', '1.1'}
    assert {s['attributes']['batch.attempt'] for s in spans['attempt']} == {1}


def test_nothing_is_made_where_no_provider_takes_it(scene):
    assert scene.script("""\
from trytond.modules.batch import tracing
print(tracing.begin_chunk('tryton', 'batch', 1, None, '1', 1))
""") == 'None\n'


def test_a_dry_run_and_a_failed_selection_are_traced(scene, traced):
    scene.records(3)
    spans = traced('ok', '--dry-run')
    assert [len(spans[kind]) for kind in ['execution', 'chunk', 'attempt']] \
        == [1, 1, 1]
    spans = traced('bad_selection')
    execution, = spans['execution']
    assert execution['attributes']['batch.state'] == 'failed'
    assert execution['status']['status_code'] == 'ERROR'
    assert spans['chunk'] == []


def test_nothing_is_done_where_it_is_not_installed(scene, monkeypatch):
    tracing.api.cache_clear()
    monkeypatch.setitem(sys.modules, 'opentelemetry', None)
    monkeypatch.setitem(sys.modules, 'opentelemetry.trace', None)
    try:
        assert not tracing.is_on()
        span = tracing.begin_chunk('tryton', 'a.b', 1, None, '1', 1)
        assert span is None
        with tracing.attempt(span, 1):
            pass
        tracing.end_chunk(span, ValueError())
        tracing.trace_execution('tryton', 'a.b', 1, None, None, {})
    finally:
        tracing.api.cache_clear()


def test_it_is_loaded_by_what_executes_only(scene):
    result = subprocess.run(
        [sys.executable, '-c', 'import sys, trytond.modules.batch.tracing, '
            'trytond.modules.batch.engine.treatment; '
            'print("opentelemetry" in " ".join(sys.modules))'],
        capture_output=True, text=True, check=True)
    assert result.stdout == 'False\n'

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The morning after, in a browser.  ``make test-browser`` runs it.

Each test begins where the ones before have left off.
"""
import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from night import PASSWORD, Night  # noqa: E402

from devel.browser import Client, launched  # noqa: E402
from devel.process import wait_for  # noqa: E402

#: where the screenshots go
SHOTS = Path(__file__).resolve().parents[2] / 'build' / 'screens'
#: what the lists show of the batches
BAD = 'Treat every record, and refuse'


@pytest.fixture(scope='module')
def night(postgresql, redis):
    with Night(postgresql, redis) as night:
        night.pass_by()
        yield night


@pytest.fixture(scope='module')
def browser():
    with launched() as browser:
        yield browser


@pytest.fixture
def log_in(night, browser, request):
    "Log somebody in; no page may raise anything."
    clients = []

    def log_in(login, password=PASSWORD):
        client = Client(browser, night.server, SHOTS)
        clients.append(client)
        return client.log_in(login, password)

    yield log_in
    for client in clients:
        client.shot('end-of-%s' % request.node.name)
        client.close()
    assert [error for client in clients for error in client.errors] == []


def states(night):
    return dict(night.execute(
            'SELECT state, count(*) FROM batch_failure GROUP BY state'))


def last(night):
    id = night.last_execution()
    return id, night.state(id)


def test_what_failed_last_night_is_seen_at_once(log_in):
    client = log_in('reader')
    client.menu('Batches', 'Executions')
    client.see('Fail while selecting')
    client.shot('executions')
    assert re.search(r'\s993\s+7\s', client.row(BAD).inner_text())
    client.open(BAD)
    client.see('Kinds of Errors')
    client.see('record 303 (303)')
    client.shot('execution')
    client.tab('Parameters')
    client.see('batch.conf')
    client.shot('execution-parameters')
    client.tab('Chunks')
    client.shot('execution-chunks')
    client.tab('Technical')
    assert client.field('Batch:').input_value() == 'batch.scenario.bad'
    client.shot('execution-technical')
    # Whoever only reads can not press it
    assert client.page.get_by_role('button', name='Retry').locator(
        'visible=true').last.is_disabled()


def test_a_file_is_downloaded_by_who_may_see_the_execution(log_in, night):
    client = log_in('reader')
    client.menu('Batches', 'Executions')
    client.open('Write a file per chunk')
    client.tab('Files')
    row = client.row('records_1.txt')
    client.shot('execution-files')
    with client.page.expect_download() as downloading:
        row.locator('button, a').last.click(delay=80)
    written, = [p for p in night.files() if p.name == 'records_1.txt']
    assert downloading.value.suggested_filename == 'records_1.txt'
    assert Path(downloading.value.path()).read_text() == written.read_text()
    (id,), = night.execute(
        "SELECT max(id) FROM batch_execution "
        "WHERE batch = 'batch.scenario.files'")
    first = ['model.batch.execution.file.read', [id * 10 ** 6], ['data']]
    assert client.call(*first)[0]['data']
    with pytest.raises(Exception, match='You are not allowed to access'):
        log_in('nobody').call(*first)


def test_the_dashboard_shows_what_runs_and_what_is_overdue(log_in, night):
    night.start_batch('slow', '--seconds', '0.02')
    wait_for(lambda: last(night)[1] == 'running', 30, "run")
    id, _ = last(night)
    client = log_in('reader')
    client.menu('Batches', 'Dashboard')
    running, overdue, failed, minutes = (
        client.page.locator('.board-action').filter(has_text=title)
        for title in [
            'Running Now', 'Overdue', 'Failed Executions per Night',
            'Minutes of the Last Execution'])
    running.get_by_text('Take some time for each record').wait_for()
    overdue.get_by_text('Treat rows of an id').wait_for()
    assert overdue.get_by_text('Treat every record').count() == 0
    for graph in [failed, minutes]:
        graph.locator('svg .bb-bar').first.wait_for(state='attached')
    client.shot('dashboard')
    drawn = [
        bar.get_attribute('d') for graph in [failed, minutes]
        for bar in graph.locator('svg .bb-bar').all()]
    assert len(drawn) > 20 and len(set(drawn)) > 15
    assert client.page.locator('.board').inner_text().count(
        'batch.scenario') == 0
    wait_for(lambda: night.state(id) == 'succeeded', 60, "end")
    client.reload()
    running.get_by_text('Take some time for each record').wait_for(
        state='hidden')


def test_a_failure_shows_its_record_and_its_traceback(log_in):
    client = log_in('reader')
    client.menu('Batches', 'Failures')
    client.see('record 453 (453)')
    client.shot('failures')
    client.open('"record 453" is bad')
    client.see('Traceback')
    client.shot('failure')
    wait_for(lambda: any(
            'UserError' in area.input_value()
            for area in client.page.locator('textarea').all()),
        30, "show the traceback")


def test_two_of_seven_are_retried(log_in, night):
    night.execute('UPDATE batch_scenario_record SET bad = false WHERE id < 4')
    client = log_in('operator')
    client.menu('Batches', 'Failures')
    for text in ['"record 3" is bad', '"record 153" is bad']:
        client.row(text).locator('input[type=checkbox]').first.click(delay=80)
    client.shot('failures-selected')
    client.button('Retry')
    client.see('Started')
    wait_for(lambda: night.execute(
            "SELECT done, failed FROM batch_execution "
            "WHERE retry_of IS NOT NULL AND state = 'failed'") == [(1, 1)],
        30, "retry two")
    # What failed again is one more
    assert states(night) == {'open': 13, 'retried': 1, 'solved': 1}
    client.shot('retried')


def test_a_failure_is_dismissed_where_its_execution_is_shown(log_in, night):
    client = log_in('operator')
    client.menu('Batches', 'Executions')
    client.open('Write a file per chunk')
    client.row('record 3 (3)').locator('input[type=checkbox]').first.click(
        delay=80)
    client.shot('execution-selected')
    client.button('Dismiss')
    client.see('Nobody will retry it any more')
    client.confirm()
    wait_for(lambda: states(night).get('dismissed') == 1, 30, "dismiss it")
    client.settle()
    client.shot('dismissed')


def done_of(client):
    "Return how many units a list shows as done."
    return int(re.search(
            r'%\s+([\d,]+)\s',
            client.row('Take some time for each record').inner_text())[
            1].replace(',', ''))


def test_an_execution_is_cancelled_and_resumed(log_in, night):
    night.start_batch('slow', '--seconds', '0.05')
    client = log_in('operator')
    wait_for(lambda: last(night)[1] == 'running', 30, "run")
    id, _ = last(night)
    client.menu('Batches', 'Executions')
    client.tab('Running')
    client.see('Take some time for each record')
    client.shot('executions-running')
    before = done_of(client)

    def has_moved():
        client.reload()
        client.settle()
        return done_of(client) > before

    # Somebody presses the button that reloads
    wait_for(has_moved, 30, "see how it goes on")
    client.open('Take some time for each record')
    client.button('Cancel')
    client.see('Cancel this execution?')
    client.confirm()
    wait_for(lambda: night.state(id) == 'cancelled', 30, "cancel")
    client.reload()
    client.button('Resume')
    client.page.get_by_role('button', name='Cancel').locator(
        'visible=true').wait_for()
    client.shot('resumed')
    wait_for(lambda: night.state(id) == 'succeeded', 90, "end")


def choose(client, batch):
    client.menu('Batches', 'Start a Batch')
    box = client.page.locator('.wizard-dialog select:visible')
    box.wait_for()
    label, = [
        text for text in box.locator('option').all_inner_texts()
        if '(batch.scenario.%s)' % batch in text]
    box.select_option(label=label)
    client.page.locator('textarea:visible').wait_for()
    client.button('Next')


def test_a_batch_is_started_with_its_parameters(log_in, night):
    client = log_in('starter')
    choose(client, 'ok')
    client.see('Treatment date')
    assert client.field('Text:').input_value() == 'nothing'
    before = night.last_execution()
    client.enter('Number:', '')
    client.button('Start')
    client.see('"Number" is required')
    client.shot('start-refused')
    assert night.last_execution() == before
    client.enter('Number:', '12')
    client.enter('Text:', 'from the client')
    client.shot('start')
    client.button('Start')
    client.see('Duration')
    wait_for(lambda: last(night) == (before + 1, 'succeeded'), 30, "end")
    client.reload()
    client.shot('started')
    (given,), = night.execute(
        'SELECT given FROM batch_execution WHERE id = %s' % (before + 1))
    assert json.loads(given) == {'number': '12', 'text': 'from the client'}
    assert night.execute(
        "SELECT count(*) FROM batch_scenario_record "
        "WHERE note LIKE '% from the client 12'") == [(1000,)]


def test_a_failure_leads_to_its_record(log_in):
    client = log_in('operator')
    client.menu('Batches', 'Failures')
    client.see('record 603 (603)')
    client.open('"record 603" is bad')
    client.see('Its Record:')
    client.shot('failure-record')
    client.page.get_by_role('button', name='Open the record').locator(
        'visible=true').last.click(delay=80)
    client.page.locator('.modal-dialog:visible').get_by_label(
        'Name:').wait_for()
    client.shot('failure-record-opened')


def test_who_subscribes_is_told_and_opens_the_execution(log_in, night):
    client = log_in('reader')
    client.menu('Batches', 'Subscriptions')
    client.click('#new_:visible')
    client.see('When:')
    wait_for(lambda: client.field('User:').input_value() == 'Reader', 30,
        "show who is told")
    client.shot('subscription')
    client.click('#save:visible')
    wait_for(lambda: night.execute(
            'SELECT event, by_notification FROM batch_subscription')
        == [('failure', True)], 30, "subscribe")
    client.see('Record saved')
    id = night.batch('files', status=1).id
    client = log_in('reader')
    wait_for(lambda: client.page.locator(
            '#user-preferences .notification-badge').inner_text() == '1', 30,
        "show how many are new")
    client.click('#user-preferences > a')
    client.see('Failed: ')
    client.shot('notifications')
    client.page.locator('.notification-item a').filter(
        has_text='Failed: ').first.click(delay=80)
    client.see('record 303 (303)')
    client.shot('notified')
    client.tab('Technical')
    assert client.field('Batch:').input_value() == 'batch.scenario.files'
    wait_for(lambda: night.execute(
            'SELECT unread, records FROM res_notification')
        == [(False, '[%s]' % id)], 30, "mark it as read")
    client.menu('Batches', 'Subscriptions')
    client.see('All Batches')
    client.shot('subscriptions')


def test_nobody_else_gets_in(log_in):
    client = log_in('nobody')
    client.shot('nobody')
    assert 'Batches' not in client.page.locator('#menu').inner_text()
    client.page.goto('%s/model/batch.execution' % client.page.url)
    client.see('You are not allowed to access "Batch Execution"')
    for login in ['reader', 'operator']:
        client = log_in(login)
        client.menu('Batches', 'Executions')
        client.see('Executions')
        assert 'Start a Batch' not in client.page.locator(
            '#menu').inner_text()


def test_the_administrator_has_all_of_it(log_in):
    client = log_in('admin', 'admin')
    client.menu('Batches', 'Executions')
    client.see('Fail while selecting')
    client.see('Start a Batch')
    client.shot('administrator')

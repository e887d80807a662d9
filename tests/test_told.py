# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Who is told of the end of an execution, and how."""
import contextlib
import datetime as dt
import json
import re
from email import message_from_bytes, policy

import pytest
from aiosmtpd.controller import Controller
from books import open_ledger, write
from scene import PATIENCE, Scene

from devel.process import free_port, wait_for
from trytond.modules.batch import ledger
from trytond.modules.batch.digest import Digest
from trytond.modules.batch.overdue import rhythm

#: an address that the server of the mails refuses
REFUSED = 'nobody@example.com'


class Postbox:
    "An SMTP server that keeps what it takes."

    def __init__(self):
        self.mails = []
        self.port = free_port()
        self.controller = Controller(
            self, hostname='127.0.0.1', port=self.port)

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address == REFUSED:
            return '550 nobody has this address'
        envelope.rcpt_tos.append(address)
        return '250 OK'

    async def handle_DATA(self, server, session, envelope):
        self.mails.append(message_from_bytes(
                envelope.content, policy=policy.default))
        return '250 OK'

    @contextlib.contextmanager
    def closed(self):
        "Nobody answers meanwhile."
        self.controller.stop()
        try:
            yield
        finally:
            self.controller = Controller(
                self, hostname='127.0.0.1', port=self.port)
            self.controller.start()


@pytest.fixture(scope='module')
def postbox():
    box = Postbox()
    box.controller.start()
    yield box
    box.controller.stop()


def sections(postbox):
    return {'email': {
            'uri': 'smtp://127.0.0.1:%s' % postbox.port,
            'from': 'batches@example.com'}}


@pytest.fixture(scope='module')
def here(postbox):
    with Scene(sections=sections(postbox)) as scene:
        yield scene


@pytest.fixture(scope='module')
def there(postbox, postgresql, redis):
    with Scene(postgresql=postgresql, redis=redis,
            sections=sections(postbox)) as scene:
        scene.worker(2)
        yield scene


@pytest.fixture
def scene(here, postbox):
    here.reset()
    postbox.mails.clear()
    return here


SUBSCRIBE = '''\
from trytond.exceptions import UserError
from trytond.pool import Pool
from trytond.transaction import Transaction
from trytond.modules.batch.transaction import load_pool
load_pool(database)
with Transaction().start(database, 0):
    User, Data = Pool().get('res.user'), Pool().get('ir.model.data')
    for login, groups, active, address, subscriptions in json.loads(
            sys.argv[1]):
        groups = {Data.get_id('batch', 'group_' + name) for name in groups}
        with Transaction().set_context(active_test=False):
            users = User.search([('login', '=', login)]) or User.create([{
                        'login': login, 'name': login}])
        old = {group.id for group in users[0].groups}
        # Only who is active is told, but anybody may have subscribed
        User.write(users, {
                'email': address, 'active': active,
                'groups': [
                    ('remove', list(old - groups)),
                    ('add', list(groups - old))]})
        Subscription = Pool().get('batch.subscription')
        try:
            Subscription.create([
                    {'user': users[0].id, **s} for s in subscriptions])
        except UserError as error:
            Transaction().rollback()
            print(error.message)
'''
BOTH = {'by_notification': True, 'by_mail': True}


def subscribe(scene, *subscriptions, login='ann', groups=('batch',),
        active=True, address='ann@example.com'):
    return scene.script(SUBSCRIBE, json.dumps([
                [login, groups, active, address, [
                        {**BOTH, **s} for s in subscriptions]]]))


def notified(scene):
    "Return (login, label, description, records) of each notification."
    return [
        (login, label, description, json.loads(records or '[]'))
        for login, label, description, records in scene.execute(
            'SELECT u.login, n.label, n.description, n.records '
            'FROM res_notification AS n JOIN res_user AS u ON u.id = n."user" '
            'ORDER BY n.id')]


def mailed(postbox):
    return [(mail['To'], mail['Subject']) for mail in postbox.mails]


def last_lines(scene, name):
    "Return the end of the log, from the line that says how it ended."
    lines = scene.log(name)
    start = max(
        i for i, line in enumerate(lines)
        if '[FAILURE]' in line or '[SUCCESS]' in line)
    return '\n'.join(
        re.sub(r'^.*?(\[(FAILURE|SUCCESS)\] |#\d+ {3})', '', line)
        for line in lines[start:])


def test_who_subscribed_is_told_once_with_the_end_of_the_log(scene, postbox):
    scene.records(3, bad=[2])
    # Twice: for all batches and for this one
    subscribe(scene, {'event': 'failure'},
        {'event': 'end', 'batch': 'batch.scenario.bad'})
    subscribe(scene, {'event': 'failure', 'batch': 'batch.scenario.ok'},
        login='bob', address='bob@example.com')
    id = scene.batch('bad', status=1).id
    (login, label, description, records), = notified(scene)
    assert (login, records) == ('ann', [id])
    assert label.startswith('Failed: ')
    assert description == '3 selected, 2 done, 1 failed, 0 left'
    mail, = postbox.mails
    assert mail['To'] == 'ann@example.com'
    assert mail['From'] == 'batches@example.com'
    assert mail['Subject'] == '%s (#%s)' % (label, id)
    text = mail.get_content()
    assert 'coop retry %s' % id in text
    # Only what it begins with differs: a mail is not in the batch's log
    assert text.splitlines() == last_lines(scene, 'bad').replace(
        'batch.scenario.bad', 'batch.scenario.bad #%s' % id, 1).splitlines()


def test_a_success_is_told_to_who_wants_each_end(scene, postbox):
    scene.records(2)
    subscribe(scene, {'event': 'failure'})
    subscribe(scene, {'event': 'end', 'by_mail': False},
        login='bob', address='')
    scene.batch('ok', status=0)
    (login, label, _, _), = notified(scene)
    assert login == 'bob' and label.startswith('Done: ')
    assert postbox.mails == []


def test_a_dry_run_is_told_to_nobody(scene, postbox):
    scene.records(3, bad=[2])
    subscribe(scene, {'event': 'end'})
    scene.batch('bad', '--dry-run', status=1)
    assert notified(scene) == postbox.mails == []


def test_what_executed_nothing_is_told(scene, postbox):
    subscribe(scene, {'event': 'end'})
    scene.batch('ok', '--number', 'many', status=2)
    scene.batch('bad_selection', status=1)
    scene.configure({'batch.scenario.ok': {'disabled': 'yes'}})
    scene.batch('ok', status=0)
    labels = [label.partition(': ')[0] for _, label, _, _ in notified(scene)]
    assert labels == [
        'Refused, nothing was executed', 'Failed',
        'Disabled, nothing was executed']
    descriptions = [row[2] for row in notified(scene)]
    assert 'parameter "number" is "many"' in descriptions[0]
    assert len(postbox.mails) == 3


CANCEL = '''\
from trytond.modules.batch.engine import operations
id = operations.start(database, 'batch.scenario.ok', {})
print(operations.cancel(database, id, 'cancelled by hand'))
'''


def test_what_is_cancelled_before_it_began_is_told(scene, postbox):
    subscribe(scene, {'event': 'failure'})
    assert scene.script(CANCEL) == 'True\n'
    (_, label, description, _), = notified(scene)
    assert label.startswith('Cancelled: ')
    assert description == 'cancelled by hand'
    assert len(postbox.mails) == 1


@pytest.mark.parametrize('options', [
        {'groups': []}, {'active': False}])
def test_who_may_not_see_executions_is_not_told(scene, postbox, options):
    scene.records(3, bad=[2])
    subscribe(scene, {'event': 'failure'}, login='eve', **options)
    scene.batch('bad', status=1)
    assert notified(scene) == postbox.mails == []


def test_a_mail_that_is_refused_is_in_the_log_and_others_are_sent(
        scene, postbox):
    scene.records(3, bad=[2])
    subscribe(scene, {'event': 'failure'}, login='ann', address=REFUSED)
    subscribe(scene, {'event': 'failure'}, login='bob',
        address='bob@example.com')
    scene.batch('bad', status=1)
    assert len(notified(scene)) == 2
    assert [mail['To'] for mail in postbox.mails] == ['bob@example.com']
    problem, = [line for line in scene.log('bad') if 'was not sent' in line]
    assert 'the mail to %s on this end was not sent: SMTPRecipientsRefused' \
        % REFUSED in problem


def test_no_server_of_mails_fails_nothing_and_is_in_the_log(scene, postbox):
    scene.records(3)
    subscribe(scene, {'event': 'end'})
    subscribe(scene, {'event': 'end'}, login='bob', address='b@example.com')
    with postbox.closed():
        scene.batch('ok', status=0)
    problems = [line for line in scene.log('ok') if 'was not sent' in line]
    assert len(problems) == 2 and 'ConnectionRefused' in problems[0]
    assert len(notified(scene)) == 2


def test_what_goes_wrong_in_telling_fails_nothing(scene, postbox):
    scene.records(3)
    subscribe(scene, {'event': 'end'})
    scene.execute('CREATE TRIGGER refuse BEFORE INSERT ON res_notification '
        "BEGIN SELECT RAISE(ABORT, 'no more of it'); END")
    try:
        scene.batch('ok', status=0)
    finally:
        scene.execute('DROP TRIGGER refuse')
    assert 'nobody is told of the end: IntegrityError: no more of it' \
        in '\n'.join(scene.log('ok'))
    assert notified(scene) == postbox.mails == []


def test_what_nobody_could_be_told_by_is_refused(scene):
    assert 'Choose at least one way' in subscribe(
        scene, {'event': 'end', 'by_notification': False, 'by_mail': False})
    assert 'has no e-mail address' in subscribe(
        scene, {'event': 'end'}, address='')
    assert scene.execute('SELECT * FROM batch_subscription') == []


def test_workers_tell_once_and_so_does_the_keeper(there, postbox):
    there.reset()
    postbox.mails.clear()
    there.records(40, bad=[7])
    there.configure({'default': {'split_size': 5}})
    subscribe(there, {'event': 'end'})
    id = there.batch('bad', status=1).id
    wait_for(lambda: postbox.mails, PATIENCE, "send the mail")
    assert [row[3] for row in notified(there)] == [[id]]
    # As if its process had died: the keeper ends it
    there.execute("UPDATE batch_execution SET state = 'running', "
        "ended_at = NULL WHERE id = %s" % id)
    wait_for(lambda: len(postbox.mails) > 1, PATIENCE, "send another mail")
    assert [row[3] for row in notified(there)] == [[id], [id]]
    assert mailed(postbox)[0] == mailed(postbox)[1]


# The digest

RUN_CRON = '''\
from trytond.pool import Pool
from trytond.transaction import Transaction
from trytond.modules.batch.transaction import load_pool
pool = load_pool(database)
with Transaction().start(database, 0):
    Cron = pool.get('ir.cron')
    cron, = Cron.search([('method', '=', 'batch.subscription|send_digests')])
    Cron.write([cron], {'next_call': None})
    # What others do at this time is not looked at
    Cron.write(Cron.search([('id', '!=', cron.id)]), {'active': False})
Cron.run(database)
'''


def test_a_digest_is_sent_of_what_was_since_the_last_one(scene, postbox):
    scene.records(3, bad=[2])
    subscribe(scene, {'event': 'digest'})
    subscribe(scene, {'event': 'digest', 'batch': 'batch.scenario.ok',
            'by_mail': False}, login='bob')
    id = scene.batch('bad', status=1).id
    assert notified(scene) == postbox.mails == []
    with postbox.closed():
        scene.script(RUN_CRON)
    # It is sent the next time
    scene.script(RUN_CRON)
    told = {
        login: (label, records)
        for login, label, _, records in notified(scene)}
    assert told['ann'] == (
        'Batches: 1 ran, 1 failed, 0 overdue', [id])
    assert told['bob'] == (
        'Batches: 0 ran, 0 failed, 0 overdue', [])
    mail, = postbox.mails
    text = mail.get_body(('plain',)).get_content()
    assert '3 selected, 2 done, 1 failed' in text
    assert 'coop retry %s' % id in text
    html = mail.get_body(('html',)).get_content()
    assert '<h3>What failed</h3>' in html and '&quot;' in html
    scene.script(RUN_CRON)
    assert mailed(postbox)[1] == (
        'ann@example.com', 'Batches: 0 ran, 0 failed, 0 overdue')


NOW = dt.datetime(2026, 11, 27, 6)
SOLVE = '''\
from trytond.model.exceptions import AccessError
from trytond.pool import Pool
from trytond.transaction import Transaction
from trytond.modules.batch.transaction import load_pool
load_pool(database)
with Transaction().start(database, 0):
    user, = Pool().get('res.user').search([('login', '=', sys.argv[1])])
    error, = Pool().get('ir.error').search([('state', '!=', 'solved')])
    assert not error.origin or error.rec_name.endswith(error.origin.rec_name)
with Transaction().start(
        database, user.id, context={'_check_access': True}):
    Error = Pool().get('ir.error')
    try:
        Error.process([Error(error.id)])
        Error.solve([Error(error.id)])
    except AccessError:
        Transaction().rollback()
        print('refused')
'''


def listed(scene):
    return scene.execute(
        'SELECT origin, message, state FROM ir_error ORDER BY id')


def test_to_solve_the_error_of_an_execution_retries_it(there):
    there.reset()
    there.execute('DELETE FROM ir_error')
    there.records(3, bad=[2])
    only_error = {**dict.fromkeys(BOTH, False), 'by_error': True}
    for login in ['ann', 'bob']:
        assert not subscribe(
            there, {'event': 'end', **only_error}, login=login)
    failed = there.batch('bad', status=1)
    # Once, for both of them
    (origin, message, state), = listed(there)
    assert (origin, state) == ('batch.execution,%s' % failed.id, 'open')
    assert message.startswith('Failed: ')
    there.execute('UPDATE batch_scenario_record SET bad = false')
    assert there.script(SOLVE, 'ann').strip() == 'refused'
    assert there.execute(
        'SELECT id FROM batch_execution WHERE retry_of IS NOT NULL') == []
    there.script(SOLVE, 'admin')
    assert listed(there)[0][2] == 'solved'
    wait_for(lambda: there.treated() == {1: 1, 2: 1, 3: 1}, 30, "retry")


def test_the_digest_is_no_error(scene):
    assert 'at least one way' in subscribe(scene, {
            'event': 'digest', **dict.fromkeys(BOTH, False),
            'by_error': True})


HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)


def test_the_rhythm_of_a_batch_is_its_usual_gap():
    nightly = [NOW - i * DAY for i in range(5)]
    assert rhythm(nightly) == (DAY, HOUR)
    assert rhythm(nightly[:3]) is None
    # Some minutes more or less, and one night that was left out
    moved = [at + i * HOUR / 10 for i, at in enumerate(nightly)]
    assert rhythm([*moved, NOW - 6 * DAY])[0] == pytest.approx(
        DAY, abs=HOUR)
    assert rhythm([NOW - i ** 3 * HOUR for i in range(9)]) is None


@pytest.fixture
def books(here):
    with open_ledger(here) as cursor:
        yield cursor


def ran(cursor, start, seconds=10, batch='a.b', **columns):
    "Write an execution that is over."
    id = ledger.executions.create(cursor, batch, {})
    write(cursor, ledger.tables.execution_, id, **{
            'started_at': start,
            'ended_at': start + dt.timedelta(seconds=seconds),
            'state': 'succeeded', 'admission': 'admitted', 'done': 5,
            'failed': 0, 'left': 0, 'selected': 5, **columns})
    return id


def digest(cursor, until=NOW, **options):
    return Digest.load(cursor, until - DAY, until, **options)


def overdue(cursor, until=NOW):
    return [(late.last, late.expected)
        for late in digest(cursor, until).overdue]


def test_a_nightly_batch_that_did_not_come_is_overdue(books):
    last = NOW - 4 * HOUR - DAY
    for night in range(4, -1, -1):
        ran(books, last - night * DAY)
    # A retry is no start
    ran(books, NOW - HOUR, retry_of=1)
    assert overdue(books) == [(last, last + DAY)]
    # One hour later than usual is late
    assert overdue(books, last + DAY + HOUR) == []
    assert overdue(books, last + DAY + 2 * HOUR) == [(last, last + DAY)]
    # Nobody waits for it for ever
    assert overdue(books, last + 9 * DAY) == []
    ran(books, NOW - 4 * HOUR)
    assert overdue(books) == []


def test_a_batch_of_working_days_is_not_overdue_at_the_weekend(books):
    # Fridays of two weeks ago to this one, at two
    friday = dt.datetime(2026, 11, 27, 2)
    for day in range(14, -1, -1):
        if (friday - day * DAY).weekday() < 5:
            ran(books, friday - day * DAY)
    sunday = friday + 2 * DAY + 4 * HOUR
    assert overdue(books, sunday) == []
    assert overdue(books, sunday + DAY) == [(friday, friday + DAY)]


def test_what_took_unusually_long_is_told(books):
    for night in range(5, 1, -1):
        ran(books, NOW - night * DAY, seconds=100)
    ran(books, NOW - 20 * HOUR, seconds=150)
    long = ran(books, NOW - 10 * HOUR, seconds=250)
    running = ran(
        books, NOW - HOUR, state='running', ended_at=None, done=None)
    # Of another one nothing is known
    ran(books, NOW - 10 * HOUR, seconds=9999, batch='c.d')
    found = digest(books)
    assert [(s.execution['id'], s.seconds, s.usual) for s in found.slow] == [
        (long, 250, 100), (running, 3600, 100)]
    assert [row['id'] for row in found.running] == [running]
    assert digest(books, batches={'c.d'}).slow == []


def test_what_was_left_out_is_told(books):
    skipped = ran(books, NOW - HOUR, admission='skipped')
    refused = ran(
        books, NOW - HOUR, admission='refused', state='failed')
    window = ran(books, NOW - HOUR, state='failed', left=3)
    ran(books, NOW - HOUR, dry_run=True, left=3)
    found = digest(books)
    assert [row['id'] for row in found.left_out] == [skipped, refused, window]
    assert [row['id'] for row in found.failed] == [window]
    assert [o.id for o in found.outcomes] == [window]
    assert [(r.batch, r.executions, r.left) for r in found.ran] == [
        ('a.b', 1, 3)]


# The command

def test_the_command_reports_the_night(scene, postbox):
    scene.records(3, bad=[2])
    scene.configure({'batch.scenario.ok': {'disabled': 'yes'}})
    bad = scene.batch('bad', status=1).id
    idle = scene.batch('ok', status=0).id
    report = scene.coop('report', '--since', '2h', check=True).stdout
    assert report.startswith(
        'Batches: 1 ran, 1 failed, 0 overdue\nFrom ')
    assert 'What failed\n  #%s batch.scenario.bad: 3 selected, 2 done' % bad \
        in report
    assert 'What was left out\n  #%s ' % idle in report
    assert '0 of 1 executions succeeded, 2 done, 1 failed, 0 left' in report
    assert '<h3>What ran</h3>' in scene.coop(
        'report', '--html', check=True).stdout
    assert scene.coop('report', '--mail', 'me@example.com', '--mail',
        'you@example.com', check=True).stdout \
        == 'sent to me@example.com, you@example.com\n'
    assert [to for to, _ in mailed(postbox)] == [
        'me@example.com', 'you@example.com']
    refused = scene.coop('report', '--mail', REFUSED)
    assert refused.returncode == 1
    assert 'the report was not sent to "%s"' % REFUSED in refused.stderr


@pytest.mark.parametrize('since, expected', [
        ('tomorrow', 'expected yesterday, today, a date as YYYY-MM-DD'),
        ('0h', 'expected yesterday'), ('', 'expected yesterday'),
        ('12:00', 'expected yesterday'),
        ('2999-01-01', 'expected a moment that has passed')])
def test_a_wrong_moment_is_refused(scene, since, expected):
    result = scene.coop('report', '--since', since)
    assert result.returncode == 2
    assert 'is "%s", %s' % (since, expected) in result.stderr

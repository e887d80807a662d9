# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the client shows, and what it does for whom, without a browser."""
import json

import pytest
from scene import Scene

#: the widgets that a list of sao and of the GTK client has
WIDGETS = {
    'binary', 'boolean', 'callto', 'char', 'date', 'dict', 'email', 'float',
    'image', 'integer', 'many2many', 'many2one', 'numeric', 'one2many',
    'one2one', 'progressbar', 'reference', 'selection', 'multiselection',
    'sip', 'text', 'time', 'timedelta', 'url'}
LISTS = '''\
from lxml import etree
from trytond.pool import Pool
from trytond.pyson import PYSONDecoder
from trytond.transaction import Transaction
from trytond.modules.batch.transaction import load_pool
load_pool(database)
found = []
with Transaction().start(database, 1, readonly=True):
    View = Pool().get('ir.ui.view')
    for view in View.search([
            ('module', '=', 'batch'), ('type', '=', 'tree')]):
        got = Pool().get(view.model).fields_view_get(view.id)
        for field in etree.fromstring(got['arch']).iter('field'):
            name = field.get('name')
            found.append([view.name, name, field.get('widget')
                    or got['fields'][name]['type']])
    buttons = Pool().get('ir.model.button').search([
            ('model', 'like', 'batch.%')])
    Window = Pool().get('ir.action.act_window')
    searched = []
    for window in Window.search([('res_model', 'like', 'batch.%')]):
        clauses = PYSONDecoder().decode(window.pyson_search_value or '[]')
        listed = Pool().get(window.res_model).fields_view_get(
            None, 'tree')['fields']
        searched.extend(
            [window.name, clause[0], clause[0] in listed]
            for clause in clauses or [])
    print(json.dumps([found, [
                    [b.name, [g.name for g in b.groups]] for b in buttons],
                searched]))
'''


@pytest.fixture(scope='module')
def still():
    "A scene whose records nobody changes."
    with Scene() as scene:
        yield scene


@pytest.fixture(scope='module')
def views(still):
    return json.loads(still.script(LISTS))


def test_each_field_of_a_list_has_a_widget_that_lists_have(views):
    lists, *_ = views
    assert len(lists) > 20
    assert [row for row in lists if row[2] not in WIDGETS] == []


def test_each_button_has_a_group(views):
    _, buttons, _ = views
    assert len(buttons) >= 3
    assert [name for name, groups in buttons if not groups] == []


def test_what_a_window_searches_is_in_the_list_of_its_model(views):
    # The web client reads there which fields it may search, and breaks
    *_, searched = views
    assert len(searched) >= 3
    assert [row for row in searched if not row[2]] == []


ACCESS = '''\
from trytond.exceptions import UserError
from trytond.model.exceptions import AccessButtonError, AccessError
from trytond.transaction import Transaction
from trytond.modules.batch.transaction import load_pool
pool = load_pool(database)
MODELS = ['batch.execution', 'batch.execution.chunk', 'batch.failure',
    'batch.execution.input', 'batch.execution.error', 'batch.night',
    'batch.summary']
with Transaction().start(database, 0):
    Data, User = pool.get('ir.model.data'), pool.get('res.user')
    users = {'root': 0}
    for name in ['batch', 'batch_operator', 'batch_starter', None]:
        user, = User.create([{
                    'login': str(name), 'name': str(name),
                    'groups': [('add', [Data.get_id(
                                    'batch', 'group_' + name)])]
                    if name else []}])
        users[str(name)] = user.id
    admin, = User.search([('login', '=', 'admin')])
    users['admin'] = admin.id
    Transaction().commit()


def may(function):
    try:
        function()
    except (AccessError, AccessButtonError):
        return False
    except UserError as error:
        # Only what is behind the door says so
        assert 'broker' in error.message or 'over' in error.message, error
    return True


found = {}
for login, user in users.items():
    with Transaction().start(
            database, user, readonly=True,
            context={'_check_access': True}) as transaction:
        Execution = pool.get('batch.execution')
        Failure = pool.get('batch.failure')
        Menu, Start = pool.get('ir.ui.menu'), pool.get(
            'batch.start', type='wizard')
        failed = Execution(int(sys.argv[1]))
        top = pool.get('ir.model.data').get_id('batch', 'menu_batch')
        told = found[login] = {
            'read': [name for name in MODELS
                if may(lambda: pool.get(name).search([]))],
            'change': [name for name in MODELS if may(
                    lambda: pool.get(name).create([{}])) or may(
                    lambda: pool.get(name).write([], {})) or may(
                    lambda: pool.get(name).delete([]))],
            'menu': sorted(m.name for m in Menu.search([
                        'OR', ('id', '=', top), ('parent', '=', top)])),
            'wizard': may(lambda: Start.check_access()),
            'values': may(lambda: pool.get('batch.execution.value').read(
                    [failed.id * 10 ** 6 + 500000], ['name'])),
            'button': may(lambda: Execution.retry([failed])),
            }
print(json.dumps(found))
'''
MENU = ['Batches', 'Dashboard', 'Executions', 'Failures', 'Subscriptions']


@pytest.fixture(scope='module')
def access(still):
    still.records(3, bad=[2])
    id = still.batch('bad', status=1).id
    return json.loads(still.script(ACCESS, str(id)))


def test_nobody_changes_the_ledger_by_hand(access):
    assert [login for login, may in access.items() if may['change']] == []


@pytest.mark.parametrize('login, menu, wizard, button', [
        ('batch', MENU, False, False),
        ('batch_operator', MENU, False, True),
        ('batch_starter', [*MENU, 'Start a Batch'], True, False),
        ('admin', [*MENU, 'Start a Batch'], True, True)])
def test_each_group_may_do_what_it_is_for(access, login, menu, wizard, button):
    may = access[login]
    assert len(may['read']) == 7 and may['values']
    assert may['menu'] == sorted(menu)
    assert (may['wizard'], may['button']) == (wizard, button)


def test_others_see_nothing(access):
    may = access['None']
    assert may == {
        'read': [], 'change': [], 'menu': [], 'wizard': False,
        'values': False, 'button': False}


SUBSCRIPTIONS = '''\
from trytond.model.exceptions import AccessError
from trytond.transaction import Transaction
from trytond.modules.batch.transaction import load_pool
pool = load_pool(database)
User = pool.get('res.user')
found = {}
with Transaction().start(database, 0):
    users = {user.login: user.id for user in User.search([])}
for login in ['batch', 'batch_operator', 'admin', 'None']:
    with Transaction().start(
            database, users[login],
            context={'_check_access': True}) as transaction:
        Subscription = pool.get('batch.subscription')

        def may(user):
            try:
                subscription, = Subscription.create([{
                            'user': user, 'event': 'end',
                            'by_notification': True}])
                Subscription.write([subscription], {'event': 'digest'})
                [s.rec_name for s in Subscription.search([])]
                Subscription.delete([subscription])
            except AccessError:
                return False
            return True
        found[login] = [may(users[login]), may(users['batch_starter'])]
        transaction.rollback()
print(json.dumps(found))
'''


def test_each_user_subscribes_and_operators_do_so_for_others(still, access):
    assert json.loads(still.script(SUBSCRIPTIONS)) == {
        'batch': [True, False], 'batch_operator': [True, True],
        'admin': [True, True], 'None': [False, False]}


RELATED = '''\
from trytond.pyson import PYSONDecoder
from trytond.transaction import Transaction
from trytond.modules.batch.transaction import load_pool
pool = load_pool(database)
with Transaction().start(database, 0, readonly=True):
    Keyword, Failure = pool.get('ir.action.keyword'), pool.get('batch.failure')
    relate, = [
        action for action in Keyword.get_keyword(
            'form_relate', ('batch.scenario.record', -1))
        if action.get('res_model') == 'batch.failure']
    found = []
    for ids in [[2], [3], [2, 3]]:
        domain = PYSONDecoder({
                'active_model': 'batch.scenario.record',
                'active_id': ids[0], 'active_ids': ids}).decode(
            relate['pyson_domain'])
        found.append([f.shown_unit for f in Failure.search(domain)])
print(json.dumps(found))
'''


def test_the_failures_of_a_record_are_related_to_it(still, access):
    shown = ['record 2 (2)']
    assert json.loads(still.script(RELATED)) == [shown, [], shown]


in_process = pytest.mark.parametrize('stage', ['in-process'], indirect=True)
FINISHED = '''\
from trytond.pool import Pool
from trytond.transaction import Transaction
from trytond.modules.batch.transaction import load_pool
load_pool(database)
with Transaction().start(database, 1, readonly=True):
    execution = Pool().get('batch.execution')(int(sys.argv[1]))
    print(execution.can_resume, execution.is_settled, execution.can_retry)
'''


@in_process
def test_a_finish_that_failed_is_resumed_and_is_not_settled(scene, tmp_path):
    scene.records(2)
    execution = scene.batch('merging', '--directory', str(tmp_path),
        '--way', 'badly', status=1)
    assert scene.script(FINISHED, str(execution.id)).split() == [
        'True', 'False', 'False']


REFUSED = '''\
from trytond.exceptions import UserError
from trytond.modules.batch import client_actions, tasks
from trytond.modules.batch.transaction import load_pool
from trytond.pool import Pool
from trytond.transaction import Transaction
# Nobody listens there
tasks.celery_app.conf.broker_url = 'redis://127.0.0.1:1/0'
load_pool(database)
for act in [
        lambda: client_actions.start('batch.scenario.ok', {}),
        lambda: client_actions._begin(*client_actions.operations.retry(
                database, int(sys.argv[1])))]:
    with Transaction().start(database, 1, readonly=True):
        try:
            act()
        except UserError as error:
            print(error.message)
'''


@in_process
def test_what_the_broker_refuses_is_undone(scene):
    scene.records(3, bad=[2])
    failed = scene.batch('bad', status=1)
    before = scene.last_execution()
    started, retried = scene.script(REFUSED, str(failed.id)).splitlines()
    assert 'does not answer' in started and 'does not answer' in retried
    rows = scene.execute(
        'SELECT state FROM batch_execution WHERE id > %s' % before)
    assert [state for state, in rows] == ['cancelled', 'cancelled']
    assert scene.treated() == {1: 1, 3: 1}
    # Its failures are still there to be retried
    assert scene.execute(
        'SELECT state, retried_by FROM batch_failure WHERE execution = %s'
        % failed.id) == [('open', None)]


SUMMED_UP = '''\
import datetime as dt
from trytond.modules.batch import ledger
from trytond.modules.batch.transaction import load_pool
from trytond.pool import Pool
from trytond.transaction import Transaction
load_pool(database)
HOUR = dt.timedelta(hours=1)
with Transaction().start(database, 1) as transaction:
    cursor = transaction.connection.cursor()
    execution_ = ledger.tables.execution_
    now = ledger.tables.now(cursor)

    def add(batch, ago, took=1, state='succeeded', **values):
        row = {
            'batch': 'batch.scenario.' + batch, 'given': '{}', 'state': state,
            'admission': 'admitted', 'dry_run': False,
            'started_at': now - ago * HOUR,
            'ended_at': now - (ago - took) * HOUR, 'failed': 0, **values}
        cursor.execute(*execution_.insert(
                [getattr(execution_, n) for n in row], [list(row.values())]))

    # Every ten hours; the last one 9, 16 and 101 hours ago
    for batch, last in [('ok', 9), ('bad', 16), ('rows', 101)]:
        for number in reversed(range(5)):
            add(batch, last + 10 * number, 1 + number % 2)
    # Neither a retry nor a run that changes nothing is a start
    cursor.execute(*execution_.select(execution_.id, limit=1))
    first, = cursor.fetchone()
    add('bad', 3, retry_of=first, took=3)
    add('bad', 2, dry_run=True)
    # Three starts have two gaps, and a minute is no gap at all
    for number in reversed(range(3)):
        add('files', 40 + 10 * number)
    for number in reversed(range(5)):
        add('slow', 1 + number / 60, 0.01)
    add('groups', 5, 0, admission='skipped')
    # The night to today began at the noon of yesterday
    noon = dt.datetime.combine(now, dt.time(12)) - 48 * HOUR
    for hours, failed in [(-1, 1), (1, 2), (13, 4)]:
        add('once', 0, state='failed', failed=failed,
            started_at=noon + hours * HOUR)
    Night, Summary = Pool().get('batch.night'), Pool().get('batch.summary')
    days = {noon.date() - dt.timedelta(days=n): n for n in [0, 1]}
    transaction.set_context(_check_access=False)
    print(json.dumps({
        'overdue': [
            [s.batch, round((s.expected - s.started).total_seconds() / 3600)]
            for s in Summary.search([('is_overdue', '=', True)])],
        'others': [
            s.batch for s in Summary.search([('is_overdue', '=', False)])
            if s.is_overdue or s.expected],
        'durations': {
            s.batch.rpartition('.')[2]: [
                s.duration and s.duration.total_seconds() / 3600,
                s.usual_duration and s.usual_duration.total_seconds() / 3600,
                s.minutes]
            for s in Summary.search([])},
        'labels': sorted(s.label for s in Summary.search([])),
        'nights': [
            [days[n.night], n.failed, n.failed_units]
            for n in Night.search([]) if n.night in days and n.failed]}))
'''


def test_executions_are_summed_up_by_night_and_by_batch(scene):
    found = json.loads(scene.script(SUMMED_UP))
    assert found['overdue'] == [['batch.scenario.bad', 10]]
    assert not found['others']
    assert found['durations']['ok'] == [1, 1, 60]
    assert found['durations']['groups'] == [None, None, None]
    assert found['nights'] == [[0, 2, 6], [1, 1, 1]]
    assert 'Treat every record' in found['labels']
    assert max(map(len, found['labels'])) <= 35


COUNTED = '''\
from trytond.modules.batch.transaction import load_pool
from trytond.pool import Pool
from trytond.transaction import Transaction
load_pool(database)
with Transaction().start(database, 1, readonly=True) as transaction:
    connection = transaction.connection
    for model, view in [
            ('batch.execution', 'execution_list'),
            ('batch.failure', 'failure_list')]:
        Model = Pool().get(model)
        view, = Pool().get('ir.ui.view').search([('name', '=', view)])
        names = list(Model.fields_view_get(view.id)['fields'])
        counts = []
        for limit in [2, 10]:
            ids = [r.id for r in Model.search([], limit=limit)]
            assert len(ids) == limit
            statements = []
            connection.set_trace_callback(statements.append)
            with Transaction().set_current_transaction(transaction):
                Model.read(ids, names)
            connection.set_trace_callback(None)
            counts.append(len(statements))
        print(*counts)
'''


@in_process
def test_a_longer_list_takes_no_more_statements(scene):
    scene.records(20, bad=range(5, 15))
    scene.run_all('bad', [{}] * 10)
    for line in scene.script(COUNTED).splitlines():
        short, long = map(int, line.split())
        assert 0 < long <= short

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The test kit: inside of the transaction of a test, and on its own.

Here on SQLite in memory; the last test runs most of it on PostgreSQL.
"""
import contextlib
import datetime as dt
import json
import logging
import os
import re
import socket
import subprocess
import sys
import unittest
from decimal import Decimal
from pathlib import Path

import pytest
from scene import TABLES
from test_docs import ROOT, blocks

import trytond.config as config
from devel.site import Site
from trytond.cache import Cache
from trytond.exceptions import UserError
from trytond.modules.batch.engine import turn
from trytond.modules.batch.exceptions import (
    ConfigError, DefinitionError, ExecutionError, ParameterError,
    UnknownBatchError, WorkerLostError)
from trytond.modules.batch.testing import (
    BatchTestMixin, FailOnError, resume_batch, retry_batch, run_batch)
from trytond.pool import Pool
from trytond.tests.test_tryton import (
    DB_NAME, activate_module, db_exist, drop_db)
from trytond.transaction import Transaction


@pytest.fixture(scope='module')
def database():
    existed = DB_NAME != ':memory:' and db_exist(DB_NAME)
    activate_module('batch_scenarios')
    yield
    if not existed:
        drop_db()


class Way:
    "How the kit runs: inside of a transaction, or on its own."

    def __init__(self, inside):
        self.inside = inside

    def transaction(self):
        if self.inside:
            return contextlib.nullcontext(Transaction())
        return Transaction().start(DB_NAME, 1)

    def records(self, count, bad=(), party=None):
        "Make records; return their ids."
        with self.transaction():
            Record = Pool().get('batch.scenario.record')
            return [r.id for r in Record.create([{
                            'name': 'record %s' % i, 'bad': i in bad,
                            'party': party and party(i)}
                        for i in range(count)])]

    def treated(self):
        "Return how often each record was treated, for those that were."
        with self.transaction():
            Record = Pool().get('batch.scenario.record')
            return {r.id: r.treated for r in Record.search([]) if r.treated}

    def count(self, table):
        with self.transaction() as transaction:
            cursor = transaction.connection.cursor()
            cursor.execute('SELECT COUNT(*) FROM %s' % table)
            return cursor.fetchone()[0]

    def notes(self):
        with self.transaction():
            Record = Pool().get('batch.scenario.record')
            return [r.note for r in Record.search([], order=[('id', 'ASC')])]

    @staticmethod
    def run(name, **options):
        return run_batch('batch.scenario.%s' % name, **options)


@pytest.fixture(params=['inside', 'alone'])
def way(request, database):
    if request.param == 'inside':
        yield request.getfixturevalue('inside')
        return
    yield Way(False)
    with Transaction().start(DB_NAME, 0) as transaction:
        for table in TABLES:
            transaction.connection.cursor().execute('DELETE FROM %s' % table)


@pytest.fixture
def inside(database):
    # As with_transaction() of trytond does it
    with Transaction().start(DB_NAME, 1) as transaction:
        yield Way(True)
        transaction.rollback()
    Cache.drop(DB_NAME)


def once(ids):
    return {id: 1 for id in ids}


# What it came to

def test_all_that_was_done_is_told(way):
    ids = way.records(10)
    outcome = way.run('ok', settings={'split_size': 4})
    assert way.treated() == once(ids)
    assert outcome.succeeded and outcome.state == 'succeeded'
    assert (outcome.selected, outcome.done) == (10, ids)
    assert (outcome.failed, outcome.left) == ({}, [])
    assert [(c.number, c.state, c.units) for c in outcome.chunks] == [
        ('1', 'done', ids[:4]), ('2', 'done', ids[4:8]),
        ('3', 'done', ids[8:])]
    assert outcome.numbers == {'treated': 10}
    assert outcome.files == [] and outcome.message is None
    assert re.match(
        r'INFO \S+ #%s starts in database ' % outcome.execution,
        outcome.log[0])
    assert '[SUCCESS] batch.scenario.ok: 10 selected' in outcome.log[-2]


def test_nothing_to_do_is_a_success(way):
    outcome = way.run('ok')
    assert outcome.succeeded
    assert (outcome.selected, outcome.done, outcome.chunks) == (0, [], [])


def test_a_batch_that_selects_nothing_has_one_unit(way):
    assert way.run('once').done == [None]
    assert way.count('batch_scenario_record') == 1
    outcome = way.run('once', fail_on=[None])
    assert isinstance(outcome.failed[None], FailOnError)
    outcome = way.run('once', kill_on=[None])
    assert isinstance(outcome.failed[None], WorkerLostError)
    assert way.count('batch_scenario_record') == 1


def test_a_group_is_named_whole_or_by_a_part(way):
    ids = way.records(6, party=lambda i: i // 2)
    outcome = way.run(
        'groups', fail_on=[ids[0]], kill_on=[tuple(ids[4:])])
    assert outcome.done == [ids[2:4]]
    assert list(outcome.failed) == [tuple(ids[:2]), tuple(ids[4:])]
    assert isinstance(outcome.failed[tuple(ids[:2])], FailOnError)
    assert isinstance(outcome.failed[tuple(ids[4:])], WorkerLostError)
    assert way.treated() == once(ids[2:4])


def test_a_row_is_named_whole_or_by_its_id(inside, monkeypatch):
    ids = inside.records(4)
    Batch = Pool().get('batch.scenario.rows')
    rows = [(id, dt.date(2026, 1, i + 1), Decimal('1.10'))
        for i, id in enumerate(ids)]
    monkeypatch.setattr(
        Batch, 'select_ids', classmethod(lambda cls: rows), raising=False)
    outcome = inside.run('rows', fail_on=[ids[1], rows[3]])
    assert outcome.done == [rows[0], rows[2]]
    assert list(outcome.failed) == [rows[1], rows[3]]


# What fails

def test_a_unit_that_is_to_fail_is_isolated(way):
    ids = way.records(20)
    outcome = way.run(
        'ok', settings={'split_size': 10}, fail_on=[ids[3], ids[12]])
    assert not outcome.succeeded and outcome.state == 'failed'
    assert list(outcome.failed) == [ids[3], ids[12]]
    for id, error in outcome.failed.items():
        assert isinstance(error, FailOnError) and str(id) in str(error)
    others = [id for id in ids if id not in outcome.failed]
    assert outcome.done == others and way.treated() == once(others)
    assert {c.state for c in outcome.chunks} == {'split', 'done', 'failed'}
    assert outcome.numbers == {'treated': 18}


def test_the_error_of_the_author_is_kept(way):
    ids = way.records(9, bad=[4])
    outcome = way.run('bad')
    (unit, error), = outcome.failed.items()
    assert unit == ids[4]
    assert type(error) is UserError
    assert error.message == 'The record "record 4" is bad.'
    log = '\n'.join(outcome.log)
    assert 'Traceback' in log and 'testing.py' not in log


def test_a_failed_attempt_leaves_no_trace(way):
    ids = way.records(9, bad=[4])
    outcome = way.run('bad_at_work')
    assert way.treated() == once(id for id in ids if id != ids[4])
    assert way.count('ir_queue') == 0
    assert outcome.files == []
    assert isinstance(outcome.failed[ids[4]], ZeroDivisionError)


def test_a_unit_that_kills_its_process_is_isolated(way):
    ids = way.records(20)
    outcome = way.run(
        'ok', settings={'split_size': 10}, kill_on=[ids[7]])
    (unit, error), = outcome.failed.items()
    assert unit == ids[7]
    assert isinstance(error, WorkerLostError)
    assert str(error) == 'worker lost (signal 9)'
    assert way.treated() == once(id for id in ids if id != ids[7])
    first, = [c for c in outcome.chunks if c.number == '1']
    assert first.state == 'split' and first.attempts == 2


@pytest.mark.parametrize('kill_on', [[], [5]], ids=['living', 'dying'])
def test_redelivery_changes_nothing(way, kill_on, monkeypatch):
    delivered, take_turn = [], turn.take_turn

    def counting(database, execution, chunk, **options):
        delivered.append((chunk, options['again']))
        take_turn(database, execution, chunk, **options)

    monkeypatch.setattr(turn, 'take_turn', counting)
    ids = way.records(12)
    outcome = way.run(
        'ok', settings={'split_size': 3}, deliveries=3, fail_on=[ids[1]],
        kill_on=[ids[i] for i in kill_on])
    assert list(outcome.failed) == [ids[1], *(ids[i] for i in kill_on)]
    assert outcome.selected == 12
    assert way.treated() == once(outcome.done)
    assert outcome.numbers == {'treated': len(outcome.done)}
    assert way.count('batch_execution') == 1
    chunks, again = zip(*delivered)
    assert all(chunks.count(chunk) >= 3 for chunk in chunks)
    assert again[:3] == (False, True, True)


def test_what_is_not_reached_is_left(way):
    ids = way.records(30)
    outcome = way.run('ok', settings={'split_size': 1}, fail_on=ids)
    assert outcome.state == 'failed' and 'broken release' in outcome.message
    assert outcome.left == ids[20:] and list(outcome.failed) == ids[:20]


def test_a_selection_that_fails_is_told(way):
    outcome = way.run('bad_selection')
    assert outcome.state == 'failed' and outcome.selected == 0
    assert outcome.message.startswith(
        'the selection failed: ZeroDivisionError: no selection today')


# Files and tasks

def test_files_appear_where_nobody_named_a_place(way):
    ids = way.records(6, bad=[1])
    outcome = way.run('files', settings={'split_size': 3})
    contents = sorted(path.read_text() for path in outcome.files)
    assert ''.join(contents).split() == [
        str(id) for id in ids if id != ids[1]]
    root_dir = Path(outcome.files[0].parent)
    assert sorted(root_dir.iterdir()) == sorted(outcome.files)
    del outcome
    assert not root_dir.exists()


def test_files_appear_in_the_root_dir_of_the_test(way, tmp_path):
    way.records(2)
    outcome = way.run('files', settings={
            'root_dir': tmp_path, 'filepath_template': 'here/%{FILENAME}'})
    assert outcome.files == [tmp_path / 'here' / 'records.txt']
    del outcome
    assert (tmp_path / 'here' / 'records.txt').exists()


def test_tasks_are_run_that_a_chunk_queued_and_no_others(way):
    ids = way.records(6, bad=[1])
    way.run('tasks', settings={'split_size': 3})
    assert way.treated() == once(id for id in ids if id != ids[1])


def test_tryton_may_ask_for_another_transaction(way):
    ids = way.records(4)
    assert way.run('locking').done == ids
    assert way.treated() == once(ids)


# What it is given

def test_parameters_are_values_or_texts(way):
    way.records(1)
    way.run('ok', treatment_date=dt.date(2026, 2, 1), number=7)
    way.run('ok', treatment_date='2026-02-02', number='8', text='none')
    assert way.notes() == ['2026-02-02 none 8']
    assert way.run('once', crash=True).failed.keys() == {None}


@pytest.mark.parametrize('options, error, text', [
        ({'numbr': 1}, ParameterError, 'did you mean "number"?'),
        ({'number': 'x'}, ParameterError, 'expected a whole number'),
        ({'number': dt.date(2026, 1, 1)}, ParameterError, 'whole number'),
        ({'treatment_date': 5}, ParameterError, 'expected a date'),
        ({'number': None}, ParameterError, 'is None, expected'),
        ({'settings': {'spilt_size': 1}}, ConfigError, '"split_size"?'),
        ({'settings': {'split_size': 0}}, ConfigError, 'from 1 to 1000000'),
        ({'settings': {'user': 'nobody'}}, ConfigError, 'an active user'),
        ])
def test_what_a_command_refuses_is_refused(way, options, error, text):
    ids = way.records(1)
    with pytest.raises(error) as caught:
        way.run('ok', **options)
    assert text in str(caught.value)
    # And nothing is in the way afterwards
    assert way.run('ok').done == ids


def test_what_is_missing_is_refused(way):
    with pytest.raises(ParameterError, match='"path" is missing'):
        way.run('required')
    with pytest.raises(UnknownBatchError, match='batch.scenario.ok"'):
        way.run('okk')
    with pytest.raises(ConfigError, match='only right with 1'):
        way.run('numbering', settings={'split_size': 2})


def test_a_split_that_loses_units_is_refused(way, monkeypatch):
    way.records(3)
    monkeypatch.setattr(
        Pool(DB_NAME).get('batch.scenario.ok'), 'split',
        classmethod(lambda cls, units: [list(units)[1:]]), raising=False)
    with pytest.raises(DefinitionError, match='2 units in its chunks'):
        way.run('ok')


def test_a_unit_that_can_not_fail_is_refused(way):
    ids = way.records(2)
    for option in ['fail_on', 'kill_on']:
        with pytest.raises(ValueError, match='not selected'):
            way.run('ok', **{option: [max(ids) + 1]})
    with pytest.raises(ValueError, match='1 or more'):
        way.run('ok', deliveries=0)


# The mails that are not sent

def test_mails_are_told_and_never_sent(way, monkeypatch):
    ids = way.records(4, bad=[2])
    # Nobody answers there, and nobody is asked
    monkeypatch.setattr(socket, 'create_connection', refuse)
    outcome = way.run('mailing', settings={'split_size': 1})
    # By a transaction: of what was committed
    assert [m.message['Subject'] for m in outcome.mails] == [
        'record %s' % i for i in [0, 1, 3]] + ['at once', 'by hand', 'end']
    assert list(outcome.failed) == [ids[2]]
    mail = outcome.mails[0]
    assert mail.from_addr == 'from@example.com'
    assert mail.to_addrs == ['to@example.com', 'hidden@example.com']
    assert mail.message.get_content() == 'Ü\n'


def refuse(*args, **options):
    raise AssertionError(args)


# The hook finish

def test_finish_is_called_by_the_kit(way, tmp_path):
    way.records(5)
    outcome = way.run(
        'merging', settings={'split_size': 2}, directory=tmp_path)
    assert outcome.succeeded
    text, = [f.read_text() for f in outcome.files if f.name == 'all.txt']
    assert text.endswith('succeeded: 5 of 5, 5\n')
    assert len(list(tmp_path.glob('called-*'))) == 1


# Retry and resume

def test_what_failed_is_retried(way):
    ids = way.records(5)
    outcome = way.run('ok', fail_on=[ids[1], ids[3]])
    again = retry_batch(outcome, fail_on=[ids[3]])
    assert again.done == [ids[1]]
    assert isinstance(again.failed[ids[3]], FailOnError)
    assert again.execution != outcome.execution
    last = retry_batch(again.execution)
    assert last.succeeded and last.done == [ids[3]]
    assert way.treated() == once(ids)
    with pytest.raises(ExecutionError, match='has no failed units'):
        retry_batch(last)


def test_what_was_stopped_is_resumed(way):
    ids = way.records(6)
    outcome = way.run('files', settings={
            'split_size': 1, 'concurrency': 1, 'max_failures': 0},
        fail_on=[ids[2]])
    assert outcome.left == ids[3:]
    more = resume_batch(outcome)
    assert more.execution == outcome.execution
    assert more.done == ids[:2] + ids[3:] and more.left == []
    assert more.failed == outcome.failed
    del outcome
    assert len(more.files) == 5 and all(f.exists() for f in more.files)
    with pytest.raises(ExecutionError, match='nothing of it is left'):
        resume_batch(more)
    with pytest.raises(ExecutionError, match='does not exist'):
        resume_batch(10 ** 6)


def test_finish_that_failed_is_called_again(way, tmp_path):
    way.records(2)
    outcome = way.run('merging', directory=tmp_path, way='badly')
    assert (outcome.state, outcome.done) == ('failed', outcome.done)
    assert 'finish failed: UserError: It can not be sent.' in outcome.message
    (tmp_path / 'go').touch()
    assert resume_batch(outcome).succeeded


# Started from code

def test_what_a_test_starts_is_run_by_resume(inside):
    ids = inside.records(3)
    Started = Pool().get('batch.scenario.started')
    execution = Started.start(chunk=ids[:2])
    outcome = resume_batch(execution)
    assert outcome.succeeded and outcome.done == ids[:2]
    assert inside.notes() == 2 * [
        'batch.scenario.started #%s' % execution] + [None]


def test_what_a_chunk_starts_is_run_after_its_commit(way):
    ids = way.records(4, bad=[2])
    outcome = way.run('starting', settings={'split_size': 2})
    assert list(outcome.failed) == [ids[2]]
    assert set(way.treated()) == {ids[0], ids[1], ids[3]}


# What it leaves behind

def test_the_configuration_of_the_machine_does_not_count(
        way, tmp_path, monkeypatch):
    file = tmp_path / 'batch.conf'
    file.write_text('[batch.scenario.ok]\nsplit_size = 1\nspilt_size = 2\n')
    existed = config.has_section('batch')
    if not existed:
        config.add_section('batch')
    config.set('batch', 'config_file', str(file))
    (tmp_path / 'log').mkdir()
    config.set('batch', 'log_dir', str(tmp_path / 'log'))
    try:
        way.records(3)
        assert len(way.run('ok').chunks) == 1
        assert config.get('batch', 'config_file') == str(file)
        assert config.options('batch') == ['config_file', 'log_dir']
    finally:
        config.remove_section('batch')
        # Forgets what was asked before
        config.set('cache', 'transaction', config.get('cache', 'transaction'))
    assert list((tmp_path / 'log').iterdir()) == []


def test_without_a_configuration_there_is_none_afterwards(way):
    before = config.options('cache'), config.get('cache', 'clean_timeout')
    assert not config.has_section('batch')
    way.run('ok')
    with pytest.raises(ParameterError):
        way.run('ok', nothing=1)
    assert not config.has_section('batch')
    assert config.get('batch', 'config_file') is None
    assert (config.options('cache'),
        config.get('cache', 'clean_timeout')) == before


def test_lines_are_kept_however_logging_is_configured(way, monkeypatch):
    way.records(2, bad=[0])
    logger = logging.getLogger('batch')
    handlers = list(logger.handlers)
    monkeypatch.setattr(logging.root.manager, 'disable', logging.CRITICAL)
    monkeypatch.setattr(logger, 'level', logging.CRITICAL)
    outcome = way.run('bad')
    assert any(re.match(r'INFO \S+ #', line) for line in outcome.log)
    assert len(outcome.failed) == 1
    assert logger.handlers == handlers
    assert logger.level == logging.root.manager.disable == logging.CRITICAL


def test_an_execution_with_the_number_of_another_is_not_taken_for_it(
        database):
    numbers = set()
    for text in ['first', 'second']:
        with Transaction().start(DB_NAME, 1) as transaction:
            way = Way(True)
            way.records(1)
            numbers.add(way.run('ok', text=text).execution)
            assert text in way.notes()[0]
            transaction.rollback()
    # Where they have the same; PostgreSQL never gives one twice
    assert len(numbers) <= 2


# Inside of a transaction

def test_all_of_it_is_gone_with_the_transaction(database):
    way = Way(True)
    with Transaction().start(DB_NAME, 1) as transaction:
        ids = way.records(6)
        outcome = way.run('tasks', fail_on=[ids[0]], kill_on=[ids[1]])
        assert len(outcome.done) == 4 and way.count('batch_execution') == 1
        transaction.rollback()
    with Transaction().start(DB_NAME, 1):
        for table in TABLES:
            assert way.count(table) == 0


def test_before_anything_was_written_nothing_is_committed(database):
    with Transaction().start(DB_NAME, 1) as transaction:
        Way.run('once')
        transaction.rollback()
    with Transaction().start(DB_NAME, 1):
        assert Way(True).count('batch_scenario_record') == 0


def test_the_transaction_goes_on_as_it_was(inside):
    transaction = Transaction()
    with transaction.set_context(company=7):
        ids = inside.records(3)
        Record = Pool().get('batch.scenario.record')
        records = Record.browse(ids)
        assert [r.treated for r in records] == [0, 0, 0]
        Record.__queue__.treat(records[:1])
        tasks = list(transaction.tasks)
        inside.run('ok', fail_on=[ids[1]])
        # Those that were read before see what was done
        assert [r.treated for r in records] == [1, 0, 1]
        assert Transaction() is transaction
        assert transaction.context['company'] == 7 and transaction.user == 1
        assert transaction.tasks == tasks != []
        transaction.tasks.clear()


def test_what_the_test_did_and_did_not_commit_is_seen(inside):
    user, = Pool().get('res.user').create([{
                'name': "Night", 'login': 'night'}])
    ids = inside.records(3)
    outcome = inside.run('ok', settings={'user': 'night'})
    assert outcome.done == ids
    Record = Pool().get('batch.scenario.record')
    assert {r.user for r in Record.browse(ids)} == {user.id}


def test_a_record_of_the_test_can_be_read_by_the_batch(inside, monkeypatch):
    ids = inside.records(2)
    Record = Pool().get('batch.scenario.record')
    record = Record(ids[0])
    # So that it has to be read
    for cache in Transaction().cache.values():
        cache.clear()

    def get_batch_domain(cls):
        return [('name', '=', record.name)]

    monkeypatch.setattr(
        Pool().get('batch.scenario.ok'), 'get_batch_domain',
        classmethod(get_batch_domain), raising=False)
    assert inside.run('ok').done == ids[:1]
    assert Transaction().connection is not None
    assert record.treated == 1


def test_a_transaction_within_the_batch_commits_nothing_either(
        database, monkeypatch):
    def execute(cls, objects, ids):
        Record = Pool().get('batch.scenario.record')
        with Transaction().new_transaction():
            Record.create([{'name': 'new'}])
        with Transaction().new_transaction() as transaction:
            Record.create([{'name': 'dropped'}])
            transaction.rollback()
        with Transaction().new_transaction(autocommit=True) as transaction:
            Record.create([{'name': 'automatic'}])
            transaction.rollback()

    way = Way(True)
    with Transaction().start(DB_NAME, 1) as transaction:
        monkeypatch.setattr(
            Pool().get('batch.scenario.once'), 'execute',
            classmethod(execute), raising=False)
        assert way.run('once').succeeded
        assert way.count('batch_scenario_record') == 2
        transaction.rollback()
    with Transaction().start(DB_NAME, 1):
        assert way.count('batch_scenario_record') == 0


# What Tryton caches

@pytest.fixture
def grouping(database, monkeypatch):
    """Let a batch give the user of the tests one more group per attempt.

    Tryton caches who is in which group, for all transactions of a process.
    Gives what was found at the beginning and at the end of each attempt.
    """
    found = []

    def execute(cls, objects, ids):
        found.append(groups())
        group, = Pool().get('res.group').create([{'name': str(ids)}])
        User = Pool().get('res.user')
        User.write([User(user())], {'groups': [('add', [group.id])]})
        found.append(groups())

    monkeypatch.setattr(
        Pool(DB_NAME).get('batch.scenario.ok'), 'execute',
        classmethod(execute), raising=False)
    return found


def groups():
    with Transaction().set_user(user()):
        return len(Pool().get('res.user').get_groups())


def user():
    "Return the id of the user of the tests."
    user, = Pool().get('res.user').search([('login', '=', 'admin')])
    return user.id


ONE_BY_ONE = {'split_size': 1, 'concurrency': 1}


def test_what_is_cached_of_a_failed_attempt_is_forgotten(inside, grouping):
    ids = inside.records(3)
    before = groups()
    inside.run(
        'ok', settings=ONE_BY_ONE, fail_on=ids[:1], kill_on=ids[1:2])
    # Failed, killed twice, done
    assert grouping == 4 * [before, before + 1]
    assert groups() == before + 1


def test_what_the_test_had_read_before_is_read_again(inside, grouping):
    inside.records(2)
    admin = Pool().get('res.user')(user())
    before = len(admin.groups)
    inside.run('ok', settings=ONE_BY_ONE)
    assert len(admin.groups) == before + 2


def test_nothing_is_cached_when_the_transaction_is_gone(database, grouping):
    way = Way(True)
    with Transaction().start(DB_NAME, 1) as transaction:
        before = groups()
        ids = way.records(2)
        # The last attempt reads what is not committed, and caches it
        way.run('ok', settings=ONE_BY_ONE, fail_on=ids[1:])
        transaction.rollback()
    with Transaction().start(DB_NAME, 1):
        assert groups() == before


# The batches of a module

class Checks(BatchTestMixin):
    module = 'batch_scenarios'
    only = 'batch.scenario.ok'

    def batches(self):
        return {self.only: super().batches()[self.only]}


def check(test, **attributes):
    "Run a test of the mixin; return what went wrong, and for which batch."
    class Case(Checks, unittest.TestCase):
        pass

    result = unittest.TestResult()
    case = Case(test)
    vars(case).update(attributes)
    case.run(result)
    assert result.testsRun == 1
    return [
        (test.params['batch'], trace.strip().splitlines()[-1])
        for test, trace in result.errors + result.failures]


TESTS = sorted(
    name for name in vars(BatchTestMixin) if name.startswith('test_'))


@pytest.mark.parametrize('test', TESTS)
@pytest.mark.parametrize('name', [
        'ok', 'required', 'given', 'once', 'groups', 'slow', 'months'])
def test_a_good_batch_passes_all_checks(database, test, name):
    assert check(test, only='batch.scenario.%s' % name) == []


def test_the_batches_of_the_module_are_checked_and_no_others(database):
    class Case(BatchTestMixin, unittest.TestCase):
        module = 'batch_scenarios'

    with Transaction().start(DB_NAME, 1):
        names = Case('test_batch_docstrings').batches()
    assert 'batch.scenario.ok' in names
    assert 'ir.ui.view.validate' not in names


def test_a_batch_without_a_docstring_is_reported(database, monkeypatch):
    from trytond.modules.batch_scenarios.scenarios import Ok
    monkeypatch.setattr(Ok, '__doc__', None)
    (name, text), = check('test_batch_docstrings')
    assert name == 'batch.scenario.ok' and 'it has no docstring' in text


@pytest.mark.parametrize('name, value, test, text', [
        ('_default_config_items', {'spilt_size': 1}, 'settings',
            'did you mean "split_size"?'),
        ('_default_config_items', {'split_size': 'many'}, 'settings',
            'expected a whole number'),
        ('execute', lambda cls, objects, ids, x=set(): None,
            'parameters', 'a default of the type set'),
        ('execute', lambda cls, objects: None,
            'parameters', 'must take (cls, objects, ids)'),
        ('get_batch_main_model_name', lambda cls: 'no.model',
            'selections', 'no.model'),
        ('get_batch_domain', lambda cls: [('nme', '=', 'x')],
            'selections', 'nme'),
        ('split', lambda cls, units: units.missing,
            'selections', 'missing'),
        ('convert_to_instances', lambda cls: [],
            'parameters', 'must take (cls, ids)'),
        ])
def test_a_bad_batch_is_reported(
        database, monkeypatch, name, value, test, text):
    if isinstance(value, type(lambda: None)):
        value = classmethod(value)
    Batch = Pool(DB_NAME).get('batch.scenario.ok')
    monkeypatch.setattr(Batch, name, value, raising=False)
    (batch, line), = check('test_batch_%s' % test)
    assert batch == 'batch.scenario.ok' and text in line


def test_a_selection_that_fails_is_reported(database):
    (_, line), = check(
        'test_batch_selections', only='batch.scenario.bad_selection')
    assert line == 'ZeroDivisionError: no selection today'


def test_the_parameters_of_the_module_come_first(database):
    required = 'batch.scenario.required'
    for values, problems in [
            ({'path': Path('/')}, 0), ({'path': ''}, 1), ({'pth': 'x'}, 1)]:
        assert len(check(
                'test_batch_parameters', only=required,
                batch_parameters={required: values})) == problems


# As coop does it

KIT = '''\
from trytond.modules.batch.testing import run_batch
from trytond.modules.batch.transaction import load_pool
from trytond.transaction import Transaction
load_pool(database)
insert, *cases = json.loads(sys.argv[1])
for name, bad, parameters in cases:
    with Transaction().start(database, 1) as transaction:
        cursor = transaction.connection.cursor()
        for i in range(1, 10):
            cursor.execute(insert, (i, 'record %s' % i, i in bad, i // 2))
        outcome = run_batch('batch.scenario.%s' % name, **parameters)
        cursor.execute(
            'SELECT id, treated, note FROM batch_scenario_record ORDER BY id')
        print(json.dumps([
                    cursor.fetchall(), outcome.state, outcome.message,
                    outcome.selected, outcome.numbers, len(outcome.files),
                    [[c.number, c.state, len(c.units), c.attempts]
                        for c in outcome.chunks],
                    [type(e).__name__ for e in outcome.failed.values()],
                    ]))
        transaction.rollback()
'''
INSERT = 'INSERT INTO batch_scenario_record ' \
    '(id, name, bad, party, treated) VALUES (?, ?, ?, ?, 0)'
CASES = [
    ('ok', [], {'text': 'x'}), ('bad_at_work', [3, 7], {}),
    ('files', [3, 7], {}), ('once', [], {'crash': True}),
    ('groups', [3, 7], {}), ('old_style', [], {}), ('bad_selection', [], {}),
    ('tasks', [3, 7], {}), ('locking', [], {}), ('numbering', [], {}),
    ('rows', [3, 7], {}), ('gone', [3], {}),
    ('failing', [3, 7], {'way': 'left_over'}),
    ]


@pytest.fixture(scope='module')
def told(stage):
    "What the kit says of each case."
    # Another test file may have left records
    stage.reset()
    # Before anything is imported: trytond's tests have a pool of their own
    return stage.script(
        KIT, json.dumps([INSERT, *CASES]),
        env={'DB_NAME': stage.database}).splitlines()


@pytest.mark.parametrize('stage', ['in-process'], indirect=True)
@pytest.mark.parametrize('case', CASES, ids=lambda case: case[0])
def test_it_is_as_with_coop(told, scene, case):
    name, bad, parameters = case
    scene.records(9, bad=bad, party=lambda i: i // 2)
    execution = scene.batch(name, '--json', *(
            arg for key, value in parameters.items()
            for arg in (['--' + key] if value is True
                else ['--' + key, value])))
    records, state, message, selected, numbers, files, chunks, errors = \
        json.loads(told[CASES.index(case)])
    said = json.loads(execution.stdout)
    assert records == [list(row) for row in scene.execute(
            'SELECT id, treated, note FROM batch_scenario_record ORDER BY id')]
    assert (state, message, selected, numbers) == tuple(
        said[key] for key in ['state', 'message', 'selected', 'numbers'])
    assert files == len(scene.files())
    assert chunks == [
        [c['number'], c['state'], c['size'], c['attempts']]
        for c in execution.chunks]
    assert sorted(errors) == sorted(
        c['error_type'] for c in execution.in_state('failed')
        for _ in range(c['size']))


# As the document says

def test_the_test_file_of_the_document_passes(tmp_path):
    text = (ROOT / 'doc' / 'testing.rst').read_text(encoding='utf-8')
    code, *_ = blocks(text, 'python')
    (tmp_path / 'test_module.py').write_text(code)
    result = subprocess.run(
        [sys.executable, '-W', 'error', '-W', 'ignore::DeprecationWarning',
            '-W', 'ignore::ResourceWarning', '-m', 'unittest', '-v'],
        cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert re.search(r'^test_whatever_happens ', result.stderr, re.MULTILINE)


# On PostgreSQL

def test_on_postgresql(postgresql, tmp_path):
    with Site(tmp_path, postgresql=postgresql) as site:
        site.init('batch_scenarios', template='scenarios')
        (tmp_path / 'trytond.conf').write_text(
            # Caches are then watched by a thread with its own connection
            '[database]\nuri = %s\n[cache]\nclean_timeout = 0\n'
            % postgresql.uri)
        result = subprocess.run(
            [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider',
                __file__, '-k',
                'not coop and not document and not postgresql'],
            env={**os.environ, **site.env, 'DB_NAME': site.database},
            capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert ' passed' in result.stdout

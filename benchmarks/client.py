# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Open the screens as the web client does, in the environment of a site:

    python -m benchmarks.client EXECUTION RUNNING REPEATS

Prints, as JSON, what all calls of each screen took, of each repetition: the
seconds of CPU of the server and of its process of PostgreSQL, and those that
passed.  Each call has a transaction of its own, as a request has.
"""
import json
import os
import sys
import time

import trytond.config as config

config.update_etc([os.environ['TRYTOND_CONFIG']])

from trytond.modules.batch.transaction import load_pool  # noqa: E402
from trytond.pyson import PYSONDecoder  # noqa: E402
from trytond.transaction import Transaction  # noqa: E402

DATABASE = os.environ['TRYTOND_DATABASE_NAMES']
#: what the web client asks for: ids of a list, the count of a tab at most,
#: and rows that are read at once
IDS, COUNT, ROWS = 1000, 1000, 100


class Client:
    "A user who reads, and how long that took."

    def __init__(self):
        self.pool = load_pool(DATABASE)
        with Transaction().start(DATABASE, 0) as transaction:
            User = self.pool.get('res.user')
            Data = self.pool.get('ir.model.data')
            user, = User.search([('login', '=', 'reader')]) or User.create([{
                        'login': 'reader', 'name': 'reader',
                        'groups': [('add', [
                                    Data.get_id('batch', 'group_batch')])],
                        }])
            self.user = user.id
            transaction.commit()
        self.busy = self.passed = 0

    def call(self, model, method, *args, **context):
        started, busy = time.monotonic(), time.process_time()
        with Transaction().start(
                DATABASE, self.user, readonly=True,
                context={**context, '_check_access': True}) as transaction:
            pid = transaction.connection.info.backend_pid
            of_database = on_cpu(pid)
            result = getattr(self.pool.get(model), method)(*args)
            of_database = on_cpu(pid) - of_database
        self.busy += time.process_time() - busy + of_database
        self.passed += time.monotonic() - started
        return result

    def of_module(self, name):
        "Return what the module has under this name."
        with Transaction().start(DATABASE, 0, readonly=True):
            Data = self.pool.get('ir.model.data')
            data, = Data.search([
                    ('module', '=', 'batch'), ('fs_id', '=', name)])
            return data.db_id

    def view(self, model, name):
        "Return the definitions of the fields of a view."
        id = self.of_module(name)
        with Transaction().start(DATABASE, self.user, readonly=True):
            return self.pool.get(model).fields_view_get(id)['fields']

    def tabs(self, name):
        "Return the (domain, whether it is counted) of an action's tabs."
        id = self.of_module(name)
        with Transaction().start(DATABASE, 0, readonly=True):
            Window = self.pool.get('ir.action.act_window')
            return [
                (PYSONDecoder({}).decode(tab.domain or '[]'), tab.count)
                for tab in Window(id).act_window_domains]

    def open_list(self, model, view, tabs, domain=()):
        "Show a list, in its first tab, with the counts of all."
        fields = self.view(model, view)
        for number, (tab, is_counted) in enumerate(tabs or [([], False)]):
            whole = ['AND', tab, list(domain)]
            if number == 0:
                ids = self.call(model, 'search', whole, 0, IDS, None)
                if len(ids) == IDS:
                    self.call(model, 'search_count', whole, 0, IDS * 100)
                self.read(model, ids, fields)
            if is_counted:
                self.call(model, 'search_count', whole, 0, COUNT)
        return ids

    def read(self, model, ids, fields):
        ids = [int(id) for id in ids[:ROWS]]
        return self.call(
            model, 'read', ids, [*fields, 'rec_name', '_timestamp'])

    def open_form(self, model, view, id, lists):
        "Show a form, and the lists in it that can be seen at once."
        row, = self.read(model, [id], self.view(model, view))
        self.open_tabs(row, lists)
        return row

    def open_tabs(self, row, lists):
        "Show lists that are in a form."
        for name, relation, list_ in lists:
            self.read(relation, row[name], self.view(relation, list_))


def on_cpu(pid):
    "Return the seconds for which a process was on a core."
    with open('/proc/%s/schedstat' % pid) as file:
        return int(file.read().split()[0]) / 1e9


def main(execution, running, repeats):
    client = Client()
    executions = client.tabs('act_execution_form')
    failures = client.tabs('act_failure_form')
    shown = [
        ('errors', 'batch.execution.error', 'execution_error_view_list'),
        ('first_failures', 'batch.failure',
            'failure_view_list_execution')]
    in_tabs = [
        ('first_chunks', 'batch.execution.chunk',
            'execution_chunk_view_list'),
        ('parameter_values', 'batch.execution.value',
            'execution_value_view_list'),
        ('setting_values', 'batch.execution.value',
            'execution_value_view_list'),
        ('output_files', 'batch.execution.file',
            'execution_file_view_list')]

    def list_of(model, view, tabs=None, domain=()):
        return lambda: client.open_list(model, view, tabs, domain)

    def form_of(id):
        return lambda: client.open_form(
            'batch.execution', 'execution_view_form', id, shown)

    past = form_of(execution)()

    def dashboard():
        for model, view, domain in [
                ('batch.execution', 'execution_view_list_running',
                    [('state', 'in', ['selecting', 'running'])]),
                ('batch.summary', 'summary_view_list',
                    [('is_overdue', '=', True)]),
                ('batch.night', 'night_view_graph', []),
                ('batch.summary', 'summary_view_graph', [])]:
            client.open_list(model, view, None, domain)

    screens = {
        'executions: what failed':
            list_of('batch.execution', 'execution_view_list', executions),
        'executions: all': list_of(
            'batch.execution', 'execution_view_list',
            [executions[-1], *executions[:-1]]),
        'an execution': form_of(execution),
        'an execution: its other tabs':
            lambda: client.open_tabs(past, in_tabs),
        'an execution that runs': form_of(running),
        'failures: to do':
            list_of('batch.failure', 'failure_view_list', failures),
        'failures: all': list_of(
            'batch.failure', 'failure_view_list',
            [failures[-1], *failures[:-1]]),
        'failures of a record': list_of(
            'batch.failure', 'failure_view_list', domain=[
                ('record', '=', 'batch.scenario.record,7')]),
        'dashboard': dashboard,
        }
    seconds = {}
    for name, open_ in screens.items():
        # What is cached for all screens is no part of one
        open_()
        seconds[name] = []
        for _ in range(repeats):
            client.busy = client.passed = 0
            open_()
            seconds[name].append([client.busy, client.passed])
    print(json.dumps(seconds))


if __name__ == '__main__':
    main(*map(int, sys.argv[1:]))

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A site with records of the scenarios, and what happened on it."""
import fcntl
import json
import os
import re
import select
import shutil
import sys
from collections import Counter
from functools import cached_property
from pathlib import Path
from subprocess import PIPE

from preloaded import Nursery

from devel.process import Process, wait_for
from devel.site import Site

__all__ = ['Execution', 'Scene', 'make_once', 'one_line']

#: what a test may leave behind, in the order in which it can be deleted
TABLES = [
    'batch_failure', 'batch_execution_input', 'batch_execution_chunk',
    'batch_execution', 'batch_subscription', 'res_notification',
    'batch_scenario_record', 'batch_scenario_key', 'ir_queue']
#: seconds for whatever is awaited, on a busy machine
PATIENCE = 30


def make_once(path, make):
    "Return the path, which make(path) has made in one process of a run."
    with open('%s.lock' % path, 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            making = path.with_name(path.name + '.making')
            make(making)
            making.rename(path)
    return path


class Scene(Site):
    """A site with the module of the scenarios.

    With workers it is on PostgreSQL and Redis, and its batches run on one
    worker of two processes; else on SQLite, in the command itself.
    """
    #: directory of what the processes of a run share
    templates = None

    def __init__(self, postgresql=None, redis=None, **options):
        super().__init__(
            postgresql=postgresql, redis=redis, sqlite=not postgresql,
            **options)
        self.on_workers = bool(redis)
        self._nursery = None
        self._commands = 0
        self._connection = None
        if not postgresql and self.templates:
            self._sqlite_templates['scenarios'] = make_once(
                self.templates / 'scenarios.sqlite', self._make_template)
        self.init('batch_scenarios', template='scenarios')

    def _make_template(self, path):
        self.init('batch_scenarios')
        shutil.move(self._sqlite_path(self.database), path)

    def _popen(self, args, env=None, **options):
        "Start a command, from the second one on where its imports end."
        args = list(map(str, args))
        whole = {**self.env, **(env or {})}
        if sys.platform != 'linux' or not {'stdout', 'stderr'}.issuperset(
                options):
            return super()._popen(args, env, **options)
        self._commands += 1
        if self._nursery is None and self._commands > 1:
            self._nursery = Nursery(self)
        if self._nursery is None or not self._nursery.takes(args, whole):
            return super()._popen(args, env, **options)
        return Child(
            args, self._nursery, text=True, env=whole, cwd=self.directory,
            **{'stdout': PIPE, 'stderr': PIPE, **options})

    def _start_worker(self, args, env, **options):
        "Start a worker; one that comes after another, as a command."
        args = list(map(str, args))
        if self._workers == 1 or self._nursery is None \
                or not self._nursery.takes(args, env, is_again=True):
            return super()._start_worker(args, env=env, **options)
        return Child(args, self._nursery, env=env, **options)

    def execute(self, sql, parameters=()):
        "Execute one statement on the database; return its rows."
        if not self.postgresql:
            return super().execute(sql, parameters)
        cursor = self._connect().execute(sql, parameters or None)
        return cursor.fetchall() if cursor.description else []

    def execute_all(self, statements):
        "Execute statements on the database, in one transaction."
        if self.postgresql:
            self.execute('; '.join(statements))
        else:
            super().execute_all(statements)

    def _connect(self):
        # To begin a session takes longer than most statements, and what is
        # awaited is looked for many times.  What a server says unasked is
        # that it ends the session.
        if self._connection and (self._connection.closed
                or select.select([self._connection], [], [], 0)[0]):
            self._disconnect()
        if not self._connection:
            self._connection = self.postgresql.connect(
                self.database, autocommit=True, prepare_threshold=None)
        return self._connection

    def _disconnect(self):
        if self._connection:
            self._connection.close()
            self._connection = None

    def close(self):
        self._disconnect()
        super().close()

    def stop(self, timeout=15):
        super().stop(timeout)
        if self._nursery is not None:
            self._nursery.stop()
            self._nursery = None

    def reset(self):
        "Forget what the last test left."
        self.execute_all('DELETE FROM %s' % table for table in TABLES)
        self.configure()
        shutil.rmtree(self.out_dir)
        os.mkdir(self.out_dir)
        for path in Path(self.log_dir).glob('*.log'):
            if not path.name.startswith('worker-'):
                path.unlink()

    # What there is

    def records(self, count, bad=(), party=None):
        "Make records with the ids from 1 on; some of them bad."
        bad = set(bad)
        self.execute(
            'INSERT INTO batch_scenario_record '
            '(id, name, bad, party, treated) VALUES ' + ', '.join(
                "(%s, 'record %s', %s, %s, 0)" % (
                    i, i, 'true' if i in bad else 'false',
                    party(i) if party else i)
                for i in range(1, count + 1)))

    def treated(self):
        "Return how often each record was treated, for those that were."
        return dict(self.execute(
                'SELECT id, treated FROM batch_scenario_record '
                'WHERE treated > 0'))

    def column(self, name):
        "Return the values of a column of the records, by id."
        return dict(self.execute(
                'SELECT id, %s FROM batch_scenario_record ORDER BY id'
                % name))

    def rows(self, sql, *names):
        # Quoted, since "left" is a word of SQL
        return [
            dict(zip(names, row)) for row in self.execute(
                sql % ', '.join(map('"{}"'.format, names)))]

    def files(self):
        "Return the paths of all outputs, those that are hidden too."
        return [p for p in Path(self.out_dir).rglob('*') if p.is_file()]

    # What happens

    def batch(self, name, *args, status=None, **options):
        """Run a batch to its end; return its Execution.

        Checks the exit status where one is given.
        """
        result = self.coop(
            'batch', 'batch.scenario.%s' % name, *args, **options)
        if status is not None:
            assert result.returncode == status, (
                result.stdout + result.stderr)
        return Execution(self, result)

    def start_batch(self, name, *args):
        "Start a batch; return the process of the command."
        return self.start_coop('batch', 'batch.scenario.%s' % name, *args)

    def last_execution(self):
        "Return the id of the last execution, None without any."
        return self.execute('SELECT MAX(id) FROM batch_execution')[0][0]

    def state(self, execution):
        (state,), = self.execute(
            'SELECT state FROM batch_execution WHERE id = %s' % execution)
        return state

    def script(self, text, *args, env=None):
        "Run Python in the environment of the site; return what it prints."
        return self.run(
            [sys.executable, '-c', PREAMBLE + text, *args],
            check=True, env=env).stdout

    def cases(self, begin, cases):
        """Run Python for each case in one process; return what each raised.

        :param begin: what comes before all of them
        :param cases: the code by the name of the case, each in a namespace of
            its own
        :return: a traceback by the name of the case, or None
        """
        return json.loads(self.script(begin + RUN, json.dumps(cases)))

    def deliver(self, messages):
        """Deliver messages of Celery and wait until they are treated.

        A message is the name of a task with its args and kwargs.
        """
        ids = json.loads(self.script(DELIVER, json.dumps(messages)))
        if self.on_workers:
            for id in ids:
                self.wait_for_task(id)

    def run_all(self, name, givens):
        """Run a batch with each of the parameters; return the Executions.

        All of them from one process, which takes less time than commands.
        """
        self.script(RUN_ALL, 'batch.scenario.%s' % name, json.dumps(givens))
        wait_for(
            lambda: self.execute(
                "SELECT COUNT(*) FROM batch_execution "
                "WHERE state NOT IN ('selecting', 'running')")
            == [(len(givens),)], 2 * PATIENCE, "end all executions")
        ids = {
            given: id for id, given in self.execute(
                'SELECT id, given FROM batch_execution')}
        return [Execution(self, id=ids[json.dumps(g)]) for g in givens]

    def wait_for_task(self, id):
        ended = re.compile(r'\[%s\] (succeeded|raised)' % id)
        found = wait_for(
            lambda: ended.search(self.worker_log()), PATIENCE,
            "treat the message %s" % id)
        assert found[1] == 'succeeded', self.worker_log()

    def worker_log(self):
        return ''.join(
            path.read_text() for path in sorted(
                Path(self.log_dir).glob('worker-*.log')))

    def log(self, name):
        "Return the lines of the log file of a batch."
        path = Path(self.log_dir, 'batch.scenario.%s.log' % name)
        return path.read_text().splitlines()


class Child(Process):
    "A process of the Nursery."

    def __init__(self, args, nursery, **options):
        self.nursery = nursery
        super().__init__(args, **options)

    def _execute_child(self, args, *options):
        # As that of Popen has them, in all versions of Python
        (_, _, _, _, cwd, env, _, _, _, stdin, _, _, stdout, _, stderr,
            *_) = options
        self.pid = self.nursery.start(
            list(args), env, cwd, [stdin, stdout, stderr])
        self._child_created = True
        self._close_pipe_fds(*options[9:15])


#: trytond reads its configuration before anything of it is imported
PREAMBLE = '''\
import json, os, sys
import trytond.config as config
config.update_etc([os.environ['TRYTOND_CONFIG']])
database = os.environ['TRYTOND_DATABASE_NAMES']
'''
RUN = '''
import traceback
errors = {}
for name, code in json.loads(sys.argv[1]).items():
    try:
        exec(code, dict(globals()))
        errors[name] = None
    except BaseException:
        errors[name] = traceback.format_exc()
print(json.dumps(errors))
'''
DELIVER = '''\
from trytond.modules.batch import tasks
ids = []
for name, args, kwargs in json.loads(sys.argv[1]):
    task = getattr(tasks, name)
    kwargs['_database'] = database
    if tasks.has_broker():
        ids.append(task.apply_async(args=args, kwargs=kwargs).id)
    else:
        ids.append(task.apply(args=args, kwargs=kwargs, throw=True).id)
print(json.dumps(ids))
'''


RUN_ALL = '''\
from collections import deque
import signal
from trytond.modules.batch import ledger, tasks
from trytond.modules.batch.engine import selection, turn
from trytond.modules.batch.transaction import load_pool, transact
# As the command does: that of Python tells an operator, not a hook
signal.signal(signal.SIGINT, lambda *_: None)
todo = deque()

def send(execution, chunk, number=None):
    todo.append((execution, chunk))

for given in json.loads(sys.argv[2]):
    if tasks.has_broker():
        tasks.generate_all.apply_async(
            args=[sys.argv[1]],
            kwargs={'parameters': given, '_database': database})
        continue
    selection.select_and_plan(
        database, sys.argv[1], given=given, send=send)
    while todo:
        turn.take_turn(database, *todo.popleft(), send=send)
'''


class Execution:
    "An execution of a scene, as the command and the ledger have it."

    def __init__(self, scene, result=None, id=None):
        self.scene = scene
        self.id = id or scene.last_execution()
        if result is not None:
            self.status = result.returncode
            self.stdout = result.stdout
            self.stderr = result.stderr

    @cached_property
    def row(self):
        row, = self.scene.rows(
            'SELECT %%s FROM batch_execution WHERE id = %s' % self.id,
            'id', 'batch', 'state', 'selected', 'duplicates', 'done',
            'failed', 'left', 'message', 'error_type', 'traceback',
            'started_at', 'ended_at')
        return row

    @cached_property
    def chunks(self):
        "The chunks in the order of their numbers, parts after their parent."
        rows = self.scene.rows(
            'SELECT %%s FROM batch_execution_chunk WHERE execution = %s'
            % self.id, 'id', 'number', 'parent', 'units', 'size', 'state',
            'attempts', 'started_at', 'ended_at', 'error_type', 'error',
            'traceback', 'files')
        for row in rows:
            row['place'] = tuple(map(int, row['number'].split('.')))
            row['units'] = row['units'] and json.loads(row['units'])
            row['files'] = json.loads(row['files'] or '[]')
        return sorted(rows, key=lambda row: row['place'])

    @property
    def planned(self):
        return [c for c in self.chunks if c['parent'] is None]

    def in_state(self, *states):
        return [c for c in self.chunks if c['state'] in states]

    @property
    def states(self):
        "How many chunks there are in each state."
        return Counter(c['state'] for c in self.chunks)

    @property
    def failed_units(self):
        return sorted(u for c in self.in_state('failed') for u in c['units'])

    def log(self):
        "Return the lines of this execution in the log file of its batch."
        _, _, name = self.row['batch'].partition('scenario.')
        return [
            line for line in self.scene.log(name) if self.marked(line)]

    def marked(self, line):
        return re.search(r'(^|\s)#%s(\.\d+)*(\s|$)' % self.id, line)


def one_line(result, status, *texts):
    """Check that a command failed with one clear line on stderr, and no more.

    Lines that only say how it goes end with no status and are none of it.
    """
    assert result.returncode == status, result.stdout + result.stderr
    assert result.stdout == ''
    lines = [
        line for line in result.stderr.splitlines()
        if not line.endswith(': started')]
    assert 'Traceback' not in result.stderr, result.stderr
    assert len(lines) == 1, result.stderr
    for text in texts:
        assert text in lines[0], result.stderr
    return lines[0]

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The libraries still have the private attributes that are used of them."""
import argparse
import ast
import os
import re
import time
from pathlib import Path
from types import SimpleNamespace

import billiard
from celery.app.control import Control
from celery.concurrency import prefork

from devel.process import wait_for
from trytond.backend.postgresql.database import Database
from trytond.modules.batch import internals, tasks
from trytond.transaction import Transaction

ROOT = Path(__file__).resolve().parent.parent


def test_trytond_has_a_stack_of_transactions():
    stack = internals.stack_of(Transaction())
    assert stack.transactions[-1] is Transaction()
    assert isinstance(stack.tasks, list)


def test_trytond_has_the_parameters_of_a_connection():
    assert {'conninfo', 'fallback_application_name'} <= set(
        internals.connection_parameters(Database, 'x'))


def test_billiard_has_jobs_and_processes():
    with billiard.Pool(1) as inner:
        pool = SimpleNamespace(_pool=inner)
        pid, = internals.processes_of(pool)
        assert internals.jobs_of(pool) == []
        sleeps = inner.apply_async(time.sleep, [60])
        job, = internals.jobs_of(pool)
        assert internals.number_of(job) == sleeps._job
        wait_for(lambda: job.worker_pids() == [pid], 10, "begin")
        assert pid != os.getpid()
        inner.terminate()
    # What Celery calls a pool has it under the name that is looked for
    assert '_pool' in Path(prefork.__file__).read_text()


def test_no_other_pool_has_any():
    pool = SimpleNamespace(_pool=object())
    assert internals.jobs_of(pool) == internals.processes_of(pool) == []
    assert internals.jobs_of(object()) == []


def test_argparse_has_the_actions_of_a_parser():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument('--days')
    assert [a.dest for a in internals.arguments_of(parser)] == ['days']


def test_kombu_has_a_pool_of_producers():
    control = Control(tasks.celery_app)
    assert control.mailbox._producer_pool is not None
    internals.forget_producers(control)
    assert control.mailbox._producer_pool is None


def test_nobody_else_reaches_in():
    "But for os._exit, and what is convention among the modules of Tryton."
    known = {'_exit', '_fields', '_replace', '_table'}
    for path in (ROOT / 'batch').rglob('*.py'):
        if path.name == 'internals.py':
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if (isinstance(node, ast.Attribute)
                    and re.match('_[a-z]', node.attr)
                    and node.attr not in known
                    and not (isinstance(node.value, ast.Name)
                        and node.value.id in {'self', 'cls'})
                    and not ast.unparse(node.value).startswith('super(')):
                raise AssertionError('%s:%s reaches for %s' % (
                        path, node.lineno, node.attr))

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A worker whose process dies at one step of the end of an execution.

Named by ``config`` in [celery] of trytond.conf.  BATCH_FATAL_STEP names the
step, BATCH_FATAL_MARK a file that is made first: so it dies only once.
"""
import contextlib
import os
import signal
from pathlib import Path
from unittest import mock

from trytond.modules.batch import ledger
from trytond.modules.batch.engine import turn
from trytond.modules.batch.outcome import Outcome
from trytond.transaction import Transaction

#: the steps, in the order in which they come: what it dies before or after
STEPS = {
    'asked': (ledger.executions, 'is_over', 'before'),
    'counted': (ledger.figures, 'counts', 'before'),
    'written': (ledger.executions, 'update', 'after'),
    'committed': (Transaction, 'commit', 'after'),
    'said': (Outcome, 'text', 'before'),
    }


def die():
    mark = Path(os.environ['BATCH_FATAL_MARK'])
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def fatal(real, when, is_ending):
    def function(*args, **kwargs):
        if when == 'before':
            die()
        result = real(*args, **kwargs)
        if when == 'after' and is_ending():
            die()
        return result
    return function


def close(*args, **kwargs):
    owner, name, when = STEPS[os.environ['BATCH_FATAL_STEP']]
    written = []
    update = ledger.executions.update
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(
                ledger.executions, 'update',
                lambda *args, **kwargs: written.append(1)
                or update(*args, **kwargs)))
        stack.enter_context(mock.patch.object(owner, name, fatal(
                    getattr(owner, name), when, lambda: written)))
        return real_close(*args, **kwargs)


real_close = turn.close
if 'BATCH_FATAL_STEP' in os.environ:
    turn.close = close

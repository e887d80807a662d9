# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What this process is working on right now.

The one place through which hooks reach the execution that calls them, so that
the contract (batch.py) and the logs need to know neither Celery nor ledger.

Imports nothing of Tryton or Celery.
"""
import datetime as dt
import os
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

__all__ = ['Work', 'current_work', 'end_child', 'working']

_work = ContextVar('batch.work', default=None)


@dataclass(frozen=True)
class Work:
    "One selection or one chunk, while it is being treated."
    #: ``__name__`` of the batch
    batch: str
    #: id of the execution
    execution: int
    #: number of the chunk ('7', '7.2'), None while selecting
    chunk: str | None = None
    #: name of a setting -> its resolved value
    settings: dict = field(default_factory=dict)
    #: name of a parameter -> its value
    parameters: dict = field(default_factory=dict, kw_only=True)
    #: start of the execution
    started_at: dt.datetime | None = None
    #: the Custody of input files of the selection, see engine/input_files.py
    custody: object = None
    #: the Outputs of its transaction
    outputs: object = None
    #: name of the database
    database: str = field(kw_only=True)
    #: id of the process; one that a hook forked has another one
    process: int = field(default_factory=os.getpid)

    @property
    def label(self):
        "What marks each line of the log: ``tryton #42``, ``tryton #42.7``."
        label = '%s #%s' % (self.database, self.execution)
        return label if self.chunk is None else '%s.%s' % (label, self.chunk)


def current_work():
    "Return the Work of this process, None outside of an execution."
    return _work.get()


def end_child(status=0):
    """End this process if a hook forked it, without any of our work.

    Called where a hook has ended, or pauses, that may have gone on in both.

    :param status: exit status
    """
    work = current_work()
    if work is None or work.process == os.getpid():
        return
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status & 0xFF)


@contextmanager
def working(work):
    token = _work.set(work)
    try:
        yield work
    finally:
        _work.reset(token)

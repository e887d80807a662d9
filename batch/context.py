# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What this process is working on right now.

Through it hooks and logs reach the execution that they belong to, without
importing Celery or the ledger.

Imports nothing of Tryton or Celery.
"""
import datetime as dt
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .aliases import Settings

__all__ = ['Work', 'current_work', 'end_child', 'working']

_work: ContextVar['Work | None'] = ContextVar('batch.work', default=None)


class Custody(Protocol):
    "What a selection asks of input files, see engine/input_files.py."

    def refusal(self, path: Path) -> str | None:
        "Return why a file may not be selected, None if it may."

    def take(
            self, path: Path, before: str, content: str, units: int,
            archive: Path) -> None:
        "Have the execution hold a file."


class Writer(Protocol):
    "What a hook asks of the Outputs of its transaction, see output.py."

    def write(self, path: Path, buffer: Any) -> Path:
        "Write a file that appears when the transaction commits."


@dataclass(frozen=True)
class Work:
    "The selection or the chunk that is being executed."
    #: ``__name__`` of the batch
    batch: str
    #: id of the execution
    execution: int
    #: number of the chunk ('7', '7.2'), None while selecting
    chunk: str | None = None
    settings: Settings = field(default_factory=dict)
    #: start of the execution
    started_at: dt.datetime | None = None
    #: None but for a selection
    custody: Custody | None = None
    outputs: Writer | None = None
    #: name of the database
    database: str = field(kw_only=True)
    #: id of the process that made this; a process that a hook forked has
    #: another one
    process: int = field(default_factory=os.getpid)

    @property
    def label(self) -> str:
        "What marks each line of the log: ``tryton #42``, ``tryton #42.7``."
        label = '%s #%s' % (self.database, self.execution)
        return label if self.chunk is None else '%s.%s' % (label, self.chunk)


def current_work() -> Work | None:
    "Return the Work of this process, None outside of an execution."
    return _work.get()


def end_child(status: int = 0) -> None:
    """Exit at once if a hook forked this process; else do nothing.

    Called wherever a hook returns or yields: after a fork it does so in both
    processes, and only the parent may go on with the work of the engine.

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
def working(work: Work) -> Iterator[Work]:
    "Make work the current one in the block."
    token = _work.set(work)
    try:
        yield work
    finally:
        _work.reset(token)

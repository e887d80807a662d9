# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The end of the batch window: no chunk begins after it."""
import datetime as dt

from .. import ledger
from ..aliases import Cursor
from ..ledger.chunks import Chunk
from ..ledger.states import ExecutionState
from ..outcome import moment
from ..transaction import transact
from .running import Job

__all__ = ['WindowClosed', 'close_window', 'refuse_late']


class WindowClosed(Exception):
    "Raised if a chunk would begin after the end of the window."

    def __init__(self, closes_at: dt.datetime) -> None:
        self.closes_at = closes_at


def refuse_late(cursor: Cursor, job: Job, chunk: Chunk) -> None:
    "Raise WindowClosed if the window of the execution is over."
    if job.settings['until'] is None:
        # Costs no trip to the server
        return
    # Of the ledger and not of the job, as a resume begins another window
    closes_at = ledger.executions.existing(
        cursor, job.execution, 'closes_at')['closes_at']
    if closes_at and chunk.claimed_at >= closes_at:
        raise WindowClosed(closes_at)


def close_window(job: Job, closes_at: dt.datetime) -> None:
    "Stop the execution, as an operator would who cancels it then."
    reason = 'stopped at the end of its window, %s (until = %s)' % (
        moment(closes_at), job.settings['until'])
    if transact(job.database, lambda cursor: ledger.executions.stop(
                cursor, job.execution, ExecutionState.CANCELLED, reason)):
        with job.working():
            job.logger.warning("%s: no further chunk begins", reason)

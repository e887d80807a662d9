# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A turn of a lane: what the task ``generate`` does.

``send`` is an argument: on workers it gives a message to the broker, in
a process without workers it appends to a list.

A lane is begun when a process is free for it, and not before: else the
messages of all lanes would be in the queue, before those of a batch that is
started later.  A process that has ended a lane where none is left to begin
takes half of what is left of another one: else it would have nothing to do,
for as long as a lane takes.
"""
import logging
import random
import time
from collections.abc import Callable
from dataclasses import replace

from trytond.pool import Pool

from .. import ledger
from ..aliases import Cursor, Send
from ..connections import kept, let_go
from ..context import Work, working
from ..exceptions import OutageError
from ..ledger.chunks import LANE_END, Queued
from ..ledger.claimants import worker_name
from ..ledger.states import ExecutionState
from ..logging import get_logger
from ..transaction import is_outage, load_pool, transact
from .ending import close
from .errors import one_line
from .running import Job, load_job, open_configured_logs
from .treatment import treat

__all__ = ['take_turn']

logger = logging.getLogger(__name__)
#: seconds for which a task executes successors itself before it sends the next
#: one: small chunks need no message each, and no lane holds a worker for long
TURN = 0.2
#: that where no other execution waits for a worker
LONG_TURN = 1
#: lanes that are begun where a process is free: twice as many each time
SPREAD = 2
#: how often to begin or halve a lane where others have taken the same one
RETRY = 20


def take_turn(
        database: str, execution: int, chunk: int, *, send: Send,
        again: bool = False,
        is_idle: Callable[[Job], bool] = lambda job: False,
        clock: Callable[[], float] = time.monotonic) -> list[str]:
    """Execute a chunk and, for TURN seconds, the successors that it queues.

    At the end of a lane it begins the next one, or halves another.  Ends the
    execution where nothing is left.  What a hook raises fails the chunk, and
    is not raised; an outage of the database leaves it queued.  Returns the
    labels of the chunks that failed.

    :param chunk: id
    :param again: whether the broker says that it redelivers the message
    :param is_idle: whether some process would take a message of the job now
    :param clock: gives seconds
    """
    open_configured_logs()
    failed: list[str] = []
    with kept(database):
        if is_lane_done(database, execution, chunk, failed, send, again,
                is_idle, clock):
            close(database, execution, may_call_hooks=True)
    return failed


def is_lane_done(
        database: str, execution: int, chunk: int, failed: list[str],
        send: Send, again: bool, is_idle: Callable[[Job], bool],
        clock: Callable[[], float]) -> bool:
    """Execute chunks of lanes; return whether none is left to go on with.

    :param failed: labels of the chunks that failed, to be added to
    """
    try:
        load_pool(database)
        job = load_or_stop(database, execution)
        return job is not None and go_along(
            replace(job, failed=failed), chunk, send, again, is_idle, clock)
    except OutageError:
        # Logged already.  The chunk is queued, and the keeper sends it again
        return False
    except Exception as error:
        if not is_outage(error, database):
            raise
        logger.warning("#%s waits for the database %s: %s",
            execution, database, one_line(error))
        return False


def load_or_stop(database: str, execution: int) -> Job | None:
    """Return the Job, None if there is nothing to do any more.

    Where it can not be loaded, as the code has changed since the start, the
    execution is stopped: its other chunks would fail the same way.
    """
    try:
        return load_job(database, execution)
    except Exception as error:
        if is_outage(error, database):
            raise
        stop_execution(database, execution, error)
        return None


def stop_execution(
        database: str, execution: int, error: BaseException) -> None:
    "Stop an execution that can not go on as the code is now."
    def _stop(cursor: Cursor) -> str | None:
        row = ledger.executions.columns(cursor, execution, 'batch')
        if row is not None and ledger.executions.stop(
                cursor, execution, ExecutionState.FAILED,
                'stopped: it can not go on with the installed code '
                '(%s): %s' % (worker_name(), one_line(error))):
            return row['batch']
        return None

    if batch := transact(database, _stop):
        with working(Work(
                    batch, execution, database=database)):
            get_logger(batch).exception(
                "stopped: the execution can not go on with the installed code",
                exc_info=error)
    close(database, execution)


def go_along(
        job: Job, chunk: int, send: Send, again: bool,
        is_idle: Callable[[Job], bool], clock: Callable[[], float]) -> bool:
    "Execute chunks of lanes; return whether none is left to go on with."
    begun = clock()
    deadline = begun + TURN
    spread(job, send, is_idle)
    following = go_on(job, treat(job, chunk, again))
    while following is not None:
        if clock() >= deadline:
            if clock() < begun + LONG_TURN and is_alone(job):
                deadline = clock() + TURN
            else:
                # Whoever gets the message would find the chunk locked
                let_go()
                try:
                    send(job.execution, *following)
                    return False
                except Exception as error:
                    # Without the broker this task goes on with the lane
                    with job.working():
                        job.logger.warning(
                            "the broker accepts no message, this task goes "
                            "on with the next chunk itself: %s",
                            one_line(error))
        following = go_on(job, treat(job, following.id))
    return True


def go_on(job: Job, following: Queued | None) -> Queued | None:
    """Return what follows, the first chunk of another lane, or None.

    :param following: what treat() returned
    """
    if following is not None and following is not LANE_END:
        return following
    if lanes := begin_lanes(job, 1):
        return lanes[0]
    # Only for a lane that has ended: no more chunks are in flight than before
    return None if following is None else transact(
        job.database, lambda cursor: ledger.open_chunks.halve_lane(
            cursor, job.execution, job.settings['concurrency']),
        retry=RETRY, sleep=at_once)


def spread(job: Job, send: Send, is_idle: Callable[[Job], bool]) -> None:
    "Begin lanes for processes that have nothing to do."
    if not job.lanes or not is_idle(job):
        return
    for chunk in begin_lanes(job, SPREAD):
        try:
            send(job.execution, *chunk)
        except Exception as error:
            # The keeper sends it
            with job.working():
                job.logger.warning("the broker accepts no message: %s",
                    one_line(error))


def begin_lanes(job: Job, count: int) -> list[Queued]:
    if not job.lanes:
        return []
    return transact(
        job.database, lambda cursor: ledger.open_chunks.begin_lanes(
            cursor, job.execution, job.lanes, count),
        retry=RETRY, sleep=at_once,
        # Those that began at the same time all look at the same ones
        on_retry=lambda error, tries: random.shuffle(job.lanes))


def at_once(seconds: float) -> None:
    "Try again at once: others have taken the same ones, and that is seen now."


def is_alone(job: Job) -> bool:
    "Return whether no other execution may wait for this process."
    # Those of other databases are not looked at
    return Pool.database_list() == [job.database] and transact(
        job.database, lambda cursor: ledger.executions.is_alone(
            cursor, job.execution))

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The jobs that no process of a worker's pool ever begins with.

One that was given to a process which hangs, or died before it read it, is
never acknowledged, and keeps its place among those that a worker takes at
once.  A worker with as many of them as it has processes says that it is well,
and runs nothing any more.
"""
import logging

from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError

__all__ = ['JobLostError', 'Watch', 'watch']

#: seconds between two looks at the jobs that wait for a process
LOOK = 5

logger = logging.getLogger(__name__)


class JobLostError(WorkerLostError):
    "Raised for a job that no process ever began with."


class Watch:
    """Finds the jobs that no process takes though some have nothing to do.

    :param pool: that of billiard
    """

    def __init__(self, pool):
        self.pool = pool
        self._waiting = set()

    def look(self):
        "Let the jobs fail that have waited since the last look."
        jobs = {
            id: job for id, job in self.pool._cache.items() if not job.ready()}
        waiting = {id for id, job in jobs.items() if not job.accepted()}
        if len(jobs) - len(waiting) >= len(self.pool._pool):
            # They are all busy: whoever waits does so for a reason
            waiting.clear()
        for id in waiting & self._waiting:
            logger.warning(
                "no process of the pool begins with the job %s: given back",
                jobs[id].correlation_id)
            give_back(jobs[id])
            waiting.discard(id)
        self._waiting = waiting


def give_back(job):
    try:
        raise JobLostError('no process began with it')
    except JobLostError:
        job._set(None, (False, ExceptionInfo()))
    job.discard()


def watch(consumer):
    "Watch the pool of a worker, where it has processes."
    pool = getattr(consumer.pool, '_pool', None)
    if hasattr(pool, '_cache') and hasattr(pool, '_pool'):
        consumer.timer.call_repeatedly(LOOK, Watch(pool).look)

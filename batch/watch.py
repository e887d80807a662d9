# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Processes of a worker's pool that hang before they begin with a job.

What was given to one is never acknowledged, and keeps its place among the few
messages that a worker takes at once.  A worker with as many of those as it has
processes says that it is well, and runs nothing any more.  Celery takes up
again what a process had that died: so those are killed.
"""
import logging
import os
import signal

__all__ = ['Watch', 'watch']

#: seconds between two looks
LOOK = 1
#: looks through which a job waits and a process takes none, before its end:
#: more than one, as the parent may have been busy itself
LOOKS = 5

logger = logging.getLogger(__name__)


class Watch:
    """Ends the processes that take none of the jobs that wait.

    :param pool: that of billiard
    """

    def __init__(self, pool):
        self.pool = pool
        self._jobs = {}
        self._pids = {}

    def look(self):
        jobs = [j for j in self.pool._cache.values() if not j.ready()]
        busy = {pid for job in jobs for pid in job.worker_pids()}
        self._jobs = counted(
            self._jobs, [job._job for job in jobs if not job.accepted()])
        self._pids = counted(
            self._pids, [p.pid for p in self.pool._pool if p.pid not in busy])
        if max(self._jobs.values(), default=0) < LOOKS:
            return
        for pid, count in self._pids.items():
            if count >= LOOKS:
                logger.warning(
                    "the process %s takes none of the jobs that wait: killed",
                    pid)
                os.kill(pid, signal.SIGKILL)


def counted(counts, keys):
    "Return how often in succession each of keys was there."
    return {key: counts.get(key, 0) + 1 for key in keys}


def watch(consumer):
    "Watch the pool of a worker, where it has processes."
    pool = getattr(consumer.pool, '_pool', None)
    if hasattr(pool, '_cache') and hasattr(pool, '_pool'):
        consumer.timer.call_repeatedly(LOOK, Watch(pool).look)

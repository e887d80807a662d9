# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Follow an execution to its end, and help it where it is stuck.

The ledger is read, never a queue or a result.  What can get lost is a message:
a chunk that is queued, that nobody works on, and that no queue holds, is sent
again.  That is always safe, since whoever gets it asks the ledger first.
"""
import time
from collections import deque

from kombu.exceptions import OperationalError as MessagingError

from trytond import backend
from trytond.transaction import Transaction

from . import ledger
from . import logging as batch_logging
from . import tally, tasks, work
from .control import cancel, queue_of, send
from .exceptions import BrokerError, NoWorkerError
from .job import close
from .plan import plan
from .report import Outcome
from .services import ask_idle_holders, ask_workers, said
from .transaction import transact

__all__ = ['Follower', 'run_here']

#: seconds between two looks at the state of the execution
POLL = 0.2
#: seconds between two looks at its counts, at least
COUNT = 1
#: seconds without progress before asking whether something is stuck
STUCK = 2
#: seconds between two such questions where something moves
CHECK = 10
#: seconds between two tries to be admitted, where another one is running
POLL_WAIT = 1
#: seconds for which no worker answers before the execution is given up:
#: before the first one came, and after
NO_WORKER, NO_WORKER_LEFT = 5, 60

#: what is lost, where it is not a chunk
SELECTION = 'selection'


def run_here(database, batch, execution, chunks=None, tick=None):
    """Run the execution in this process, one turn after the other.

    :param chunks: ids to begin with, None to plan first
    :param tick: called between two turns
    """
    todo = deque(chunks or ())

    def send(_, chunk):
        todo.append(chunk)

    if chunks is None:
        plan(database, batch, execution, send=send)
    while todo:
        if tick is not None:
            tick()
        work.turn(database, execution, todo.popleft(), send=send)


class Follower:
    """Follows one execution to its end.

    :param progress: has ``update(counts, selected)``, ``say(text)`` and
        ``muted()``
    :param clock: gives seconds
    """

    def __init__(self, database, batch, execution, queue, progress,
            local=False, clock=time.monotonic, sleep=time.sleep):
        self.database = database
        self.batch = batch
        self.execution = execution
        self.queue = queue
        self.progress = progress
        #: whether all is done in this process, without a broker
        self.local = local
        self.clock = clock
        self.sleep = sleep
        #: set by a signal: how often the operator asked to stop
        self.interrupted = 0
        self._cancelled = False
        self._seen = None
        self._moved_at = self._helped_at = self._worker_at = clock()
        self._count_at = 0
        self._missing = set()
        self._holders = set()
        self._worker_seen = False
        self._said = set()
        self._other = None

    def follow(self):
        "Return the Outcome; raises NoWorkerError, BrokerError."
        while True:
            try:
                if (outcome := self.look()) is not None:
                    return outcome
            except backend.DatabaseOperationalError as error:
                self.say_once('the database does not answer, waiting: %s'
                    % said(error))
            self.sleep(POLL)

    def run(self, chunks=None):
        "Do the work in this process; what is left then, follow() does."
        try:
            run_here(self.database, self.batch, self.execution, chunks,
                tick=self.look)
        except backend.DatabaseOperationalError as error:
            self.say_once('the database does not answer, waiting: %s'
                % said(error))

    def say_once(self, text):
        if text not in self._said:
            self._said.add(text)
            self.progress.say(text)

    def look(self):
        "One look at the ledger; returns the Outcome at the end."
        now = self.clock()
        with Transaction().start(
                self.database, 0, readonly=True) as transaction:
            cursor = transaction.connection.cursor()
            row = ledger.read(
                cursor, self.execution, 'state', 'selected', 'settings',
                'message')
            if row['state'] not in {'selecting', 'running'}:
                return Outcome.read(cursor, self.execution)
            # Not admitted, with a message: it waits for another one
            waits = not row['settings'] and row['message']
            others = waits and ledger.others(
                cursor, self.batch, self.execution)
            counts = None
            if row['state'] == 'running' and now >= self._count_at:
                counts = tally.counts(cursor, self.execution)
                # Counting is never more than a twentieth of our time
                self._count_at = now + max(
                    COUNT, 20 * (self.clock() - now))
        if self.interrupted and not self._cancelled:
            self._cancelled = cancel(
                self.database, self.execution, 'cancelled by a signal')
        elif waits:
            self.say_once(row['message'])
            if others:
                self.follow_other(others[0])
            elif now - self._helped_at > POLL_WAIT:
                self._helped_at = now
                self.send_selection()
        else:
            if row['settings']:
                self.say_once('started')
            self.watch(row, counts, now)

    def follow_other(self, execution):
        "Look at the execution that is waited for: nobody else may do so."
        if self._other is None or self._other.execution != execution:
            self._other = Follower(
                self.database, self.batch, execution,
                queue_of(self.database, self.batch, execution),
                self.progress.muted(), self.local, self.clock, self.sleep)
        self._other.look()

    def watch(self, row, counts, now):
        "Ask whether something is stuck, where nothing moved for a while."
        seen = self._seen
        if row['state'] == 'selecting':
            seen = bool(row['settings'])
        elif counts is not None:
            self.progress.update(counts, row['selected'])
            seen = counts['done'], counts['failed'], counts['chunks']
        if seen != self._seen:
            if self._seen is not None:
                # It is a worker that moved it
                self._worker_seen, self._worker_at = True, now
            self._seen, self._moved_at = seen, now
        if (now - self._helped_at > STUCK
                and (now - self._moved_at > STUCK
                    or now - self._helped_at > CHECK)):
            self._helped_at = now
            self.help(row['state'])

    def help(self, state):
        "Find out what is stuck and why, and do what can be done."
        free, idle = self.free(state)
        if not free:
            self._missing.clear()
            if idle:
                close(self.database, self.execution)
            return
        if self.local:
            if idle:
                self.forget(free)
                self.run(None if state == 'selecting' else free)
            return
        if not idle:
            # Somebody holds a lock: there are workers
            self._worker_seen, self._worker_at = True, self.clock()
        else:
            self.check_workers()
        try:
            if self.messages():
                # They are behind others, and will come
                return self._missing.clear()
            lost = [chunk for chunk in free if chunk in self._missing]
            self._missing = set(free).difference(lost)
            self.forget(lost)
            for chunk in lost:
                self.send(chunk)
        except (OSError, MessagingError, BrokerError) as error:
            return self.say_once('the broker does not answer, waiting: %s'
                % said(error))
        if lost:
            self.progress.say('sent again what was lost: %s'
                % batch_logging.get_print_infos(lost, 'message', 0))

    def send(self, chunk):
        if chunk == SELECTION:
            self.send_selection()
        else:
            tasks.generate.apply_async(
                kwargs={
                    'execution': self.execution, 'chunk': chunk,
                    '_database': self.database},
                queue=self.queue, retry=False)

    def send_selection(self):
        if self.local:
            return self.run()
        send(self.database, self.batch, self.execution, self.queue)

    def free(self, state):
        """Return what nobody works on, and whether nobody works at all.

        What: ids of queued chunks, or that it is to be selected.
        """
        def _free(transaction):
            cursor = transaction.connection.cursor()
            if state == 'selecting':
                taken = ledger.take_execution(
                    cursor, self.execution, 'selecting')
                return ([SELECTION], True) if taken else ([], False)
            free = ledger.queued(cursor, self.execution)
            if ledger.read(cursor, self.execution, 'stopping')['stopping']:
                return [], ledger.is_idle(cursor, self.execution)
            return free, len(free) == ledger.count_queued(
                cursor, self.execution)
        return transact(self.database, _free)

    def forget(self, chunks):
        "Tell the ledger that whoever had the chunks is gone."
        if chunks and chunks != [SELECTION]:
            transact(self.database, lambda transaction: ledger.lost(
                    transaction.connection.cursor(), chunks))

    def messages(self):
        "Return how many messages wait in the queue."
        with tasks.celery_app.connection_for_read() as connection:
            try:
                return connection.default_channel.queue_declare(
                    self.queue, passive=True).message_count
            except connection.channel_errors:
                # There is no such queue
                return 0

    def check_workers(self):
        "Raise NoWorkerError if none answers for the queue, for too long."
        workers = ask_workers()
        fit = {
            worker for worker, (queues, wrong) in workers.items()
            if self.queue in queues and not wrong}
        holders = ask_idle_holders() if fit else set()
        # Each of them may have been about to begin at the first look
        stuck, self._holders = self._holders & holders, holders
        if fit - stuck:
            self._worker_seen, self._worker_at = True, self.clock()
            return
        for worker in stuck:
            queues, _ = workers[worker]
            workers[worker] = (
                queues, 'holds messages and works on none: restart it')
        text = 'no worker answers for the queue "%s"; start one: ' \
            'coop worker -d %s' % (self.queue, self.database)
        if self.queue != tasks.celery_app.conf.task_default_queue:
            text += ' -Q %s' % self.queue
        if workers:
            text += ' (%s)' % '; '.join(
                '%s %s' % (worker, wrong or 'serves ' + ', '.join(queues))
                for worker, (queues, wrong) in sorted(workers.items()))
        waited = self.clock() - self._worker_at
        if waited > (NO_WORKER_LEFT if self._worker_seen else NO_WORKER):
            raise NoWorkerError(text)
        if self._worker_seen:
            self.say_once(text)

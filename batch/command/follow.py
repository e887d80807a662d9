# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Follow an execution to its end: show its progress, cancel it on a signal.

It reads only the ledger, no queue and no result.  The workers keep the
execution going without the command.  So the command cancels the execution only
on a signal, whatever happens to it, with one exception: if no worker starts
the execution at all.
"""
import time

from trytond.transaction import Transaction

from .. import ledger
from ..broker import ask_idle_holders, ask_workers, describe_missing
from ..engine.local import process_here
from ..engine.operations import cancel
from ..exceptions import BrokerError, NoWorkerError
from ..ledger.states import OPEN_EXECUTIONS, Admission, ExecutionState
from ..outcome import Outcome
from ..texts import message_of
from ..transaction import is_outage

__all__ = ['Follower']

#: seconds between two reads of the state of the execution
POLL = 0.2
#: minimum seconds between two reads of its counts
COUNT = 1
#: seconds without progress before asking whether there are workers
STUCK = 2
#: minimum seconds between two questions to the workers
CHECK = 10
#: with --local, seconds until a waiting execution is tried again
POLL_WAIT = 1
#: seconds without an answer of any worker until an execution that has not
#: started is cancelled
NO_WORKER = 5


class Follower:
    """Follows one execution to its end.

    :param progress: has ``update(counts, selected)`` and ``say(text)``
    :param local: whether it is executed in this process, without workers
    :param clock: returns seconds
    """

    def __init__(self, database, batch, execution, progress,
            local=False, clock=time.monotonic, sleep=time.sleep):
        self.database = database
        self.batch = batch
        self.execution = execution
        #: that of the execution, before it is followed
        self.queue = None
        self.progress = progress
        self.local = local
        self.clock = clock
        self.sleep = sleep
        #: set by a signal: how often the operator asked to stop
        self.interrupted = 0
        self._cancelled = False
        self._seen = None
        self._moved_at = self._worker_at = clock()
        self._asked_at = self._count_at = 0
        self._holders = set()
        self._said = set()

    def follow(self):
        """Return the Outcome.

        Cancels it and raises NoWorkerError if no worker starts it.
        """
        while True:
            if self.local:
                self.patiently(self.work)
            outcome = self.patiently(self.look)
            if outcome is not None:
                return outcome
            self.sleep(POLL_WAIT if self.local else POLL)

    def patiently(self, function):
        "Return function(), or None if the database does not answer."
        try:
            return function()
        except Exception as error:
            if not is_outage(error, self.database):
                raise
            self.say_once('the database does not answer, waiting: %s'
                % message_of(error))

    def insist(self, function):
        "Return function(), as soon as the database answers."
        while (result := self.patiently(function)) is None:
            self.sleep(POLL)
        return result

    def say_once(self, text):
        if text not in self._said:
            self._said.add(text)
            self.progress.say(text)

    def work(self):
        "Process the execution here; it may have to wait for another one."
        process_here(self.database, self.batch, self.execution, tick=self.tick)
        with Transaction().start(
                self.database, 0, readonly=True) as transaction:
            row = ledger.executions.existing(
                transaction.connection.cursor(), self.execution,
                'waiting_for')
            other = row['waiting_for'] and ledger.executions.columns(
                transaction.connection.cursor(), row['waiting_for'],
                'batch', 'local')
        if other and other['local']:
            # No worker processes that one, and its command may be dead
            process_here(self.database, other['batch'], row['waiting_for'],
                tick=self.tick)

    def tick(self):
        self.patiently(self.look)

    def look(self):
        "Read the ledger once; return the Outcome if the execution has ended."
        now = self.clock()
        with Transaction().start(
                self.database, 0, readonly=True) as transaction:
            cursor = transaction.connection.cursor()
            row = ledger.executions.existing(
                cursor, self.execution, 'state', 'selected', 'admission',
                'waiting_for')
            if row['state'] not in OPEN_EXECUTIONS:
                return Outcome.load(cursor, self.execution)
            counts = None
            if (row['state'] == ExecutionState.RUNNING
                    and now >= self._count_at):
                counts = ledger.figures.counts(cursor, self.execution)
                # Spend at most a twentieth of the time on counting
                self._count_at = now + max(
                    COUNT, 20 * (self.clock() - now))
        if self.interrupted and not self._cancelled:
            self._cancelled = cancel(
                self.database, self.execution, 'cancelled by a signal')
        if row['waiting_for']:
            self.say_once('waits for #%s' % row['waiting_for'])
            self._moved_at = self._worker_at = now
            return
        is_admitted = row['admission'] == Admission.ADMITTED
        if is_admitted:
            self.say_once('started')
        if counts is not None:
            self.progress.update(counts, row['selected'])
        seen = row['state'], is_admitted, self._seen and \
            self._seen[2]
        if counts is not None:
            seen = *seen[:2], (
                counts['done'], counts['failed'], counts['chunks'])
        if seen != self._seen:
            self._seen, self._moved_at = seen, now
        if (not self.local and now - self._moved_at > STUCK
                and now - self._asked_at > CHECK):
            self.say_trouble()
            self.ask_workers(is_begun=is_admitted)

    def say_trouble(self):
        "Print the recorded error of a chunk that waits."
        with Transaction().start(
                self.database, 0, readonly=True) as transaction:
            for number, error in ledger.failures.waits(
                    transaction.connection.cursor(), self.execution, limit=1):
                self.say_once('the chunk #%s.%s waits: %s' % (
                        self.execution, number, error))

    def ask_workers(self, is_begun):
        "If no worker can process the execution, print why."
        try:
            problem, is_there = self.missing_worker()
        except BrokerError as error:
            self._worker_at = self._asked_at = self.clock()
            return self.say_once('%s, waiting' % error)
        now = self.clock()
        if problem is None:
            self._worker_at = self._asked_at = now
            return
        if is_begun or is_there:
            self._asked_at = now
            self.say_once(problem + '; waiting for one')
        elif now - self._worker_at > NO_WORKER and cancel(
                self.database, self.execution, problem):
            raise NoWorkerError(problem)

    def missing_worker(self):
        """Return (problem, whether there is a worker for the queue).

        The problem is None if a worker can process the execution.  Otherwise
        it says what to do; a worker may be there and be stuck.  Raises
        BrokerError.
        """
        workers = ask_workers(self.database)
        fit = {
            worker for worker, (queues, wrong) in workers.items()
            if self.queue in queues and not wrong}
        holders = ask_idle_holders() if fit else set()
        # A worker is stuck only if it was so at the last question, too
        stuck, self._holders = self._holders & holders, holders
        if fit - stuck:
            return None, True
        for worker in stuck:
            queues, _ = workers[worker]
            workers[worker] = (
                queues, 'holds messages but processes none: restart it')
        text = describe_missing(self.database, self.queue, workers)
        return text, bool(fit)

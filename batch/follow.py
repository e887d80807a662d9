# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Start an execution, follow it to its end, and help it where it is stuck.

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
from . import tasks, work
from .exceptions import (
    BrokerError, DatabaseError, ExecutionError, NoWorkerError)
from .report import Outcome
from .transaction import transact

__all__ = [
    'Follower', 'cancel', 'check_broker', 'check_database', 'queues_served',
    'resume', 'run_here', 'start']

#: seconds between two looks at the state of the execution
POLL = 0.2
#: seconds between two looks at its counts, at least
COUNT = 1
#: seconds without progress before asking whether something is stuck
STUCK = 2
#: seconds for which no worker answers before the execution is given up:
#: before the first one came, and after
NO_WORKER, NO_WORKER_LEFT = 5, 60


def check_database(database):
    "Raise DatabaseError unless the database answers and has the module."
    try:
        if backend.name == 'postgresql':
            # The pool of trytond waits 30 s for a server that is not there
            import psycopg
            params = backend.Database._connection_params(database)
            psycopg.connect(params['conninfo'], connect_timeout=5).close()
        with Transaction().start(database, 0, readonly=True) as transaction:
            cursor = transaction.connection.cursor()
            try:
                cursor.execute(*ledger.execution_.select(
                        ledger.execution_.id, limit=1))
            except Exception:
                raise DatabaseError(
                    'the module "batch" is not activated in the database '
                    '"%s": trytond-admin -d %s -u batch '
                    '--activate-dependencies' % (database, database)
                    ) from None
    except backend.DatabaseOperationalError as error:
        raise DatabaseError(
            'the database "%s" can not be reached (%s); check [database] uri '
            'of trytond.conf and that the server runs'
            % (database, one_line(error))) from error


def check_broker():
    "Raise BrokerError unless the broker answers."
    app = tasks.celery_app
    url = batch_logging.mask_secrets(str(app.conf.broker_url))
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(
                max_retries=1, interval_start=0.2, timeout=5)
    except Exception as error:
        raise BrokerError(
            'the broker %s can not be reached (%s); check broker_url in '
            '[celery] of trytond.conf and that the server runs'
            % (url, one_line(error))) from error


def one_line(error):
    return batch_logging.mask_secrets(' '.join(str(error).split()))


def queues_served(timeout=1):
    "Return the names of the workers that answer, with their queues."
    try:
        answers = tasks.celery_app.control.inspect(
            timeout=timeout).active_queues()
    except (OSError, MessagingError):
        return {}
    return {
        worker: [q['name'] for q in queues or []]
        for worker, queues in (answers or {}).items()}


def start(database, batch, given):
    "Make an execution and return its id; nothing runs yet."
    return transact(database, lambda transaction: ledger.create(
            transaction.connection.cursor(), batch, given))


def send(database, batch, execution, queue):
    "Give the broker the task that selects; raises BrokerError."
    try:
        tasks.generate_all.apply_async(
            args=[batch],
            kwargs={'execution': execution, '_database': database},
            queue=queue, retry=False)
    except MessagingError as error:
        raise BrokerError('the broker takes no message: %s'
            % one_line(error)) from error


def cancel(database, execution, message):
    """Cancel what is not worked on; return whether the state allowed it.

    What runs goes on to the end of its chunk.
    """
    def _cancel(transaction):
        cursor = transaction.connection.cursor()
        if ledger.take_execution(cursor, execution, 'selecting'):
            ledger.update_execution(
                cursor, execution, state='cancelled',
                ended_at=ledger.now(), message=message)
            return True
        row = ledger.read(cursor, execution, 'state')
        if row is None:
            raise ExecutionError(execution, 'does not exist '
                '("coop history" shows the last ones)')
        if row['state'] != 'running':
            return False
        ledger.cancel(cursor, execution)
        ledger.update_execution(cursor, execution, message=message)
        return True

    cancelled = transact(database, _cancel)
    work.close(database, execution)
    return cancelled


def resume(database, execution):
    """Open the execution again for what is left; return the ids to send.

    Raises ExecutionError if there is nothing left to go on with.
    """
    def _resume(transaction):
        cursor = transaction.connection.cursor()
        row = ledger.read(
            cursor, execution, 'state', 'batch', 'settings', 'left')
        if row is None:
            raise ExecutionError(execution, 'does not exist '
                '("coop history" shows the last ones)')
        if row['state'] == 'selecting':
            return row['batch'], None
        if row['state'] in {'succeeded', 'failed', 'cancelled'}:
            if not row['left']:
                raise ExecutionError(execution, 'is %s and nothing is left: '
                    'there is nothing to go on with' % row['state'])
            ledger.update_execution(
                cursor, execution, state='running', ended_at=None,
                message=None)
        ledger.resume(cursor, execution)
        return row['batch'], ledger.queued(cursor, execution)

    return transact(database, _resume)


def run_here(database, batch, execution, chunks=None, tick=None):
    """Run the execution in this process, one turn after the other.

    :param chunks: ids to begin with, None to plan first
    :param tick: called between two turns
    """
    todo = deque(chunks or ())

    def send(_, chunk):
        todo.append(chunk)

    if chunks is None:
        work.plan(database, batch, execution, send=send)
    while todo:
        if tick is not None:
            tick()
        work.turn(database, execution, todo.popleft(), send=send)


class Follower:
    """Follows one execution to its end.

    :param progress: has ``update(outcome counts, selected)`` and ``say(text)``
    :param clock: gives seconds
    """

    def __init__(self, database, batch, execution, queue, progress,
            clock=time.monotonic, sleep=time.sleep):
        self.database = database
        self.batch = batch
        self.execution = execution
        self.queue = queue
        self.progress = progress
        self.clock = clock
        self.sleep = sleep
        #: set by a signal: how often the operator asked to stop
        self.interrupted = 0
        self._cancelled = False
        self._last = None
        self._moved_at = clock()
        self._count_at = 0
        self._missing = set()
        self._worker_seen = False
        self._worker_at = clock()
        self._said = set()

    def follow(self):
        "Return the Outcome; raises NoWorkerError, BrokerError."
        while True:
            try:
                if (outcome := self.look()) is not None:
                    return outcome
            except backend.DatabaseOperationalError as error:
                self.say_once('the database does not answer, waiting: %s'
                    % one_line(error))
            self.sleep(POLL)

    def say_once(self, text):
        if text not in self._said:
            self._said.add(text)
            self.progress.say(text)

    def look(self):
        "One look at the ledger; returns the Outcome at the end."
        with Transaction().start(
                self.database, 0, readonly=True) as transaction:
            cursor = transaction.connection.cursor()
            row = ledger.read(cursor, self.execution, 'state', 'selected')
            if row['state'] not in {'selecting', 'running'}:
                return Outcome.read(cursor, self.execution)
            now = self.clock()
            counts = None
            if row['state'] == 'running' and now >= self._count_at:
                counts = ledger.counts(cursor, self.execution)
                # Counting is never more than a twentieth of our time
                self._count_at = now + max(
                    COUNT, 20 * (self.clock() - now))
        if counts is not None:
            self.progress.update(counts, row['selected'])
        seen = row['state'], counts and (
            counts['done'], counts['failed'], counts['chunks'])
        if counts is not None or row['state'] == 'selecting':
            if seen != self._last:
                self._last, self._moved_at = seen, now
                self._missing.clear()
        if self.interrupted and not self._cancelled:
            self._cancelled = cancel(
                self.database, self.execution, 'cancelled by a signal')
        if now - self._moved_at > STUCK:
            self._moved_at = now
            self.help(row['state'])

    def help(self, state):
        "Nothing moved for a while: find out why, and do what can be done."
        stuck = self.stuck(state)
        if stuck is None:
            # Somebody holds a lock: it is being worked on
            self._worker_seen, self._worker_at = True, self.clock()
            return
        if not stuck and state == 'running':
            work.close(self.database, self.execution)
            return
        workers = queues_served()
        if any(self.queue in queues for queues in workers.values()):
            self._worker_seen, self._worker_at = True, self.clock()
        else:
            self.no_worker(workers)
        try:
            if self.messages():
                # They are behind others, and will come
                return self._missing.clear()
            lost = [c for c in stuck if c in self._missing]
            self._missing = set(stuck)
            for chunk in lost:
                if chunk == 'selection':
                    send(self.database, self.batch, self.execution,
                        self.queue)
                else:
                    tasks.generate.apply_async(
                        kwargs={
                            'execution': self.execution, 'chunk': chunk,
                            '_database': self.database},
                        queue=self.queue, retry=False)
            if lost:
                self.progress.say('sent %s lost messages again' % len(lost))
        except (OSError, MessagingError, BrokerError) as error:
            self.say_once('the broker does not answer, waiting: %s'
                % one_line(error))

    def stuck(self, state):
        "Return what is queued and not locked; None if something is locked."
        def _stuck(transaction):
            cursor = transaction.connection.cursor()
            if state == 'selecting':
                if ledger.take_execution(
                        cursor, self.execution, 'selecting') is None:
                    return None
                return ['selection']
            free = ledger.queued(cursor, self.execution)
            if len(free) < ledger.count_queued(cursor, self.execution):
                return None
            return free
        return transact(self.database, _stuck)

    def messages(self):
        "Return how many messages wait in the queue."
        with tasks.celery_app.connection_for_read() as connection:
            try:
                return connection.default_channel.queue_declare(
                    self.queue, passive=True).message_count
            except connection.channel_errors:
                # There is no such queue
                return 0

    def no_worker(self, workers):
        text = 'no worker answers for the queue "%s"; start one: ' \
            'coop worker -d %s' % (self.queue, self.database)
        if self.queue != 'celery':
            text += ' -Q %s' % self.queue
        if workers:
            text += ' (%s)' % ', '.join(
                '%s serves %s' % (worker, ', '.join(queues))
                for worker, queues in sorted(workers.items()))
        waited = self.clock() - self._worker_at
        if waited > (NO_WORKER_LEFT if self._worker_seen else NO_WORKER):
            cancel(self.database, self.execution, text)
            raise NoWorkerError(text)
        if self._worker_seen:
            self.say_once(text)

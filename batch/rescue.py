# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The keeper of a database: finds what was lost, and sends or ends it.

What can get lost is a message, and whoever was to go on with something: the
process that would have sent the next chunk, or ended the execution.  Sending
a chunk again is always safe, since whoever gets it asks the ledger first.

Each worker has a keeper for each of its databases.  One of them at a time
works, by a lock of the database that is free as soon as its holder is dead.
"""
import logging
import time
from collections import Counter, deque
from dataclasses import dataclass, field

from trytond import backend
from trytond.transaction import Transaction

from . import ledger, tasks
from .context import Work, working
from .engine import isolation, operations, selection
from .engine.ending import close
from .engine.errors import exc_info, is_refusal, one_line
from .engine.finishing import finish_died
from .exceptions import BrokerError, OutageError
from .ledger.states import ExecutionState
from .logging import get_logger, get_print_infos
from .transaction import connect, is_outage, transact

__all__ = ['Death', 'Keeper']

logger = logging.getLogger(__name__)

#: seconds between two looks
LOOK = 1
#: seconds for which nobody works on a chunk before it may be lost
PATIENCE = 3
#: seconds at most between two messages that ask whether the queue moves, and
#: until a chunk is sent again that is taken and given back: it waits for the
#: database, or dies with its whole worker
MAX_DELAY = 10
#: the advisory lock of the keeper that works
ELECTED = 0
#: what is lost, where it is not a chunk
SELECTION = 0


@dataclass
class Death:
    "A process that died while it worked on a message."
    database: str
    execution: int
    #: id of the chunk, None where it selected
    chunk: int | None
    #: how it died, such as ``signal 9``
    cause: str
    #: whether what it worked on is to blame
    blame: bool


@dataclass
class Case:
    """What the keeper knows of one execution, from one look to the next.

    A chunk that nobody works on may wait in a queue that is long, or its
    message may be lost.  To find out, the one that was queued last is sent
    once more (the probe): when somebody takes it, all messages before it in
    the queue were taken, and what still waits is lost.

    :param age: seconds for which what the first look finds may have been there
    """
    age: float = 0
    #: chunk -> when it was first seen to be free
    since: dict = field(default_factory=dict)
    #: chunks that somebody worked on at the last look
    busy: set = field(default_factory=set)
    #: chunk -> how often somebody worked on it and then did not any more
    returned: Counter = field(default_factory=Counter)
    #: chunks of which somebody had the message and has it no more
    deserted: set = field(default_factory=set)
    probe: int | None = None
    probe_at: float = 0
    #: seconds until the probe is sent again
    delay: float = PATIENCE
    #: whether there was nothing to wait for any more at the last look
    was_ready: bool = False
    #: what kept it from being looked at, as it was logged
    trouble: str | None = None

    def look(self, free, busy, now):
        """Return what has to be sent, of what is known to be lost or not.

        :param free: ids of the queued chunks that nobody works on
        :param busy: ids of the others
        :param now: seconds
        :return: (lost, probe): a list of chunks, and one chunk or None
        """
        free, busy = set(free), set(busy)
        self.since = {
            chunk: self.since.get(chunk, now - self.age) for chunk in free}
        self.age = 0
        self.returned.update(self.busy & free)
        self.deserted = (self.deserted | self.busy) & free
        self.busy = busy
        patient = {
            chunk for chunk in free
            if now - self.since[chunk] >= self.patience(chunk)}
        lost = patient & self.deserted
        if self.probe is not None and self.probe not in free:
            lost |= {
                chunk for chunk in patient
                if self.since[chunk] <= self.probe_since}
            self.probe, self.delay = None, PATIENCE
        for chunk in lost:
            self.since[chunk] = now
        self.deserted -= lost
        patient -= lost
        return sorted(lost), self.next_probe(patient, now)

    def patience(self, chunk):
        "Return seconds; longer for what is taken and given back repeatedly."
        returns = max(self.returned[chunk] - 1, 0)
        return min(PATIENCE * 2 ** min(returns, 10), MAX_DELAY)

    def next_probe(self, patient, now):
        if not patient:
            return None
        if self.probe is not None:
            if now - self.probe_at < self.delay:
                return None
            self.delay = min(2 * self.delay, MAX_DELAY)
        if self.probe not in patient:
            self.probe = max(patient, key=lambda c: (self.since[c], c))
            self.probe_since = self.since[self.probe]
        self.probe_at = now
        return self.probe


class Keeper:
    """Keeps the executions of one database alive.

    :param clock: gives seconds
    """

    def __init__(self, database, clock=time.monotonic):
        self.database = database
        self.clock = clock
        #: of Death, to be written down
        self.deaths = deque()
        self.cases = {}
        self.connection = None
        self.is_elected = False
        #: whether another one kept them until now
        self.is_new = True
        #: after the broker took no message, another one may try
        self.elected_again_at = 0
        self._said = None

    def step(self):
        "Look once; raises nothing, as nobody would keep anything any more."
        try:
            self.hold()
            self.record_deaths()
            if self.is_elected:
                self.look()
            self._said = None
        except BrokerError as error:
            self.say(error)
            self.resign()
        except Exception as error:
            self.release()
            if self.is_away(error):
                self.say('the database "%s" does not answer: %s' % (
                        self.database, one_line(error)))
            else:
                logger.exception("the keeper of %s stumbled", self.database)

    def is_away(self, error):
        "Return whether the broker or the database is to blame for an error."
        return isinstance(error, (BrokerError, OutageError)) or is_outage(
            error, self.database)

    def say(self, text):
        "Log a text, once as long as it is the same."
        if str(text) != self._said:
            logger.warning("%s", text)
            self._said = str(text)

    # The lock

    def hold(self):
        """Show that this worker lives, and become the one that works.

        Both are locks of a connection of its own.
        """
        if self.connection is None:
            self.connection = connect(self.database)
            self.ask('SELECT pg_advisory_lock(%s, %s)',
                ledger.claimants.worker_key)
        if not self.is_elected and self.clock() >= self.elected_again_at:
            self.is_elected = self.ask(
                'SELECT pg_try_advisory_lock(%s, %s)', ELECTED)
            if self.is_elected:
                self.is_new = True
                logger.info("keeps the executions of %s alive", self.database)
        else:
            self.connection.execute('SELECT 1')

    def ask(self, sql, key):
        return self.connection.execute(
            sql, [ledger.claimants.LOCKS, key]).fetchone()[0]

    def resign(self):
        "Let the keeper of another worker try."
        self.cases.clear()
        if self.is_elected:
            self.is_elected = False
            self.elected_again_at = self.clock() + PATIENCE
            self.ask('SELECT pg_advisory_unlock(%s, %s)', ELECTED)

    def release(self):
        "Give up the connection; what was known may be no longer true."
        self.cases.clear()
        self.is_elected = False
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    # Processes that died

    def record_deaths(self):
        "Write down the deaths that this worker knows of."
        for _ in range(len(self.deaths)):
            death = self.deaths.popleft()
            try:
                if not self.record_death(death):
                    # The server has not noticed it yet
                    self.deaths.append(death)
            except BrokerError as error:
                # It is written; what was to be sent is found later
                self.say(error)
            except Exception as error:
                if self.is_away(error):
                    self.deaths.append(death)
                    raise
                # A message that makes no sense: what it named is found later
                logger.exception("#%s: the death of a process (%s) can not be "
                    "written", death.execution, death.cause,
                    exc_info=exc_info(error))

    def record_death(self, death):
        "Return whether it is written."
        batch = self.batch_of(death.execution)
        if batch is None:
            return True
        written = finish_died(
            self.database, death.execution, death.cause, death.blame)
        if written is not None:
            if written:
                self.send(death.execution, batch, [SELECTION])
            return written
        if death.chunk is None:
            if selection.selection_died(
                    self.database, batch, death.execution, death.cause):
                self.send(death.execution, batch, [SELECTION])
            return True
        written, chunk = isolation.chunk_died(
            self.database, death.execution, death.chunk, death.cause,
            death.blame)
        if chunk is not None:
            self.send(death.execution, batch, [chunk])
        return written

    def batch_of(self, execution):
        with Transaction().start(
                self.database, 0, readonly=True) as transaction:
            row = ledger.executions.columns(
                transaction.connection.cursor(), execution, 'batch')
        return row and row['batch']

    # What was lost

    def look(self):
        "Send again what is lost, and end what nobody ends."
        with Transaction().start(
                self.database, 0, readonly=True) as transaction:
            rows = ledger.executions.list_open(transaction.connection.cursor())
        rows = [row for row in rows if not row['local']]
        # Who died may have been about to find what is lost
        age, self.is_new = PATIENCE if self.is_new else 0, False
        self.cases = {
            row['id']: self.cases.get(row['id']) or Case(age) for row in rows}
        for row in rows:
            case = self.cases[row['id']]
            try:
                self.look_at(row, case)
                case.trouble = None
            except backend.DatabaseOperationalError as error:
                # Somebody changed what was looked at: look again
                if is_outage(error):
                    raise
            except Exception as error:
                if self.is_away(error):
                    raise
                # The others are to go on
                self.say_trouble(row, case, error)

    def say_trouble(self, row, case, error):
        "Log what is wrong with one execution, once as long as it is the same."
        text = one_line(error)
        if text != case.trouble:
            case.trouble = text
            with working(Work(
                        row['batch'], row['id'], database=self.database)):
                get_logger(row['batch']).error(
                    "can not be kept alive: %s", text,
                    exc_info=None if is_refusal(error) else exc_info(error))

    def look_at(self, row, case):
        execution, was_ready = row['id'], case.was_ready
        lost, probe, is_over = transact(
            self.database, lambda cursor: self.examine(
                cursor, row, case), retry=0)
        if is_over and was_ready:
            # Whoever ended the last chunk had a look's time for it
            close(self.database, execution)
        if lost:
            with working(Work(
                        row['batch'], execution, database=self.database)):
                get_logger(row['batch']).warning(
                    "sent again, as nobody works on it and its message is "
                    "lost: %s", get_print_infos(lost, 'chunk', 0)
                    if lost != [SELECTION] else 'its selection'
                    if row['state'] == ExecutionState.SELECTING
                    else 'its finish')
        if to_send := lost + [probe] * (probe is not None):
            self.send(execution, row['batch'], to_send)

    def examine(self, cursor, row, case):
        """Return (lost, probe, whether nothing is left to do).

        What is sent again is begun with care.
        """
        execution, state = row['id'], row['state']
        if state == ExecutionState.SELECTING:
            return *self.examine_selection(cursor, row, case), False
        free = ledger.chunks.list_queued(cursor, execution)
        queued = ledger.chunks.list_queued(cursor, execution, lock=False)
        stopping = ledger.executions.columns(
            cursor, execution, 'stopping')['stopping']
        if stopping or not queued:
            case.was_ready = len(free) == len(queued) and (
                bool(stopping)
                or not ledger.chunks.has_open(cursor, execution))
            if case.was_ready and ledger.finishing.is_due(cursor, execution):
                # The task that selects calls it: we may not be busy, or die
                return *self.examine_row(cursor, row, case), False
            return [], None, case.was_ready
        case.was_ready = False
        lost, probe = case.look(
            free, set(queued).difference(free), self.clock())
        ledger.chunks.mark_deserted(
            cursor, lost + [probe] * (probe is not None))
        return lost, probe, False

    def examine_selection(self, cursor, row, case):
        if row['waiting_for']:
            if ledger.executions.others(cursor, row['batch'], row['id']):
                case.was_ready = False
                return [], None
            if not case.was_ready:
                case.was_ready = True
                return [], SELECTION
        return self.examine_row(cursor, row, case)

    def examine_row(self, cursor, row, case):
        taken = ledger.executions.claim(cursor, row['id'], row['state'])
        return case.look(*(
                ([SELECTION], []) if taken else ([], [SELECTION])),
            self.clock())

    def send(self, execution, batch, chunks):
        "Raises BrokerError."
        queue = operations.queue_of_execution(self.database, batch, execution)
        for chunk in chunks:
            if chunk == SELECTION:
                tasks.send_selection(self.database, batch, execution, queue)
            else:
                tasks.sender(self.database, queue)(execution, chunk)

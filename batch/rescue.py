# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The keeper of a database: sends lost messages again, closes executions.

A message can get lost.  A process can die before it sends the next chunk or
closes the execution.  To send a chunk again is always safe, because the
process that gets the message checks the ledger first.

Each worker has a keeper for each of its databases.  For each database, only
the keeper that holds an advisory lock does the work.  The database releases
the lock when the keeper dies.
"""
import logging
import threading
import time
from collections import deque
from dataclasses import dataclass

from trytond import backend
from trytond.transaction import Transaction

from . import ledger, tasks
from .context import Work, working
from .engine import isolation, operations, selection
from .engine.ending import close, needs_hooks
from .engine.errors import exc_info, is_refusal, one_line
from .engine.finishing import finish_died
from .exceptions import BrokerError, OutageError
from .ledger.rows import values_of
from .ledger.states import ExecutionState
from .logging import get_logger, get_print_infos
from .lost_messages import PATIENCE, Case
from .transaction import connect, is_outage, transact

__all__ = ['Death', 'Keeper']

logger = logging.getLogger(__name__)

#: seconds between two checks of the ledger
LOOK = 1
#: seconds until a death is written whose row the server has still locked
AGAIN = 0.1
#: key of the advisory lock of the keeper that does the work
ELECTED = 0
#: stands for the selection in a list of lost chunks
SELECTION = 0


@dataclass
class Death:
    "A process that died while it worked on a message."
    database: str
    execution: int
    #: id of the chunk, None if the process selected
    chunk: int | None
    #: how it died, such as ``signal 9``
    cause: str
    #: whether it counts as a death of the chunk or the selection
    blame: bool
    #: index of the object that its iteration was at, None if not known
    reached: int | None = None


class Keeper:
    """Keeps the executions of one database going.

    :param clock: returns seconds
    """

    def __init__(self, database, clock=time.monotonic):
        self.database = database
        self.clock = clock
        #: queue of Death, to be written to the ledger
        self.deaths = deque()
        self._woken = threading.Event()
        self.cases = {}
        self.connection = None
        self.is_elected = False
        #: whether this keeper has just got the lock
        self.is_new = True
        #: when to ask for the lock again, after it was released because the
        #: broker accepted no message
        self.elected_again_at = 0
        self._said = None

    def step(self):
        "Check the ledger once.  It never raises, so that the thread goes on."
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
                logger.exception(
                    "the keeper of the database %s failed", self.database)

    def tell(self, death):
        "Have a death written at once; called in another thread."
        self.deaths.append(death)
        self._woken.set()

    def wait(self):
        "Wait until it is time for the next step."
        self._woken.wait(
            AGAIN if self.deaths and self._said is None else LOOK)
        self._woken.clear()

    def is_away(self, error):
        "Return whether an error comes from an outage of broker or database."
        return isinstance(error, (BrokerError, OutageError)) or is_outage(
            error, self.database)

    def say(self, text):
        "Log a text, unless it is the same as the last one."
        if str(text) != self._said:
            logger.warning("%s", text)
            self._said = str(text)

    # The lock

    def hold(self):
        """Hold the lock of this worker, and try to get that of the database.

        Both are advisory locks of a separate connection.
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
        "Release the lock of the database to the keeper of another worker."
        self.cases.clear()
        if self.is_elected:
            self.is_elected = False
            self.elected_again_at = self.clock() + PATIENCE
            self.ask('SELECT pg_advisory_unlock(%s, %s)', ELECTED)

    def release(self):
        "Close the connection, and forget what may have changed meanwhile."
        self.cases.clear()
        self.is_elected = False
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    # Processes that died

    def record_deaths(self):
        "Write the deaths that the parent has reported to the ledger."
        for _ in range(len(self.deaths)):
            death = self.deaths.popleft()
            try:
                if not self.record_death(death):
                    # The server has not released the lock yet: try later
                    self.deaths.append(death)
            except BrokerError as error:
                # The death is written.  The chunk is found and sent later
                self.say(error)
            except Exception as error:
                if self.is_away(error):
                    self.deaths.append(death)
                    raise
                # The message was malformed: a real chunk is found later
                logger.exception("#%s: the death of a process (%s) can not be "
                    "written", death.execution, death.cause,
                    exc_info=exc_info(error))

    def record_death(self, death):
        "Write a death; return False if the row is still locked."
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
            death.blame, death.reached)
        if chunk is not None:
            self.send(death.execution, batch, [chunk])
        return written

    def batch_of(self, execution):
        with Transaction().start(
                self.database, 0, readonly=True) as transaction:
            row = ledger.executions.columns(
                transaction.connection.cursor(), execution, 'batch')
        return row and row['batch']

    # Lost messages

    def look(self):
        "Send lost messages again, and close executions that are over."
        with Transaction().start(
                self.database, 0, readonly=True) as transaction:
            rows = ledger.executions.list_open(transaction.connection.cursor())
        rows = [row for row in rows if not row['local']]
        # The last keeper may have died before it sent a lost message
        age, self.is_new = PATIENCE if self.is_new else 0, False
        self.cases = {
            row['id']: self.cases.get(row['id']) or Case(age) for row in rows}
        for row in rows:
            case = self.cases[row['id']]
            try:
                self.look_at(row, case)
                case.trouble = None
            except backend.DatabaseOperationalError as error:
                # Another transaction changed the rows: check again later
                if is_outage(error):
                    raise
            except Exception as error:
                if self.is_away(error):
                    raise
                # The keeper must go on with the other executions
                self.say_trouble(row, case, error)

    def say_trouble(self, row, case, error):
        "Log an error of one execution, unless it is the same as the last."
        text = one_line(error)
        if text != case.trouble:
            case.trouble = text
            with working(Work(
                        row['batch'], row['id'], database=self.database)):
                get_logger(row['batch']).error(
                    "the keeper can not check this execution: %s", text,
                    exc_info=None if is_refusal(error) else exc_info(error))

    def look_at(self, row, case):
        execution, was_ready = row['id'], case.was_ready
        lost, probe, is_over, lanes = transact(
            self.database, lambda cursor: self.examine(
                cursor, row, case), retry=0)
        if is_over and was_ready:
            # The process that ended the last chunk had time to close it
            close(self.database, execution)
        if lost:
            with working(Work(
                        row['batch'], execution, database=self.database)):
                get_logger(row['batch']).warning(
                    "message lost, sent again: %s",
                    get_print_infos(lost, 'chunk', 0)
                    if lost != [SELECTION] else 'the selection'
                    if row['state'] == ExecutionState.SELECTING
                    else 'the end of the execution')
        if to_send := lost + [probe] * (probe is not None) + lanes:
            self.send(execution, row['batch'], to_send)

    def examine(self, cursor, row, case):
        """Return (lost, probe, whether the execution is over, lanes).

        The chunks that are sent again are marked as careful.  Lanes are begun
        or halved where no message waits: processes may be free, or have died
        before they began the next one.
        """
        execution, state = row['id'], row['state']
        if state == ExecutionState.SELECTING:
            return *self.examine_selection(cursor, row, case), False, []
        free = ledger.open_chunks.list_queued(cursor, execution)
        queued = ledger.open_chunks.list_queued(cursor, execution, lock=False)
        more = ledger.executions.existing(
            cursor, execution, 'stopping', 'settings')
        stopping = more['stopping']
        lanes = [] if stopping else begin_lanes(
            cursor, execution, len(free), len(queued),
            values_of(more['settings'])['concurrency'], case)
        if stopping or not (queued or lanes):
            case.was_ready = len(free) == len(queued) and (
                bool(stopping)
                or not ledger.open_chunks.has_open(cursor, execution))
            if case.was_ready and needs_hooks(cursor, execution):
                # A worker calls them: they may take long, or kill
                return *self.examine_row(cursor, row, case), False, []
            return [], None, case.was_ready, []
        case.was_ready = False
        lost, probe = case.look(
            free, set(queued).difference(free), self.clock())
        ledger.chunks.mark_deserted(
            cursor, lost + [probe] * (probe is not None))
        return lost, probe, False, [chunk.id for chunk in lanes]

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
        "Return (lost, probe) for the task that selects, or calls finish."
        taken = ledger.executions.claim(cursor, row['id'], row['state'])
        return case.look(*(
                ([SELECTION], []) if taken else ([], [SELECTION])),
            self.clock())

    def send(self, execution, batch, chunks):
        "Raises BrokerError."
        queue = operations.queue_of_execution(self.database, batch, execution)
        send = tasks.sender(self.database, batch, queue)
        for chunk in chunks:
            if chunk == SELECTION:
                tasks.send_selection(self.database, batch, execution, queue)
            else:
                send(execution, chunk)


def begin_lanes(cursor, execution, free, count, concurrency, case):
    """Where nobody has to take a lane, begin as many as there are.

    Where all have begun, halve them.  Whoever has ended one may be about to do
    the same: so only if two checks find few of them, and not up to all that
    may be in flight.

    :param free: how many of them nobody works on
    :param count: how many are in flight
    """
    was_short, case.was_short = case.was_short, False
    if free:
        return []
    more = max(1, count)
    if case.lanes is None:
        case.lanes = ledger.planning.firsts(concurrency)
    lanes = ledger.open_chunks.begin_lanes(
        cursor, execution, case.lanes, more)
    room = max(1, concurrency * 3 // 4) - count
    if lanes or room <= 0:
        return lanes
    case.was_short = True
    if not was_short:
        return []
    halves = [
        ledger.open_chunks.halve_lane(cursor, execution, concurrency)
        for _ in range(min(room, more))]
    lanes = [lane for lane in halves if lane]
    if not (lanes or count):
        # Nobody else will ever go on with it
        lanes = ledger.open_chunks.queue_orphans(cursor, execution)
    return lanes

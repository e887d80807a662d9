# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The life of a chunk: what generate does.

``send(execution, chunk)`` is handed in: on workers it gives a message to the
broker, in the process itself it appends to a list.
"""
import contextlib
import logging
import time
from functools import partial

from trytond.model import ModelSQL
from trytond.model.exceptions import AccessError
from trytond.pool import Pool
from trytond.transaction import Transaction, inactive_records

from .. import ledger, output
from ..batch import record_id
from ..class_checks import check_numbers
from ..context import Work, working
from ..exceptions import OutageError, StateError
from ..ledger import units
from ..ledger.claimants import worker_name
from ..ledger.states import ExecutionState
from ..logging import get_logger, get_print_infos
from ..outcome import duration
from ..signatures import call_hook
from ..transaction import (
    before_leaving, find_outage, is_broken, is_outage, is_shutdown,
    is_unique_race, load_pool, transact)
from . import hooks, suspects
from .ending import close
from .errors import describe, one_line
from .isolation import (
    fail_or_bisect, flattened, give_up, is_divisible, units_of)
from .output_files import note_appeared
from .records import has_records
from .running import load_job, open_configured_logs
from .time_limit import call_within

__all__ = ['TURN', 'take_turn']

logger = logging.getLogger(__name__)

#: seconds for which a task goes on with the successors of its chunk, before
#: it hands the next one to the broker: small chunks cost no trip through it,
#: and nobody holds a worker for long
TURN = 0.2
#: how many deaths of a process a chunk causes before it is taken apart
MAX_DEATHS = 2


class _Rehearsed(Exception):
    "Raised at the end of the work of a dry run, so that it is rolled back."

    def __init__(self, chunk, numbers):
        self.chunk = chunk
        self.numbers = numbers


class _DeliveredBefore(Exception):
    "Raised when a chunk has to be begun with care."

    def __init__(self, chunk):
        self.chunk = chunk


def take_turn(database, execution, chunk, *, send, again=False,
        clock=time.monotonic):
    """Treat a chunk and, while the turn lasts, the ones that it queues.

    :param send: called with (execution, chunk)
    :param again: whether the broker says that it delivered this before
    :param clock: gives seconds
    """
    open_configured_logs()
    try:
        load_pool(database)
        job = load_or_stop(database, execution)
        if job is None or not go_along(job, chunk, send, again, clock):
            return
    except OutageError:
        # It is logged.  The chunk waits, and the keeper sends it again
        return
    except Exception as error:
        if not is_outage(error, database):
            raise
        logger.warning("#%s waits for the database %s: %s",
            execution, database, one_line(error))
        return
    close(database, execution)


def load_or_stop(database, execution):
    """Return the Job, None where there is nothing to do any more.

    Where it can not be loaded, as the code was changed since the start, the
    execution is stopped: to try the next chunk would help nobody.
    """
    try:
        return load_job(database, execution)
    except Exception as error:
        if is_outage(error, database):
            raise
        stop_execution(database, execution, error)
        return None


def stop_execution(database, execution, error):
    "Stop an execution that can not go on as the code is now."
    def _stop(cursor):
        row = ledger.executions.columns(cursor, execution, 'batch')
        return row and ledger.executions.stop(
            cursor, execution, ExecutionState.FAILED,
            'stopped: it can not go on with the code of now (%s): %s' % (
                worker_name(), one_line(error))) and row['batch']

    if batch := transact(database, _stop):
        with working(Work(
                    batch, execution, database=database)):
            get_logger(batch).exception(
                "stopped: the execution can not go on with the code of now",
                exc_info=error)
    close(database, execution)


def go_along(job, chunk, send, again, clock):
    "Treat the chunks of a lane; return whether it came to its end."
    deadline = clock() + TURN
    while (chunk := treat(job, chunk, again)) is not None:
        again = False
        if clock() < deadline:
            continue
        try:
            send(job.execution, chunk)
        except Exception as error:
            # Without the broker the lane goes on here: later, not never
            with job.working():
                job.logger.warning(
                    "the broker takes no message, going on without it: %s",
                    one_line(error))
        else:
            return False
    return True


def treat(job, chunk_id, again=False):
    """Treat one chunk; return the id of the chunk to go on with, or None.

    None also where somebody else has the chunk.
    """
    try:
        return attempt(job, chunk_id, careful=again)
    except _DeliveredBefore as error:
        chunk = error.chunk
    if chunk.deaths >= MAX_DEATHS:
        return give_up(job, chunk)
    if not transact(
            job.database, lambda cursor: begin(cursor, job, chunk)):
        return None
    try:
        return attempt(job, chunk_id, begun=True)
    except BaseException as error:
        if is_shutdown(error):
            before_leaving(job.database, partial(
                    ledger.claimants.give_back, execution=job.execution,
                    chunk=chunk_id))
        raise


def begin(cursor, job, chunk):
    if ledger.chunks.claim(cursor, job.execution, chunk.id) is None:
        return False
    ledger.chunks.begin(cursor, chunk)
    return True


def attempt(job, chunk_id, careful=False, begun=False, gone=frozenset(),
        repeated=False):
    """Do the work of a chunk and its ``done`` in one commit, or fail it.

    :param careful: raise _DeliveredBefore whatever the ledger says
    :param begun: whether the ledger says that we begin with it
    :param gone: ids of records that are not there any more
    :param repeated: whether it was refused by a constraint before
    """
    started = time.monotonic()
    # What Tryton begins anew by TransactionError is the same attempt
    chunk, objects, outputs, attempts, broken = None, None, None, 1, None

    def work(cursor):
        nonlocal chunk, outputs, broken
        transaction = Transaction()
        chunk = ledger.chunks.claim(cursor, job.execution, chunk_id)
        if chunk is None:
            return go_on(cursor, job, chunk_id)
        if chunk.execution != job.execution:
            job.logger.error(
                "a message of #%s names the chunk %s: refused",
                job.execution, chunk.label)
            chunk = None
            return None
        if not begun and (careful or chunk.careful):
            raise _DeliveredBefore(chunk)
        outputs = transaction.join(output.Outputs(job.tag))
        guard = hooks.Guard(
            job.batch, chunk.transaction, check_later=not job.dry_run)
        try:
            with job.working(chunk, outputs=outputs), guard:
                numbers = call_within(job.settings['time_limit'], call_hooks)
        except BaseException:
            broken = is_broken(transaction)
            raise
        if job.dry_run:
            raise _Rehearsed(chunk, numbers)
        try:
            return ledger.chunks.done(
                cursor, chunk, attempts, outputs.identities, numbers)
        except StateError:
            guard.check()
            raise

    def call_hooks():
        nonlocal objects
        objects, ids = convert(job, chunk, gone)
        numbers = execute(job, objects, ids) if ids or not gone else {}
        return check_numbers(job.batch, numbers)

    def on_retry(error, count):
        nonlocal attempts
        attempts += 1
        with job.working(chunk):
            job.logger.warning(
                "the database refused for now, trying again (%s of %s): %s",
                count, job.settings['retry'], one_line(error))

    try:
        successor = transact(
            job.database, work, user=job.user, context=job.context,
            retry=job.settings['retry'], on_retry=on_retry)
    except _DeliveredBefore:
        raise
    except _Rehearsed as error:
        successor = transact(job.database, partial(
                record_rehearsal, job=job, chunk=error.chunk,
                numbers=error.numbers, attempts=attempts))
    except BaseException as error:
        # A hook may raise whatever there is, and call sys.exit()
        if is_shutdown(error):
            raise
        outage = find_outage(error, job.database, is_whole=broken is False)
        if broken or outage is not None:
            # Whatever was raised where the connection broke
            outage = error if outage is None else outage
            wait(job, chunk_id, chunk, outage)
            raise OutageError(one_line(outage)) from error
        if chunk is None:
            raise
        if not gone and (gone := find_gone(job, chunk, error)):
            return attempt(job, chunk_id, begun=True, gone=gone)
        if (not repeated and is_unique_race(error)
                and not is_divisible(job, chunk)):
            with job.working(chunk):
                job.logger.warning(
                    "a constraint refused %s, beginning once more: %s",
                    units_of(chunk), one_line(error))
            return attempt(
                job, chunk_id, begun=True, gone=gone, repeated=True)
        return fail_or_bisect(job, chunk, attempts, error, objects)
    if chunk is not None:
        note_appeared(job.database, job.execution, outputs, chunk.id)
        with job.working(chunk):
            job.logger.info("%s done in %s", units_of(chunk),
                duration(time.monotonic() - started))
    return successor


def go_on(cursor, job, chunk_id):
    """Return the id of the chunk to which the lane has come, or None.

    Whoever ended a chunk may have died before it went on with the next one.
    """
    id = ledger.chunks.first_open_in_lane(
        cursor, job.execution, chunk_id, job.settings['concurrency'])
    # Somebody else has it
    return None if id == chunk_id else id


def wait(job, chunk_id, chunk, error):
    "Say why a chunk waits for the database; no unit is to blame."
    with contextlib.suppress(Exception):
        # Where the database can do at least that
        transact(job.database, lambda cursor: ledger.chunks.note_trouble(
                cursor, chunk_id,
                describe(error)['error']), retry=0)
    with job.working(chunk):
        job.logger.warning("waits for the database: %s", one_line(error))


def record_rehearsal(cursor, job, chunk, numbers, attempts):
    chunk = ledger.chunks.claim(cursor, job.execution, chunk.id)
    if chunk is not None:
        return ledger.chunks.done(cursor, chunk, attempts, numbers=numbers)


def find_gone(job, chunk, error):
    """Return the ids of the chunk's records that were deleted meanwhile.

    Only where the error may come from that, and only where ids are known to
    be those of the main model: nothing else may be left out.
    """
    Batch = Pool(job.database).get(job.batch)
    if (chunk.units is None or not issubclass(type(error), AccessError)
            or not has_records(Batch)):
        return frozenset()

    def search(cursor):
        Model = Pool().get(Batch.get_batch_main_model_name())
        ids = {record_id(id) for id, _ in flattened(chunk)}
        if not issubclass(Model, ModelSQL):
            return frozenset()
        with inactive_records():
            return frozenset(ids.difference(map(int, Model.search(
                            [('id', 'in', list(ids))]))))

    gone = transact(job.database, search)
    if gone:
        with job.working(chunk):
            job.logger.warning("left out, as deleted since the selection: %s",
                get_print_infos(sorted(gone), 'record'))
    return gone


def convert(job, chunk, gone=frozenset()):
    "Return what ``execute`` is given: objects and ids."
    if chunk.units is None:
        return [], []
    if isinstance(chunk.units, units.Unreadable):
        raise chunk.units.error
    Batch = Pool().get(job.batch)
    ids = [
        id for id, _ in flattened(chunk)
        if not gone or record_id(id) not in gone]
    objects = call_hook(
        Batch, 'convert_to_instances', job.parameters, ids)
    if isinstance(objects, list):
        objects = suspects.Watched(objects)
    return objects, ids


def execute(job, objects, ids):
    return call_hook(
        Pool().get(job.batch), 'execute', job.parameters, objects, ids)

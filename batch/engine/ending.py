# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The end of an execution: files, archive, counts, and its last line."""
import json
import os

from .. import ledger, tracing
from ..aliases import Cursor
from ..context import Work, working
from ..ledger.rows import values_of
from ..ledger.states import ExecutionState, Finish
from ..logging import get_logger, log_path_of
from ..mailing import Mail
from ..outcome import Outcome, missing_files
from ..texts import escape
from ..transaction import transact
from . import error_files, finishing, input_files, telling
from .input_files import Settled
from .output_files import discard_leftovers, publish
from .tags import tag_of

__all__ = ['close', 'needs_hooks']


def needs_hooks(cursor: Cursor, execution: int) -> bool:
    "Return whether hooks have to be called before the execution may end."
    return error_files.are_wanted(cursor, execution) \
        or ledger.finishing.is_due(cursor, execution)


def close(
        database: str, execution: int, may_call_hooks: bool = False) -> None:
    """End the execution if no chunk is left, and log its outcome.

    Called after the commit that ended the last chunk of a lane, so that the
    last caller sees all chunks ended.  Only one of them gets the lock of the
    row.

    Files are published and archived before the end is written: if the process
    dies meanwhile, the execution still runs, and the next caller does all of
    it again.

    :param may_call_hooks: whether this process may call ``finish`` and
        ``format_errors``: hooks need the pool, may take long and may kill the
        process.  Else nothing is done if one has to be called
    """
    def look(
            cursor: Cursor
            ) -> tuple[str, set[tuple[str, bool]], bool, bool] | None:
        if row := ledger.executions.claim_if_over(cursor, execution):
            # Even if no process died: a commit may have lost its connection
            places = {
                (os.path.dirname(path), False)
                for path in ledger.outputs.files(cursor, execution)}
            root_dir = values_of(row['settings'])['root_dir']
            # All of root_dir only where a process may have died
            if root_dir and (row['stopping']
                    or row['finish'] in {Finish.BEGUN, Finish.FAILED}
                    or ledger.figures.had_deaths(cursor, execution)):
                places.add((root_dir, True))
            return (
                row['batch'], places,
                error_files.are_wanted(cursor, execution),
                ledger.finishing.is_due(cursor, execution))
        return None

    def end(
            cursor: Cursor
            ) -> tuple[
                dict[str, str], list[Settled], Outcome, list[Mail]] | None:
        row = ledger.executions.claim_if_over(cursor, execution)
        if row is None:
            return None
        if row['stopping'] == ExecutionState.CANCELLED:
            ledger.open_chunks.cancel_open(cursor, execution)
        tag = tag_of(database, execution, row['started_at'])
        missing = publish(cursor, execution, tag)
        settled = input_files.settle(cursor, execution, tag)
        counts = ledger.figures.counts(cursor, execution)
        message = [row['message']]
        if missing:
            message.append(missing_files(execution, missing))
        state = row['stopping'] or (
            ExecutionState.FAILED
            if counts['failed'] or missing or row['finish'] == Finish.FAILED
            else ExecutionState.SUCCEEDED)
        succeeded = state == ExecutionState.SUCCEEDED
        ledger.executions.update(
            cursor, execution, state=state, ended_at=ledger.tables.clock(),
            exit_status=0 if succeeded else 1,
            done=counts['done'], failed=counts['failed'],
            left=counts['left'],
            message='; '.join(filter(None, message)) or None,
            missing=json.dumps(list(missing)) if missing else None)
        if row['retry_of']:
            ledger.settling.solve(cursor, execution)
        if succeeded:
            ledger.executions.forget_secrets(cursor, execution)
        outcome = Outcome.load(cursor, execution)
        assert outcome is not None
        mails = telling.tell(cursor, outcome) if is_told else []
        return missing, settled, outcome, mails

    if (found := transact(database, look)) is None:
        return
    batch, places, wants_errors, is_due = found
    if (wants_errors or is_due) and not may_call_hooks:
        return
    logger = get_logger(batch)
    with working(Work(batch, execution, database=database)):
        discard_leftovers(database, execution, places, logger)
        if wants_errors:
            error_files.write_errors(database, execution, logger)
        if is_due and not finishing.finish(database, batch, execution):
            return
        is_told = telling.prepare(database, batch)
        if (ended := transact(database, end)) is None:
            return
        missing, settled, outcome, mails = ended
        for name, reason in missing.items():
            logger.error(
                'the file "%s" is committed but missing: %s', escape(name),
                escape(reason))
        for path, archived, why in settled:
            if archived:
                logger.info('"%s" is archived as "%s"',
                    escape(path.name), escape(archived))
            else:
                logger.warning('"%s" is not archived: %s',
                    escape(path.name), escape(why))
        trace(database, outcome)
        write = logger.success if outcome.succeeded else logger.failure
        write('%s', outcome.text(batch, log=log_path_of(batch)),
            extra={'outcome': outcome.figures()})
        telling.send_mails(mails, logger)


def trace(database: str, outcome: Outcome) -> None:
    tracing.trace_execution(
        database, outcome.batch, outcome.id, outcome.started_at,
        outcome.ended_at, outcome.figures())

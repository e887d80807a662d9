# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The rows of input files that failed, given back as files.

A user corrects such a file and puts it into the input directory again.  So the
failures of its rows are dismissed in the commit that has the file, which is an
output of the execution: it appears even if the process dies.
"""
import json
import os
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from trytond.pool import Pool
from trytond.transaction import Transaction

from .. import ledger, output
from ..aliases import Cursor
from ..exceptions import BatchError
from ..file_batch import archive_of
from ..ledger.units import flattened
from ..logging import BatchLogger
from ..signatures import call_hook
from ..texts import escape
from ..transaction import is_outage, is_shutdown, load_pool, transact
from . import input_files
from .errors import exc_info, one_line
from .hooks import Guard
from .output_files import discard_leftovers, note_appeared
from .running import Job, load_job

__all__ = ['are_wanted', 'write_errors']

#: (number, row, error, (id of the failure, names of the files of its unit))
Failed: TypeAlias = tuple[int, Any, str, tuple[int, set[str]]]


def write_errors(
        database: str, execution: int, logger: BatchLogger) -> None:
    """Write the files of an execution that is about to end.

    An error is logged, and does not keep the execution from ending.
    """
    outputs: output.Outputs | None = None
    written: list[tuple[Path, int]] = []

    def write(cursor: Cursor, job: Job) -> list[tuple[Path, int]]:
        nonlocal outputs
        if ledger.executions.claim_if_over(cursor, execution) is None:
            return []
        outputs = Transaction().join(output.Outputs(job.tag))
        with job.working(outputs=outputs), Guard(job.batch):
            return write_files(cursor, job, outputs)

    try:
        load_pool(database)
        if (job := load_job(database, execution)) is None:
            return
        if os.path.isdir(directory_of(job)):
            discard_leftovers(
                database, execution, {(str(directory_of(job)), False)}, logger)
        written = transact(
            database, partial(write, job=job), user=job.user,
            context=job.context)
    except BaseException as error:
        if is_shutdown(error) or is_outage(error, database):
            raise
        if issubclass(type(error), BatchError):
            logger.error("the failed rows can not be written: %s", error)
        else:
            logger.exception("the failed rows can not be written: %s",
                one_line(error), exc_info=exc_info(error))
        return
    note_appeared(database, execution, outputs)
    for path, count in written:
        logger.info('%s failed row%s written to "%s"', count,
            ' is' if count == 1 else 's are', escape(path))


def are_wanted(cursor: Cursor, execution: int) -> bool:
    """Return whether an execution has failed rows to write, and where to.

    An execution that was stopped has none: something else is wrong with it.
    """
    row = ledger.executions.existing(
        cursor, execution, 'parameters', 'stopping', 'dry_run')
    errors, _ = json.loads(row['parameters'] or '{}').get('errors', ('', ''))
    return bool(
        errors and not row['stopping'] and not row['dry_run']
        and ledger.inputs.held_by(
            cursor, ledger.inputs.root_of(cursor, execution))
        and ledger.failed_units.count_open(cursor, [execution]))


def directory_of(job: Job) -> Path:
    return archive_of(job.parameters['directory'], job.parameters['errors'])


def write_files(
        cursor: Cursor, job: Job,
        outputs: output.Outputs) -> list[tuple[Path, int]]:
    "Write the files, dismiss their failures; return (path, count) of each."
    root = ledger.inputs.root_of(cursor, job.execution)
    undone = ledger.inputs.count_undone(
        cursor, ledger.inputs.tree_of(cursor, root))
    failures = failed_rows(cursor, job.execution)
    written: dict[str, tuple[Path, list[Failed]]] = {}
    for file in ledger.inputs.held_by(cursor, root):
        name = file.path.name
        failed = failures.get(name)
        if not failed or any(
                not is_failed for is_failed, _, _ in undone[name]):
            continue
        if not input_files.is_unchanged(file):
            # Which is told when it is not archived
            continue
        content = call_hook(
            Pool().get(job.batch), 'format_errors', job.parameters,
            file.path, [
                (number, row, error)
                for number, row, error, _ in failed])
        if content is None:
            job.logger.warning('the failed rows of "%s" are not written: they '
                'are not found among its lines; let the batch have '
                '"format_errors"', escape(name))
            continue
        path = outputs.write(directory_of(job) / name, content)
        written[name] = path, failed
    reasons: dict[str, list[int]] = {}
    for name, (path, failed) in written.items():
        for _, _, _, (id, names) in failed:
            # A group may have rows of several files
            if names <= written.keys():
                reasons.setdefault(
                    'written to "%s"' % path, []).append(id)
    for reason, ids in reasons.items():
        ledger.settling.dismiss(
            cursor, job.execution, reason, sorted(set(ids)))
    if written:
        row = ledger.executions.existing(
            cursor, job.execution, 'outputs', 'message')
        told = 'failed rows are written to %s' % ', '.join(
            '"%s"' % path for path, _ in list(written.values())[:3])
        if len(written) > 3:
            told += ' and {:,} more files'.format(len(written) - 3)
        ledger.executions.update(
            cursor, job.execution,
            outputs=json.dumps({
                    **json.loads(row['outputs'] or '{}'),
                    **outputs.identities}),
            message='; '.join(filter(None, [row['message'], told])))
    return [(path, len(failed)) for path, failed in written.values()]


def failed_rows(cursor: Cursor, execution: int) -> dict[str, list[Failed]]:
    """Return the open failures that are rows, by the name of their file.

    In the order of their numbers.
    """
    found: dict[str, list[Failed]] = {}
    for id, units, error in ledger.failed_units.list_errors(
            cursor, execution):
        rows = [
            unit for unit, _ in flattened(units)
            if isinstance(unit, tuple) and len(unit) == 3
            and isinstance(unit[0], str) and type(unit[1]) is int]
        names = {name for name, _, _ in rows}
        for name, number, row in rows:
            found.setdefault(name, []).append(
                (number, row, error, (id, names)))
    for failed in found.values():
        failed.sort(key=lambda row: row[0])
    return found

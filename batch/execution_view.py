# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the client shows of an execution, and the buttons below it.

The columns are in execution.py; all of this is computed.
"""
import datetime as dt

from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval, If
from trytond.transaction import Transaction

from . import client_actions, ledger
from .ledger.states import (
    OPEN_CHUNKS, OPEN_EXECUTIONS, ChunkState, ExecutionState, Finish)
from .view_tools import hide_empty, in_colour, title_of, whole_seconds

__all__ = ['Execution']

#: chunks and failures that a form lists; an action opens all of them
FIRST = 200


class Execution(metaclass=PoolMeta):
    __name__ = 'batch.execution'

    title = fields.Function(
        fields.Char("Title", help="What the batch does."), 'get_shown')
    started = fields.Function(
        fields.DateTime("Started", help="In whole seconds."), 'get_shown')
    ended = fields.Function(
        fields.DateTime("Ended", help="In whole seconds."), 'get_shown')
    duration = fields.Function(
        fields.TimeDelta("Duration", help="Until now, if it is not over."),
        'get_shown')
    progress = fields.Function(
        fields.Float("Progress", digits=(None, 2)), 'get_shown')
    units_done = fields.Function(fields.Integer("Done"), 'get_shown')
    units_failed = fields.Function(fields.Integer("Failed"), 'get_shown')
    units_left = fields.Function(
        fields.Integer("Left", help="Neither done nor failed."), 'get_shown')
    is_settled = fields.Function(
        fields.Boolean("Settled", help="Nobody has to look at it."),
        'get_is_settled', searcher='search_is_settled')
    open_failures = fields.Function(
        fields.Integer("To Do", help="Failed units that nobody retried or "
            "dismissed."), 'get_open_failures')
    can_cancel = fields.Function(fields.Boolean("Can Cancel"), 'get_acts')
    can_resume = fields.Function(fields.Boolean("Can Resume"), 'get_acts')
    can_retry = fields.Function(fields.Boolean("Can Retry"), 'get_acts')
    errors = fields.Function(
        fields.Many2Many('batch.execution.error', None, None,
            "Kinds of Errors", help="What failed, counted."), 'get_errors')
    first_failures = fields.Function(
        fields.Many2Many('batch.failure', None, None, "Failures",
            help="The first %s, those to do before the others." % FIRST),
        'get_first_failures')
    first_chunks = fields.Function(
        fields.Many2Many('batch.execution.chunk', None, None, "Chunks",
            help="The first %s: those that failed, then those at work."
            % FIRST),
        'get_first_chunks')
    parameter_values = fields.Function(
        fields.Many2Many('batch.execution.value', None, None, "Parameters"),
        'get_values')
    setting_values = fields.Function(
        fields.Many2Many('batch.execution.value', None, None, "Settings"),
        'get_values')
    output_files = fields.Function(
        fields.Many2Many('batch.execution.file', None, None, "Files"),
        'get_output_files')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        hide_empty(cls, 'message', 'traceback', 'missing')
        cls._buttons.update({
                name: {
                    'invisible': ~Eval('can_' + name, False),
                    'depends': ['can_' + name],
                    } for name in ['cancel', 'resume', 'retry']})

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="state"]', 'visual', in_colour({
                        'failed': 'danger', 'succeeded': 'success',
                        'cancelled': 'muted'}, 'warning')),
            ('/tree/field[@name="units_failed"]', 'visual',
                If(Eval('units_failed', 0) > 0, 'danger', '')),
            ('/form/notebook/page[@id="failed"]', 'states', {
                    'invisible': ~Bool(Eval('units_failed'))
                    & ~Bool(Eval('traceback')),
                    })]

    # What a list shows: instances would take longer than all the rest

    @classmethod
    def get_shown(cls, executions, names):
        cursor = Transaction().connection.cursor()
        rows = ledger.screens.rows_of(
            cursor, [e.id for e in executions], 'batch', 'state',
            'started_at', 'ended_at', 'selected', 'done', 'failed', 'left')
        # The row has the counts only once it is over
        open_ = [id for id, row in rows.items() if not row['ended_at']]
        units = ledger.screens.units_of(cursor, open_) if open_ else {}
        now = ledger.tables.now(cursor)
        titles = {
            batch: title_of(batch)
            for batch in {row['batch'] for row in rows.values()}}
        shown = {name: {} for name in names}
        for id, row in rows.items():
            values = shown_of(row, units.get(id, {}), now)
            values['title'] = titles[row['batch']]
            for name in names:
                shown[name][id] = values[name]
        return shown

    @classmethod
    def order_started(cls, tables):
        return cls.started_at.convert_order('started_at', tables, cls)

    @classmethod
    def get_is_settled(cls, executions, name):
        settled = {e.id for e in cls.search([
                    ('id', 'in', [e.id for e in executions]),
                    ('is_settled', '=', True)])}
        return {e.id: e.id in settled for e in executions}

    @classmethod
    def search_is_settled(cls, name, clause):
        _, operator, value = clause
        is_wanted = bool(value) == (operator in {'=', 'in'})
        return [(
                'id', 'not in' if is_wanted else 'in',
                ledger.screens.unsettled())]

    @classmethod
    def get_open_failures(cls, executions, name):
        counts = ledger.screens.count_free(
            Transaction().connection.cursor(), [e.id for e in executions])
        return {e.id: counts.get(e.id, 0) for e in executions}

    # What a form shows

    @classmethod
    def get_first_chunks(cls, executions, name):
        cursor = Transaction().connection.cursor()
        return {
            e.id: ledger.screens.first_chunks(cursor, e.id, FIRST)
            for e in executions}

    @classmethod
    def get_first_failures(cls, executions, name):
        cursor = Transaction().connection.cursor()
        return {
            e.id: ledger.screens.first_failures(cursor, e.id, FIRST)
            for e in executions}

    @classmethod
    def get_values(cls, executions, names):
        Value = Pool().get('batch.execution.value')
        return {
            name: {e.id: Value.ids_of(e, name) for e in executions}
            for name in names}

    @classmethod
    def get_errors(cls, executions, name):
        Error = Pool().get('batch.execution.error')
        return {e.id: Error.ids_of(e) for e in executions}

    @classmethod
    def get_output_files(cls, executions, name):
        File = Pool().get('batch.execution.file')
        return {e.id: File.ids_of(e.id) for e in executions}

    # The buttons

    @classmethod
    def get_acts(cls, executions, names):
        cursor = Transaction().connection.cursor()
        ids = [e.id for e in executions]
        rows = ledger.screens.rows_of(
            cursor, ids, 'state', 'stopping', 'left', 'missing', 'finish',
            'dry_run')
        free = ledger.screens.count_free(cursor, ids)
        acts = {name: {} for name in names}
        for id, row in rows.items():
            is_open = row['state'] in OPEN_EXECUTIONS
            can = {
                'can_cancel': is_open and not row['stopping'],
                'can_resume': row['state'] in {'failed', 'cancelled'} and bool(
                    row['left'] or row['missing']
                    or row['finish'] == Finish.FAILED),
                'can_retry': not is_open and not row['dry_run']
                and id in free}
            for name in names:
                acts[name][id] = can[name]
        return acts

    @classmethod
    @ModelView.button
    def cancel(cls, executions):
        for execution in executions:
            client_actions.cancel(execution)
        return 'reload'

    @classmethod
    @ModelView.button
    def resume(cls, executions):
        for execution in executions:
            client_actions.resume(execution)
        return 'reload'

    @classmethod
    @ModelView.button_action('batch.act_execution_one')
    def retry(cls, executions):
        started = [client_actions.retry(e) for e in executions]
        return {'res_id': started}


def shown_of(row, units, now):
    """Return what a list shows of an execution.

    :param units: by state of their chunk, where it is not over
    """
    done, failed, left = row['done'], row['failed'], row['left']
    if not row['ended_at']:
        done = units.get(ChunkState.DONE, 0)
        failed = units.get(ChunkState.FAILED, 0)
        left = sum(units.get(state, 0) for state in OPEN_CHUNKS)
    duration = progress = None
    if row['started_at']:
        duration = dt.timedelta(seconds=max(0, int((
                        (row['ended_at'] or now)
                        - row['started_at']).total_seconds())))
    if row['selected']:
        progress = ((done or 0) + (failed or 0)) / row['selected']
    elif row['ended_at'] and row['state'] == ExecutionState.SUCCEEDED:
        progress = 1
    return {
        'started': whole_seconds(row['started_at']),
        'ended': whole_seconds(row['ended_at']), 'duration': duration,
        'progress': progress, 'units_done': done, 'units_failed': failed,
        'units_left': left}

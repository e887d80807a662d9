# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the client shows of an execution, and the buttons below it.

The columns are in execution.py; all of this is computed.
"""
import datetime as dt

from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval, If
from trytond.transaction import Transaction

from . import client_actions, ledger
from .ledger.states import OPEN_CHUNKS, OPEN_EXECUTIONS, ChunkState, Finish
from .view_tools import hide_empty, in_colour, title_of, whole_seconds

__all__ = ['Execution']

#: chunks and failures that a form lists; an action opens all of them
FIRST = 200


class Execution(metaclass=PoolMeta):
    __name__ = 'batch.execution'

    title = fields.Function(
        fields.Char("Title", help="What the batch does."), 'get_titles')
    started = fields.Function(
        fields.DateTime("Started", help="In whole seconds."), 'get_started')
    ended = fields.Function(
        fields.DateTime("Ended", help="In whole seconds."), 'get_ended')
    duration = fields.Function(
        fields.TimeDelta("Duration", help="Until now, if it is not over."),
        'get_durations')
    progress = fields.Function(
        fields.Float("Progress", digits=(None, 2)), 'get_counts')
    units_done = fields.Function(fields.Integer("Done"), 'get_counts')
    units_failed = fields.Function(fields.Integer("Failed"), 'get_counts')
    units_left = fields.Function(
        fields.Integer("Left", help="Neither done nor failed."), 'get_counts')
    is_settled = fields.Function(
        fields.Boolean("Settled", help="Nobody has to look at it."),
        'get_is_settled', searcher='search_is_settled')
    open_failures = fields.Function(
        fields.Integer("To Do", help="Failed units that nobody retried or "
            "dismissed."), 'get_open_failures')
    can_cancel = fields.Function(fields.Boolean("Can Cancel"), 'get_acts')
    can_resume = fields.Function(fields.Boolean("Can Resume"), 'get_acts')
    can_retry = fields.Function(fields.Boolean("Can Retry"), 'get_acts')
    errors = fields.One2Many(
        'batch.execution.error', 'execution', "Kinds of Errors",
        readonly=True, help="What failed, counted.")
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
                If(Eval('units_failed', 0) > 0, 'danger', ''))]

    # What a list shows

    @classmethod
    def get_titles(cls, executions, name):
        titles = {batch: title_of(batch) for batch in {
                e.batch for e in executions}}
        return {e.id: titles[e.batch] for e in executions}

    def get_started(self, name):
        return whole_seconds(self.started_at)

    def get_ended(self, name):
        return whole_seconds(self.ended_at)

    @classmethod
    def order_started(cls, tables):
        return cls.started_at.convert_order('started_at', tables, cls)

    @classmethod
    def get_durations(cls, executions, name):
        now = ledger.tables.now(Transaction().connection.cursor())
        return {
            e.id: dt.timedelta(seconds=max(0, int((
                            (e.ended_at or now)
                            - e.started_at).total_seconds())))
            for e in executions if e.started_at} | {
            e.id: None for e in executions if not e.started_at}

    @classmethod
    def get_counts(cls, executions, names):
        # The row has them only once it is over
        units = {}
        if is_open := [e.id for e in executions if not e.ended_at]:
            units = ledger.screens.units_of(
                Transaction().connection.cursor(), is_open)
        counts = {name: {} for name in [
                'units_done', 'units_failed', 'units_left', 'progress']}
        for e in executions:
            done, failed, left = e.done, e.failed, e.left
            if not e.ended_at:
                found = units.get(e.id, {})
                done = found.get(ChunkState.DONE, 0)
                failed = found.get(ChunkState.FAILED, 0)
                left = sum(found.get(state, 0) for state in OPEN_CHUNKS)
            progress = None
            if e.selected:
                progress = ((done or 0) + (failed or 0)) / e.selected
            elif e.ended_at and e.state == 'succeeded':
                progress = 1
            for name, value in [
                    ('units_done', done), ('units_failed', failed),
                    ('units_left', left), ('progress', progress)]:
                counts[name][e.id] = value
        return {name: counts[name] for name in names}

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
                'id', 'in' if is_wanted else 'not in',
                ledger.screens.settled())]

    @classmethod
    def get_open_failures(cls, executions, name):
        counts = ledger.screens.count_free(
            Transaction().connection.cursor(), [e.id for e in executions])
        return {e.id: counts.get(e.id, 0) for e in executions}

    # What a form shows

    @classmethod
    def get_first_chunks(cls, executions, name):
        Chunk = Pool().get('batch.execution.chunk')
        found = {}
        for execution in executions:
            ids = []
            for states in [['failed'], ['queued'], ['waiting', 'cancelled'],
                    ['done', 'split']]:
                if len(ids) < FIRST:
                    ids.extend(chunk.id for chunk in Chunk.search([
                                ('execution', '=', execution.id),
                                ('state', 'in', states)],
                            order=[('id', 'ASC')], limit=FIRST - len(ids)))
            found[execution.id] = ids
        return found

    @classmethod
    def get_first_failures(cls, executions, name):
        Failure = Pool().get('batch.failure')
        found = {}
        for execution in executions:
            ids = []
            for operator in ['=', '!=']:
                if len(ids) < FIRST:
                    ids.extend(failure.id for failure in Failure.search([
                                ('execution', '=', execution.id),
                                ('state', operator, 'open')],
                            order=[('id', 'ASC')], limit=FIRST - len(ids)))
            found[execution.id] = ids
        return found

    @classmethod
    def get_values(cls, executions, names):
        Value = Pool().get('batch.execution.value')
        return {
            name: {e.id: Value.ids_of(e, name) for e in executions}
            for name in names}

    @classmethod
    def get_output_files(cls, executions, name):
        File = Pool().get('batch.execution.file')
        return {e.id: File.ids_of(e.id) for e in executions}

    # The buttons

    @classmethod
    def get_acts(cls, executions, names):
        is_free = ledger.screens.count_free(
            Transaction().connection.cursor(), [e.id for e in executions])
        acts = {
            'can_cancel': {
                e.id: e.state in OPEN_EXECUTIONS and not e.stopping
                for e in executions},
            'can_resume': {
                e.id: e.state in {'failed', 'cancelled'}
                and bool(
                    e.left or e.missing or e.finish == Finish.FAILED)
                for e in executions},
            'can_retry': {
                e.id: e.state not in OPEN_EXECUTIONS and not e.dry_run
                and e.id in is_free
                for e in executions},
            }
        return {name: acts[name] for name in names}

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

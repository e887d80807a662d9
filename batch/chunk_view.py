# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Chunks, and kinds of errors, as the client shows them."""
from sql import Literal
from sql.aggregate import Count, Min

from trytond.model import ModelSQL, ModelView, fields
from trytond.pool import PoolMeta

from .ledger.tables import failure_
from .ledger.units import load_units, shown_unit
from .read_only import ReadOnlyMixin
from .texts import excerpt
from .view_tools import hide_empty, in_colour, whole_seconds

__all__ = ['ExecutionChunk', 'ExecutionError']

#: units that are named
NAMED = 3


class ExecutionError(ReadOnlyMixin, ModelSQL, ModelView):
    "The failures of an execution that are of one kind, counted."
    __name__ = 'batch.execution.error'
    _rec_name = 'fingerprint'

    execution = fields.Many2One('batch.execution', "Execution", readonly=True)
    fingerprint = fields.Char("Fingerprint", readonly=True)
    units = fields.Integer("Units", readonly=True)
    failure = fields.Many2One('batch.failure', "Example", readonly=True)
    error_type = fields.Function(fields.Char("Kind"), 'get_of_failure')
    first_line = fields.Function(fields.Char("Error"), 'get_of_failure')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('units', 'DESC'), ('id', 'ASC')]

    @classmethod
    def table_query(cls):
        return failure_.select(
            Min(failure_.id).as_('id'),
            failure_.execution.as_('execution'),
            failure_.fingerprint.as_('fingerprint'),
            Count(Literal(1)).as_('units'),
            Min(failure_.id).as_('failure'),
            group_by=[failure_.execution, failure_.fingerprint])

    def get_of_failure(self, name):
        return getattr(self.failure, name)


class ExecutionChunk(metaclass=PoolMeta):
    __name__ = 'batch.execution.chunk'

    shown_units = fields.Function(
        fields.Char("Units", help="The first of them."), 'get_shown_units')
    first_line = fields.Function(fields.Char("Error"), 'get_first_line')
    ended = fields.Function(
        fields.DateTime("Ended", help="In whole seconds."), 'get_ended')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        hide_empty(
            cls, 'error_type', 'error', 'traceback', 'numbers', 'suspect')

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="state"]', 'visual', in_colour({
                        'failed': 'danger', 'done': 'success',
                        'split': 'muted', 'cancelled': 'muted'}, 'warning'))]

    def get_shown_units(self, name):
        if self.units is None:
            return None
        units = load_units(self.units)
        text = ', '.join(map(shown_unit, units[:NAMED]))
        if len(units) > NAMED:
            text += ' ... (+%s)' % (len(units) - NAMED)
        return text

    def get_first_line(self, name):
        return excerpt(self.error) if self.error else None

    def get_ended(self, name):
        return whole_seconds(self.ended_at)

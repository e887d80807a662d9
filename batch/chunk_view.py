# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Chunks, as the client shows them."""
from trytond.model import fields
from trytond.pool import PoolMeta

from .ledger.units import load_units, shown_unit
from .texts import excerpt
from .view_tools import hide_empty, in_colour, whole_seconds

__all__ = ['ExecutionChunk']

#: units that are named
NAMED = 3


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

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What failed, as the client shows it."""
from sql import Null
from sql.aggregate import Max, Min, Sum

from trytond.model import ModelSQL, ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.transaction import Transaction, check_access

from .batch import BatchRoot, record_id
from .execution_view import hide_empty, in_colour
from .ledger.states import ChunkState
from .ledger.tables import chunk_
from .ledger.units import load_units, shown_unit
from .masking import mask_secrets
from .texts import excerpt

__all__ = ['ExecutionChunk', 'ExecutionError']

#: units that are named
NAMED = 3


class ExecutionError(ModelSQL, ModelView):
    "The failures of an execution that are of one kind, counted."
    __name__ = 'batch.execution.error'
    _rec_name = 'error_type'

    execution = fields.Many2One('batch.execution', "Execution", readonly=True)
    error_type = fields.Char("Kind", readonly=True)
    units = fields.Integer("Units", readonly=True)
    chunk = fields.Many2One(
        'batch.execution.chunk', "Example", readonly=True)
    example = fields.Function(fields.Char("Error"), 'get_examples')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('units', 'DESC'), ('id', 'ASC')]

    @classmethod
    def table_query(cls):
        return chunk_.select(
            Min(chunk_.id).as_('id'),
            chunk_.execution.as_('execution'),
            Max(chunk_.error_type).as_('error_type'),
            Sum(chunk_.size).as_('units'),
            Min(chunk_.id).as_('chunk'),
            where=(chunk_.state == ChunkState.FAILED)
            & (chunk_.ended_at != Null),
            group_by=[chunk_.execution, chunk_.fingerprint])

    @classmethod
    def get_examples(cls, errors, name):
        return {
            e.id: excerpt(mask_secrets(e.chunk.error or '')) for e in errors}


class ExecutionChunk(metaclass=PoolMeta):
    __name__ = 'batch.execution.chunk'

    shown_units = fields.Function(
        fields.Char("Records", help="The units of the chunk."),
        'get_shown_units')
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

    @classmethod
    def get_shown_units(cls, chunks, name):
        return {c.id: cls._shown(c) for c in chunks}

    @classmethod
    def _shown(cls, chunk):
        units = load_units(chunk.units)
        if units is None:
            return None
        if len(units) == 1 and (name := cls._record_name(chunk, units[0])):
            return name
        text = ', '.join(map(shown_unit, units[:NAMED]))
        if len(units) > NAMED:
            text += ' ... (+%s)' % (len(units) - NAMED)
        return text

    @classmethod
    def _record_name(cls, chunk, unit):
        "Return the name of the record, for those who may read its model."
        Model = model_of(chunk.execution.batch)
        id = record_id(unit)
        if Model is None or type(id) is not int:
            return None
        if not may_read(Model):
            return None
        # A getter is called without that check
        with check_access():
            records = Model.search([('id', '=', id)], limit=1)
        return '%s (%s)' % (records[0].rec_name, id) if records else None

    def get_ended(self, name):
        return self.ended_at and self.ended_at.replace(microsecond=0)

    def get_first_line(self, name):
        return excerpt(self.error) if self.error else None


def model_of(batch):
    "Return the class of the records of a batch, None without such."
    pool = Pool()
    try:
        Batch = pool.get(batch)
        if not issubclass(Batch, BatchRoot):
            return None
        Model = pool.get(Batch.get_batch_main_model_name())
    except Exception:
        # A hook, of a module that may not be there any more
        return None
    return Model if issubclass(Model, ModelSQL) else None


def may_read(Model):
    "Return whether the user of the request may read the records."
    ModelAccess = Pool().get('ir.model.access')
    name = Model.__name__
    return Transaction().user == 0 or ModelAccess.get_access(
        [name])[name]['read']

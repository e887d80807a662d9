# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The model of the units that failed; the wing ``ledger`` writes them."""
from sql import Null
from sql.conditionals import Coalesce

from trytond import backend
from trytond.model import Index, ModelSQL, ModelView, fields
from trytond.pool import Pool
from trytond.tools import grouped_slice
from trytond.transaction import Transaction

from . import ledger
from .execution import _choices, _MaskedModel, _MaskedUnits
from .ledger.states import FailureState

__all__ = ['Failure']


class Failure(_MaskedModel, ModelView):
    __name__ = 'batch.failure'

    execution = fields.Many2One(
        'batch.execution', "Execution", required=True, readonly=True,
        ondelete='CASCADE')
    chunk = fields.Many2One(
        'batch.execution.chunk', "Chunk", required=True, readonly=True,
        ondelete='CASCADE', help="The chunk that failed with it.")
    unit = _MaskedUnits("Unit", readonly=True,
        help="A list of the one unit, as JSON; empty if the batch selects "
        "nothing.")
    record = fields.Reference(
        "Record", selection='get_models', readonly=True,
        help="The record that the unit is, or begins with.")
    fingerprint = fields.Char("Fingerprint", readonly=True,
        help="The kind of the error and the line that raised it.")
    state = fields.Selection(
        _choices(FailureState), "State", required=True, readonly=True,
        sort=False)
    retried_by = fields.Many2One(
        'batch.execution', "Retried by", readonly=True, ondelete='SET NULL',
        help="The execution that took it up.")
    reason = fields.Text("Reason", readonly=True,
        help="Why it was dismissed.")
    error_type = fields.Function(
        fields.Char("Error Type"), 'get_of_chunk',
        searcher='search_of_chunk')
    error = fields.Function(
        fields.Text("Error"), 'get_of_chunk', searcher='search_of_chunk')
    traceback = fields.Function(
        fields.Text("Traceback"), 'get_of_chunk', searcher='search_of_chunk')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('id', 'DESC')]

    @classmethod
    def __setup_indexes__(cls):
        super().__setup_indexes__()
        table = cls.__table__()
        cls._sql_indexes = {
            Index(
                table,
                (table.execution, Index.Range()),
                (table.state, Index.Range()),
                (table.id, Index.Range())),
            # All that are open
            Index(
                table,
                (table.state, Index.Range()),
                (table.execution, Index.Range())),
            # As Tryton searches what may be empty
            Index(table, (Coalesce(table.fingerprint, ''), Index.Range())),
            # To delete a chunk or an execution, these are looked for
            Index(table, (table.chunk, Index.Range())),
            Index(
                table,
                (table.retried_by, Index.Range()),
                where=table.retried_by != Null),
            Index(
                table,
                (table.record, Index.Range()),
                where=table.record != Null),
            }

    @classmethod
    def __register__(cls, module):
        is_new = not backend.TableHandler.table_exist(cls._table)
        super().__register__(module)
        if is_new:
            ledger.upgrading.fill_failures(
                Transaction().connection.cursor())

    @classmethod
    def get_models(cls):
        "Return the models of records, as the selection of a Reference."
        Model = Pool().get('ir.model')
        return [(None, "")] + Model.get_name_items(ModelSQL)

    @classmethod
    def get_of_chunk(cls, failures, names):
        Chunk = Pool().get('batch.execution.chunk')
        table, chunk = cls.__table__(), Chunk.__table__()
        cursor = Transaction().connection.cursor()
        values = {name: {} for name in names}
        for some in grouped_slice(failures, 1000):
            cursor.execute(*table
                .join(chunk, condition=table.chunk == chunk.id)
                .select(
                    table.id, *[getattr(chunk, name) for name in names],
                    where=table.id.in_([f.id for f in some])))
            for id, *row in cursor.fetchall():
                for name, value in zip(names, row):
                    values[name][id] = value
        return values

    @classmethod
    def search_of_chunk(cls, name, clause):
        return [('chunk.' + clause[0], *clause[1:])]

    def get_rec_name(self, name):
        if self.unit is None:
            return self.chunk.rec_name
        return '%s: %s' % (self.chunk.rec_name, self.unit)

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The units that failed, as the client shows them, and their buttons."""
from itertools import groupby

from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.transaction import Transaction, check_access

from . import client_actions, ledger
from .ledger.units import load_units, shown_unit
from .masking import mask_secrets
from .texts import excerpt
from .view_tools import hide_empty, in_colour, title_of, whole_seconds

__all__ = ['Failure']


class Failure(metaclass=PoolMeta):
    __name__ = 'batch.failure'

    title = fields.Function(fields.Char("Batch"), 'get_shown')
    shown_unit = fields.Function(
        fields.Char("Record", help="Its name, for those who may read it."),
        'get_shown')
    shown_record = fields.Function(
        fields.Reference("Its Record", selection='get_readable_models'),
        'get_shown')
    first_line = fields.Function(fields.Char("Error"), 'get_shown')
    ended = fields.Function(
        fields.DateTime("Failed", help="In whole seconds."), 'get_shown')
    is_free = fields.Function(
        fields.Boolean("To Do", help="Nobody retried or dismissed it."),
        'get_shown')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        hide_empty(
            cls, 'shown_record', 'retried_by', 'reason', 'traceback')
        cls._buttons.update({
                name: {'invisible': ~Eval('is_free'), 'depends': ['is_free']}
                for name in ['retry', 'dismiss']})

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="state"]', 'visual', in_colour({
                        'open': 'danger', 'solved': 'success',
                        'dismissed': 'muted'}, 'warning'))]

    @classmethod
    def get_readable_models(cls):
        "Return the models that a client may open: else it has no field."
        pool = Pool()
        ModelAccess = pool.get('ir.model.access')
        models = [
            (name, string) for name, string in cls.get_models()
            if name and issubclass(pool.get(name), ModelView)]
        access = ModelAccess.get_access([name for name, _ in models])
        return [(None, "")] + [
            item for item in models if access[item[0]]['read']]

    @classmethod
    def get_shown(cls, failures, names):
        rows = ledger.screens.failures_of(
            Transaction().connection.cursor(), [f.id for f in failures])
        titles = {
            batch: title_of(batch)
            for batch in {row.batch for row in rows.values()}}
        names_of = cls._record_names(rows.values()) \
            if {'shown_unit', 'shown_record'} & set(names) else {}
        shown = {name: {} for name in names}
        for id, row in rows.items():
            unit = 'the batch' if row.unit is None else ', '.join(
                map(shown_unit, load_units(mask_secrets(row.unit))))
            record = None
            if row.record in names_of:
                name, can_open = names_of[row.record]
                record = row.record if can_open else None
                unit = '%s (%s)' % (name, unit)
            values = {
                'title': titles[row.batch], 'shown_unit': unit,
                'shown_record': record,
                'first_line': excerpt(row.error) if row.error else None,
                'ended': whole_seconds(row.ended_at),
                'is_free': row.state == 'open' and row.retried_by is None}
            for name in names:
                shown[name][id] = values[name]
        return shown

    @classmethod
    def _record_names(cls, rows):
        """Return (name, whether a client can open it) by reference.

        Of the records that are still there, and that the user may read.
        """
        pool = Pool()
        ModelAccess = pool.get('ir.model.access')
        is_root = Transaction().user == 0
        references = sorted({row.record for row in rows if row.record})
        names = {}
        for model, group in groupby(
                references, key=lambda reference: reference.split(',')[0]):
            try:
                Model = pool.get(model)
            except KeyError:
                # Of a module that is not there any more
                continue
            if not (is_root or ModelAccess.get_access([model])[model]['read']):
                continue
            ids = [int(reference.split(',')[1]) for reference in group]
            # A getter is called without that check
            with check_access():
                records = Model.search([('id', 'in', ids)])
            can_open = issubclass(Model, ModelView)
            names.update((str(r), (r.rec_name, can_open)) for r in records)
        return names

    def get_rec_name(self, name):
        return self.shown_unit

    @classmethod
    @ModelView.button_action('batch.act_execution_one')
    def retry(cls, failures):
        return {'res_id': [
                client_actions.retry(execution, list(some))
                for execution, some in by_execution(failures)]}

    @classmethod
    @ModelView.button
    def dismiss(cls, failures):
        for execution, some in by_execution(failures):
            client_actions.dismiss(execution, list(some))


def by_execution(failures):
    return groupby(
        sorted(failures, key=lambda f: f.execution.id),
        key=lambda f: f.execution)

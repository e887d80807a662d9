# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The units that failed, as the client shows them, and their buttons."""
from itertools import groupby

from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.transaction import Transaction, check_access

from . import client_actions
from .ledger.units import load_units, shown_unit
from .texts import excerpt
from .view_tools import hide_empty, in_colour, title_of, whole_seconds

__all__ = ['Failure']


class Failure(metaclass=PoolMeta):
    __name__ = 'batch.failure'

    title = fields.Function(fields.Char("Batch"), 'get_titles')
    shown_unit = fields.Function(
        fields.Char("Record", help="Its name, for those who may read it."),
        'get_units')
    shown_record = fields.Function(
        fields.Reference("Go to", selection='get_readable_models'),
        'get_units')
    first_line = fields.Function(fields.Char("Error"), 'get_first_line')
    ended = fields.Function(
        fields.DateTime("Failed", help="In whole seconds."), 'get_ended')
    is_free = fields.Function(
        fields.Boolean("To Do", help="Nobody retried or dismissed it."),
        'get_is_free')

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
    def get_titles(cls, failures, name):
        return {f.id: title_of(f.execution.batch) for f in failures}

    @classmethod
    def get_units(cls, failures, names):
        names_of = cls._record_names(failures)
        found = {
            'shown_unit': {}, 'shown_record': dict.fromkeys(
                f.id for f in failures)}
        for failure in failures:
            text = 'the batch'
            if failure.unit is not None:
                text = ', '.join(map(shown_unit, load_units(failure.unit)))
            key = failure.record and str(failure.record)
            if key in names_of:
                if issubclass(type(failure.record), ModelView):
                    found['shown_record'][failure.id] = key
                text = '%s (%s)' % (names_of[key], text)
            found['shown_unit'][failure.id] = text
        return {name: found[name] for name in names}

    @classmethod
    def _record_names(cls, failures):
        """Return the names of records by reference.

        Of those that are still there, and that the user may read.
        """
        pool = Pool()
        ModelAccess = pool.get('ir.model.access')
        is_root = Transaction().user == 0
        references = sorted({
                str(f.record) for f in failures if f.record is not None
                and not isinstance(f.record, str)})
        names = {}
        for model, group in groupby(
                references, key=lambda reference: reference.split(',')[0]):
            if not (is_root or ModelAccess.get_access([model])[model]['read']):
                continue
            ids = [int(reference.split(',')[1]) for reference in group]
            # A getter is called without that check
            with check_access():
                records = pool.get(model).search([('id', 'in', ids)])
            names.update((str(r), r.rec_name) for r in records)
        return names

    def get_rec_name(self, name):
        return self.shown_unit

    def get_first_line(self, name):
        return excerpt(self.error) if self.error else None

    def get_ended(self, name):
        return whole_seconds(self.chunk.ended_at)

    def get_is_free(self, name):
        return self.state == 'open' and self.retried_by is None

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

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Start a batch from the client: a form with a field for each parameter."""
from xml.sax.saxutils import quoteattr

import trytond.config as config
from trytond.exceptions import UserError
from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.pool import Pool
from trytond.pyson import Eval
from trytond.wizard import Button, StateAction, StateView, Wizard

from . import client_actions
from .batch import doc_of, get_batch, get_batches, today
from .config import BatchConfig
from .execution_view import title_of
from .parameters import resolve_parameters
from .start_form import entries_of, given_by

__all__ = ['Start', 'StartBatch', 'StartParameters']

#: digits of a decimal number: clients need some
DIGITS = (None, 6)


class StartBatch(ModelView):
    "Which batch to start"
    __name__ = 'batch.start.batch'

    batch = fields.Selection('get_batches', "Batch", required=True)
    about = fields.Text(
        "About", readonly=True, states={'invisible': ~Eval('about')})

    @classmethod
    def get_batches(cls):
        return [(None, "")] + sorted(
            ((name, '%s (%s)' % (title_of(name), name))
                for name in get_batches()), key=lambda item: item[1])

    @fields.depends('batch', 'about')
    def on_change_batch(self):
        self.about = doc_of(get_batch(self.batch)) if self.batch else None


class StartParameters(ModelView):
    """What to start it with.

    The fields of the parameters are not declared: a view has those of its
    batch, made from the ones here by their type.
    """
    __name__ = 'batch.start.parameters'
    # Values of fields that are not declared are attributes
    __no_slots__ = True

    title = fields.Char("Batch", readonly=True)
    problem = fields.Text(
        "Workers", readonly=True, states={'invisible': ~Eval('problem')})
    dry_run = fields.Boolean("Dry Run",
        help="Do the work of each chunk and roll it back, to see what fails.")

    as_boolean = fields.Boolean("Boolean")
    as_char = fields.Char("Char", strip=False)
    as_date = fields.Date("Date")
    as_float = fields.Float("Float")
    as_integer = fields.Integer("Integer")
    as_numeric = fields.Numeric("Numeric", digits=DIGITS)
    as_selection = fields.Selection([('', "")], "Selection", sort=False)
    as_text = fields.Text("Text", strip=False)


class ParametersView(StateView):
    "A form whose fields are the parameters of the batch that was chosen."

    def get_view(self, wizard, state_name):
        view = dict(super().get_view(wizard, state_name))
        Model = Pool().get(self.model_name)
        definitions = dict(view['fields'])
        arch = ['<form col="2">', *map(as_row, ['title', 'problem'])]
        for entry in wizard.entries():
            name = 'as_' + entry.type
            definition = dict(Model.fields_get([name])[name])
            definition.update(
                name=entry.field, string=entry.string, help=entry.help,
                required=entry.is_required)
            if entry.selection:
                definition['selection'] = entry.selection
            definitions[entry.field] = definition
            arch.append(as_row(entry.field, entry.is_secret))
        arch += [as_row('dry_run'), '</form>']
        view.update(arch=''.join(arch), fields=definitions)
        return view

    def get_defaults(self, wizard, state_name, fields):
        defaults = {
            'title': title_of(wizard.start.batch or ''),
            'problem': wizard.problem()}
        defaults.update(
            (entry.field, entry.default) for entry in wizard.entries())
        return defaults

    def get_values(self, wizard, state_name, fields):
        return {}


def as_row(name, is_secret=False):
    return '<label name=%s/><field name=%s%s/>' % (
        quoteattr(name), quoteattr(name),
        ' widget="password"' if is_secret else '')


class Start(Wizard):
    "Start a batch"
    __name__ = 'batch.start'

    start = StateView('batch.start.batch', 'batch.start_batch_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Next", 'parameters', 'tryton-forward', default=True)])
    parameters = ParametersView(
        'batch.start.parameters', 'batch.start_parameters_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Back", 'start', 'tryton-back', validate=False),
            Button("Start", 'begin', 'tryton-launch', default=True)])
    begin = StateAction('batch.act_execution_one')

    def entries(self):
        "Return the fields of the parameters of the batch."
        if not self.start.batch:
            return []
        with client_actions.saying():
            batch_config, declared = self.declared()
            return entries_of(
                self.start.batch, declared, lambda name:
                batch_config.parameter(self.start.batch, name), today)

    def declared(self):
        batch_config = BatchConfig.load(config.get('batch', 'config_file'))
        return batch_config, get_batch(self.start.batch).declared_parameters()

    def problem(self):
        "Return why nobody would begin with it, None if all is well."
        if not self.start.batch:
            return None
        try:
            if problem := client_actions.missing_workers(self.start.batch):
                return gettext(
                    'batch.msg_start_waits', problem=problem)
        except UserError as error:
            return error.message

    def do_begin(self, action):
        batch = self.start.batch
        entered = {
            entry.field: getattr(self.parameters, entry.field, None)
            for entry in self.entries()}
        given = given_by(self.entries(), entered)
        with client_actions.saying():
            batch_config, declared = self.declared()
            # Refused here, nothing was made yet
            resolve_parameters(
                batch, declared, given,
                lambda name: batch_config.parameter(batch, name), today)
        client_actions.missing_workers(batch)
        execution = client_actions.start(
            batch, given, bool(self.parameters.dry_run))
        return action, {'res_id': [execution]}

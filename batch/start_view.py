# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The forms of the wizard that starts a batch.

The second one has a field for each parameter: its view is made when it is
asked for.
"""
from xml.sax.saxutils import quoteattr

from trytond.model import ModelView, fields
from trytond.pool import Pool
from trytond.pyson import Eval
from trytond.wizard import StateView

from .batch import get_batch, get_batches
from .batch_meta import doc_of
from .view_tools import title_of

__all__ = ['ParametersView', 'StartBatch', 'StartParameters']

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

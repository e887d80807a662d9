# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The smoke batch: whole, useful, and able to fail on purpose."""
from lxml import etree

from trytond.pool import Pool

from .batch import BatchRoot

__all__ = ['ViewValidate']


class CrashError(Exception):
    "Raised when the batch was told to fail on a view."


class ViewValidate(BatchRoot):
    """Validate the views of the database.

    Each view is checked as Tryton checks it: its XML against the schema of
    its type, then as the client gets it, merged with the views that extend
    it, with every field that it names.

    --crash ID fails on that view, to see what a failure looks like.
    """
    __name__ = 'ir.ui.view.validate'

    @classmethod
    def get_batch_main_model_name(cls):
        return 'ir.ui.view'

    @classmethod
    def execute(cls, objects, ids, crash: int = 0):
        for view in objects:
            if view.id == crash:
                raise CrashError('told to fail on the view %s' % view.id)
            cls.check(view)

    @classmethod
    def check(cls, view):
        "Raise what Tryton raises on the view."
        type(view).check_xml([view])
        if not view.model:
            return
        Model = Pool().get(view.model)
        extends = view.inherit and view.inherit.model == view.model
        shown = Model.fields_view_get(view.inherit.id if extends else view.id)
        tree = etree.fromstring(shown['arch'])
        view.validator().assertValid(tree)
        for element in tree.iter('field'):
            name = element.get('name')
            if name not in shown['fields']:
                raise KeyError(
                    'the model %s has no field %s' % (view.model, name))

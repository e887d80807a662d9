# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What several screens have in common."""
from trytond.pool import Pool
from trytond.pyson import Eval, If

from .batch import BatchRoot
from .batch_meta import doc_of

__all__ = ['hide_empty', 'in_colour', 'title_of', 'whole_seconds']


def title_of(name):
    "Return the first line of a batch's docstring, or else its name."
    try:
        Batch = Pool().get(name)
    except KeyError:
        # Of a module that is not there any more
        return name
    if not issubclass(Batch, BatchRoot):
        return name
    return (doc_of(Batch).splitlines() or [''])[0].rstrip('.') or name


def in_colour(colours, other):
    "Return the PYSON of the colour of a state."
    pyson = other
    for state, colour in colours.items():
        pyson = If(Eval('state') == state, colour, pyson)
    return pyson


def hide_empty(Model, *names):
    "Let a form show the fields only where they have a value."
    for name in names:
        field = getattr(Model, name)
        field.states = {**field.states, 'invisible': ~Eval(name)}


def whole_seconds(at):
    "Return a timestamp as a client should show it."
    return at and at.replace(microsecond=0)

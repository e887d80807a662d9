# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A batch's parameters: from texts to values and back.

Imports nothing of Tryton or Celery.
"""
import csv
from collections import namedtuple
from dataclasses import dataclass
from datetime import date
from typing import Any

from .exceptions import ParameterError, UsageError, nearest
from .given import COMMAND_LINE
from .masking import mask_value
from .parameter_types import kind_of
from .retired import instead_of_parameter
from .settings import SETTINGS

__all__ = [
    'NAMED', 'Parameter', 'TODAY', 'describe_parameters', 'dump',
    'from_arguments', 'parse', 'reload_parameters', 'resolve_parameters']
#: the parameters of batches of the old way, in their order, with the types
#: that they have where none is said
NAMED = {'treatment_date': date, 'extra_args': dict}
#: the default of treatment_date, as a day is one of the server's time zone
TODAY = object()

Row = namedtuple('Row', 'option form default origin')


@dataclass(frozen=True)
class Parameter:
    "A named argument of a hook."
    name: str
    #: as annotated, without Optional
    type: Any
    #: its value where nobody gives one, or TODAY
    default: Any = None
    required: bool = False
    #: None is a value, written "none"
    optional: bool = False

    @property
    def form(self):
        'Ends the sentence "expected ...".'
        return kind_of(self.type).form + (', or none' if self.optional else '')

    @property
    def option(self):
        "Its name on the command line."
        return '--' + self.name.replace('_', '-')


def _is_none(text):
    return text.strip().lower() == 'none'


def parse(parameter, text, batch, place=''):
    """Return the value of a text.

    Raises ParameterError, naming also the place of the text if one is given.
    """
    try:
        if parameter.optional:
            if _is_none(text):
                return None
            if _is_none(text.lstrip('\\')):
                text = text[1:]
        return kind_of(parameter.type).parse(text)
    except (ArithmeticError, LookupError, ValueError, csv.Error):
        text = mask_value(parameter.name, ' '.join(text.split()))
        raise ParameterError(batch, parameter.name, 'is "%s"%s, expected %s' %
            (text, place, parameter.form)) from None


def dump(parameter, value):
    "Return the text of a value: what parse() makes the same value of."
    if value is None:
        return 'none'
    text = kind_of(parameter.type).dump(value)
    # A backslash tells the text "none" from no value at all
    if parameter.optional and _is_none(text.lstrip('\\')):
        return '\\' + text
    return text


def resolve_parameters(batch, declared, given, config_lookup, today):
    """Return {name: (value, text, origin)} of all declared parameters.

    given holds texts from the command line by name, with dashes or
    underscores, None where no value follows; config_lookup returns the (text,
    origin) of a name in batch.conf, or None; today returns a date.

    Raises ParameterError for what is unknown, missing or malformed.
    """
    given = _by_name(batch, declared, given)
    resolved = {}
    for name, parameter in declared.items():
        found = config_lookup(name) if name not in given else (
            given[name], COMMAND_LINE)
        if found:
            text, origin = found
            place = '' if name in given else ' in %s' % origin
            value = parse(parameter, text, batch, place)
        elif parameter.required:
            raise ParameterError(batch, name, 'is missing; give %s with %s' %
                (parameter.option, parameter.form))
        else:
            value, origin = parameter.default, 'default'
            if value is TODAY:
                value = today()
        resolved[name] = value, dump(parameter, value), origin
    return resolved


def reload_parameters(batch, declared, texts):
    """Return the values of the texts that resolve() gave, by name.

    The class may have changed meanwhile: raises ParameterError for what it
    does not declare any more, now takes in another form, or now requires.
    """
    if removed := [name for name in texts if name not in declared]:
        raise ParameterError(batch, removed[0], 'was removed since the '
            'execution was started')
    for name, parameter in declared.items():
        if name not in texts and (
                parameter.required or parameter.default is TODAY):
            raise ParameterError(batch, name, 'was added since the execution '
                'was started')
    return {
        name: parse(parameter, texts[name], batch,
            ' since the execution was started')
        if name in texts else parameter.default
        for name, parameter in declared.items()}


def _by_name(batch, declared, given):
    flags = {'no_%s' % name: name for name, parameter in declared.items()
        if parameter.type is bool}
    texts = {}
    for name, text in given.items():
        name = name.replace('-', '_')
        if name in declared:
            if text is None and declared[name].type is not bool:
                raise ParameterError(batch, name, 'needs a value, expected %s'
                    % declared[name].form)
            text = 'yes' if text is None else text
        elif name in flags:
            if text is not None:
                raise ParameterError(batch, name, 'takes no value')
            name, text = flags[name], 'no'
        elif instead := instead_of_parameter(name, text):
            raise ParameterError(batch, name, instead)
        else:
            raise ParameterError(batch, name, 'is unknown' + (
                    nearest(name, [*declared, *flags])
                    or nearest(name, SETTINGS, 0.8)
                    or '; the batch has %s' % (
                        ', '.join(declared) or 'no parameters')))
        if name in texts:
            raise ParameterError(batch, name, 'is given twice')
        texts[name] = text
    return texts


def describe_parameters(declared, config_lookup):
    "Return a Row for each parameter, for a table in the help of a batch."
    rows = []
    for name, parameter in declared.items():
        option = parameter.option
        if parameter.type is bool:
            option += ', --no-' + option[2:]
        if found := config_lookup(name):
            default, origin = found
        elif parameter.required:
            default, origin = '', 'required'
        else:
            origin = 'default'
            default = ('today' if parameter.default is TODAY
                else dump(parameter, parameter.default))
        rows.append(Row(
                option, parameter.form, mask_value(name, default), origin))
    return rows


def from_arguments(argv):
    """Return {name: text or None} of ``--name value`` and ``--name=value``.

    A name that is followed by another one, or by nothing, has None.  Raises
    UsageError for anything else.
    """
    given, key = {}, None
    rest = list(argv)
    while rest:
        name, equals, text = rest.pop(0).partition('=')
        if not name.startswith('--') or not name.strip('-'):
            # It may be a part of the value before
            raise UsageError('unexpected "%s%s%s"; a parameter is given as'
                ' --name value' % (
                    mask_value(key, name), equals, mask_value(name, text)))
        if not equals:
            text = (rest.pop(0) if rest and not rest[0].startswith('--')
                else None)
        key = name[2:].replace('-', '_')
        if key in given:
            raise UsageError('"%s" is given twice' % name)
        given[key] = text
    return given

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A batch's parameters: from texts to values and back.

Imports nothing of Tryton or Celery.
"""
import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple, TypeAlias

from .aliases import Given, Params
from .exceptions import ParameterError, UsageError, nearest
from .given import COMMAND_LINE
from .masking import mask_value
from .parameter_types import Kind, kind_of
from .retired import instead_of_parameter
from .settings import SETTINGS

__all__ = [
    'NAMED', 'Parameter', 'ResolvedParameters', 'TODAY',
    'describe_parameters', 'dump', 'from_arguments', 'parse',
    'reload_parameters', 'require_all', 'resolve_parameters',
    'given_text']

#: the parameters of batches written for coog, in their order, with the types
#: that they have without an annotation
NAMED: dict[str, type] = {'treatment_date': date, 'extra_args': dict}
#: the default of treatment_date: the day in the server's time zone
TODAY = object()

#: name -> Parameter
Declared: TypeAlias = Mapping[str, 'Parameter']
#: gives the (text, origin) of a name in batch.conf, or None
Lookup: TypeAlias = Callable[[str], tuple[str, str] | None]


#: name -> (value, text, origin)
ResolvedParameters: TypeAlias = dict[str, tuple[Any, str, str]]


class Row(NamedTuple):
    "A parameter in the help of a batch."
    option: str
    form: str
    default: str
    origin: str


@dataclass(frozen=True)
class Parameter:
    "A parameter of a batch: a named argument of its hooks."
    name: str
    #: as annotated, without Optional; one that kind_of() knows
    type: Any
    #: its value where nobody gives one, or TODAY
    default: Any = None
    required: bool = False
    #: None is a value, written "none"
    optional: bool = False

    @property
    def form(self) -> str:
        'Ends the sentence "expected ...".'
        return self.kind.form + (', or none' if self.optional else '')

    @property
    def kind(self) -> Kind:
        "The Kind of its type."
        kind = kind_of(self.type)
        assert kind is not None, self.type
        return kind

    @property
    def option(self) -> str:
        "Its name on the command line."
        return '--' + self.name.replace('_', '-')


def _is_none(text: str) -> bool:
    return text.strip().lower() == 'none'


def parse(parameter: Parameter, text: str, batch: str, place: str = '') -> Any:
    """Return the value of a text; raises ParameterError.

    :param place: where the text is, for the message, such as " in FILE"
    """
    try:
        if parameter.optional:
            if _is_none(text):
                return None
            if _is_none(text.lstrip('\\')):
                text = text[1:]
        return parameter.kind.parse(text)
    except (ArithmeticError, LookupError, ValueError, csv.Error):
        text = mask_value(parameter.name, ' '.join(text.split()))
        raise ParameterError(batch, parameter.name, 'is "%s"%s, expected %s' %
            (text, place, parameter.form)) from None


def dump(parameter: Parameter, value: Any) -> str:
    "Return the text of a value: what parse() makes the same value of."
    if value is None:
        return 'none'
    text = parameter.kind.dump(value)
    # A backslash tells the text "none" from no value at all
    if parameter.optional and _is_none(text.lstrip('\\')):
        return '\\' + text
    return text


def given_text(batch: str, declared: Declared, name: str, value: Any) -> str:
    """Return the value of a parameter as a text of the command line.

    A value of a wrong type becomes a text that is refused later.  Raises
    ParameterError if the value is None and the parameter has no such value.
    """
    if isinstance(value, str):
        return value
    parameter = declared.get(name)
    if parameter is None:
        return str(value)
    if value is None and not parameter.optional:
        raise ParameterError(
            batch, name, 'is None, expected %s' % parameter.form)
    try:
        return dump(parameter, value)
    except (AttributeError, TypeError):
        return str(value)


def resolve_parameters(
        batch: str, declared: Declared, given: Given, config_lookup: Lookup,
        today: Callable[[], date],
        complete: bool = True) -> ResolvedParameters:
    """Return {name: (value, text, origin)} of all declared parameters.

    Raises ParameterError for what is unknown, missing or malformed.

    :param given: from the command line; names with dashes or underscores
    :param complete: whether each required parameter must be there
    """
    texts = _by_name(batch, declared, given)
    resolved = {}
    for name, parameter in declared.items():
        found = config_lookup(name) if name not in texts else (
            texts[name], COMMAND_LINE)
        if found:
            text, origin = found
            place = '' if name in texts else ' in %s' % origin
            value = parse(parameter, text, batch, place)
        elif parameter.required:
            continue
        else:
            value, origin = parameter.default, 'default'
            if value is TODAY:
                value = today()
        resolved[name] = value, dump(parameter, value), origin
    if complete:
        require_all(batch, declared, resolved)
    return resolved


def require_all(
        batch: str, declared: Declared, given: Mapping[str, Any]) -> None:
    "Raise ParameterError if a required parameter is not among the given."
    for name, parameter in declared.items():
        if parameter.required and name not in given:
            raise ParameterError(batch, name, 'is missing; give %s with %s' %
                (parameter.option, parameter.form))


def reload_parameters(
        batch: str, declared: Declared, texts: Mapping[str, str],
        derived: Params | None = None) -> dict[str, Any]:
    """Return the values of the texts that resolve_parameters() gave, by name.

    The class may have changed since: raises ParameterError for what it does
    not declare any more, takes in another form now, or requires now.

    :param derived: values by name, which replace those of the texts
    """
    derived = derived or {}
    if removed := [name for name in texts if name not in declared]:
        raise ParameterError(batch, removed[0], 'was removed since the '
            'execution was started')
    values: dict[str, Any] = {}
    for name, parameter in declared.items():
        if name in derived:
            continue
        if name in texts:
            values[name] = parse(
                parameter, texts[name], batch,
                ' since the execution was started')
        elif parameter.required or parameter.default is TODAY:
            raise ParameterError(batch, name, 'was added since the execution '
                'was started')
        else:
            values[name] = parameter.default
    return {**values, **derived}


def _by_name(batch: str, declared: Declared, given: Given) -> dict[str, str]:
    flags = {'no_%s' % name: name for name, parameter in declared.items()
        if parameter.type is bool}
    texts: dict[str, str] = {}
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
                        declared and '%s: the arguments that its hooks name'
                        % ', '.join(declared)
                        or 'no parameters: its hooks name no arguments')))
        if name in texts:
            raise ParameterError(batch, name, 'is given twice')
        texts[name] = text
    return texts


def describe_parameters(
        declared: Declared, config_lookup: Lookup) -> list[Row]:
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


def from_arguments(argv: Iterable[str]) -> dict[str, str | None]:
    """Return {name: text or None} of ``--name value`` and ``--name=value``.

    A name that is followed by another one, or by nothing, has None.  Raises
    UsageError for anything else.
    """
    given: dict[str, str | None] = {}
    key, rest = None, list(argv)
    while rest:
        text: str | None
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

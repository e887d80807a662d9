# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The parameters that the hooks of a class declare in their signatures.

Imports nothing of Tryton or Celery.
"""
import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from datetime import date
from functools import lru_cache
from pathlib import Path
from types import GenericAlias
from typing import Any, NamedTuple

from .aliases import Params
from .exceptions import DefinitionError, ParameterError
from .parameter_types import SUPPORTED, kind_of
from .parameters import NAMED, TODAY, Parameter, dump, parse
from .retired import instead_of_argument
from .settings import SETTINGS
from .texts import calls_hooks

__all__ = [
    'HOOKS', 'arguments_of', 'call_hook', 'declared_parameters', 'definitions',
    'names_in', 'place_of']

#: the hooks whose named arguments are parameters
HOOKS = (
    'execute', 'select_ids', 'get_batch_domain', 'convert_to_instances',
    'read_file', 'format_errors', 'finish')
#: the arguments that a hook is given by position, before its parameters
POSITIONAL = {
    'execute': ('objects', 'ids'), 'convert_to_instances': ('ids',),
    'read_file': ('path',), 'format_errors': ('path', 'failed'),
    'finish': ('outcome', 'files')}


class Definition(NamedTuple):
    "A hook as one class of the MRO has it."
    #: index of the class in the MRO
    depth: int
    #: where it is in the code
    where: str
    #: of its module
    globals: dict[str, Any]
    #: the names of its arguments before the parameters
    positional: list[str]
    #: the others
    parameters: list[inspect.Parameter]
    #: whether it takes ``**``
    is_open: bool
    #: whether it may call the definition behind it
    calls_super: bool


class Declaration(NamedTuple):
    "A parameter as one Definition declares it."
    definition: Definition
    #: None if neither an annotation nor the default says it
    type: Any
    optional: bool
    has_default: bool
    default: Any


def declared_parameters(
        cls: type, hooks: Iterable[str] = HOOKS,
        reserved: Collection[str] = frozenset(SETTINGS)
        ) -> dict[str, Parameter]:
    """Return {name: Parameter} of what the hooks of a batch declare.

    Classes are looked at along the MRO, for each hook as far as its
    definitions take ``**``: those behind one that does not are not reached by
    any other parameter.

    The type is the annotation, else the type of the default, else what
    another hook says, else str.  The default is that of the most derived
    class that has one; without any, the parameter is required.
    Without those, ``treatment_date`` is a date with the default TODAY, and
    ``extra_args``, of batches written for coog, an empty dict.

    Raises DefinitionError if the signatures can not work.

    :param reserved: names that mean something else in batch.conf or on the
        command line
    """
    found: dict[str, list[Declaration]] = {}
    renamed = []
    for hook in hooks:
        for definition in _definitions(cls, hook):
            renamed += [
                (name, hook, definition.where)
                for name in definition.positional[1:]
                if name not in POSITIONAL.get(hook, ())]
            for parameter in definition.parameters:
                declaration = _declaration(cls, definition, parameter)
                if parameter.name in reserved:
                    raise DefinitionError(cls.__name__, 'parameter "%s" has'
                        ' the name of %s; rename it' % (parameter.name,
                            'a setting of batch.conf'
                            if parameter.name in SETTINGS
                            else 'an option of "coop batch"'),
                        definition.where)
                found.setdefault(parameter.name, []).append(declaration)
    for name, hook, place in renamed:
        if name in found:
            raise _no_place(cls, hook, place)
    return {name: _merged(cls, name, sorted(
                declarations, key=lambda d: d.definition.depth))
        for name, declarations in found.items()}


def place_of(klass: type, name: str) -> str:
    "Return the text that says where in the code a hook is."
    return '%s.%s.%s' % (klass.__module__, klass.__qualname__, name)


def definitions(
        cls: type, hook: str) -> Iterator[tuple[int, str, Callable[..., Any]]]:
    """Yield (depth, where, function) for each class that defines a hook.

    In the order of the MRO; raises DefinitionError for what is no classmethod.
    """
    for depth, klass in enumerate(cls.__mro__):
        if hook not in vars(klass):
            continue
        method = vars(klass)[hook]
        if not isinstance(method, classmethod):
            raise DefinitionError(cls.__name__, 'is no classmethod; put'
                ' @classmethod above it', place_of(klass, hook))
        yield depth, place_of(klass, hook), method.__func__


def _definitions(cls: type, hook: str) -> Iterator[Definition]:
    "Yield the definitions of a hook until one does not take ``**``."
    for depth, place, function in definitions(cls, hook):
        function = inspect.unwrap(function)
        arguments = list(inspect.signature(function).parameters.values())
        kinds = [argument.kind for argument in arguments]
        expected = 'cls', *POSITIONAL.get(hook, ())
        named = [argument for argument in arguments if argument.kind not in {
                argument.VAR_POSITIONAL, argument.VAR_KEYWORD}]
        names = [argument.name for argument in named]
        positional = [argument.name for argument in named
            if argument.kind != argument.KEYWORD_ONLY][:len(expected)]
        if (len(positional) < len(expected)
                and inspect.Parameter.VAR_POSITIONAL not in kinds
                or any(name in names and names.index(name) != index
                    for index, name in enumerate(expected))
                # A parameter is in the place of one that was forgotten
                or len(positional) == len(expected)
                and 0 < len({*expected[1:]} & {*positional})
                < len(expected) - 1
                or any(argument.default is not argument.empty
                    and argument.name in positional
                    and argument.name not in expected for argument in named)):
            raise _no_place(cls, hook, place)
        is_open = inspect.Parameter.VAR_KEYWORD in kinds
        if inspect.Parameter.VAR_POSITIONAL in kinds and not is_open:
            raise DefinitionError(cls.__name__, 'takes a "*", but parameters'
                ' are given by name; take "**parameters"', place)
        yield Definition(depth, place, function.__globals__,
            positional, named[len(positional):], is_open,
            'super' in names_in(function))
        if not is_open:
            return


def _no_place(cls: type, hook: str, place: str) -> DefinitionError:
    return DefinitionError(cls.__name__, 'must take (%s) before its parameters'
        % ', '.join(['cls', *POSITIONAL.get(hook, ())]), place)


def _declaration(
        cls: type, definition: Definition,
        parameter: inspect.Parameter) -> Declaration:
    name, default = parameter.name, parameter.default
    if parameter.kind == parameter.POSITIONAL_ONLY:
        raise DefinitionError(cls.__name__, 'parameter "%s" can not be given'
            ' by name; remove the "/"' % name, definition.where)
    has_default = default is not parameter.empty
    if not has_default and parameter.annotation is parameter.empty and (
            instead := instead_of_argument(name)):
        raise DefinitionError(cls.__name__, '"%s" %s' % (name, instead),
            definition.where)
    if isinstance(default, tuple):
        # A list that nobody can change by mistake
        default = list(default)
    type_, optional = None, False
    if parameter.annotation is not parameter.empty:
        type_, optional = _annotated(
            cls, definition, name, parameter.annotation)
        said = 'the annotation %s' % inspect.formatannotation(
            parameter.annotation)
    elif has_default and default is not None:
        type_ = (Path if isinstance(default, Path) else type(default)
            if not isinstance(default, list) else
            GenericAlias(list, type(default[0]) if default else str))
        said = 'a default of the type %s' % type(default).__name__
    if type_ is not None and kind_of(type_) is None:
        raise DefinitionError(cls.__name__, 'parameter "%s" has %s, expected'
            ' %s' % (name, said, SUPPORTED), definition.where)
    return Declaration(definition, type_, optional, has_default, default)


def _annotated(
        cls: type, definition: Definition, name: str,
        annotation: Any) -> tuple[Any, bool]:
    "Return (the type of an annotation without Optional, whether it had one)."
    holder = types.SimpleNamespace(__annotations__={name: annotation})
    try:
        type_ = typing.get_type_hints(holder, definition.globals)[name]
    except Exception as error:
        raise DefinitionError(cls.__name__, 'parameter "%s" has the annotation'
            ' %s, which can not be read (%s); import the type in the file of'
            ' the hook' % (name,
                inspect.formatannotation(annotation), error),
            definition.where) from error
    origin, arguments = typing.get_origin(type_), typing.get_args(type_)
    optional = False
    if origin in {typing.Union, types.UnionType}:
        optional = type(None) in arguments
        others = [a for a in arguments if a is not type(None)]
        if len(others) == 1:
            type_, = others
    elif origin is typing.Literal and None in arguments:
        optional = True
        type_ = typing.Literal[tuple(a for a in arguments if a is not None)]
    if type_ in (list, typing.List):
        type_ = list[str]
    elif typing.get_origin(type_) is list:
        type_ = GenericAlias(list, typing.get_args(type_))
    return type_, optional


def _merged(
        cls: type, name: str, declarations: list[Declaration]) -> Parameter:
    "Return the Parameter of its declarations, the most derived class first."
    typed = [d for d in declarations if d.type is not None]
    for other in typed[1:]:
        if other.type != typed[0].type:
            raise DefinitionError(cls.__name__, 'parameter "%s" is %s, but %s'
                ' in %s; give both the same type' % (
                    name, Parameter(name, typed[0].type).form,
                    Parameter(name, other.type).form,
                    other.definition.where),
                typed[0].definition.where)
    type_ = typed[0].type if typed else NAMED.get(name, str)
    optional = any(d.optional for d in declarations)
    defaults = [d for d in declarations if d.has_default]
    default = defaults[0].default if defaults else None
    if (type_ is NAMED.get(name) and default is None
            and not (defaults and optional)):
        return Parameter(name, type_, TODAY if type_ is date else {},
            optional=optional)
    for other in defaults[1:]:
        # A derived class may change a default, two hooks of a class may not
        if (other.definition.depth == defaults[0].definition.depth
                and other.default != default):
            raise DefinitionError(cls.__name__, 'parameter "%s" has the'
                ' default %r, but %r in %s; give both the same, or one of'
                ' them none' % (name, default, other.default,
                    other.definition.where), defaults[0].definition.where)
    parameter = Parameter(name, type_, default, not defaults,
        optional or bool(defaults) and default is None)
    if not defaults:
        return parameter
    try:
        value = parse(parameter, dump(parameter, default), cls.__name__)
        if value != default:
            raise ValueError
    except (AttributeError, TypeError, ValueError, ParameterError):
        raise DefinitionError(cls.__name__, 'parameter "%s" has the default'
            ' %r, expected %s' % (name, default, parameter.form),
            defaults[0].definition.where) from None
    return replace(parameter, default=value)


@calls_hooks
def call_hook(cls: type, hook: str, parameters: Params, *args: Any) -> Any:
    "Return what a hook returns for args and the parameters that it names."
    return getattr(cls, hook)(*args, **arguments_of(cls, hook, parameters))


def arguments_of(cls: type, hook: str, parameters: Params) -> dict[str, Any]:
    """Return those of the parameters that a hook is given.

    They are those that it names.  If it takes ``**`` and calls ``super()``,
    they must fit the definitions behind it in the MRO: it is also given what
    those name.  It is given everything if all of these that are called take
    ``**``.
    """
    names, is_open, positional = _accepted(
        cls, hook, getattr(cls, hook).__func__)
    return {name: value for name, value in parameters.items()
        if (name in names or is_open) and name not in positional}


@lru_cache(maxsize=1000)
def _accepted(
        cls: type, hook: str,
        function: Callable[..., Any]) -> tuple[set[str], bool, list[str]]:
    # The function only tells a hook that a test has put in its place
    definitions = list(_definitions(cls, hook))
    return ({p.name for d in definitions for p in d.parameters},
        # Not the last one if one before it does not call super()
        next((d for d in definitions if not d.calls_super),
            definitions[-1]).is_open, definitions[0].positional)


def names_in(function: Any) -> set[str]:
    "Return the global names and the attributes that a function uses."
    names, todo = set(), [getattr(function, '__code__', None)]
    while todo:
        if (code := todo.pop()) is not None:
            names.update(code.co_names)
            # Of its functions, and comprehensions
            todo.extend(filter(inspect.iscode, code.co_consts))
    return names

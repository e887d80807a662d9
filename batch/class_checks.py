# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What can not work in the class of a batch, told before anything is done.

Most of it is in the class itself, and refused when the pool is set up.  What
its hooks say of other models needs the whole pool, and is asked at the start
of each execution and by ``coop check``.
"""
import inspect
import math
import os
import re
from collections.abc import Mapping
from typing import Any

from trytond.model import ModelSQL, fields
from trytond.pool import Pool

from .exceptions import DefinitionError, nearest
from .retired import HELPERS, instead_of_helper, instead_of_hook
from .signatures import HOOKS, definitions, names_in, place_of
from .texts import excerpt

__all__ = [
    'check_class', 'check_models', 'check_numbers', 'check_output_arguments',
    'check_search', 'is_own', 'merged_items']

#: the hooks that are given no parameters, with what they are given
PLAIN = {
    'get_batch_main_model_name': (),
    'get_batch_search_model': (),
    'get_batch_ordering': (),
    'get_batch_field': (),
    'split': ('units',),
    'parse_params': ('params',),
    }
#: the hooks whose result may be a generator
STREAMS = {
    'convert_to_instances', 'format_errors', 'read_file', 'select_ids',
    'split'}
#: what does nothing, silently, if its name is not spelled right
OPTIONAL = [
    'convert_to_instances', 'default_config_items', 'finish',
    'fixed_config_items', 'format_errors', 'get_batch_domain',
    'get_batch_field',
    'get_batch_ordering', 'get_batch_search_model', 'read_file',
    'select_ids']


def is_own(cls: type, hook: str, root: type) -> bool:
    "Return whether the class has a hook that is not the one of root."
    own = getattr(cls, hook)
    return getattr(own, '__func__', own) is not getattr(root, hook).__func__


def merged_items(cls: type, attribute: str) -> dict[str, Any]:
    "Return the items of a dict along the classes; the nearest wins."
    items = {}
    for base in reversed(cls.__mro__):
        own = vars(base).get(attribute)
        if not isinstance(own, (dict, type(None))):
            raise DefinitionError(
                cls.__name__, 'is a %s, expected a dict of settings as '
                '{"split_size": 20}' % type(own).__name__,
                place_of(base, attribute))
        items.update(own or {})
    return items


def check_class(cls: type, root: type) -> None:
    "Raise DefinitionError if the class can not work as it is written."
    if not any(
            '__name__' in vars(klass)
            for klass in cls.__mro__[:cls.__mro__.index(root)]):
        raise DefinitionError(cls.__name__, 'is missing; give the class one '
            'as __name__ = "contract.renew"', '__name__')
    if cls.__name__ == 'default' or not re.fullmatch(
            r'\w[\w.-]*', cls.__name__):
        raise DefinitionError(cls.__name__, 'can not be the name of a section '
            'and of a log file; expected one as "contract.renew"', '__name__')
    for hook in ['execute', 'get_batch_main_model_name']:
        needed = hook == 'execute' or not is_own(
            cls, 'convert_to_instances', root)
        if needed and not is_own(cls, hook, root):
            raise DefinitionError(
                cls.__name__, 'is missing; every batch needs its own',
                hook=hook)
    for hook in [*HOOKS, *PLAIN]:
        if hasattr(cls, hook):
            _check_hook(cls, hook)
    for klass in cls.__mro__[:cls.__mro__.index(root)]:
        for name in sorted(set(vars(klass)).difference(vars(root), OPTIONAL)):
            if instead := instead_of_hook(name):
                raise DefinitionError(
                    cls.__name__, instead, place_of(klass, name))
            hint = nearest(name, OPTIONAL, 0.9)
            if hint and not name.startswith('_'):
                raise DefinitionError(
                    cls.__name__, 'is no hook%s' % hint, place_of(klass, name))
        for name, method in vars(klass).items():
            for helper in sorted(HELPERS.keys() & names_in(
                    getattr(method, '__func__', method))):
                if not hasattr(cls, helper):
                    raise DefinitionError(cls.__name__, 'calls %s, which %s'
                        % (helper, instead_of_helper(helper)),
                        place_of(klass, name))


def _check_hook(cls: type, hook: str) -> None:
    _, place, function = next(definitions(cls, hook))
    if (inspect.iscoroutinefunction(function)
            or inspect.isasyncgenfunction(function)):
        raise DefinitionError(cls.__name__, 'is async, and nobody would await '
            'it; write it with a plain "def"', place)
    if inspect.isgeneratorfunction(function) and hook not in STREAMS:
        raise DefinitionError(cls.__name__, 'has a "yield", so nothing of it '
            'would be done; remove the "yield"', place)
    if hook not in PLAIN:
        return
    given = 'cls', *PLAIN[hook]
    signature = inspect.signature(function)
    try:
        signature.bind(*given)
    except TypeError:
        raise DefinitionError(cls.__name__, 'takes %s, expected (%s); only %s '
            'are given parameters' % (signature, ', '.join(given),
                ', '.join(
                    h for h in HOOKS if hasattr(cls, h))), place
            ) from None


def check_models(cls: Any, root: type) -> None:
    """Raise DefinitionError if a hook names what is not in the database.

    Asks only those hooks whose answer is used.
    """
    if not is_own(cls, 'convert_to_instances', root):
        _get(cls, 'get_batch_main_model_name')
    if is_own(cls, 'select_ids', root):
        return
    hook = 'get_batch_search_model'
    if not is_own(cls, hook, root):
        hook = 'get_batch_main_model_name'
    Search = _get(cls, hook)
    if not issubclass(Search, ModelSQL):
        raise DefinitionError(cls.__name__, 'returns "%s", which has no table '
            'to search; return a model that has one in '
            'get_batch_search_model, or give the batch a select_ids of its '
            'own' % Search.__name__, hook)
    name = cls.get_batch_field()
    stored = [
        n for n, field in Search._fields.items()
        if not isinstance(field, fields.Function) and field.sql_type()]
    if name not in stored:
        raise DefinitionError(cls.__name__, 'returns %r, expected a field of '
            '"%s" that is stored%s' % (
                name, Search.__name__, nearest(name, stored)),
            'get_batch_field')


def check_search(
        cls: type, Search: type[ModelSQL], error: KeyError, domain: Any,
        order: Any) -> None:
    """Raise DefinitionError if a KeyError names what a hook searches for.

    :param error: what the search raised for the domain and the order
    """
    for hook, names in [
            ('get_batch_domain', domain), ('get_batch_ordering', order)]:
        if repr(error.args[0])[1:-1] in repr(names):
            raise DefinitionError(cls.__name__, 'is %r, but "%s", or a model '
                'that it relates to, has no field "%s"; correct the name' % (
                    names, Search.__name__, error.args[0]), hook) from error


def check_output_arguments(
        cls: type, method: str, filename: str | os.PathLike[str],
        old: Mapping[str, Any],
        rest: tuple[Any, ...] = ()) -> None:
    """Raise DefinitionError for what older batches pass to a method.

    :param filename: of the output
    :param old: further arguments by name
    :param rest: further arguments by position
    """
    if rest:
        raise DefinitionError(cls.__name__, 'is given %s values, expected '
            'what to write and a name; a format is the end of the name: '
            'write_batch_output(text, "report.csv")' % (2 + len(rest)), method)
    if old:
        raise DefinitionError(cls.__name__, 'is given %s, expected a name%s '
            'only; leave that out: where outputs go is said by the settings '
            'root_dir and filepath_template' % (
                ', '.join(sorted(old)),
                ' and what to write' if method == 'write_batch_output'
                else ''), method)
    if not filename:
        raise DefinitionError(cls.__name__, 'is given no name; give that of '
            'the file, as "report.csv" (the directory of all outputs is '
            'cls.get_conf_items("root_dir"))', method)


def check_numbers(batch: str, numbers: Any) -> dict[str, float] | None:
    "Return the dict of numbers that execute returned, None without."
    if numbers is None:
        return None
    if not isinstance(numbers, dict):
        raise DefinitionError(batch, 'returned %s, expected None or a dict of '
            'texts and numbers, to be summed up' % excerpt(numbers),
            'execute')
    for name, value in numbers.items():
        if (not isinstance(name, str) or not isinstance(value, (int, float))
                or not math.isfinite(value)):
            raise DefinitionError(batch, 'returned {%r: %r}, expected None or '
                'a dict of texts and numbers, to be summed up' % (
                    name, value), 'execute')
    return numbers


def _get(cls: type, hook: str) -> Any:
    "Return the model that a hook names."
    name = getattr(cls, hook)()
    models = dict(Pool().iterobject())
    try:
        return models[name]
    except (KeyError, TypeError):
        raise DefinitionError(cls.__name__, 'returns %r, which is no model of '
            'the database%s (its module must be in "depends" of tryton.cfg)'
            % (name, nearest(name, models)), hook) from None

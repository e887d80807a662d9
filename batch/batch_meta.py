# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the classes of batches have beside what Tryton gives to models."""
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from trytond.model import ModelView

from .retired import instead_of_helper

__all__ = ['BatchMeta', 'classproperty', 'doc_of']

Value = TypeVar('Value')
#: the modules of the classes that batches subclass
ROOTS = {'%s.%s' % (__package__, name) for name in ['batch', 'file_batch']}


class classproperty(Generic[Value]):
    "A property of a class."

    def __init__(self, getter: Callable[[Any], Value]) -> None:
        self.getter = getter

    def __get__(self, instance: object, owner: type) -> Value:
        return self.getter(owner)


class BatchMeta(type(ModelView)):  # type: ignore[misc]
    "The class of batches."

    def __dir__(cls) -> list[str]:
        # The tests of Tryton take each default_x of a model for the default
        # of a field, and would fail for every module that has a batch
        return [
            name for name in super().__dir__()
            if name != 'default_config_items']

    if not TYPE_CHECKING:
        # A type checker would take any attribute for one that is there

        def __getattr__(cls, name):
            # Only for what is nowhere else
            text = "type object '%s' has no attribute '%s'" % (
                cls.__name__, name)
            if instead := instead_of_helper(name):
                text += '; it %s' % instead
            raise AttributeError(text)


def doc_of(Batch: type) -> str:
    "Return the docstring of a batch, or ''; that of the pool has none itself."
    for base in Batch.__mro__:
        if base.__module__ in ROOTS:
            # Those of the root classes are not about this batch
            break
        if base.__doc__:
            return inspect.cleandoc(base.__doc__)
    return ''

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""For the test kit: the checks of the batches of a module."""
import atexit
import datetime as dt
import inspect
import shutil
import tempfile
import typing
import unittest
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trytond.pool import isregisteredby
from trytond.transaction import Transaction

from .aliases import Given
from .batch import BatchRoot, get_batches, today
from .batch_meta import doc_of
from .config import BatchConfig
from .engine import preview
from .exceptions import ParameterError
from .parameters import given_text, resolve_parameters
from .signatures import arguments_of
from .testing_environment import environment

with warnings.catch_warnings():
    # trytond 8.2 asks itself for trytond.config.config
    warnings.filterwarnings(
        'ignore', r"trytond\.config\.config is deprecated",
        DeprecationWarning)
    from trytond.tests.test_tryton import with_transaction

__all__ = ['BatchTestMixin']

# It stands before a TestCase, and is none
_TestCase: Any = unittest.TestCase if TYPE_CHECKING else object


class BatchTestMixin(_TestCase):
    """Checks each batch that the module registers.

    It stands before ModuleTestCase, and needs ``module`` as that does.
    """
    #: of the module, as ModuleTestCase has it
    module: str
    #: name of a batch -> {parameter: value}, where not any value will do
    batch_parameters: Mapping[str, Mapping[str, Any]] = {}

    def batches(self) -> dict[str, type[BatchRoot]]:
        "Return the batches to check, by name."
        return {
            name: Batch for name, Batch in get_batches().items()
            if isregisteredby(Batch, self.module)}

    @with_transaction()
    def test_batch_docstrings(self) -> None:
        "Each batch says what it does"
        for name, Batch in self.batches().items():
            with self.subTest(batch=name):
                self.assertTrue(doc_of(Batch), msg="it has no docstring")

    @with_transaction()
    def test_batch_settings(self) -> None:
        "The defaults of the settings of each batch are valid"
        for name, Batch in self.batches().items():
            with self.subTest(batch=name):
                Batch.resolve_settings(BatchConfig())

    @with_transaction()
    def test_batch_parameters(self) -> None:
        "Each batch declares its parameters, and asks for what it needs"
        for name, Batch in self.batches().items():
            with self.subTest(batch=name):
                given = self.given(name, Batch)
                resolved(Batch, given)
                for parameter in Batch.declared_parameters().values():
                    if not parameter.required:
                        continue
                    with self.assertRaises(ParameterError) as caught:
                        resolved(Batch, {
                                k: v for k, v in given.items()
                                if k != parameter.name})
                    self.assertEqual(
                        caught.exception.parameter, parameter.name)

    @with_transaction()
    def test_batch_selections(self) -> None:
        "Each batch selects and splits, where there is next to nothing"
        for name, Batch in self.batches().items():
            with self.subTest(batch=name), environment(name) as directory:
                preview.select_and_split(
                    Transaction(), name, self.given(name, Batch))
                shutil.rmtree(directory)

    @with_transaction()
    def test_batch_hooks(self) -> None:
        "The hooks of each batch need nothing but its parameters"
        for name, Batch in self.batches().items():
            with self.subTest(batch=name):
                parameters = resolved(Batch, self.given(name, Batch))
                for hook, count in [
                        ('convert_to_instances', 1), ('execute', 2),
                        ('finish', 2)]:
                    inspect.signature(getattr(Batch, hook)).bind(
                        *[[]] * count,
                        **arguments_of(Batch, hook, parameters))

    def given(self, name: str, Batch: type[BatchRoot]) -> dict[str, str]:
        "Return the texts of what is required, and of batch_parameters."
        values = {
            parameter.name: example(parameter.type)
            for parameter in Batch.declared_parameters().values()
            if parameter.required}
        values.update(self.batch_parameters.get(name, {}))
        declared = Batch.declared_parameters()
        return {k: given_text(name, declared, k, v) for k, v in values.items()}


def resolved(Batch: type[BatchRoot], given: Given) -> dict[str, Any]:
    "Return the values of the parameters by name; raises ParameterError."
    return {
        name: value for name, (value, _, _) in resolve_parameters(
            Batch.__name__, Batch.declared_parameters(), given,
            lambda name: None, today).items()}


def example(type_: Any) -> Any:
    "Return a plausible value of the type of a parameter."
    if typing.get_origin(type_) is list:
        return [example(*typing.get_args(type_))]
    if typing.get_origin(type_) is typing.Literal:
        return typing.get_args(type_)[0]
    if members := getattr(type_, '__members__', None):
        return next(iter(members.values()))
    if type_ is Path:
        return empty_directory()
    examples = {str: 'example', bool: False, dt.date: today(),
        dt.datetime: dt.datetime.now()}
    return examples[type_] if type_ in examples else type_(1)


@lru_cache
def empty_directory() -> Path:
    "Return one that is there until the process ends."
    path = tempfile.mkdtemp(prefix='batch-testing-')
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return Path(path)

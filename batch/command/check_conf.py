# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""All that is wrong with batch.conf, and with the batches of a database."""
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trytond.config as config
from trytond.transaction import Transaction

from ..batch import BatchRoot, get_batches
from ..class_checks import merged_items
from ..config import BatchConfig
from ..engine.admission import find_user
from ..exceptions import BatchError, ConfigError
from ..file_batch import archive_of, check_directories
from ..installed import installed_batches
from ..parameters import parse

__all__ = [
    'check_all_batches', 'input_problems', 'load_batch_config', 'named_queues']


def load_batch_config() -> tuple[BatchConfig, list[ConfigError]]:
    "Return what of batch.conf can be read, and what is wrong with the rest."
    wrong: list[ConfigError] = []
    return BatchConfig.load(config.get('batch', 'config_file'), wrong), wrong


def check_all_batches(transaction: Transaction) -> tuple[int, list[Exception]]:
    """Return how many batches there are, and the errors that were found.

    But for those of lines that can not be read: see load_batch_config.
    """
    batches = get_batches()
    batch_config, _ = load_batch_config()
    wrong: list[Exception] = list(batch_config.unknown({
                name: Batch.declared_parameters()
                for name, Batch in batches.items()}, installed_batches))
    for Batch in batches.values():
        wrong += problems_of(transaction, batch_config, Batch)
    return len(batches), wrong


def problems_of(
        transaction: Transaction, batch_config: BatchConfig,
        Batch: type[BatchRoot]) -> Iterator[Exception]:
    "Yield what is wrong with one batch, or with what batch.conf says of it."
    contradictions = list(batch_config.contradictions(
            Batch.__name__, merged_items(Batch, 'fixed_config_items')))
    yield from contradictions
    for parameter in Batch.declared_parameters().values():
        found = batch_config.parameter(Batch.__name__, parameter.name)
        if found:
            try:
                parse(parameter, found[0], Batch.__name__,
                    ' in %s' % found[1])
            except BatchError as error:
                yield error
    if contradictions:
        return
    settings = Batch.resolve_settings(batch_config)
    try:
        find_user(Batch.__name__, *settings['user'])
    except BatchError as error:
        yield error
    try:
        with transaction.set_context(settings['context'][0]):
            Batch.check_models()
    except Exception as error:
        # A hook may raise whatever there is
        yield error


def named_queues() -> dict[str, list[str]]:
    "Return the batches of each queue that a batch names, by the queue."
    batch_config, _ = load_batch_config()
    queues: dict[str, list[str]] = {}
    for name, Batch in get_batches().items():
        with contextlib.suppress(BatchError):
            # What is wrong with it is said already
            settings = Batch.resolve_settings(batch_config)
            if not settings['disabled'][0]:
                queues.setdefault(settings['queue'][0], []).append(name)
    return queues


def input_problems() -> list[BatchError]:
    "Return what is wrong with directories of input files in batch.conf."
    batch_config, _ = load_batch_config()
    wrong: list[BatchError] = []
    for name, Batch in get_batches().items():
        if not Batch.has_input_files:
            continue
        paths: dict[str, Any] = {}
        for parameter in Batch.declared_parameters().values():
            if parameter.name in {'directory', 'archive', 'errors'}:
                found = batch_config.parameter(name, parameter.name)
                with contextlib.suppress(BatchError):
                    # What is malformed is said already
                    paths[parameter.name] = parse(parameter, found[0], name) \
                        if found else parameter.default
        directory, archive = paths.get('directory'), paths.get('archive')
        # One that each run names is not known here
        if isinstance(directory, Path) and isinstance(archive, Path):
            errors = paths.get('errors')
            try:
                check_directories(
                    name, directory, archive_of(directory, archive),
                    errors and archive_of(directory, errors))
            except BatchError as error:
                wrong.append(error)
    return wrong

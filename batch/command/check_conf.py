# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""All that is wrong with batch.conf, and with the batches of a database."""
from collections.abc import Iterator

import trytond.config as config
from trytond.transaction import Transaction

from ..batch import BatchRoot, get_batches
from ..class_checks import merged_items
from ..config import BatchConfig
from ..engine.admission import find_user
from ..exceptions import BatchError, ConfigError
from ..installed import installed_batches
from ..parameters import parse

__all__ = ['check_all_batches', 'load_batch_config']


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

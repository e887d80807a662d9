# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The configuration and the log of a run in the test kit."""
import configparser
import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import trytond.config as config

from .batch import BatchRoot
from .config import DEFAULT
from .context import current_work
from .parameters import dump
from .settings import shown

__all__ = ['Log', 'environment', 'listening', 'text_of']


def text_of(Batch: type[BatchRoot], name: str, value: Any) -> str:
    "Return the value of a parameter as a text of the command line."
    if isinstance(value, str):
        return value
    try:
        return dump(Batch.declared_parameters()[name], value)
    except (AttributeError, KeyError, TypeError):
        # It is refused later, like any wrong text
        return str(value)


@contextlib.contextmanager
def environment(
        batch: str,
        settings: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """Configure one batch, independent of the configuration of the machine.

    Yields a temporary directory, which is removed only on an error.
    """
    directory = Path(tempfile.mkdtemp(prefix='batch-testing-'))
    out = directory / 'out'
    out.mkdir()
    conf = configparser.RawConfigParser(default_section='')
    conf.optionxform = str  # type: ignore[assignment, method-assign]
    conf.read_dict({
            DEFAULT: {'root_dir': out},
            batch: {
                name: os.fspath(value) if isinstance(value, os.PathLike)
                else shown(value) for name, value in (settings or {}).items()},
            })
    with open(directory / 'batch.conf', 'w', encoding='utf-8') as file:
        conf.write(file)
    sections = {
        'batch': {
            'config_file': str(directory / 'batch.conf'), 'log_dir': ''},
        # The check of cache changes needs a separate connection: avoid it
        'cache': {
            **(section_of('cache') or {}),
            'clean_timeout': str(24 * 60 * 60)},
        }
    before = {name: section_of(name) for name in sections}
    try:
        for name, items in sections.items():
            override_section(name, items)
        yield directory
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    finally:
        for name, old in before.items():
            override_section(name, old)


def section_of(name: str) -> dict[str, str] | None:
    "Return the options of a section of trytond.conf, None without it."
    if config.has_section(name):
        return {key: config.get(name, key) for key in config.options(name)}
    return None


def override_section(name: str, items: Mapping[str, str] | None) -> None:
    config.remove_section(name)
    if items is not None:
        config.add_section(name)
        for key, value in items.items():
            config.set(name, key, value)


class Log(logging.Handler):
    "Stores the lines of the log, and the logged errors by chunk."

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter('%(levelname)s %(message)s'))
        self.lines: list[str] = []
        #: by number of the chunk, None for the selection
        self.errors: dict[str | None, BaseException] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.extend(self.format(record).splitlines())
        work = current_work()
        if work and hasattr(record, 'error'):
            self.errors[work.chunk] = record.error


@contextlib.contextmanager
def listening() -> Iterator[Log]:
    "Give the Log of what all batches log, however logging is configured."
    logger, log = logging.getLogger('batch'), Log()
    level, disabled = logger.level, logging.root.manager.disable
    logger.setLevel(min(logger.getEffectiveLevel(), logging.INFO))
    logging.disable(logging.NOTSET)
    logger.addHandler(log)
    try:
        yield log
    finally:
        logger.removeHandler(log)
        logging.disable(disabled)
        logger.setLevel(level)

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The configuration, the log and the mails of a run in the test kit."""
import configparser
import contextlib
import email.policy
import logging
import os
import shutil
import smtplib
import tempfile
from collections.abc import Iterator, Mapping
from email.message import EmailMessage
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import trytond.config as config

from .config import DEFAULT
from .context import current_work
from .settings import shown

__all__ = ['Log', 'Mail', 'environment', 'listening', 'no_mail']


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


class Mail(NamedTuple):
    "An e-mail that would have been sent."
    #: the addresses of the envelope
    from_addr: str
    to_addrs: list[str]
    message: EmailMessage


@contextlib.contextmanager
def no_mail() -> Iterator[list[Mail]]:
    """Connect to no mail server; yield what would have been sent.

    It is done in the classes of smtplib, which trytond uses, too.
    """
    mails: list[Mail] = []

    def sendmail(
            self: smtplib.SMTP, from_addr: str, to_addrs: str | list[str],
            msg: str | bytes, *args: Any, **options: Any) -> dict[str, Any]:
        if isinstance(msg, str):
            msg = msg.encode('ascii')
        # As it was written: the protocol has other line ends
        msg = msg.replace(b'\r\n', b'\n')
        if isinstance(to_addrs, str):
            to_addrs = [to_addrs]
        mails.append(Mail(
                from_addr, list(to_addrs), email.message_from_bytes(
                    msg, EmailMessage, policy=email.policy.default)))
        return {}

    def answer(
            self: smtplib.SMTP, *args: Any,
            **options: Any) -> tuple[int, bytes]:
        return 220, b'nobody is asked'

    fakes: dict[str, Any] = {
        'connect': answer, 'starttls': answer, 'login': answer,
        'ehlo_or_helo_if_needed': answer, 'quit': answer, 'noop': answer,
        'has_extn': lambda self, name: True, 'sendmail': sendmail}
    with mock.patch.multiple(smtplib.SMTP, **fakes), \
            mock.patch.object(smtplib.LMTP, 'connect', answer):
        yield mails


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

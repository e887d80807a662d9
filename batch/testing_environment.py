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
from collections import namedtuple
from email.message import EmailMessage
from pathlib import Path
from unittest import mock

import trytond.config as config

from .config import DEFAULT
from .context import current_work
from .settings import shown

__all__ = ['Mail', 'environment', 'listening']


@contextlib.contextmanager
def environment(batch, settings=None):
    """Configure one batch, whatever the configuration of this machine is.

    Gives a directory that is not removed if all goes well.
    """
    directory = Path(tempfile.mkdtemp(prefix='batch-testing-'))
    out = directory / 'out'
    out.mkdir()
    conf = configparser.RawConfigParser(default_section=None)
    conf.optionxform = str
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
        # To look whether caches are old takes a connection of its own
        'cache': {**section_of('cache'), 'clean_timeout': str(24 * 60 * 60)},
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
        for name, items in before.items():
            override_section(name, items)


def section_of(name):
    "Return the options of a section of trytond.conf, None without it."
    if config.has_section(name):
        return {key: config.get(name, key) for key in config.options(name)}


def override_section(name, items):
    config.remove_section(name)
    if items is not None:
        config.add_section(name)
        for key, value in items.items():
            config.set(name, key, value)


class _Log(logging.Handler):
    "Keeps the lines, and the errors that they are about by chunk."

    def __init__(self):
        super().__init__()
        self.setFormatter(logging.Formatter('%(levelname)s %(message)s'))
        self.lines = []
        self.errors = {}

    def emit(self, record):
        self.lines.extend(self.format(record).splitlines())
        if hasattr(record, 'error'):
            self.errors[current_work().chunk] = record.error


#: what would have been sent: the addresses of the envelope, an EmailMessage
Mail = namedtuple('Mail', 'from_addr to_addrs message')


@contextlib.contextmanager
def no_mail():
    """Let no connection to a mail server be made; give what was to be sent.

    In the classes of smtplib, which every way to send uses, trytond's too.
    """
    mails = []

    def sendmail(self, from_addr, to_addrs, msg, *args, **options):
        if isinstance(msg, str):
            msg = msg.encode('ascii')
        # As it was written, and not as the protocol has it
        msg = msg.replace(b'\r\n', b'\n')
        if isinstance(to_addrs, str):
            to_addrs = [to_addrs]
        mails.append(Mail(
                from_addr, list(to_addrs), email.message_from_bytes(
                    msg, EmailMessage, policy=email.policy.default)))
        return {}

    def answer(self, *args, **options):
        return 220, b'nobody is asked'

    fakes = {
        'connect': answer, 'starttls': answer, 'login': answer,
        'ehlo_or_helo_if_needed': answer, 'quit': answer, 'noop': answer,
        'has_extn': lambda self, name: True, 'sendmail': sendmail}
    with mock.patch.multiple(smtplib.SMTP, **fakes), \
            mock.patch.object(smtplib.LMTP, 'connect', answer):
        yield mails


@contextlib.contextmanager
def listening():
    "Give the _Log of what all batches log, however logging is configured."
    logger, log = logging.getLogger('batch'), _Log()
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

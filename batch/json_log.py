# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A line of a log as a JSON object, for programs that collect logs.

The fields are documented, and stay: a new one may be added.

Imports nothing of Tryton or Celery.
"""
import datetime as dt
import json
import logging
from typing import Any

from .context import current_work
from .masking import mask_secrets

__all__ = ['JSONFormatter', 'fields_of']


class JSONFormatter(logging.Formatter):
    "Formats a record as one line; it can be named in a file of --logconf."

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(
            fields_of(record), ensure_ascii=False, default=str)


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of a record, those that have a value.

    A record of a batch has its text without the marks of the lines, see
    logging.py.
    """
    work = current_work()
    kind, _, batch = record.name.partition('.')
    traceback = getattr(record, 'plain_traceback', None)
    if traceback is None and record.exc_info:
        traceback = mask_secrets(
            logging.Formatter().formatException(record.exc_info))
    message = getattr(record, 'plain_message', None)
    fields = {
        'time': dt.datetime.fromtimestamp(
            record.created, dt.timezone.utc).isoformat(
            timespec='milliseconds'),
        'level': record.levelname,
        'logger': getattr(record, 'origin', record.name),
        'process': record.process,
        'database': work.database if work else None,
        'batch': work.batch if work
        else batch if kind == 'batch' else None,
        'execution': work.execution if work else None,
        'chunk': work.chunk if work else None,
        'message': mask_secrets(record.getMessage())
        if message is None else message,
        'traceback': traceback,
        'outcome': getattr(record, 'outcome', None),
        }
    return {
        name: value for name, value in fields.items() if value is not None}

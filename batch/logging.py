# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The log of each batch: a file of its own, and the log of the worker.

Imports nothing of Tryton or Celery.
"""
import copy
import datetime as dt
import json
import logging
import os
import re
import reprlib
import zoneinfo
from collections import deque
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any

from . import texts
from .context import current_work
from .directories import open_to_append
from .json_log import JSONFormatter
from .masking import mask_secrets

__all__ = [
    'BatchLogger', 'close_logs', 'get_logger', 'get_print_infos',
    'log_path_of', 'open_logs', 'server_zone']

#: longest text of one item in a digest, in characters
ITEM_LENGTH = 40

logger = logging.getLogger(__name__)
# The parent of every batch's logger; it alone has a handler of ours
_batches = logging.getLogger('batch')
#: names of the loggers of get_logger: another one may begin with "batch." too
_names: set[str] = set()
_files: '_Files | None' = None
_others: '_Others | None' = None
_safe_name = re.compile(r'\w[\w.-]*', re.ASCII).fullmatch


class BatchLogger(logging.LoggerAdapter):
    "The logger of a batch; each line has the label of execution and chunk."

    def process(
            self, msg: Any, kwargs: MutableMapping[str, Any]
            ) -> tuple[Any, MutableMapping[str, Any]]:
        "Leave both as they are: a filter labels the record."
        return msg, kwargs

    def success(self, msg: object, *args: object, **kwargs: Any) -> None:
        "Log at level INFO with the prefix ``[SUCCESS]``."
        self.info('[SUCCESS] %s' % (msg,), *args, **kwargs)

    def failure(self, msg: object, *args: object, **kwargs: Any) -> None:
        "Log at level ERROR with the prefix ``[FAILURE]``."
        self.error('[FAILURE] %s' % (msg,), *args, **kwargs)


def get_logger(name: str) -> BatchLogger:
    """Return the BatchLogger of the batch with that ``__name__``.

    It is the logger ``batch.<name>``, with the level INFO unless another one
    is configured.
    """
    if not _batches.level and logging.root.level > logging.INFO:
        _batches.setLevel(logging.INFO)
    log = logging.getLogger('batch.%s' % name)
    _names.add(log.name)
    # A --logconf file disables the loggers that it does not name
    log.disabled = False
    # On the logger, so that the log of the worker has the same lines
    log.addFilter(_mark)
    return BatchLogger(log, None)


def open_logs(log_dir: str | None, as_json: bool = False) -> None:
    """Start to append the lines of batches to ``<log_dir>/<name>.log``.

    So is what any other logger is given while a batch is being executed.

    Without log_dir (None or '') there are no files.  It never raises.  If
    a file can not be written, the log of the worker says so once, and each
    further line tries again.

    :param as_json: whether each line is a JSON object
    """
    global _files, _others
    if _files and _others:
        _batches.removeHandler(_files)
        logging.root.removeHandler(_others)
        _files.close()
    _files = _Files(
        os.path.expanduser(log_dir), as_json) if log_dir else None
    if _files:
        _batches.addHandler(_files)
        _others = _Others(_files)
        logging.root.addHandler(_others)


def close_logs() -> None:
    "Close the log files; the next line opens its file again."
    if _files:
        _files.close()


def log_path_of(name: str) -> str | None:
    "Return the path of the log file of a batch (str), None without files."
    return _files.path(name) if _files else None


def get_print_infos(items: Any, name: str = 'record', limit: int = 6) -> str:
    """Return a digest of items: "9 records: 1, 2, 3, 4 ... 8, 9".

    items can be of any length and type; the digest is always short.  Records
    of Tryton are shown by their id.  An iterator is read to its end.  At most
    limit items are shown.
    """
    if items is None:
        items = []
    elif isinstance(items, (str, bytes)) or not hasattr(items, '__iter__'):
        items = [items]
    behind = max(limit, 0) // 3
    tail: deque[Any] = deque(maxlen=behind)
    head: list[Any] = []
    count = 0
    for count, item in enumerate(items, 1):
        if len(head) < limit - behind:
            head.append(item)
        else:
            tail.append(item)
    names = _plural(name)
    if not count:
        return 'no %s' % names
    digest = '%s %s' % (format(count, ','), name if count == 1 else names)
    if not head:
        return digest
    first, last = (', '.join(map(_text, part)) for part in [head, tail])
    rest = ', %s' % last if last else ''
    if count > limit:
        rest = ' ... %s' % last if last else ' ...'
    return '%s: %s%s' % (digest, first, rest)


def server_zone() -> zoneinfo.ZoneInfo | None:
    "Return the ZoneInfo in which times are shown, None for the local zone."
    # Tryton sets TZ=UTC and moves its former value to TRYTOND_TZ
    return _zone(os.environ.get('TRYTOND_TZ'))


@lru_cache
def _zone(key: str | None) -> zoneinfo.ZoneInfo | None:
    try:
        return zoneinfo.ZoneInfo(key) if key else None
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _plural(name: str) -> str:
    if name[-1:] == 'y' and name[-2:-1] not in {'a', 'e', 'o', 'u'}:
        return name[:-1] + 'ies'
    return name + ('es' if name.endswith(('s', 'x', 'ch', 'sh')) else 's')


def _text(item: Any) -> str:
    "Return one line of at most ITEM_LENGTH characters.  It never raises."
    try:
        if hasattr(item, '__name__') and hasattr(item, 'id'):
            item = item.id
        if isinstance(item, (dict, list, tuple, set, frozenset)):
            text = reprlib.repr(item)
        else:
            text = str(item)
    except Exception:
        text = '<%s>' % texts.name_of(type(item))
    text = texts.escape(' '.join(text[:10 * ITEM_LENGTH].split()))
    if len(text) > ITEM_LENGTH:
        text = text[:ITEM_LENGTH - 3] + '...'
    return text


def _mark(record: logging.LogRecord) -> bool:
    """A filter: label each line of a record, mask, escape and cut it.

    Further lines are indented, so that they do not look like another record.
    """
    work = current_work()
    prefix = '%s ' % work.label if work else ''
    behind = prefix + '  '

    def lines(text: str) -> str:
        return text.rstrip('\n').replace('\n', '\n' + behind)

    try:
        text = record.getMessage().replace('\r\n', '\n')
    except Exception:
        # A line with wrong arguments is better than no line
        text = '%s (%s)' % (
            _text(record.msg), get_print_infos(record.args, 'argument'))
    text = texts.clean(text, texts.RECORD, keep='\n\t')
    record.msg, record.args = prefix + lines(text), ()
    # What json_log.py needs, without marks
    plain = {'plain_message': text.rstrip('\n')}
    if record.exc_info:
        # Formatters use exc_text if it is set
        _, error, trace = record.exc_info
        plain['plain_traceback'] = 'no exception' if error is None \
            else texts.traceback_of(error, trace)
        record.exc_text = behind + lines(plain['plain_traceback'])
    if record.stack_info:
        record.stack_info = behind + lines(
            texts.clean(record.stack_info, texts.RECORD, keep='\n\t'))
    vars(record).update(plain)
    return True


class _Formatter(logging.Formatter):

    def formatTime(
            self, record: logging.LogRecord,
            datefmt: str | None = None) -> str:
        time = dt.datetime.fromtimestamp(record.created, dt.timezone.utc)
        return time.astimezone(server_zone()).isoformat(timespec='seconds')


class _Files(logging.Handler):
    """Appends the records of ``batch.<name>`` to ``<directory>/<name>.log``.

    Many processes write to one file.  So each record is appended by a single
    write, without a buffer.
    """

    def __init__(self, directory: str, as_json: bool = False) -> None:
        super().__init__()
        self.directory = directory
        self.as_json = as_json
        self.descriptors: dict[str, int] = {}
        #: name -> number of records that could not be written
        self.missed: dict[str, int] = {}
        self.setFormatter(JSONFormatter() if as_json else _Formatter(
                '%(asctime)s %(levelname)s %(process)d %(message)s'))

    def emit(self, record: logging.LogRecord) -> None:
        if record.name not in _names:
            record = _of_execution(record) or record
        name = record.name.partition('.')[2]
        if not name:
            return
        missed = self.missed.get(name, 0)
        try:
            text = self.line(record) + '\n'
            if missed:
                # The last write may have written only a part of a line
                text = '\n%s\n%s' % (self.notice(missed), text)
            self.write(name, text.encode('utf-8', 'backslashreplace'))
        except Exception as e:
            self.missed[name] = missed + 1
            if not missed:
                logger.error(
                    'log file "%s" can not be written: %s; lines of batch '
                    '"%s" are only in this log until that is solved (log_dir '
                    'must be a directory with free space, writable by uid '
                    '%s)', self.path(name), getattr(e, 'strerror', None) or e,
                    name, os.geteuid())
            if not has_other_handlers() and logging.lastResort:
                logging.lastResort.handle(record)
        else:
            self.missed.pop(name, None)

    def line(self, record: logging.LogRecord) -> str:
        # What is masked in an object would not be one any more
        return self.format(record) if self.as_json \
            else mask_secrets(self.format(record))

    def notice(self, missed: int) -> str:
        text = '%s missing here, see the log of the worker' % (
            get_print_infos(range(missed), 'line', 0))
        return json.dumps({'message': text}) if self.as_json else text

    def path(self, name: str) -> str:
        return os.path.join(self.directory, '%s.log' % name)

    def write(self, name: str, data: bytes) -> None:
        descriptor = self.open(name)
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view):]

    def open(self, name: str) -> int:
        "Return a descriptor of the file that is now at the path."
        if not _safe_name(name):
            raise ValueError('its name is no safe file name')
        path, descriptor = self.path(name), self.descriptors.get(name)
        if descriptor is not None:
            try:
                if os.path.samestat(os.lstat(path), os.fstat(descriptor)):
                    return descriptor
            except OSError:
                pass
            os.close(self.descriptors.pop(name))
        descriptor = self.descriptors[name] = open_to_append(path)
        return descriptor

    def close(self) -> None:
        # May be used again: a file of --logconf closes all handlers
        assert self.lock is not None
        # It may be used again, as a --logconf file closes all handlers
        with self.lock:
            while self.descriptors:
                os.close(self.descriptors.popitem()[1])
        super().close()


class _Others(logging.Handler):
    """Gives the files what other loggers are told while a batch is executed.

    It belongs to that execution by the context, whatever the logger's name.
    """

    def __init__(self, files: '_Files') -> None:
        super().__init__()
        self.files = files

    def emit(self, record: logging.LogRecord) -> None:
        if not has_other_handlers() and logging.lastResort \
                and record.levelno >= logging.WARNING:
            # As it would be without this handler
            logging.lastResort.handle(record)
        # What begins with "batch." the files are given without it
        if record.name.split('.')[0] != _batches.name \
                and record.name != logger.name and current_work():
            self.files.handle(record)


def _of_execution(record: logging.LogRecord) -> logging.LogRecord | None:
    "Return a record as one of the batch that is executed; None without any."
    work = current_work()
    if work is None:
        return None
    # The other handlers get it as it is
    record = copy.copy(record)
    _mark(record)
    vars(record)['origin'] = record.name
    record.name = '%s.%s' % (_batches.name, work.batch)
    return record


def has_other_handlers() -> bool:
    "Return whether the root logger has a handler that is not ours."
    return any(
        not isinstance(handler, _Others) for handler in logging.root.handlers)

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Configuration, database and logs of a command.

Tryton is imported inside of functions, because it reads its configuration and
chooses its backend when it is first imported.
"""
import contextlib
import importlib.metadata
import logging
import os
import re

from ..config import open_regular
from ..exceptions import ConfigError, UnknownBatchError, UsageError
from ..masking import mask_secrets

__all__ = [
    'check_batch', 'checked_name', 'database_of', 'load_environment',
    'pool_of', 'reading', 'version']


def version():
    return importlib.metadata.version('trytond-batch')


def load_environment(options):
    "Load the configuration of trytond and begin the log; raises ConfigError."
    load_configuration([
            os.path.expanduser(name) for name in options.configfile if name])
    check_variable()
    check_numbers()
    check_uri()
    if options.command != 'worker':
        begin_log(options)


def load_configuration(names):
    for name in names:
        check_file(name, 'name the configuration of trytond with -c or '
            'TRYTOND_CONFIG')
    try:
        import trytond.config as config
        config.update_etc(names)
    except Exception as error:
        raise ConfigError(', '.join(names) or 'trytond.conf',
            'is no configuration of trytond: %s' % shortened(error)) from error


def check_variable():
    "Raise ConfigError if batch.conf is named as it was before only."
    import trytond.config as config
    name = 'TRYTOND_BATCH_CONFIG'
    if os.environ.get(name) and not config.get('batch', 'config_file'):
        raise ConfigError(name, 'is a variable of before; name the file as '
            'config_file in [batch] of trytond.conf')


def check_file(path, hint):
    "Raise ConfigError if the file can not be read."
    try:
        open_regular(path).close()
    except OSError as error:
        raise ConfigError(path, 'can not be read: %s; %s' % (
                error.strerror, hint)) from error


def shortened(error):
    "Return the text of an error, which may quote a whole file, cut short."
    text = ' '.join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:200] + '...'


def check_numbers():
    import trytond.config as config

    def refuse(name, expected):
        raise ConfigError('trytond.conf', 'is "%s", expected %s' % (
                config.get('database', name), expected), 'database', name)

    values = {'minconn': 1, 'maxconn': 64}
    for name in ['retry', 'timeout', 'subquery_threshold', *values]:
        text = config.get('database', name)
        if text is None:
            continue
        if not re.fullmatch('[0-9]{1,9}', text):
            refuse(name, 'a whole number')
        values[name] = int(text)
    if values['maxconn'] < max(1, values['minconn']):
        refuse('maxconn', 'a whole number of 1 or more that is not below '
            'minconn')


def check_uri():
    "Import the backend of the database, with the timeouts of TCP in its URI."
    import trytond.config as config
    uri = config.get('database', 'uri')
    try:
        from trytond import backend
        if backend.name == 'postgresql':
            from psycopg.conninfo import conninfo_to_dict
            conninfo_to_dict(config.parse_uri(uri)._replace(
                    scheme='postgresql', path='/name').geturl())
    except Exception as error:
        why = shortened(error)
        for password in re.findall('//[^/]*?:(.+)@', uri):
            why = why.replace(password, '***')
        raise ConfigError(
            'trytond.conf', 'is "%s", expected one as postgresql://USER@HOST:'
            '5432/ or sqlite:// (%s)' % (mask_secrets(uri), why),
            'database', 'uri') from error
    from ..transaction import kept_alive
    config.set('database', 'uri', kept_alive(uri))


def begin_log(options):
    import trytond.commandline as commandline
    if options.logconf:
        check_file(options.logconf, 'name the configuration of logging with '
            '--logconf or TRYTOND_LOGGING_CONFIG')
    try:
        commandline.config_log(options)
    except Exception as error:
        # The file may call any class, which may raise any exception
        raise ConfigError(options.logconf or 'TRYTOND_LOGGING_LEVEL',
            'is no configuration of logging: %s: %s' % (
                type(error).__name__, shortened(error))) from error
    if not options.logconf:
        show_less()
    if not options.verbose:
        # It logs each attempt to connect; the command prints it once
        logging.getLogger('psycopg.pool').setLevel(logging.ERROR)
    # The lines of a batch are in its log file, and not shown without -v
    logging.getLogger('batch').propagate = bool(options.verbose)


def show_less():
    """Let the log of a batch have what modules log at level INFO.

    The command itself goes on to show the lines that it showed before.
    """
    root = logging.getLogger()
    level = root.level

    def is_shown(record):
        return record.levelno >= level or record.name.split('.')[0] == 'batch'

    for handler in root.handlers:
        handler.addFilter(is_shown)
    root.setLevel(min(level, logging.INFO))


def database_of(options):
    if len(options.database_names) != 1:
        raise UsageError(
            'expected one database, got %s; name it with -d DATABASE or '
            'TRYTOND_DATABASE_NAMES'
            % (' '.join(options.database_names) or 'none'))
    return checked_name(options.database_names[0])


def checked_name(database):
    "Return the name of a database; raises UsageError if it can not be one."
    if not re.fullmatch(r':memory:|\w[\w.+@$~-]*', database):
        raise UsageError('no database is named "%s"; expected letters, '
            'digits and _ - . + @ $ ~' % database)
    return database


@contextlib.contextmanager
def reading(options):
    "Yield a cursor on the ledger, without loading the pool."
    from trytond.transaction import Transaction

    from ..database import check_database
    database = database_of(options)
    check_database(database)
    with Transaction().start(database, 0, readonly=True) as transaction:
        yield transaction.connection.cursor()


def check_batch(options):
    """Raise UnknownBatchError if the batch neither exists nor has executions.

    The pool is only loaded if the ledger has no execution of that name.
    """
    from .. import ledger
    from ..batch import get_batches
    with reading(options) as cursor:
        names = ledger.figures.batches(cursor)
    if options.name not in names:
        with pool_of(options):
            names.update(get_batches())
    if options.name not in names:
        raise UnknownBatchError(options.name, names)


@contextlib.contextmanager
def pool_of(options):
    "Load the pool of the database and yield a transaction on it."
    from trytond.transaction import Transaction

    from ..database import check_database
    from ..transaction import load_pool
    database = database_of(options)
    check_database(database)
    load_pool(database)
    with Transaction().start(database, 0, readonly=True) as transaction:
        yield transaction

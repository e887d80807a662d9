# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Configuration, database and logs of a command.

Tryton is imported inside of functions: it reads its configuration when it is
first imported, and fixes its backend then.
"""
import contextlib
import importlib.metadata
import logging
import os

from ..exceptions import ConfigError, UsageError

__all__ = [
    'configure', 'database_of', 'kept_alive', 'pool_of', 'reading', 'version']


def version():
    return importlib.metadata.version('trytond-batch')


def configure(options):
    import trytond.commandline as commandline
    import trytond.config as config
    for name in filter(None, options.configfile):
        try:
            open(os.path.expanduser(name)).close()
        except OSError as error:
            raise ConfigError(name, 'can not be read: %s; name the '
                'configuration of trytond with -c or TRYTOND_CONFIG'
                % error.strerror)
    try:
        config.update_etc(options.configfile)
    except Exception as error:
        raise ConfigError(', '.join(filter(None, options.configfile)),
            'is no configuration of trytond: %s'
            % ' '.join(str(error).split())) from error
    config.set('database', 'uri', kept_alive(config.get('database', 'uri')))
    if options.command != 'worker':
        commandline.config_log(options)
        if not options.verbose:
            # Each new try to connect; the command says it once
            logging.getLogger('psycopg.pool').setLevel(logging.ERROR)
        # What a batch logs is in its file; the command says the outcome
        logging.getLogger('batch').propagate = bool(options.verbose)


def kept_alive(uri):
    """Return the URI of the database with the timeouts of TCP, if it has none.

    Where a host vanishes, its peer would otherwise wait for hours.  libpq
    takes them as parameters of the URI: seconds, the last one milliseconds
    (it is for what was sent and never acknowledged, where no keepalive goes).
    """
    if not uri.startswith('postgresql:') or 'keepalives' in uri \
            or 'tcp_user_timeout' in uri:
        return uri
    return uri + ('&' if '?' in uri else '?') + 'keepalives_idle=30' \
        '&keepalives_interval=10&keepalives_count=3&tcp_user_timeout=60000'


def database_of(options):
    if len(options.database_names) != 1:
        raise UsageError(
            'expected one database, got %s; name it with -d DATABASE or '
            'TRYTOND_DATABASE_NAMES'
            % (' '.join(options.database_names) or 'none'))
    return options.database_names[0]


@contextlib.contextmanager
def reading(options):
    "Give a cursor on the ledger; no pool is loaded."
    from trytond.transaction import Transaction

    from .. import services
    database = database_of(options)
    services.check_database(database)
    with Transaction().start(database, 0, readonly=True) as transaction:
        yield transaction.connection.cursor()


@contextlib.contextmanager
def pool_of(options):
    "Give a transaction with the pool of the database."
    from trytond.transaction import Transaction

    from .. import services
    from ..transaction import load_pool
    database = database_of(options)
    services.check_database(database)
    load_pool(database)
    with Transaction().start(database, 0, readonly=True) as transaction:
        yield transaction

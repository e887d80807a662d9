# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The commands that change no record: cancel, dismiss, prune, check, worker.
"""
from ..exceptions import ExecutionError
from .environment import check_batch, checked_name, database_of

__all__ = ['cancel', 'check', 'dismiss', 'prune', 'worker']


def cancel(options):
    from ..database import check_database
    from ..engine import operations
    from ..engine.running import open_configured_logs
    database = database_of(options)
    check_database(database)
    open_configured_logs()
    if not operations.cancel(
            database, options.execution, 'cancelled by coop cancel'):
        raise ExecutionError(options.execution,
            'can not be cancelled: it has ended, its units are being '
            'selected, or its finish is being called')
    print('execution #%s is cancelled; running chunks are finished'
        % options.execution)
    return 0


def dismiss(options):
    from ..database import check_database
    from ..engine import operations
    database = database_of(options)
    check_database(database)
    count, open_ = operations.dismiss(
        database, options.execution, options.reason, options.unit)
    print('{:,} failure{} of execution #{} dismissed, {:,} still open'.format(
            count, '' if count == 1 else 's', options.execution, open_))
    return 0


def prune(options):
    import datetime as dt

    from trytond.transaction import Transaction

    from .. import ledger
    from ..database import check_database
    from ..engine.pruning import prune
    from ..logging import get_print_infos
    database = database_of(options)
    check_database(database)
    if options.name:
        check_batch(options)
    with Transaction().start(database, 0, readonly=True) as transaction:
        before = ledger.tables.now(transaction.connection.cursor()) \
            - dt.timedelta(options.days)
    count, open_ = prune(database, before, options.name)
    # Cron mails whatever is said
    if count and not options.quiet:
        print('{:,} execution{} deleted that ended before {:%Y-%m-%d}'.format(
                count, '' if count == 1 else 's', before))
    if open_:
        print('kept because of open failures: %s; coop show N, then coop '
            'retry N, coop dismiss N or coop resume N' % get_print_infos(
                open_, 'execution'))
    return 0


def check(options):
    from .check import check_all
    return check_all(
        database_of(options),
        'plugin' if options.plugin else 'json' if options.json else 'text')


def worker(options):
    from .. import worker
    return worker.serve(
        list(map(checked_name, options.database_names)), options.rest)

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the commands do, one function each; ``cli.py`` parses for them.

Everything of Tryton is imported inside the functions: trytond reads its
configuration when it is first imported, and fixes its backend then.
"""
import contextlib
import importlib.metadata
import json
import logging
import os
import signal
import sys

from . import texts
from .exceptions import ConfigError, ExecutionError, UsageError
from .masking import mask_given, mask_value
from .progress import Progress

__all__ = ['run', 'version']


def version():
    return importlib.metadata.version('trytond-batch')


def run(options):
    "Run the command that options name and return its exit status."
    configure(options)
    return globals()['do_' + options.command](options)


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

    from . import services
    database = database_of(options)
    services.check_database(database)
    with Transaction().start(database, 0, readonly=True) as transaction:
        yield transaction.connection.cursor()


@contextlib.contextmanager
def pool_of(options):
    "Give a transaction with the pool of the database."
    from trytond.transaction import Transaction

    from . import services
    from .transaction import load_pool
    database = database_of(options)
    services.check_database(database)
    load_pool(database)
    with Transaction().start(database, 0, readonly=True) as transaction:
        yield transaction


# coop batch

def do_batch(options):
    if options.help:
        return help_batch(options)
    from . import parameters
    given = parameters.from_arguments(options.rest)
    if options.plan:
        return plan_batch(options, given)
    return again(options, lambda control, database: (
            control.start(database, options.name, given, options.dry_run),
            options.name, None))


def plan_batch(options, given):
    "Select and split in this process, and say what came out."
    from .plan import preview
    from .report import as_json
    with pool_of(options) as transaction:
        sizes, duplicates = preview(transaction, options.name, given)
    if options.json:
        print(as_json({
                    'batch': options.name, 'selected': sum(sizes),
                    'chunks': len(sizes), 'duplicates': duplicates}))
        return 0
    print('%s: %s selected, %s chunks%s%s; nothing was executed' % (
            options.name,
            *('{:,}'.format(n) for n in [sum(sizes), len(sizes)]),
            ' of {:,} to {:,} units'.format(min(sizes), max(sizes))
            if len(set(sizes)) > 1 else '',
            ', {:,} duplicates dropped'.format(duplicates)
            if duplicates else ''))
    return 0


def follow_to_end(options, database, batch, execution, queue, local,
        chunks=None):
    from . import control, follow, tasks
    if getattr(options, 'detach', False) and not local:
        control.send(database, batch, execution, queue, is_followed=False)
        print(execution)
        return 0
    progress = Progress(batch, execution, quiet=options.quiet)
    follower = follow.Follower(
        database, batch, execution, queue, progress, local=local)

    def interrupt(signum, frame):
        follower.interrupted += 1
        if follower.interrupted > 1:
            progress.say('left; go on with: coop resume %s' % execution)
            os._exit(1)
        progress.say('stopping: what runs ends its chunk (again: leave at '
            'once)')

    for signum in [signal.SIGINT, signal.SIGTERM]:
        signal.signal(signum, interrupt)
    with progress:
        try:
            if local:
                follower.run(chunks)
            elif chunks is None:
                control.send(database, batch, execution, queue)
            else:
                for chunk in chunks:
                    tasks.sender(database, queue)(execution, chunk)
            outcome = follower.follow()
            progress.update(outcome.counts, outcome.selected)
        except Exception as error:
            # Nobody follows it any more: a worker must not begin with it
            control.cancel(database, execution, str(error))
            raise
    return conclude(options, batch, outcome)


def conclude(options, batch, outcome):
    "Print the outcome and return the exit status."
    from . import logging as batch_logging
    from .report import as_json
    name = '%s #%s' % (batch, outcome.id)
    if options.json:
        print(as_json(outcome.as_dict()))
    elif outcome.succeeded and not options.quiet:
        print('[SUCCESS] ' + outcome.text(name))
    if not outcome.succeeded:
        print('[FAILURE] ' + outcome.text(
                name, log=batch_logging.path_of(batch)), file=sys.stderr)
    return outcome.exit_status


def help_batch(options):
    import trytond.config as config

    from . import parameters
    from .batch import doc_of, get_batch
    from .config import BatchConfig, shown
    with pool_of(options):
        Batch = get_batch(options.name)
        batch_config = BatchConfig.load(config.get('batch', 'config_file'))
        settings = Batch.resolve_settings(batch_config)
        print('usage: coop batch %s [--PARAMETER VALUE ...] [options]'
            % options.name)
        if doc := doc_of(Batch):
            print('\n' + texts.escape(doc, keep='\n'))
        rows = parameters.describe(
            Batch.declared_parameters(),
            lambda name: batch_config.parameter(options.name, name))
        print('\nparameters:')
        _table(rows or [('none',)])
        print('\nsettings (batch.conf):')
        _table([
                (name, shown(mask_value(name, value)), origin)
                for name, (value, origin) in settings.items()])
        print('\nbatch.conf.example says what the settings mean; "coop batch '
            '--help" shows the\noptions of the command.')
    return 0


def _table(rows, indent='  '):
    rows = [[texts.escape(c) for c in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print(indent + '  '.join(
                c.ljust(w) for c, w in zip(row, widths)).rstrip())


# The others

def do_list(options):
    from .batch import doc_of, get_batches
    with pool_of(options):
        batches = get_batches()
        if not batches:
            print('no module with batches is activated', file=sys.stderr)
            return 0
        _table([
                (name, (doc_of(Batch).splitlines() or [''])[0])
                for name, Batch in batches.items()], indent='')
    return 0


def do_history(options):
    from . import tally
    from .report import as_json, duration, moment
    with reading(options) as cursor:
        rows = tally.history(cursor, options.name, options.limit)
    if options.json:
        print(as_json(rows))
        return 0
    if not rows:
        print('no execution%s yet' % (
                ' of "%s"' % texts.escape(options.name)
                if options.name else ''), file=sys.stderr)
        return 0
    head = ['#', 'batch', 'state', 'started', 'took', 'selected', 'done',
        'failed', 'left']
    _table([head] + [
            (row['id'],
                row['batch'] + (' (dry run)' if row['dry_run'] else ''),
                row['state'],
                moment(row['started_at']), taken(row, duration),
                *('{:,}'.format(row[n]) if row[n] is not None else '-'
                    for n in ['selected', 'done', 'failed', 'left']))
            for row in rows])
    return 0


def taken(row, duration):
    if not row['ended_at']:
        return '-'
    return duration((row['ended_at'] - row['started_at']).total_seconds())


def do_show(options):
    from . import archive, ledger, tally
    from . import units as units_
    from .config import shown
    from .report import Outcome, as_json, duration, moment
    names = ['parameters', 'settings', 'task_id', 'traceback', 'given']
    with reading(options) as cursor:
        outcome = Outcome.read(cursor, options.execution)
        if outcome is None:
            raise ExecutionError(options.execution,
                'does not exist ("coop history" shows the last ones)')
        row = ledger.read(cursor, options.execution, *names)
        files = tally.files(cursor, options.execution)
        inputs = [
            {'path': path, 'archived': archived, 'held': bool(held)}
            for path, archived, held in archive.files(
                cursor, options.execution)]
    parameters, settings = [
        json.loads(mask_given(row[n])) if row[n] else {} for n in names[:2]]
    if options.json:
        print(as_json({
                    **outcome.as_dict(), 'parameters': parameters,
                    'settings': settings, 'files': files,
                    'inputs': inputs}))
        return 0
    print(outcome.text(
            '%s #%s' % (outcome.batch, outcome.id), details=False))
    print('\nstate:     ', outcome.state)
    print('started:   ', moment(outcome.started_at))
    if outcome.ended_at:
        print('ended:     ', moment(outcome.ended_at),
            '(%s)' % duration(outcome.seconds))
    print('task:      ', row['task_id'] or '-')
    counts = outcome.counts
    print('chunks:     %s, %s of them split, in %s transactions' % (
            counts['chunks'], counts['split'], counts['transactions']))
    for title, values in [('parameters', parameters), ('settings', settings)]:
        print('\n%s:' % title)
        _table([
                (name, shown(value), origin)
                for name, (value, origin) in values.items()]
            or [('none',)])
    if row['traceback']:
        print('\n' + texts.clean(
                row['traceback'], texts.TRACEBACK, keep='\n\t'))
    if files:
        print('\nfiles:')
        _table([(f,) for f in files])
    if inputs:
        print('\ninput files:')
        _table([
                (i['path'], 'archived as %s' % i['archived']
                    if i['archived'] else 'in hand' if i['held']
                    else 'taken away') for i in inputs])
    if outcome.failures:
        print('\nfailures:')
    for number, units, type_, error, traceback in outcome.failures:
        print('\n  #%s.%s  %s: %s: %s' % (
                outcome.id, number,
                'the batch' if units is None
                else 'unit %s' % ', '.join(map(units_.shown, units)),
                texts.excerpt(type_), texts.clean(error, texts.TEXT)))
        for line in texts.clean(
                traceback or '', texts.TRACEBACK, keep='\n\t').splitlines():
            print('    ' + line)
    return 0


def do_resume(options):
    return again(options, lambda control, database: (
            options.execution, *control.resume(database, options.execution)))


def do_retry(options):
    return again(options, lambda control, database: (
            *control.retry(database, options.execution), None))


def again(options, prepare):
    "Follow the execution that prepare opens; it returns (id, batch, chunks)."
    import trytond.config as config

    from . import control, services, tasks
    from .config import BatchConfig
    from .job import configure_logs
    from .transaction import load_pool
    database = database_of(options)
    # What is wrong there is said before anything is made
    BatchConfig.load(config.get('batch', 'config_file'))
    services.check_database(database)
    local = options.local or not tasks.has_broker()
    if local:
        load_pool(database)
    else:
        services.check_broker()
    configure_logs()
    execution, batch, chunks = prepare(control, database)
    return follow_to_end(
        options, database, batch, execution,
        control.queue_of(database, batch, execution), local=local,
        chunks=chunks)


def do_cancel(options):
    from . import control, services
    from .job import configure_logs
    database = database_of(options)
    services.check_database(database)
    configure_logs()
    if not control.cancel(
            database, options.execution, 'cancelled by coop cancel'):
        raise ExecutionError(options.execution,
            'can not be cancelled: it is over, or its selection runs')
    print('execution #%s is cancelled; what runs ends its chunk'
        % options.execution)
    return 0


def do_prune(options):
    import datetime as dt

    from . import ledger
    from . import logging as batch_logging
    from . import services
    from .prune import prune
    database = database_of(options)
    services.check_database(database)
    before = ledger.now() - dt.timedelta(options.days)
    count, open_ = prune(database, before, options.name)
    print('{:,} execution{} forgotten that ended before {:%Y-%m-%d}'.format(
            count, '' if count == 1 else 's', before))
    if open_:
        print('kept for their open failures: %s; coop show N, then coop retry '
            'N or coop resume N' % batch_logging.get_print_infos(
                open_, 'execution'))
    return 0


def do_check(options):
    from . import check
    return check.run(database_of(options))


def do_worker(options):
    from . import worker
    return worker.run(options.database_names, options.rest)

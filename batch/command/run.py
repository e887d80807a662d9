# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The commands that execute: batch, resume, retry.  They follow to the end."""
import os
import signal
import sys

from ..exceptions import FollowError, NoWorkerError
from .environment import database_of, pool_of
from .progress import Progress
from .show import help_batch
from .streams import written

__all__ = ['batch', 'resume', 'retry']


def batch(options):
    if options.help:
        return help_batch(options)
    from .. import parameters
    given = parameters.from_arguments(options.rest)
    if options.plan:
        return plan_batch(options, given)
    from .. import control

    def start(database, local):
        return control.start(
            database, options.name, given, options.dry_run, local), \
            options.name, None

    return again(options, start)


def plan_batch(options, given):
    "Select and split in this process, and say what came out."
    from ..plan import preview
    from ..report import as_json
    with pool_of(options) as transaction:
        sizes, duplicates = preview(transaction, options.name, given)
    if options.json:
        print(as_json({
                    'batch': options.name, 'selected': sum(sizes),
                    'chunks': len(sizes), 'duplicates': duplicates}))
        return written()
    print('%s: %s selected, %s chunks%s%s; nothing was executed' % (
            options.name,
            *('{:,}'.format(n) for n in [sum(sizes), len(sizes)]),
            ' of {:,} to {:,} units'.format(min(sizes), max(sizes))
            if len(set(sizes)) > 1 else '',
            ', {:,} duplicates dropped'.format(duplicates)
            if duplicates else ''))
    return written()


def resume(options):
    from .. import control
    return again(options, lambda database, local: (
            options.execution,
            *control.resume(database, options.execution, local)))


def retry(options):
    from .. import control
    return again(options, lambda database, local: (
            *control.retry(database, options.execution, local), None))


def again(options, prepare):
    "Follow the execution that prepare opens; it returns (id, batch, chunks)."
    import trytond.config as config

    from .. import services, tasks
    from ..config import BatchConfig
    from ..job import configure_logs
    from ..transaction import load_pool
    database = database_of(options)
    # What is wrong there is said before anything is made
    BatchConfig.load(config.get('batch', 'config_file'))
    services.check_database(database, patience=services.PATIENCE)
    local = options.local or not tasks.has_broker()
    if local:
        load_pool(database)
    else:
        services.check_broker(patience=services.PATIENCE)
    configure_logs()
    execution, batch, chunks = prepare(database, local)
    # From here on it is there, and nothing that goes wrong here is its fault
    try:
        outcome = follow_to_end(
            options, database, batch, execution, local, chunks)
    except (FollowError, NoWorkerError):
        raise
    except Exception as error:
        raise FollowError(execution, error, local) from error
    if outcome is None:
        print(execution)
        return written()
    return conclude(options, batch, outcome)


def follow_to_end(options, database, batch, execution, local, chunks):
    """Return the Outcome of the execution, None where nobody waits for it.

    Raises NoWorkerError if no worker came for it: then it is cancelled.
    """
    from .. import control, follow, tasks
    queue = control.queue_of(database, batch, execution)
    if getattr(options, 'detach', False) and not local:
        if problem := tasks.send_execution(
                database, batch, execution, queue, chunks):
            print('coop: %s; the execution begins when it does' % problem,
                file=sys.stderr)
        return None
    progress = Progress(batch, execution, quiet=options.quiet)
    follower = follow.Follower(
        database, batch, execution, queue, progress, local=local)
    obey_signals(follower)
    with progress:
        if not local and (problem := tasks.send_execution(
                database, batch, execution, queue, chunks)):
            progress.say('%s, waiting' % problem)
        outcome = follower.follow()
        progress.update(outcome.counts, outcome.selected)
    return outcome


def obey_signals(follower):
    "Cancel at the first SIGINT or SIGTERM, leave at the second."
    def interrupt(signum, frame):
        follower.interrupted += 1
        if follower.interrupted > 1:
            follower.progress.say('left; go on with: coop resume %s'
                % follower.execution)
            os._exit(1)
        follower.progress.say('stopping: what runs ends its chunk (again: '
            'leave at once)')

    for signum in [signal.SIGINT, signal.SIGTERM]:
        signal.signal(signum, interrupt)
    # A terminal that goes away says nothing about the work
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda signum, frame: None)


def conclude(options, batch, outcome):
    "Print the outcome and return the exit status."
    from .. import logging as batch_logging
    from ..report import as_json
    name = '%s #%s' % (batch, outcome.id)
    if options.json:
        print(as_json(outcome.as_dict()))
    elif outcome.succeeded and not options.quiet:
        print('[SUCCESS] ' + outcome.text(name))
    if not outcome.succeeded:
        print('[FAILURE] ' + outcome.text(
                name, log=batch_logging.path_of(batch)), file=sys.stderr)
    return outcome.exit_status

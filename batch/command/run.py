# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The commands batch, resume and retry, which follow an execution."""
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
    from ..given import split_given
    from ..parameters import from_arguments
    given = from_arguments(options.rest)
    # What is malformed for any batch is said before anything is made
    split_given(options.name, given)
    if options.plan:
        return plan_batch(options, given)
    from ..engine import operations

    def start(database, local):
        return operations.start(
            database, options.name, given, options.dry_run, local), \
            options.name, None

    return again(options, start)


def plan_batch(options, given):
    "Select and split in this process, and print the counts."
    from ..engine.preview import preview
    from ..outcome import as_json
    with pool_of(options) as transaction:
        sizes, duplicates = preview(transaction, options.name, given)
    if options.json:
        print(as_json({
                    'batch': options.name, 'selected': sum(sizes),
                    'chunks': len(sizes), 'duplicates': duplicates}))
        return written()
    print('%s: %s selected, %s chunk%s%s%s; nothing was executed' % (
            options.name,
            *('{:,}'.format(n) for n in [sum(sizes), len(sizes)]),
            '' if len(sizes) == 1 else 's',
            ' of {:,} to {:,} units'.format(min(sizes), max(sizes))
            if len(set(sizes)) > 1 else '',
            ', {:,} duplicates dropped'.format(duplicates)
            if duplicates else ''))
    return written()


def resume(options):
    from ..engine import operations
    return again(options, lambda database, local: (
            options.execution,
            *operations.resume(database, options.execution, local)))


def retry(options):
    from ..engine import operations
    return again(options, lambda database, local: (
            *operations.retry(
                database, options.execution, local, options.unit), None))


def again(options, prepare):
    """Follow the execution that prepare creates or opens again.

    :param prepare: returns (id, batch, ids of the chunks to send or None)
    """
    import trytond.config as config

    from .. import tasks
    from ..broker import check_broker
    from ..config import BatchConfig
    from ..database import PATIENCE, check_database
    from ..engine.running import open_configured_logs
    from ..transaction import load_pool
    database = database_of(options)
    # Check these before the execution is created
    BatchConfig.load(config.get('batch', 'config_file'))
    check_database(database, patience=PATIENCE)
    local = options.local or not tasks.has_broker()
    if local:
        load_pool(database)
    else:
        check_broker(patience=PATIENCE)
    open_configured_logs()
    execution, batch, chunks = prepare(database, local)
    # The execution exists now: an error of this command must not cancel it
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
    """Return the Outcome of the execution, or None with --detach.

    Cancels it and raises NoWorkerError if no worker starts it.
    """
    from .. import tasks
    from ..engine import operations
    from . import follow
    progress = Progress(batch, execution, quiet=options.quiet)
    follower = follow.Follower(
        database, batch, execution, progress, local=local)
    is_detached = getattr(options, 'detach', False) and not local
    if not is_detached:
        obey_signals(follower)
    queue = follower.queue = follower.insist(
        lambda: operations.queue_of_execution(database, batch, execution))
    if is_detached:
        if problem := tasks.send_execution(
                database, batch, execution, queue, chunks):
            print('coop: %s; the execution starts when the broker answers'
                % problem, file=sys.stderr)
        return None
    with progress:
        if not local and (problem := tasks.send_execution(
                database, batch, execution, queue, chunks)):
            progress.say('%s, waiting' % problem)
        outcome = follower.follow()
        progress.update(outcome.counts, outcome.selected)
    return outcome


def obey_signals(follower):
    "Cancel on the first SIGINT or SIGTERM, end the command on the second."
    def interrupt(signum, frame):
        follower.interrupted += 1
        if follower.interrupted > 1:
            follower.progress.say('the command ends at once; go on with: '
                'coop resume %s' % follower.execution)
            os._exit(1)
        follower.progress.say('cancelling: running chunks are finished (a '
            'second signal ends the command at once)')

    for signum in [signal.SIGINT, signal.SIGTERM]:
        signal.signal(signum, interrupt)
    # If the terminal goes away, the execution must not be cancelled
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda signum, frame: None)


def conclude(options, batch, outcome):
    "Print the outcome and return the exit status."
    from ..logging import log_path_of
    from ..outcome import as_json
    name = '%s #%s' % (batch, outcome.id)
    if options.json:
        print(as_json(outcome.as_dict()))
    elif outcome.succeeded and not options.quiet:
        print('[SUCCESS] ' + outcome.text(name))
    if not outcome.succeeded:
        print('[FAILURE] ' + outcome.text(
                name, log=log_path_of(batch)), file=sys.stderr)
    return outcome.exit_status

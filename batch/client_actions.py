# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What a person starts, cancels, resumes and retries in the client.

Each act is the one of its command.  The ledger commits by itself, and only
then a message goes to the broker: so all of this is outside of the
transaction of the request.  What refuses is a UserError.
"""
import contextlib

from trytond.exceptions import UserError, UserWarning
from trytond.i18n import gettext
from trytond.pool import Pool
from trytond.transaction import Transaction

from .engine import operations
from .engine.running import open_configured_logs
from .exceptions import BatchError

__all__ = [
    'cancel', 'dismiss', 'missing_workers', 'resume', 'retry', 'saying',
    'start']


@contextlib.contextmanager
def saying():
    "Turn a BatchError into an error that the client shows."
    try:
        yield
    except BatchError as error:
        raise UserError(gettext(
                'batch.msg_refused', problem=str(error))) from error


def _login():
    User = Pool().get('res.user')
    return User(Transaction().user).login


def _database():
    return Transaction().database.name


def cancel(execution):
    "Cancel what is not worked on; raises UserError if it is over."
    with saying():
        # It may write the last line of the batch's log
        open_configured_logs()
        if not operations.cancel(
                _database(), execution.id, 'cancelled by %s' % _login()):
            raise UserError(gettext('batch.msg_not_cancelled',
                    execution=execution.rec_name))


def resume(execution):
    "Go on with what is left; raises UserError if there is nothing."
    database = _database()
    check_broker(execution.rec_name, execution.batch, execution.id)
    with saying():
        open_configured_logs()
        batch, chunks = operations.resume(database, execution.id)
        if chunks == []:
            return
        if problem := _send(database, batch, execution.id, chunks):
            raise UserError(gettext('batch.msg_waits_for_broker',
                    execution=execution.rec_name, problem=problem))


def retry(execution, failures=None):
    """Retry units that failed; return the id of the new execution.

    :param failures: only these records
    """
    check_broker(execution.rec_name, execution.batch, execution.id)
    with saying():
        return _begin(*operations.retry(
                _database(), execution.id, failures=_ids(failures)))


def dismiss(execution, failures):
    "Note that failures are settled otherwise."
    with saying():
        operations.dismiss(
            _database(), execution.id, 'dismissed by %s' % _login(),
            failures=_ids(failures))


def _ids(records):
    return None if records is None else [record.id for record in records]


def start(batch, given, dry_run=False):
    "Start a batch; return the id of its execution."
    with saying():
        return _begin(
            operations.start(_database(), batch, given, dry_run), batch)


def _begin(execution, batch):
    "Send an execution that was just made; it is undone where that fails."
    database = _database()
    if problem := _send(database, batch, execution, None):
        operations.cancel(database, execution, problem)
        raise UserError(gettext('batch.msg_not_started', problem=problem))
    return execution


def _send(database, batch, execution, chunks):
    from . import tasks
    queue = operations.queue_of_execution(database, batch, execution)
    return tasks.send_execution(database, batch, execution, queue, chunks)


def check_broker(name, batch, execution=None):
    """Raise UserError without a broker, UserWarning without a worker.

    A warning is one that the client shows once, and that can be passed.
    """
    Warning = Pool().get('res.user.warning')
    if problem := missing_workers(batch, execution):
        key = 'batch.no_worker.%s.%s' % (batch, execution)
        if Warning.check(key):
            raise UserWarning(key, gettext(
                    'batch.msg_no_worker', execution=name, problem=problem))


def missing_workers(batch, execution=None):
    """Return what is wrong where no worker would treat the batch, else None.

    Raises UserError if there is no broker, or it does not answer.
    """
    from . import broker, tasks
    database = _database()
    if not tasks.has_broker():
        raise UserError(gettext('batch.msg_no_broker'))
    with saying():
        broker.check_broker()
        if execution is None:
            queue = operations.queue_of_batch(batch)
        else:
            queue = operations.queue_of_execution(database, batch, execution)
        return broker.missing_worker(database, queue)

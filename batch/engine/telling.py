# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Who is told that an execution is over.

Notifications are made in the transaction that ends the execution, so nobody
is told twice, or of an end that was rolled back.  Mails are sent after it.
What goes wrong here is logged, and fails nothing.
"""
import contextlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from trytond import backend
from trytond.i18n import gettext
from trytond.pool import Pool
from trytond.transaction import Transaction, TransactionError

from .. import ledger
from ..aliases import Cursor
from ..ledger.states import Admission, ExecutionState
from ..logging import BatchLogger, get_logger, log_path_of
from ..mailing import Mail, send
from ..outcome import Outcome
from ..texts import escape, excerpt
from ..transaction import load_pool, transact
from .errors import exc_info, one_line

__all__ = [
    'may_be_told', 'notification', 'prepare', 'send_mails', 'speaking', 'tell',
    'tell_of']

#: characters of a notification
DESCRIPTION = 300
#: what is told instead of the state
OF_START = {Admission.SKIPPED, Admission.DISABLED, Admission.REFUSED}


def prepare(database: str, batch: str) -> bool:
    """Load the pool if somebody is to be told of the batch's ends.

    Before the transaction of the end.  Many processes that end executions
    need none otherwise.
    """
    if transact(database, lambda cursor: ledger.subscribers.are_there(
                cursor, batch)):
        load_pool(database)
        return True
    return False


def tell_of(cursor: Cursor, execution: int) -> list[Mail]:
    "As tell, of an execution that no chunk has begun of."
    outcome = Outcome.load(cursor, execution)
    assert outcome is not None
    return tell(cursor, outcome)


def tell(cursor: Cursor, outcome: Outcome) -> list[Mail]:
    """Make the notifications of an execution that ends; return the mails.

    In the transaction that ends it, after prepare has returned True.
    """
    if outcome.dry_run:
        # Whoever tries it looks at it
        return []
    cursor.execute('SAVEPOINT batch_telling')
    try:
        mails = _tell(cursor, outcome)
    except (backend.DatabaseOperationalError, TransactionError):
        # The whole transaction is tried again
        raise
    except Exception as error:
        # Any module may extend the models
        cursor.execute('ROLLBACK TO SAVEPOINT batch_telling')
        get_logger(outcome.batch).exception(
            "nobody is told of the end: %s", one_line(error),
            exc_info=exc_info(error))
        mails = []
    cursor.execute('RELEASE SAVEPOINT batch_telling')
    return mails


def _tell(cursor: Cursor, outcome: Outcome) -> list[Mail]:
    pool = Pool()
    Notification = pool.get('res.notification')
    User = pool.get('res.user')
    ways = ledger.subscribers.of_end(
        cursor, outcome.batch, outcome.succeeded)
    title = pool.get('batch.execution')(outcome.id).title
    notifications, mails = [], []
    errors: list[dict[str, str]] = []
    for user in User.browse(list(ways)):
        if not may_be_told(user):
            continue
        with speaking(user):
            label = gettext(
                'batch.msg_told_%s' % (
                    outcome.admission if outcome.admission in OF_START
                    else outcome.state), title=title)
            if ways[user.id].by_notification:
                notifications.append(notification(
                        user, label, description_of(outcome), [outcome.id],
                        is_good=outcome.succeeded))
            if ways[user.id].by_mail and user.email:
                mails.append(Mail(
                        user.email, '%s (#%s)' % (label, outcome.id),
                        outcome.text(
                            '%s #%s' % (outcome.batch, outcome.id),
                            log=log_path_of(outcome.batch)) + '\n'))
            if (ways[user.id].by_error and not errors
                    and outcome.state == ExecutionState.FAILED):
                # All users share it
                errors.append({
                        'origin': 'batch.execution,%s' % outcome.id,
                        'message': label,
                        'description': description_of(outcome),
                        })
    Notification.create(notifications)
    pool.get('ir.error').create(errors)
    return mails


def may_be_told(user: Any) -> bool:
    "Return whether a user may see executions."
    ModelAccess = Pool().get('ir.model.access')
    transaction = Transaction()
    with transaction.set_user(user.id), \
            transaction.set_context(_check_access=True):
        return bool(user.active and ModelAccess.check(
                'batch.execution', raise_exception=False))


@contextlib.contextmanager
def speaking(user: Any) -> Iterator[None]:
    "Let texts be in the language of a user."
    language = user.language.code if user.language else None
    with Transaction().set_context(language=language):
        yield


def notification(
        user: Any, label: str, description: str, executions: list[int],
        is_good: bool) -> dict[str, Any]:
    "Return the values of a notification that opens executions."
    return {
        'user': user.id,
        'label': label,
        'description': excerpt(description, DESCRIPTION),
        'icon': 'tryton-ok' if is_good else 'tryton-warning',
        'model': 'batch.execution' if executions else None,
        'records': json.dumps(executions) if executions else None,
        }


def description_of(outcome: Outcome) -> str:
    "Return the counts of an execution, or why there are none."
    counts = outcome.counts
    told = []
    if counts['chunks'] or not outcome.message:
        Lang = Pool().get('ir.lang')
        lang = Lang.get()
        told.append(gettext('batch.msg_told_counts', **{
                    name: lang.format_number(number) for name, number in [
                        ('selected', outcome.selected),
                        ('done', counts['done']),
                        ('failed', counts['failed']),
                        ('left', counts['left'])]}))
    return '; '.join(filter(None, [*told, outcome.message]))


def send_mails(mails: Iterable[Mail], logger: BatchLogger) -> None:
    "Send the mails that tell returned; log those that could not be sent."
    for mail, error in send(mails):
        logger.error(
            'the mail to %s on this end was not sent: %s', escape(mail.to),
            one_line(error))

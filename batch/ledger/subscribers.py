# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Who wants to be told of which batch: the rows that users write."""
from typing import Any, NamedTuple

from sql import Literal, Null

from ..aliases import Cursor
from .states import Event
from .tables import subscription_

__all__ = ['Ways', 'are_there', 'of_end']


class Ways(NamedTuple):
    "How somebody is told."
    by_notification: bool
    by_mail: bool
    #: among the errors of Tryton
    by_error: bool


def is_of(batch: str) -> Any:
    "Return the condition for subscriptions to the ends of a batch."
    return ((subscription_.batch == batch) | (subscription_.batch == Null)) \
        & (subscription_.event != Event.DIGEST)


def are_there(cursor: Cursor, batch: str) -> bool:
    "Return whether somebody may have to be told of an end of the batch."
    cursor.execute(*subscription_.select(
            Literal(1), where=is_of(batch), limit=1))
    return cursor.fetchone() is not None


def of_end(
        cursor: Cursor, batch: str, succeeded: bool) -> dict[int, Ways]:
    """Return how each user is told of an end of the batch, by id.

    Each of them once, however many subscriptions they have.
    """
    where = is_of(batch)
    if succeeded:
        where &= subscription_.event == Event.END
    cursor.execute(*subscription_.select(
            subscription_.user, subscription_.by_notification,
            subscription_.by_mail, subscription_.by_error, where=where))
    ways: dict[int, Ways] = {}
    for user, *values in cursor.fetchall():
        old = ways.get(user, Ways(False, False, False))
        ways[user] = Ways(*(
                before or bool(value) for before, value in zip(old, values)))
    return ways

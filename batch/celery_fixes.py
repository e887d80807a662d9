# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Workarounds for errors in kombu and Celery, most of which end a worker.

Each names the version that has the error, to be removed when no supported
version has it.
"""
import functools
import logging

from celery.exceptions import InvalidTaskError
from celery.worker import request
from celery.worker.strategy import default
from kombu.message import Message
from kombu.transport.virtual import QoS

__all__ = ['Request', 'outlive_lost_connections', 'strategy']

logger = logging.getLogger(__name__)


def outlive_lost_connections():
    """Let a worker survive the loss of its connection to the broker.

    kombu restores unacknowledged messages when their connection is closed, and
    acknowledges a message when its task ends, which may be after the
    connection was lost.  Both then raise an AttributeError, which is not
    caught and ends the worker (kombu 5.7 with Redis).  The keeper sends again
    the messages that the broker does not redeliver.
    """
    for owner, name in [
            (QoS, 'restore_unacked_once'), (Message, 'ack_log_error'),
            (Message, 'reject_log_error')]:
        method = getattr(owner, name)
        if not hasattr(method, '__wrapped__'):
            setattr(owner, name, outliving(method))


def outliving(method):
    @functools.wraps(method)
    def outlive(*args, **kwargs):
        try:
            return method(*args, **kwargs)
        except AttributeError as error:
            logger.warning("the connection to the broker was lost, and with "
                "it the messages that it had delivered: %s", error)
    return outlive


def strategy(task, app, consumer, **options):
    """Return Celery's handler of the messages of a task, made to reject more.

    A malformed message of another application would end the worker, and then
    each worker that gets it (Celery 5.7).  It is rejected instead.
    """
    handle = default(task, app, consumer, **options)

    def handle_or_refuse(message, *args, **kwargs):
        try:
            return handle(message, *args, **kwargs)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise InvalidTaskError('%s: %s' % (
                    type(error).__name__, error)) from error
    return handle_or_refuse


class Request(request.Request):
    "A request that ``inspect`` shows as the events do (Celery 5.7)."

    def info(self, safe=False):
        "Return what is shown; args is the label of the chunk."
        return {**super().info(safe), 'args': self.argsrepr}

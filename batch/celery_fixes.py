# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Faults of the libraries below that would end a worker, and what is done.

Each is here with the version that has it, to be removed when none has it that
we support.
"""
import functools
import logging

from celery.exceptions import InvalidTaskError
from celery.worker.strategy import default
from kombu.message import Message
from kombu.transport.virtual import QoS

__all__ = ['outlive_lost_connections', 'strategy']

logger = logging.getLogger(__name__)


def outlive_lost_connections():
    """Let a worker go on whose connection to the broker was lost.

    Messages that were not acknowledged are given back when their connection
    is closed, and acknowledged when their task ends, be it after the
    connection was lost.  Then this raises an AttributeError, for which nobody
    looks, and which ends the worker (kombu 5.7 with Redis).  The keeper finds
    what the broker does not deliver again.
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
            logger.warning("the connection to the broker was lost, and so "
                "were the messages it had delivered: %s", error)
    return outlive


def strategy(task, app, consumer, **options):
    """Return what Celery does with a message for a task: its own strategy.

    A body that is none, as another application may send it, would end the
    worker, and every next one that gets the message (Celery 5.7): it is
    refused instead.
    """
    handle = default(task, app, consumer, **options)

    def handle_or_refuse(message, *args, **kwargs):
        try:
            return handle(message, *args, **kwargs)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise InvalidTaskError('%s: %s' % (
                    type(error).__name__, error)) from error
    return handle_or_refuse

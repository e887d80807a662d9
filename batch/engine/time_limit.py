# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The time limit of a chunk, also during a query or in C code.

A waiting query is interrupted and cancelled in the server.  C code that does
not return to Python can not be interrupted: its process is ended.  The limit
only works in the main thread of a process.
"""
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import lru_cache
from types import FrameType
from typing import TextIO, TypeVar

from ..exceptions import TimeLimitError

__all__ = ['call_within']

Result = TypeVar('Result')
#: seconds after the limit until a process that does not return to Python is
#: ended, which counts as the death of a process.  More than psycopg needs to
#: cancel a query
GRACE = 12


class _Interruption(KeyboardInterrupt):
    """Raised in the function to interrupt it.

    A BaseException, so that ``except Exception`` around one record does not
    swallow it.  psycopg cancels a running query only on a KeyboardInterrupt or
    a SystemExit.
    """


class _Alarm:
    "Interrupts the function, repeatedly, until it has ended."

    def __init__(self) -> None:
        self.is_armed = True

    def ring(self, signum: int, frame: FrameType | None) -> None:
        # The signal may arrive after the end of the function and before the
        # timer is off, where the exception is not caught
        if self.is_armed:
            raise _Interruption


def call_within(
        seconds: float | None, function: Callable[[], Result]) -> Result:
    """Return what function() returns; raise TimeLimitError if it takes longer.

    If the function does not return to Python code, the process is ended GRACE
    seconds later, with its traceback on stderr: faulthandler does this in C,
    without the lock of the interpreter.

    :param seconds: None for no limit
    """
    if not seconds:
        return function()
    if threading.current_thread() is not threading.main_thread():
        raise TimeLimitError(
            'a time_limit needs the main thread of a process: start the '
            'worker with --pool=prefork')
    alarm = _Alarm()
    previous = signal.signal(signal.SIGALRM, alarm.ring)
    try:
        try:
            faulthandler.dump_traceback_later(
                seconds + GRACE, exit=True, file=sys.__stderr__ or devnull())
            # Each second again, as the function may swallow the exception
            signal.setitimer(signal.ITIMER_REAL, seconds, 1)
            return function()
        finally:
            alarm.is_armed = False
    except _Interruption as error:
        alarm.is_armed = False
        raise TimeLimitError(
            'took longer than time_limit = %s s' % seconds
            ).with_traceback(error.__traceback__) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, previous)


@lru_cache
def devnull() -> TextIO:
    "Return an open /dev/null, for a process without stderr."
    return open(os.devnull, 'w')

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A limit on the time of a chunk, also where it waits in SQL or in C code.

What waits in the database is interrupted, and its query cancelled in the
server.  Code in C that never comes back to Python can not be interrupted: its
process ends.  The limit works in the main thread of a process only.
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

#: seconds after the limit at which the process ends, if nothing of Python ran
#: since: the chunk is then one whose process died.  More than psycopg takes
#: for the cancelling of a query
GRACE = 12


class _Interruption(KeyboardInterrupt):
    """Raised in the function at the time limit.

    A KeyboardInterrupt, as ``except Exception`` does not catch that, and
    psycopg cancels the running query for it.
    """


class _Alarm:
    "Raises _Interruption in the function until it has ended."

    def __init__(self) -> None:
        self.is_armed = True

    def ring(self, signum: int, frame: FrameType | None) -> None:
        "Handle SIGALRM."
        # It may ring between the end of the function and its being switched
        # off: nobody would expect the exception there
        if self.is_armed:
            raise _Interruption


def call_within(
        seconds: float | None, function: Callable[[], Result]) -> Result:
    """Return what function() returns; raise TimeLimitError if it takes longer.

    A function that does not come back to Python ends the process GRACE
    seconds later, its traceback on stderr: that is a watchdog in C, which
    needs no lock of the interpreter.

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
            # Each second again, as the function may catch one
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
    "Return a file for what nobody reads: a process may have no stderr."
    return open(os.devnull, 'w')

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A limit on the time of a chunk, also where it hangs in C code."""
import contextlib
import faulthandler
import signal
import sys
import threading

from ..exceptions import TimeLimitError

__all__ = ['time_limit']

#: seconds after the limit at which the process ends, if nothing of Python ran
#: since: the chunk is then one whose process died
GRACE = 5


class _Over(BaseException):
    """Raised in the body: no "except Exception" for the sake of one record
    may take it for the record's.
    """


@contextlib.contextmanager
def time_limit(seconds):
    """Raise TimeLimitError in the body when it takes longer.

    A body that does not come back to Python ends the process GRACE later, its
    traceback on stderr: that is a watchdog in C, which needs no lock of the
    interpreter.

    :param seconds: None for no limit
    """
    if not seconds:
        yield
        return
    if threading.current_thread() is not threading.main_thread():
        raise TimeLimitError(
            'a time_limit needs the main thread of a process: start the '
            'worker with --pool=prefork')

    def over(signum, frame):
        raise _Over

    previous = signal.signal(signal.SIGALRM, over)
    # Again and again: what swallows one gets the next
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    file = sys.__stderr__
    try:
        faulthandler.dump_traceback_later(
            seconds + GRACE, exit=True, file=file)
        yield
    except _Over as error:
        raise TimeLimitError(
            'took longer than time_limit = %s s' % seconds
            ).with_traceback(error.__traceback__) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, previous)

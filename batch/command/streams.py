# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The streams of a command: writing to them never raises.

A disk that is full, a pipe that nobody reads, a terminal that went away or
that lacks a letter: none of it is a reason to end what the command does.
"""
import contextlib
import errno
import os
import sys

__all__ = ['Stream', 'lasting', 'written']

STREAMS = 'stdout', 'stderr'


class Stream:
    """A text stream that writes to file as long as that is possible.

    What the encoding of the file lacks is written with backslashes.  Once the
    file fails, nothing more is written to it.

    :param file: a text file, None for a stream that was closed
    """

    def __init__(self, file):
        self.file = file
        #: what file raised, None as long as all was written
        self.error = None
        if file is None:
            self.error = OSError(errno.EBADF, os.strerror(errno.EBADF))

    def write(self, text):
        encoding = getattr(self.file, 'encoding', None) or 'utf-8'
        self._do('write', text.encode(
                encoding, 'backslashreplace').decode(encoding))
        return len(text)

    def flush(self):
        self._do('flush')

    def isatty(self):
        return bool(self._do('isatty'))

    def __getattr__(self, name):
        return getattr(self.file, name)

    def _do(self, method, *args):
        if self.error is None:
            try:
                return getattr(self.file, method)(*args)
            except RuntimeError:
                # From the handler of a signal that came while it was writing
                pass
            except (OSError, ValueError) as error:
                # ValueError: somebody closed it
                self.error = error


@contextlib.contextmanager
def lasting():
    """Make stdout and stderr Streams.

    The descriptors that are closed lead nowhere from now on: the next file or
    socket would get their numbers, and what a library writes to stderr.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    streams = {name: Stream(getattr(sys, name)) for name in STREAMS}
    for name, stream in streams.items():
        setattr(sys, name, stream)
    try:
        yield
    finally:
        for name, stream in streams.items():
            stream.flush()
            # Python would write the rest at its end, and fail for it
            if stream.error is None:
                setattr(sys, name, stream.file)


def written():
    """Return the status of a command whose work is what it printed.

    1 where that could not be written; stderr then says why, unless it is that
    nobody reads any further.
    """
    sys.stdout.flush()
    error = sys.stdout.error
    if error is None:
        return 0
    if not isinstance(error, BrokenPipeError):
        print('coop: stdout can not be written: %s'
            % (getattr(error, 'strerror', None) or error), file=sys.stderr)
    return 1

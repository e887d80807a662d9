# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The streams of a command: writing to them never raises.

A full disk, a closed pipe, a terminal that went away or that can not show
a character must not end the command.
"""
import contextlib
import errno
import os
import sys

__all__ = ['Stream', 'lasting', 'written']

STREAMS = 'stdout', 'stderr'


class Stream:
    """A text stream that writes to file and never raises.

    Characters that the encoding of the file lacks are written with
    backslashes.  After an error, nothing more is written to the file.

    :param file: a text file, None for a stream that was closed
    """

    def __init__(self, file):
        self.file = file
        #: the error of file, None if there was none
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
                # A signal handler wrote during another write
                pass
            except (OSError, ValueError) as error:
                # ValueError: the file was closed
                self.error = error


@contextlib.contextmanager
def lasting():
    """Make stdout and stderr Streams.

    Closed descriptors 0 to 2 are opened on /dev/null.  Otherwise the next file
    or socket would get such a number, and the output of a library to stderr.
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
            # After an error, Python would fail at its exit to flush the file
            if stream.error is None:
                setattr(sys, name, stream.file)


def written():
    """Return the exit status of a command that only prints.

    It is 1 if the output could not be written.  stderr then says why, except
    after a broken pipe.
    """
    sys.stdout.flush()
    error = sys.stdout.error
    if error is None:
        return 0
    if not isinstance(error, BrokenPipeError):
        print('coop: stdout can not be written: %s'
            % (getattr(error, 'strerror', None) or error), file=sys.stderr)
    return 1

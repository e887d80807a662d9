# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Processes and directories that never outlive who started them.

A normal end of the interpreter stops them through atexit.  A SIGKILL leaves
no time for that: so each interpreter that starts something also has a guard,
a process of its own that reads from a pipe what there is to clean.  The pipe
ends when its writer dies, of whatever, and then the guard cleans.

The guard runs this very file, so it imports the standard library only.
"""
import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

__all__ = [
    'Process', 'StartError', 'TemporaryDirectory', 'free_port', 'tail',
    'wait_for']

#: seconds between two looks at something that is awaited: the first ones, and
#: where it takes long, as many a look costs as much as a connection
POLL, SLOW_POLL = 0.02, 0.1
#: seconds that the guard grants processes to stop by themselves
GUARD_PATIENCE = 5


class StartError(Exception):
    """Raised when a process does not start, with the end of its log."""


def wait_for(condition, timeout, what, slow=SLOW_POLL):
    """Return the first true value of condition(), polled to a deadline.

    :param slow: seconds between two looks in the end
    """
    deadline = time.monotonic() + timeout
    pause = POLL
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError("%s: not within %s s" % (what, timeout))
        time.sleep(pause)
        pause = min(1.1 * pause, slow)


def tail(path, lines=30):
    """Return the last lines of the file at path, or "" without a file."""
    try:
        with open(path, encoding='utf-8', errors='replace') as file:
            return ''.join(file.readlines()[-lines:])
    except FileNotFoundError:
        return ''


def free_port():
    """Return a free TCP port of the loopback interface.

    Below the range of ephemeral ports: a client that retries to connect to an
    ephemeral port on which nothing listens, because its server is being
    restarted, can end up connected to itself and keep the port from it.
    """
    while True:
        port = random.randint(12000, 32000)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            try:
                sock.bind(('127.0.0.1', port))
            except OSError:
                continue
        return port


class Process(subprocess.Popen):
    """A process in a group and session of its own, with its output in a log.

    stop_signal is what asks it to stop.  With keep it is left running when
    the interpreter ends.
    """

    def __init__(self, args, log=None, stop_signal=signal.SIGTERM, keep=False,
            **options):
        self.log = log
        self.stop_signal = stop_signal
        self.owner = os.getpid()
        options.setdefault('stdin', subprocess.DEVNULL)
        with open(log or os.devnull, 'ab') as output:
            if log:
                options.update(stdout=output, stderr=subprocess.STDOUT)
            super().__init__(args, start_new_session=True, **options)
        if not keep:
            guard.add('process', self.pid, int(stop_signal))
            atexit.register(self.stop)

    def __exit__(self, *exception):
        self.stop()
        return super().__exit__(*exception)

    @property
    def running(self):
        return self.poll() is None

    def wait_until(self, condition, timeout, what):
        """Wait for condition() as long as the process is running."""
        def ready():
            value = condition()
            if not value and not self.running:
                raise StartError("%s: it ended with status %s\n%s" % (
                        what, self.returncode, tail(self.log)))
            return value
        try:
            return wait_for(ready, timeout, what)
        except TimeoutError as error:
            raise StartError(
                "%s\n%s" % (error, tail(self.log))) from error

    def stop(self, timeout=10, stop_signal=None):
        """Ask the process to stop, then kill what is left of its group."""
        if self.owner != os.getpid():
            # A forked child that ends must not take its parent's along
            return
        if self.running:
            self.send_signal(
                self.stop_signal if stop_signal is None else stop_signal)
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                pass
        _kill_group(self.pid, signal.SIGKILL)
        self.wait()
        guard.forget('process', self.pid)
        atexit.unregister(self.stop)


class TemporaryDirectory:
    "A directory that is removed with the interpreter, whatever it dies of"

    def __init__(self, prefix, parent=None, keep=False):
        self.path = tempfile.mkdtemp(prefix=prefix, dir=parent)
        self.owner = os.getpid()
        if not keep:
            guard.add('directory', self.path)
            atexit.register(self.remove)

    def remove(self):
        if self.owner != os.getpid():
            return
        shutil.rmtree(self.path, ignore_errors=True)
        guard.forget('directory', self.path)
        atexit.unregister(self.remove)


class Guard:
    "The end of the pipe that the guard process reads; started when needed"

    def __init__(self):
        self._process = None
        self._owner = None
        self._lock = threading.Lock()

    def add(self, kind, name, *extra):
        self._tell('+', kind, name, *extra)

    def forget(self, kind, name):
        # A forked child is not the one who started it
        if self._owner == os.getpid():
            self._tell('-', kind, name)

    def _tell(self, *words):
        with self._lock:
            if self._owner != os.getpid():
                self._owner = os.getpid()
                self._process = subprocess.Popen(
                    [sys.executable, '-I', '-S', os.path.abspath(__file__)],
                    stdin=subprocess.PIPE, start_new_session=True, text=True,
                    cwd='/')
                # First registered, last run: after all that is guarded
                atexit.register(self._close, self._process)
            self._process.stdin.write('\t'.join(map(str, words)) + '\n')
            self._process.stdin.flush()

    def _close(self, process):
        if self._owner == os.getpid():
            self._owner = None
            process.stdin.close()
            process.wait()


guard = Guard()


def _kill_group(pgid, number):
    "Return whether there was anyone to kill"
    try:
        os.killpg(pgid, number)
    except (ProcessLookupError, PermissionError):
        # macOS does not permit to signal a group of zombies
        return False
    return True


def _birth(pid):
    """Return when a process was started, None if there is none such.

    It tells a process from another that got its number later.
    """
    try:
        with open('/proc/%s/stat' % pid) as file:
            return file.read().rpartition(')')[2].split()[19]
    except OSError:
        return None


def _watch(lines):
    "Keep account of what is told, and clean it when the lines end"
    processes, directories = {}, []
    for line in lines:
        sign, kind, name, *extra = line.rstrip('\n').split('\t')
        if kind == 'process':
            pid = int(name)
            if sign == '+':
                processes[pid] = int(extra[0]), _birth(pid)
            else:
                processes.pop(pid, None)
        elif sign == '+':
            directories.append(name)
        elif name in directories:
            directories.remove(name)

    # A group outlives its leader, and its number is not given away meanwhile;
    # where the number now belongs to another process, the group is gone.
    groups = {
        pid: number for pid, (number, birth) in processes.items()
        if _birth(pid) in {None, birth}}
    for pid, number in groups.items():
        _kill_group(pid, number)
    deadline = time.monotonic() + GUARD_PATIENCE
    while groups and time.monotonic() < deadline:
        groups = {pid: n for pid, n in groups.items() if _kill_group(pid, 0)}
        time.sleep(POLL)
    for pid in groups:
        _kill_group(pid, signal.SIGKILL)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == '__main__':
    # What interrupts the others must not interrupt the cleaning
    for number in [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]:
        signal.signal(number, signal.SIG_IGN)
    _watch(sys.stdin)

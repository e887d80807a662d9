# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Commands that begin where their imports end.

A command spends nine tenths of its time on importing what it needs and on
loading the pool.  Here one process does that once for a site, as a worker
does it for its processes, and forks for each command, which then runs the
script itself: with an environment, arguments, streams, a session and a
process number of its own, and as a child of whoever asked for it.

What is read before the fork must be what the command would have read: with
other variables or another trytond.conf it is not started from here.

This very file is that process, which imports the standard library only until
it preloads.
"""
import atexit
import ctypes
import gc
import importlib
import json
import os
import socket
import sys
import threading
import types

__all__ = ['Nursery']

#: bytes of one request, which has to come in one piece
LIMIT = 100_000
#: seconds for the process to be there, on a busy machine
START = 120
PR_SET_CHILD_SUBREAPER = 36
#: what most of the commands import, only when they need it
LATER = [
    'celery.loaders.app', 'encodings.utf_8_sig',
    'trytond.modules.batch.command.check']
OF_BROKER = [
    'celery.app.amqp', 'celery.app.events', 'celery.backends.base',
    'celery.events.receiver', 'concurrent.futures.thread',
    'kombu.transport.redis', 'opentelemetry.sdk.metrics',
    'trytond.modules.batch.worker']
#: differs from test to test, and nothing reads it
UNREAD = {'PYTEST_CURRENT_TEST'}


class Nursery:
    "The process of a site that forks for its commands."

    def __init__(self, site):
        from devel.process import Process
        self.site = site
        self.read = self._to_be_read(site.env)
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket = ours
        with its:
            self.process = Process(
                [sys.executable, os.path.abspath(__file__), str(its.fileno())],
                log=os.path.join(site.directory, 'nursery.log'),
                env=site.env, cwd=site.directory, pass_fds=[its.fileno()])
        self._answer()

    def _to_be_read(self, env):
        with open(self.site.trytond_conf) as file:
            return file.read(), {
                name: value for name, value in env.items()
                if name not in UNREAD}

    def takes(self, args, env, is_again=False):
        """Return whether a command would have begun as it does here.

        It is to be coop or the code of python -c.

        :param is_again: whether a worker may be: how the first one begins is
            what many tests are about
        """
        return (
            args[:2] == [sys.executable, '-c']
            or os.path.basename(args[0]) == 'coop'
            and (is_again or 'worker' not in args[1:2])
            # These need nothing
            and not {'--help', '--version'}.intersection(args[1:2])
            # Another configuration
            and not any(
                arg.startswith(('-c', '--config')) for arg in args[1:])
            ) and self._to_be_read(env) == self.read \
            and sum(map(len, args)) < LIMIT // 10

    def start(self, args, env, cwd, streams):
        "Start a command; return its pid."
        request = json.dumps({
                'args': args, 'cwd': cwd,
                'env': {name: env.get(name) for name in UNREAD}})
        # It has no father: the next one in line that wants it gets it
        adopt(True)
        try:
            socket.send_fds(self.socket, [request.encode()], streams)
            pid = int(self._answer())
        finally:
            adopt(False)
        # It may begin: what it leaves itself is nothing of ours
        self.socket.send(b'begin')
        return pid

    def _answer(self):
        from devel.process import StartError, tail
        self.socket.settimeout(START)
        answer = self.socket.recv(LIMIT)
        if not answer:
            raise StartError(tail(self.process.log))
        return answer

    def stop(self):
        self.socket.close()
        self.process.stop()


def adopt(orphans):
    "Become the parent of the orphans among the children's children, or not."
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, int(orphans), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


# What runs in that process

def preload():
    "Do what the script does, until it begins with what its arguments say."
    # trytond reads the variable when it is imported, the command later
    conf = os.environ.pop('TRYTOND_CONFIG')
    os.environ.setdefault('TRYTOND_APPNAME', 'coop')
    from trytond.modules.batch.command import cli  # noqa: F401
    os.environ['TRYTOND_CONFIG'] = conf
    import trytond.config as config
    config.update_etc([conf])
    from trytond import backend
    from trytond.modules.batch.command import environment, follow  # noqa: F401
    environment.check_uri()
    from trytond.modules.batch import tasks, tracing
    from trytond.modules.batch.transaction import load_pool

    for name in LATER + (OF_BROKER if tasks.has_broker() else []):
        importlib.import_module(name)

    # Whoever executes a chunk imports it
    tracing.api()
    database = os.environ['TRYTOND_DATABASE_NAMES']
    load_pool(database)
    # A connection is of the process that opened it
    backend.Database(database).close()
    from trytond.cache import Cache
    Cache.drop(database)
    # Or a command would look, minutes later, whether its caches are old
    Cache._clean_last = None
    # A lock that another thread holds would be held for ever
    assert threading.active_count() == 1, threading.enumerate()
    gc.collect()
    gc.freeze()


def serve(sock):
    "Fork for each request; return it in the child, None when there are none."
    while True:
        data, fds, _, _ = socket.recv_fds(sock, LIMIT, 3)
        if not data:
            return None
        reader, writer = os.pipe()
        waiting, orphaned = os.pipe()
        parent = os.fork()
        if not parent:
            if os.fork():
                # What it leaves is an orphan
                os._exit(0)
            os.close(reader)
            os.close(orphaned)
            sock.close()
            become(json.loads(data), fds)
            os.write(writer, str(os.getpid()).encode())
            os.close(writer)
            # Until it has the parent that it keeps, which adopts no other
            os.read(waiting, 1)
            os.close(waiting)
            return json.loads(data)
        for fd in [writer, waiting, *fds]:
            os.close(fd)
        pid = os.read(reader, 100)
        os.close(reader)
        os.waitpid(parent, 0)
        sock.send(pid)
        sock.recv(LIMIT)
        os.close(orphaned)


def become(request, fds):
    "Have what a new process has of its own."
    os.setsid()
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(request['cwd'])
    for name, value in request['env'].items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def run(args):
    "Run a script, or the code of python -c, as the main module."
    main = types.ModuleType('__main__')
    sys.modules['__main__'] = main
    if args[0] == sys.executable:
        _, _, text, *rest = args
        sys.argv, sys.path[0] = ['-c', *rest], ''
        code = compile(text, '<string>', 'exec')
    else:
        path = args[0]
        sys.argv, sys.path[0] = args, os.path.dirname(path)
        main.__file__ = path
        with open(path) as file:
            code = compile(file.read(), path, 'exec')
    exec(code, vars(main))


def end(code):
    """Exit as an interpreter does, with the code of a SystemExit.

    Just its last step is left out: to take the modules apart writes to all
    pages that are shared with the parent, for longer than most commands run.
    """
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    try:
        for stream in [sys.stdout, sys.stderr]:
            stream.flush()
    except (OSError, ValueError):
        # There is a status for that, and something to say
        sys.exit(code)
    os._exit((code or 0) & 0xff)


if __name__ == '__main__':
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        os.set_inheritable(sock.fileno(), False)
        preload()
        sock.send(b'ready')
        request = serve(sock)
    if request:
        try:
            run(request['args'])
        except SystemExit as exception:
            code = exception.code
        else:
            code = None
        end(code)

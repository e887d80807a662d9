# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A complete environment in a directory: configuration, database, workers."""
import configparser
import contextlib
import os
import re
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys

from .process import Process, TemporaryDirectory

__all__ = ['CommandError', 'Site']

#: variables of the caller that would change what runs in a site
STRAY = re.compile(r'TRYTOND_|TRYTONPASSFILE$|CELERY_|PG[A-Z]+$')
#: seconds for a database of a few modules, and for a worker, on a busy machine
INIT, WORKER = 300, 60


class CommandError(Exception):
    """Raised when a command failed, with what it said."""

    def __init__(self, result):
        super().__init__("%s\nexit status %s\n%s\n%s" % (
                ' '.join(map(str, result.args)), result.returncode,
                result.stdout, result.stderr))
        self.result = result


class Site:
    """A database, the configuration for it, and what was started on it.

    The database is one of the postgresql server or a file of SQLite; the
    broker is a database of the redis server, or none.  Sections are further
    ones of trytond.conf: {'database': {'retry': 3}}.
    """
    _sqlite_templates = {}

    def __init__(self, directory=None, postgresql=None, redis=None,
            sqlite=False, database=None, sections=None, keep=False):
        if bool(postgresql) == bool(sqlite):
            raise ValueError("a site is on PostgreSQL or on SQLite")
        self.keep = keep
        self._temporary = None
        if not directory:
            self._temporary = TemporaryDirectory('batch-site-', keep=keep)
            directory = self._temporary.path
        self.directory = os.path.abspath(directory)
        self.postgresql = postgresql
        self.broker_url = None
        if redis:
            # Another broker than ours, such as a RabbitMQ that is there
            self.broker_url = os.environ.get('BROKER') or redis.database()
        self.database = database or 'site_%s' % secrets.token_hex(4)
        self.trytond_conf = os.path.join(self.directory, 'trytond.conf')
        self.batch_conf = os.path.join(self.directory, 'batch.conf')
        self.log_dir = os.path.join(self.directory, 'log')
        self.out_dir = os.path.join(self.directory, 'out')
        self.processes = []
        self._workers = 0
        for name in [self.log_dir, self.out_dir, self._sqlite_dir]:
            os.makedirs(name, exist_ok=True)
        self._write_trytond_conf(sections or {})
        self.configure()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    @property
    def env(self):
        """The environment of whatever runs in this site."""
        env = {
            name: value for name, value in os.environ.items()
            if not STRAY.match(name)}
        env['TRYTOND_CONFIG'] = self.trytond_conf
        env['TRYTOND_DATABASE_NAMES'] = self.database
        return env

    def configure(self, sections=None):
        """Write batch.conf; root_dir is out/ unless sections say other."""
        sections = {
            name: dict(settings)
            for name, settings in (sections or {}).items()}
        sections.setdefault('default', {}).setdefault(
            'root_dir', self.out_dir)
        _write_conf(self.batch_conf, sections)

    def init(self, *modules, template=None, indexes=True):
        """Create the database, with modules and what they depend on.

        With the name of a template it is a copy of that database, which is
        made with these modules if it is not there yet.
        """
        if not template:
            self._create(self.database, modules, indexes)
        elif self.postgresql:
            if not self.postgresql.exists(template):
                self._create(template, modules, indexes)
            self.postgresql.create(self.database, template=template)
        else:
            if template not in self._sqlite_templates:
                self._create(self.database, modules, indexes)
                # Removed with the interpreter
                directory = TemporaryDirectory('batch-template-')
                path = os.path.join(directory.path, template)
                shutil.copyfile(self._sqlite_path(self.database), path)
                self._sqlite_templates[template] = path
            shutil.copyfile(
                self._sqlite_templates[template],
                self._sqlite_path(self.database))
        return self

    def update(self, *options, database=None):
        """Run trytond-admin with the options on the database."""
        password = os.path.join(self.directory, '.password')
        with open(password, 'w') as file:
            file.write('admin')
        try:
            self.run([
                    sys.executable, '-m', 'trytond.cli.admin',
                    '-d', database or self.database,
                    '--email', 'admin@example.com', *options],
                env={'TRYTONPASSFILE': password}, timeout=INIT, check=True)
        finally:
            os.remove(password)

    def execute(self, sql, parameters=()):
        """Execute one statement on the database; return its rows."""
        if self.postgresql:
            return self.postgresql.execute(
                self.database, sql, parameters or None)
        with contextlib.closing(sqlite3.connect(
                    self._sqlite_path(self.database))) as connection:
            with connection:
                return connection.execute(sql, parameters).fetchall()

    def execute_all(self, statements):
        """Execute statements on the database, in one transaction."""
        connection = (self.postgresql.connect(self.database)
            if self.postgresql
            else sqlite3.connect(self._sqlite_path(self.database)))
        with contextlib.closing(connection):
            for sql in statements:
                connection.execute(sql)
            connection.commit()

    def run(self, args, timeout=120, check=False, env=None, **options):
        """Run a command to its end; return its CompletedProcess.

        It is killed, with all its group, when the time is over.
        """
        process = self._popen(args, env, **options)
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            process.stop(stop_signal=signal.SIGKILL)
            error.stdout, error.stderr = process.communicate()
            raise
        finally:
            process.stop(timeout=0)
        result = subprocess.CompletedProcess(
            process.args, process.returncode, stdout, stderr)
        if check and result.returncode:
            raise CommandError(result)
        return result

    def coop(self, *args, timeout=120, check=False, env=None):
        """Run the coop of this very Python to its end."""
        return self.run(
            [script('coop'), *args], timeout=timeout, check=check, env=env)

    def start_coop(self, *args, env=None, **options):
        """Start coop and return its process, with text pipes."""
        process = self._popen([script('coop'), *args], env, **options)
        self.processes.append(process)
        return process

    def worker(self, processes=2, *args, env=None, timeout=WORKER):
        """Start a worker and return its process once it is ready.

        What Celery says is in log/worker-N.log, what it cannot log in
        log/worker-N.err; args are options of "celery worker".
        """
        self._workers += 1
        number = self._workers
        log = os.path.join(self.log_dir, 'worker-%s.log' % number)
        worker = self._start_worker([
                script('coop'), 'worker', '--hostname', 'w%s@%%h' % number,
                '--concurrency', str(processes), '--loglevel', 'INFO',
                '--logfile', log, *args],
            log=os.path.join(self.log_dir, 'worker-%s.err' % number),
            keep=self.keep, cwd=self.directory,
            env={**self.env, **(env or {})})
        worker.log_file = log
        self.processes.append(worker)
        ready = re.compile(r'w%s@\S+ ready\.' % number)
        worker.wait_until(
            lambda: ready.search(_read(log)), timeout,
            "start worker %s" % number)
        return worker

    def stop(self, timeout=15):
        """Stop all that was started here."""
        for process in self.processes:
            if process.running:
                process.terminate()
        while self.processes:
            process = self.processes.pop()
            # No second SIGTERM: Celery takes it for impatience
            process.stop(timeout, stop_signal=0)
            for pipe in [process.stdout, process.stderr]:
                if pipe:
                    pipe.close()

    def close(self):
        """Stop everything, and drop what was made."""
        self.stop()
        if self.postgresql and self.postgresql.process:
            self.postgresql.drop(self.database)
        if self._temporary:
            self._temporary.remove()

    def _popen(self, args, env=None, **options):
        options.setdefault('stdout', subprocess.PIPE)
        options.setdefault('stderr', subprocess.PIPE)
        options.setdefault('cwd', self.directory)
        return Process(
            [str(arg) for arg in args], text=True,
            env={**self.env, **(env or {})}, **options)

    def _start_worker(self, args, **options):
        return Process(args, **options)

    def _create(self, name, modules, indexes):
        if self.postgresql:
            self.postgresql.create(name)
        else:
            # Tryton does not make the file
            open(self._sqlite_path(name), 'w').close()
        try:
            self.update(
                '--activate-dependencies',
                '--indexes' if indexes else '--no-indexes',
                '-u', 'ir', 'res', *modules, database=name)
        except Exception:
            # Or it would be taken for a good template
            if self.postgresql:
                self.postgresql.drop(name)
            raise

    @property
    def _sqlite_dir(self):
        return os.path.join(self.directory, 'db')

    def _sqlite_path(self, name):
        return os.path.join(self._sqlite_dir, name + '.sqlite')

    def _write_trytond_conf(self, sections):
        database = {'uri': 'sqlite://', 'path': self._sqlite_dir}
        if self.postgresql:
            database = {'uri': self.postgresql.uri}
        own = {
            'database': database,
            'batch': {
                'config_file': self.batch_conf,
                'log_dir': self.log_dir,
                },
            }
        if self.broker_url:
            own['celery'] = {'broker_url': self.broker_url}
        for name, settings in sections.items():
            own.setdefault(name, {}).update(settings)
        _write_conf(self.trytond_conf, own)


def script(name):
    """Return the path of a command installed beside this Python."""
    return os.path.join(os.path.dirname(sys.executable), name)


def _write_conf(path, sections):
    conf = configparser.RawConfigParser(default_section=None)
    conf.optionxform = str
    conf.read_dict(sections)
    with open(path, 'w') as file:
        conf.write(file)


def _read(path):
    try:
        with open(path, encoding='utf-8', errors='replace') as file:
            return file.read()
    except FileNotFoundError:
        return ''

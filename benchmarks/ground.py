# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What all is measured on: servers, sites, and what can be counted there."""
import contextlib
import os
import re
import sys
from collections import Counter

from devel.process import wait_for
from devel.servers import PostgreSQL, Redis, Site

__all__ = ['Ground', 'peak_memory', 'children', 'cpu_seconds']

MODULE = 'batch_scenarios'
#: A disk that is waited for is the same for all, and would hide what differs;
#: autovacuum would come at any time
POSTGRESQL = {
    'max_connections': '600',
    'fsync': 'off', 'autovacuum': 'off', 'max_wal_size': '8GB',
    'checkpoint_timeout': '1h', 'shared_buffers': '512MB'}
STATEMENT = re.compile(
    rb' (\S+) LOG:  (?:statement|execute [^:]+): (\w+)')


class Ground(contextlib.ExitStack):
    "PostgreSQL, Redis, and sites with records; all is gone at the end."

    def __enter__(self):
        super().__enter__()
        self.postgresql = self.enter_context(PostgreSQL(settings=POSTGRESQL))
        self.redis = self.enter_context(Redis())
        return self

    @contextlib.contextmanager
    def site(self, records=0, **options):
        "Give a site of its own, with untreated records from 1 on."
        with Site(**{
                    'postgresql': self.postgresql, 'redis': self.redis,
                    **options}) as site:
            site.init(MODULE, template='benchmarks')
            fill(site, records)
            yield site

    def broker(self):
        "Return how many messages the broker was given until now."
        with self.redis._client(self.redis.port) as client:
            stats = client.info('commandstats')
            return stats.get('cmdstat_lpush', {}).get('calls', 0)

    @contextlib.contextmanager
    def counting(self, site):
        "Give a Counter of what the body makes the database and broker do."
        counts = Counter()
        with self.logging_statements():
            offset, messages = os.path.getsize(self.postgresql.log), \
                self.broker()
            yield counts
            messages = self.broker() - messages
        with open(self.postgresql.log, 'rb') as file:
            file.seek(offset)
            for line in file:
                found = STATEMENT.search(line)
                if found and found[1] == site.database.encode():
                    counts[found[2].decode().upper()] += 1
        counts['statements'] = sum(
            count for word, count in counts.items()
            if word not in {'BEGIN', 'COMMIT', 'ROLLBACK'})
        counts['messages'] = messages

    @contextlib.contextmanager
    def logging_statements(self):
        for value in ['all', 'none']:
            self.postgresql.execute(
                'postgres', "ALTER SYSTEM SET log_statement = '%s'" % value)
            self.postgresql.execute('postgres', 'SELECT pg_reload_conf()')
            wait_for(
                lambda: self.postgresql.execute(
                    'postgres', 'SHOW log_statement') == [(value,)],
                10, "log statements")
            if value == 'all':
                yield


def fill(site, records):
    "Make the records of a site the given number, untreated, all good."
    site.execute('TRUNCATE batch_scenario_record')
    site.execute("""
        INSERT INTO batch_scenario_record (id, name, bad, treated)
        SELECT i, 'record', false, 0 FROM generate_series(1, %s) AS i""",
        [records])
    site.execute('VACUUM ANALYZE')


def python(site, *args, **options):
    "Run a module of this package in a site; return what it prints."
    return site.run(
        [sys.executable, '-m', *args], cwd=os.getcwd(), timeout=900,
        check=True, **options).stdout


def children(pid):
    "Return the ids of the processes that pid has started, if it is there."
    try:
        with open('/proc/%s/task/%s/children' % (pid, pid)) as file:
            return list(map(int, file.read().split()))
    except FileNotFoundError:
        return []


def peak_memory(pid):
    "Return the most memory that the process had so far, in bytes."
    with open('/proc/%s/status' % pid) as file:
        return 1024 * int(re.search(r'VmHWM:\s+(\d+)', file.read())[1])


def cpu_seconds(pid):
    "Return the time of a core that the process has used so far."
    with open('/proc/%s/stat' % pid) as file:
        _, _, fields = file.read().rpartition(') ')
    user, system = fields.split()[11:13]
    return (int(user) + int(system)) / os.sysconf('SC_CLK_TCK')

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""How long does the server take for what the client shows?

With 10,000 executions, 1,000,000 chunks and 100,000 failures in the ledger, of
which one execution has a tenth; another one runs, with 20,000 chunks.  The CPU
time of the server and of PostgreSQL is what passes where nothing else runs.
"""
import json

from .figures import Figure, Sample, table
from .ground import python

EXECUTIONS, CHUNKS = 10_000, 1_000_000
#: each so many chunks one has failed
FAILED = 10
#: the part of all chunks that an execution which runs has
RUNNING = 50
#: milliseconds of CPU for each screen
BAR = 100


def measure(ground, options):
    chunks = max(int(CHUNKS * options.scale), 10_000)
    with ground.site() as site:
        past, running = fill(site, max(EXECUTIONS * chunks // CHUNKS, 100),
            chunks)
        found = json.loads(python(
                site, 'benchmarks.client', str(past), str(running),
                str(options.repeats)))
    samples = {
        name: [Sample(seconds) for seconds in zip(*rows)]
        for name, rows in found.items()}
    table(['screen', 'ms of CPU', 'ms that passed'], [
            [name, *(sample.shown(1000, 0) for sample in both)]
            for name, both in samples.items()])
    return [
        Figure('screen: %s' % name, 1000 * busy.median, BAR, ' ms', digits=0)
        for name, (busy, _) in samples.items()]


def fill(site, executions, chunks):
    """Fill the ledger; return the ids of the largest two executions.

    One of them failed, the other one runs.
    """
    site.execute("""
        INSERT INTO batch_execution (
            batch, given, parameters, settings, state, admission, dry_run,
            started_at, ended_at, selected, duplicates, done, failed, "left",
            exit_status)
        SELECT 'batch.scenario.' || (ARRAY[
                'ok', 'bad', 'files', 'rows', 'slow'])[1 + i %% 5],
            '{}', %s, %s,
            CASE WHEN i %% 4 = 0 THEN 'failed' ELSE 'succeeded' END,
            'admitted', false, at, at + interval '20 minutes', 100, 0, 90, 10,
            0, 1
        FROM (SELECT i, (now() AT TIME ZONE 'UTC') - (%s - i)
                * interval '30 minutes' AS at
            FROM generate_series(1, %s) AS i) AS nights
        """, [
            json.dumps({'treatment_date': ['2026-11-27', 'default']}),
            json.dumps({
                    'setting_%s' % i: [i, 'default'] for i in range(17)}),
            executions, executions])
    (last,), = site.execute('SELECT max(id) FROM batch_execution')
    large = [last - last % 4, last - last % 4 - 1]
    site.execute("""
        UPDATE batch_execution
        SET state = 'running', ended_at = NULL, done = NULL, failed = NULL,
            "left" = NULL, selected = %s, exit_status = NULL
        WHERE id = %s""", [chunks // RUNNING, large[1]])
    tenth, running = chunks // 10, chunks // 10 + chunks // RUNNING
    site.execute("""
        INSERT INTO batch_execution_chunk (
            execution, number, units, size, state, attempts, worker,
            started_at, ended_at, error_type, error, fingerprint, traceback)
        SELECT CASE WHEN i <= %s THEN %s WHEN i <= %s THEN %s
                ELSE 1 + i %% (%s - 1) END,
            i, '[' || i %% 1000 || ']', 1,
            CASE WHEN is_open THEN 'waiting' WHEN is_bad THEN 'failed'
                ELSE 'done' END,
            1, 'host:1', now(), CASE WHEN NOT is_open THEN now() END,
            CASE WHEN is_bad THEN 'UserError' END,
            CASE WHEN is_bad THEN 'The record "' || i || '" is bad.' END,
            CASE WHEN is_bad THEN 'UserError module.py:' || i %% 7 END,
            CASE WHEN is_bad THEN repeat('  File "module.py"\n', 20) END
        FROM (SELECT i, i > %s AND i <= %s AND i %% 2 = 0 AS is_open,
                i %% %s = 7 AS is_bad
            FROM generate_series(1, %s) AS i) AS chunks
        """, [tenth, large[0], running, large[1], executions, tenth, running,
            FAILED, chunks])
    site.execute("""
        INSERT INTO batch_failure (
            execution, chunk, unit, record, fingerprint, state)
        SELECT execution, id, units,
            'batch.scenario.record,' || trim(units, '[]'), fingerprint,
            CASE WHEN id % 3 = 0 THEN 'open' ELSE 'solved' END
        FROM batch_execution_chunk WHERE state = 'failed'""")
    site.execute("""
        INSERT INTO batch_scenario_record (id, name, bad, treated)
        SELECT i, 'record ' || i, false, 0
        FROM generate_series(0, 999) AS i""")
    site.execute('VACUUM ANALYZE')
    # Its time would not be counted
    site.execute('ALTER DATABASE %s SET max_parallel_workers_per_gather = 0'
        % site.database)
    return large

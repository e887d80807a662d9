# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""How long a scrape of the metrics takes, of a ledger that has grown."""
import re
import time
import urllib.request

from .figures import Figure, Sample, table
from .growth import grow

BATCHES, EXECUTIONS, CHUNKS = 50, 10_000, 1_000_000
#: executions that run, chunks of each, and open failures of all
RUNNING, PLANNED, FAILURES = 10, 10_000, 2_000


def measure(ground, options):
    with ground.site(100) as site:
        site.coop('batch', 'batch.scenario.ok', '--quiet', '--local',
            check=True)
        chunks = max(int(CHUNKS * options.scale), EXECUTIONS)
        grow(site, EXECUTIONS, chunks)
        vary(site)
        command = site.start_coop('metrics', '--listen', '127.0.0.1:0')
        url = re.search(r'http://\S+', command.stderr.readline())[0]
        first, others = scrape(url), Sample()
        for _ in range(10 * options.repeats):
            others.append(scrape(url))
        command.stop()
        (executions,), = site.execute('SELECT COUNT(*) FROM batch_execution')
        (chunks,), = site.execute('SELECT COUNT(*) FROM batch_execution_chunk')
    table(['scrape of {:,} executions, {:,} chunks'.format(
                executions, chunks), 'ms'], [
            ['the first', '{:.0f}'.format(1000 * first)],
            ['the others', others.shown(1000)]])
    return [Figure(
            'a scrape with {:,} chunks'.format(chunks), others.median, 0.2,
            ' s')]


def vary(site):
    "Make of the executions those of many batches, some failed, some running."
    site.execute("""
        UPDATE batch_execution SET batch = 'batch.scenario.b' || id %% %s,
            state = CASE WHEN id %% 20 = 0 THEN 'failed' ELSE state END,
            admission = 'admitted',
            started_at = started_at - id * interval '1 hour',
            ended_at = ended_at - id * interval '1 hour'""", [BATCHES])
    site.execute("""
        UPDATE batch_execution
        SET state = 'running', ended_at = NULL, local = true
        WHERE id IN (
            SELECT id FROM batch_execution ORDER BY id DESC LIMIT %s)""",
        [RUNNING])
    site.execute("""
        INSERT INTO batch_execution_chunk (
            execution, number, units, size, state, successor, attempts,
            create_date)
        SELECT e.id, 100000 + i, '[1]', 1,
            CASE WHEN i <= 64 THEN 'queued' ELSE 'waiting' END, i + 64, 0,
            e.started_at
        FROM batch_execution AS e, generate_series(1, %s) AS i
        WHERE e.state = 'running'""", [PLANNED])
    site.execute("""
        INSERT INTO batch_failure (execution, chunk, unit, state)
        SELECT execution, id, '[1]', 'open' FROM batch_execution_chunk
        WHERE execution %% 20 = 0 LIMIT %s""", [FAILURES])
    site.execute("""
        UPDATE batch_execution_chunk SET deaths = 1
        WHERE id % 10000 = 0""")
    site.execute('VACUUM ANALYZE')


def scrape(url):
    "Return the seconds of a scrape."
    started = time.monotonic()
    with urllib.request.urlopen(url, timeout=60) as answer:
        text = answer.read().decode()
    seconds = time.monotonic() - started
    assert text.count('batch_last_units{') == 4 * BATCHES, text
    return seconds

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A small batch beside a big one, and what concurrency bounds."""
import threading
import time

from .figures import Figure, table

BIG, SMALL = 'batch.scenario.slow', 'ir.ui.view.validate'
#: chunks of the big one
CHUNKS = 2000
CONCURRENCY = 3
OVERLAP = """
    SELECT MAX(n) FROM (
        SELECT SUM(step) OVER (ORDER BY at, step) AS n FROM (
            SELECT started_at AS at, 1 AS step FROM batch_execution_chunk
                WHERE execution = %s
            UNION ALL
            SELECT ended_at, -1 FROM batch_execution_chunk
                WHERE execution = %s) AS steps) AS counts"""


def measure(ground, options):
    with ground.site(10 * CHUNKS) as site:
        site.configure({
                BIG: {'split_size': 10, 'overlap': 'allow'},
                SMALL: {'split_size': 20}})
        site.worker(2)
        # Loads what is loaded once
        small(site)
        alone = small(site)
        big = site.start_coop('batch', BIG, '--seconds', '0.004', '--quiet')
        threading.Thread(target=big.communicate).start()
        while not site.execute("""
                SELECT 1 FROM batch_execution_chunk WHERE state = 'done'
                    AND number = '1' AND execution = (
                        SELECT MAX(id) FROM batch_execution)"""):
            pass
        beside = small(site)
        (left,), = site.execute("""
            SELECT COUNT(*) FROM batch_execution_chunk
            WHERE state = 'waiting'""")
        assert left, 'the big one was over before the small one'
        big.wait(600)
        (whole,), = site.execute("""
            SELECT EXTRACT(EPOCH FROM ended_at - started_at)
            FROM batch_execution WHERE batch = %s""", [BIG])
        site.worker(4)
        site.configure({BIG: {'split_size': 10, 'concurrency': CONCURRENCY}})
        site.execute('DELETE FROM batch_scenario_record WHERE id > 300')
        site.coop('batch', BIG, '--seconds', '0.01', check=True)
        (execution,), = site.execute('SELECT MAX(id) FROM batch_execution')
        (flying,), = site.execute(OVERLAP, [execution, execution])
    table(['what', 's'], [
            ['small batch alone', '%.2f' % alone],
            ['small batch beside one of {:,} chunks'.format(CHUNKS),
                '%.2f' % beside],
            ['that one, from its begin to its end', '%.2f' % whole]])
    return [
        Figure('chunks in flight with concurrency = %s' % CONCURRENCY,
            int(flying), CONCURRENCY, digits=0),
        ]


def small(site):
    "Return the seconds from the call of the command to its return."
    # Its message waits as well as those of its chunks
    started = time.monotonic()
    site.coop('batch', SMALL, '--quiet', check=True, timeout=600)
    return time.monotonic() - started

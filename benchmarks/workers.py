# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""1, 2 and 4 processes, with work that waits for something else."""
from .figures import Figure, table
from .ground import fill

BATCH = 'batch.scenario.slow'
SECONDS, RECORDS, SIZE = 0.02, 400, 10


def measure(ground, options):
    times = {}
    with ground.site(RECORDS) as site:
        site.configure({BATCH: {'split_size': SIZE}})
        for processes in [1, 2, 4]:
            worker = site.worker(processes)
            # The first one loads the pool
            run(site, 0)
            times[processes] = run(site, SECONDS)
            worker.stop()
            fill(site, RECORDS)
    table(['processes', 's', 'times as fast'], [
            [processes, '%.2f' % seconds, '%.2f' % (times[1] / seconds)]
            for processes, seconds in times.items()])
    return [
        Figure('%s processes, work that waits: times as fast' % processes,
            times[1] / times[processes], 0.85 * processes, least=True)
        for processes in [2, 4]]


def run(site, seconds):
    site.coop(
        'batch', BATCH, '--seconds', str(seconds), '--quiet', check=True)
    (took,), = site.execute("""
        SELECT EXTRACT(EPOCH FROM ended_at - started_at)
        FROM batch_execution ORDER BY id DESC LIMIT 1""")
    return float(took)

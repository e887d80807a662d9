# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""48 to 128 processes on several workers, with work that waits."""
import statistics
import time

from devel.process import wait_for

from .figures import Figure, table
from .ground import children, cpu_seconds, fill

BATCH = 'batch.scenario.slow'
#: processes -> workers that they are spread over, and chunks in flight
CROWDS = {1: (1, 1), 48: (3, 64), 64: (4, 64), 128: (8, 128)}
#: seconds for which a chunk waits -> how many of them each process has.  On
#: two cores the first wall of many processes is the CPU time of their chunks
WAITS = {1: 10, 10: 4}
#: records of a chunk
SIZE = 2
#: how often a command is timed
LOOKS = 3
PEAK = """
    SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()"""
LAST = 'SELECT MAX(id) FROM batch_execution'


def measure(ground, options):
    rows, alone, figures = [], {}, []
    with ground.site() as site:
        for processes, (workers, concurrency) in CROWDS.items():
            if options.scale < 1 and processes > 64:
                continue
            started = [
                site.worker(processes // workers) for _ in range(workers)]
            site.configure({BATCH: {
                        'split_size': SIZE, 'concurrency': concurrency,
                        'overlap': 'allow'}})
            # Each process loads the pool
            fill(site, processes * SIZE)
            run(site, 1)
            for wait, rounds in WAITS.items():
                chunks = processes * rounds
                fill(site, chunks * SIZE)
                used = cpu_of_all(started)
                peak, shown, took = run(site, wait / SIZE)
                used = cpu_of_all(started) - used
                rate = chunks / took / processes
                alone.setdefault(wait, rate)
                rows.append([
                        processes, workers, concurrency, wait, chunks,
                        '%.2f' % took,
                        '%.3f' % (rate / alone[wait]),
                        '%.1f' % (1000 * used / chunks), peak,
                        '%.2f' % shown])
                if processes in {48, 64} and wait == max(WAITS):
                    figures.append(Figure(
                            '%s processes, %s lanes, chunks that wait %s s: '
                            'efficiency' % (processes, concurrency, wait),
                            rate / alone[wait], 0.95, least=True))
            for worker in started:
                worker.stop()
    table([
            'processes', 'workers', 'lanes', 's a chunk waits', 'chunks', 's',
            'efficiency', 'ms of CPU a chunk', 'connections', 'coop show, s'
            ], rows)
    return figures


def cpu_of_all(workers):
    "Return the seconds of CPU that workers and their processes have used."
    return sum(
        cpu_seconds(pid) for worker in workers
        for pid in [worker.pid, *children(worker.pid)])


def run(site, seconds):
    """Return (connections, seconds of ``coop show`` meanwhile, seconds).

    The last are those from the end of the planning to that of the execution.
    """
    (before,), = site.execute(LAST)
    command = site.start_coop(
        'batch', BATCH, '--seconds', str(seconds), '--quiet')
    (execution,), = wait_for(lambda: [
            (id,) for id, in site.execute(LAST) if id != before], 60, "start")
    wait_for(lambda: site.execute("""
            SELECT 1 FROM batch_execution WHERE id = %s
                AND state = 'running'""", [execution]), 60, "plan")
    peak, looks = 0, []
    for _ in range(LOOKS):
        began = time.monotonic()
        site.coop('show', str(execution), check=True)
        looks.append(time.monotonic() - began)
        (now,), = site.execute(PEAK)
        peak = max(peak, now)
    command.communicate(timeout=900)
    (took,), = site.execute("""
        SELECT EXTRACT(EPOCH FROM e.ended_at - MAX(c.create_date))
        FROM batch_execution AS e
        JOIN batch_execution_chunk AS c ON c.execution = e.id
        WHERE e.id = %s GROUP BY e.id""", [execution])
    return peak, statistics.median(looks), float(took)

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""5,000,000 selected ids: memory, time to plan them, and to follow the rest.

The same process selects and writes the chunks, as on any worker; the command
follows.  A bare cursor of the server that reads the same ids is the measure.
"""
import time

from devel.process import wait_for

from .figures import Figure, Sample, table
from .ground import children, cpu_seconds, peak_memory, python

BATCH = 'batch.scenario.slow'
RECORDS = 5_000_000
SIZE = 100
REPEATS = 5
#: seconds for which the command is watched while it follows
FOLLOW = 20
MB = 1_000_000


def measure(ground, options):
    records = max(int(RECORDS * options.scale), 10_000)
    bare, planning = Sample(), Sample()
    with ground.site(records) as site:
        site.configure({BATCH: {'split_size': SIZE}})
        worker = site.worker(1)
        # Loads the pool
        site.coop('batch', 'ir.ui.view.validate', '--quiet', check=True)
        for repeat in range(REPEATS):
            bare.append(float(python(
                        site, 'benchmarks.rival', 'cursor', str(records), '0',
                        '0')))
            command = site.start_coop(
                'batch', BATCH, '--seconds', '0', '--quiet')
            wait_for(lambda: site.execute("""
                    SELECT 1 FROM batch_execution
                    WHERE state = 'running'"""), 900, "plan")
            # One of them is the keeper, which needs less
            memory = max(map(peak_memory, children(worker.pid)))
            before, since = cpu_seconds(command.pid), time.monotonic()
            if repeat == REPEATS - 1:
                time.sleep(FOLLOW * min(options.scale, 1))
                share = (cpu_seconds(command.pid) - before) / (
                    time.monotonic() - since)
                follower = peak_memory(command.pid)
            (execution,), = site.execute('SELECT MAX(id) FROM batch_execution')
            site.coop('cancel', str(execution), check=True)
            command.communicate(timeout=120)
            # From the making of the execution to the first chunk that is taken
            (seconds, chunks), = site.execute("""
                SELECT EXTRACT(
                        EPOCH FROM MIN(c.started_at) - MIN(e.started_at)),
                    COUNT(*)
                FROM batch_execution AS e
                    JOIN batch_execution_chunk AS c ON c.execution = e.id
                WHERE e.id = %s""", [execution])
            planning.append(float(seconds))
    table(['what', 'measured'], [
            ['ids', format(records, ',')],
            ['chunks', format(chunks, ',')],
            ['reading with a bare cursor, s', bare.shown()],
            ['selecting and planning, s', planning.shown()]])
    ids = '{:,} ids'.format(records)
    return [
        Figure('%s: memory of generate_all' % ids, memory / MB, 200, ' MB',
            digits=0),
        Figure('%s: memory of the command' % ids, follower / MB, 200, ' MB',
            digits=0),
        Figure('%s: planning against a bare cursor' % ids,
            planning.ratio_to(bare), 2),
        Figure('following {:,} chunks: share of a core'.format(chunks),
            100 * share, 5, ' %', digits=1),
        ]

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
#: seconds for which the command is watched while it follows
FOLLOW = 20
MB = 1_000_000


def measure(ground, options):
    records = max(int(RECORDS * options.scale), 10_000)
    with ground.site(records) as site:
        site.configure({BATCH: {'split_size': SIZE}})
        worker = site.worker(1)
        bare = Sample(
            float(python(site, 'benchmarks.rival', 'cursor', str(records),
                    '0', '0')) for _ in range(3))
        command = site.start_coop(
            'batch', BATCH, '--seconds', '0', '--quiet')
        wait_for(lambda: site.execute(
                "SELECT 1 FROM batch_execution WHERE state = 'running'"),
            900, "plan")
        process, = children(worker.pid)
        memory = peak_memory(process)
        before, since = cpu_seconds(command.pid), time.monotonic()
        time.sleep(FOLLOW * min(options.scale, 1))
        share = (cpu_seconds(command.pid) - before) / (
            time.monotonic() - since)
        follower = peak_memory(command.pid)
        site.coop('cancel', '1', check=True)
        command.communicate(timeout=120)
        # From the making of the execution to the first chunk that is taken
        (planning, chunks), = site.execute("""
            SELECT EXTRACT(EPOCH FROM MIN(c.started_at) - MIN(e.started_at)),
                COUNT(*)
            FROM batch_execution AS e
                JOIN batch_execution_chunk AS c ON c.execution = e.id""")
    planning = float(planning)
    table(['what', 'measured'], [
            ['ids', format(records, ',')],
            ['chunks', format(chunks, ',')],
            ['reading with a bare cursor, s', bare.shown()],
            ['selecting and planning, s', '%.2f' % planning]])
    ids = '{:,} ids'.format(records)
    return [
        Figure('%s: memory of generate_all' % ids, memory / MB, 200, ' MB',
            digits=0),
        Figure('%s: memory of the command' % ids, follower / MB, 200, ' MB',
            digits=0),
        Figure('%s: planning against a bare cursor' % ids,
            planning / bare.median, 4),
        Figure('following {:,} chunks: share of a core'.format(chunks),
            100 * share, 5, ' %', digits=1),
        ]

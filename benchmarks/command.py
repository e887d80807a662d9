# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The command itself: what it costs before the work, and after it."""
import resource
import time

from .figures import Figure, Sample, table

BATCH = 'batch.scenario.slow'


def measure(ground, options):
    before, after = Sample(), Sample()
    with ground.site(100) as site:
        for _ in range(options.repeats):
            used = cpu_of_children()
            # It ends when the task is sent
            execution = site.coop(
                'batch', BATCH, '--seconds', '0', '--detach',
                check=True).stdout
            before.append(cpu_of_children() - used)
            site.coop('cancel', execution.strip(), check=True)
        site.worker(2)
        for _ in range(options.repeats):
            site.coop(
                'batch', BATCH, '--seconds', '0', '--quiet', check=True)
            now = time.time()
            (ended,), = site.execute("""
                SELECT EXTRACT(EPOCH FROM ended_at)
                FROM batch_execution ORDER BY id DESC LIMIT 1""")
            after.append(now - float(ended))
    table(['what', 's'], [
            ['CPU of the command until the task is sent', before.shown()],
            ['from the last commit to its return', after.shown()]])
    return [
        Figure('CPU of the command until the task is sent', before.median, 1,
            ' s'),
        Figure('from the last commit to its return', after.median, 0.5,
            ' s'),
        ]


def cpu_of_children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime

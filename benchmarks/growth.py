# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Does a chunk take longer with more others, of the past or beside it?"""
from .figures import Figure, Sample, table
from .ground import fill

BATCH = 'batch.scenario.slow'
EXECUTIONS, CHUNKS = 1000, 1_000_000
RECORDS, SIZE = 20_000, 10
#: chunks of one execution, a record each
FEW, MANY = 2_000, 20_000


def measure(ground, options):
    return past(ground, options) + beside(ground, options)


def past(ground, options):
    "With executions of the past in the ledger, and without."
    with ground.site(RECORDS) as empty, ground.site(RECORDS) as full:
        for site in [empty, full]:
            site.configure({BATCH: {'split_size': SIZE}})
            site.worker(2)
            run(site)
        grow(full, EXECUTIONS, max(int(CHUNKS * options.scale), 10_000))
        few, many = Sample(), Sample()
        for _ in range(options.repeats):
            few.append(run(empty))
            many.append(run(full))
        (chunks,), = full.execute('SELECT COUNT(*) FROM batch_execution_chunk')
    table(['chunks in the ledger', 'ms a chunk'], [
            ['few', few.shown(1000)],
            [format(chunks, ','), many.shown(1000)]])
    return [Figure(
            'time of a chunk with {:,} others'.format(chunks),
            many.ratio_to(few), 1.1)]


def beside(ground, options):
    "With many chunks in the same execution, and with few."
    chunks = max(int(MANY * options.scale), FEW)
    with ground.site() as site:
        site.configure({BATCH: {'split_size': 1}})
        site.worker(2)
        few, many = Sample(), Sample()
        for _ in range(options.repeats):
            fill(site, FEW)
            if not few:
                run(site, FEW)
            few.append(run(site, FEW))
            fill(site, chunks)
            many.append(run(site, chunks))
    table(['chunks of an execution', 'ms a chunk'], [
            [format(FEW, ','), few.shown(1000)],
            [format(chunks, ','), many.shown(1000)]])
    return [Figure(
            'time of a chunk in an execution of {:,}'.format(chunks),
            many.ratio_to(few), 1.1)]


def run(site, chunks=RECORDS // SIZE):
    "Return the seconds per chunk."
    site.execute('VACUUM batch_scenario_record')
    site.coop(
        'batch', BATCH, '--seconds', '0', '--quiet', check=True, timeout=600)
    (seconds,), = site.execute("""
        SELECT EXTRACT(EPOCH FROM ended_at - started_at)
        FROM batch_execution ORDER BY id DESC LIMIT 1""")
    return float(seconds) / chunks


def grow(site, executions, chunks):
    "Add executions of the past, with chunks that are done."
    site.execute("""
        INSERT INTO batch_execution (
            batch, given, parameters, settings, "user", state, dry_run,
            started_at, ended_at, selected, duplicates, done, failed, "left")
        SELECT batch, given, parameters, settings, "user", state, dry_run,
            started_at, ended_at, selected, duplicates, done, failed, "left"
        FROM (SELECT * FROM batch_execution ORDER BY id LIMIT 1) AS one,
            generate_series(1, %s)""", [executions])
    site.execute("""
        INSERT INTO batch_execution_chunk (
            execution, number, units, size, state, successor, attempts,
            worker, started_at, ended_at)
        SELECT e.id, i, '[1,2,3,4,5,6,7,8,9,10]', 10, 'done', i + 64, 1,
            'host:1', e.started_at, e.ended_at
        FROM (SELECT * FROM batch_execution ORDER BY id DESC LIMIT %s) AS e,
            generate_series(1, %s) AS i""",
        [executions, chunks // executions])
    site.execute('VACUUM ANALYZE')

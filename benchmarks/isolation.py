# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Bad units among good ones: the transactions and the time to isolate them.

Right suspects, beside suspects that always lie, none at all (plain halving),
and one by one.
"""
import random

from .figures import Figure, table
from .ground import fill

BATCH = 'batch.scenario.failing'
CHUNK = 1000
#: how the batch fails at a bad record -> what its traceback tells
WAYS = {'loop': 'right', 'left_over': 'lying', 'statement': 'halves'}
#: (records, bad ones, ways)
CASES = [
    *((1000, bad, list(WAYS)) for bad in [0, 1, 10, 50]),
    (1000, 1000, ['loop']),
    (100_000, 0, ['loop']),
    (100_000, 1000, ['loop', 'statement']),
    (100_000, 100_000, ['loop']),
    ]
#: (records, bad ones) -> transactions at most, with right suspects
BARS = {(1000, 1): 4, (1000, 10): 31, (1000, 50): 151, (100_000, 100_000): 99}


def measure(ground, options):
    figures, rows = [], []
    with ground.site() as site:
        site.worker(2)
        site.configure({BATCH: {'split_size': CHUNK}})
        for records, bad, ways in CASES:
            # The smaller ones are what the bars are about
            if records > CHUNK and options.scale < 1:
                records = max(int(records * options.scale), 2 * CHUNK)
                bad = int(bad * options.scale)
            rows += [
                isolate(site, records, bad, way) for way in ways]
            if (records, bad) in BARS:
                figures.append(Figure(
                        'transactions for {:,} bad in {:,}'.format(
                            bad, records),
                        rows[-len(ways)][3], BARS[records, bad], digits=0))
        site.configure({BATCH: {'split_size': 1}})
        *_, transactions, seconds = row = isolate(site, 1000, 10, 'loop')
    # A chunk has to fail before its records are tried one by one
    each, row[2:4] = seconds / transactions, ['one by one', 1001]
    rows.append(row)
    rows += [
        [records, bad, 'one by one (computed)',
            failing * (CHUNK + 1) + records // CHUNK - failing,
            each * failing * (CHUNK + 1)]
        for records, bad, failing in [(100_000, 1000, 100)]]
    table(['records', 'bad', 'suspects', 'transactions', 's'], [
            ['{:,}'.format(records), '{:,}'.format(bad), way,
                '{:,}'.format(transactions), '%.1f' % seconds]
            for records, bad, way, transactions, seconds in rows])
    return figures


def isolate(site, records, bad, way):
    "Return [records, bad, suspects, transactions, seconds]."
    fill(site, records)
    chosen = random.Random(1).sample(range(1, records + 1), bad)
    site.execute(
        'UPDATE batch_scenario_record SET bad = true WHERE id = ANY(%s)',
        [chosen])
    site.execute('VACUUM ANALYZE')
    site.coop('batch', BATCH, '--way', way, '--quiet', timeout=900)
    (id, failed, seconds, transactions), = site.execute("""
        SELECT e.id, e.failed, EXTRACT(EPOCH FROM e.ended_at - e.started_at),
            (SELECT SUM(attempts) FROM batch_execution_chunk
                WHERE execution = e.id)
        FROM batch_execution AS e ORDER BY id DESC LIMIT 1""")
    # Where all are bad it stops early
    assert failed == bad or bad == records, (failed, bad)
    return [records, bad, WAYS[way], int(transactions), float(seconds)]

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Bad units among good ones: the transactions and the time to isolate them.

Right suspects, beside suspects that always lie, none at all (plain halving),
and one by one.
"""
import random

from .figures import Figure, Sample, table
from .ground import fill

BATCH = 'batch.scenario.failing'
CHUNK = 1000
#: how the batch fails at a bad record -> what its traceback tells
WAYS = {'loop': 'right', 'left_over': 'lying', 'statement': 'halves'}
#: records -> bad ones among them
MANY = 100_000
#: 1,000 in 100,000
BAD_SHARE, BAD_BAR = 0.01, 2.5
CASES = {1000: [0, 1, 10, 50, 1000], MANY: [0, 1, 10, 50, 1000, MANY]}
#: (records, bad ones) -> transactions at most, with right suspects
BARS = {(1000, 1): 4, (1000, 10): 31, (1000, 50): 151, (MANY, MANY): 99}


def measure(ground, options):
    figures, rows = [], []
    with ground.site() as site:
        site.worker(2)
        site.configure({BATCH: {'split_size': CHUNK}})
        for records, bad in cases(options.scale):
            # Where none or all are bad there is nothing to suspect
            ways = list(WAYS) if 0 < bad < records else ['loop']
            rows += [
                isolate(site, records, bad, way) for way in ways]
            if (records, bad) in BARS:
                figures.append(Figure(
                        'transactions for {:,} bad in {:,}'.format(
                            bad, records),
                        rows[-len(ways)][3], BARS[records, bad], digits=0))
        ratio = against_none(site, options)
        site.configure({BATCH: {'split_size': 1}})
        *_, transactions, seconds = row = isolate(site, CHUNK, 10, 'loop')
    # A chunk has to fail before its records are tried one by one
    each, row[2:4] = seconds / transactions, ['one by one', CHUNK + 1]
    rows.append(row)
    for records, bad in cases(options.scale):
        if records > CHUNK and 0 < bad < records:
            failing = len({(id - 1) // CHUNK for id in choose(records, bad)})
            transactions = records // CHUNK + failing * CHUNK
            rows.append([
                    records, bad, 'one by one (computed)', transactions,
                    each * transactions])
    table(['records', 'bad', 'suspects', 'transactions', 's'], [
            ['{:,}'.format(records), '{:,}'.format(bad), way,
                '{:,}'.format(transactions), '%.1f' % seconds]
            for records, bad, way, transactions, seconds in rows])
    return figures + [Figure(
            'time with 1 bad in 100, against none', ratio, BAD_BAR)]


def against_none(site, options):
    "Return how many times as long it takes with BAD_SHARE of them bad."
    records = max(int(MANY * options.scale), 2 * CHUNK)
    bad, none = Sample(), Sample()
    for _ in range(min(options.repeats, 3)):
        for times, count in [
                (none, 0), (bad, int(records * BAD_SHARE))]:
            *_, seconds = isolate(site, records, count, 'loop')
            times.append(seconds)
    return bad.ratio_to(none)


def cases(scale):
    "Yield (records, bad ones)."
    for records, bads in CASES.items():
        for bad in bads:
            # The smaller ones are what the bars are about
            if records > CHUNK and scale < 1:
                yield max(int(records * scale), 2 * CHUNK), (
                    bad if bad <= 10 else max(int(bad * scale), 10))
            else:
                yield records, bad


def choose(records, bad):
    return random.Random(1).sample(range(1, records + 1), bad)


def isolate(site, records, bad, way):
    "Return [records, bad, suspects, transactions, seconds]."
    fill(site, records)
    site.execute(
        'UPDATE batch_scenario_record SET bad = true WHERE id = ANY(%s)',
        [choose(records, bad)])
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

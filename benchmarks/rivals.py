# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The same chunks by this module and by what one would write without it.

The floor are two bare processes that treat each chunk in a transaction.  Then
a Celery task that opens a transaction, its results collected from Redis; and
Tryton's own queue with trytond-worker.  All have two processes, which are
warm, and treat the same records of one database, in turn.
"""
import os
from collections import defaultdict

from devel.process import Process
from devel.site import script

from .figures import Figure, Sample, say, table
from .ground import fill, python

OURS, FLOOR, CELERY, QUEUE = 'trytond-batch', 'processes', 'celery', 'queue'
#: (size of a chunk, seconds a record) -> (records, those for the queue, bars)
LIGHT = {
    1000: (100_000, 12_000, {FLOOR: 1.05}),
    100: (100_000, 3_000, {FLOOR: 1.05, CELERY: 0.85, QUEUE: 0.2}),
    10: (30_000, 300, {FLOOR: 1.10, CELERY: 0.55}),
    }
HEAVY = {
    1000: (2_000, 2_000, {}),
    100: (400, 400, {}),
    10: (200, 200, {}),
    }
#: seconds that a record takes on top of being saved
LIGHT_SECONDS, HEAVY_SECONDS = 0, 0.02
#: chunks of the two runs in which statements are counted
FEW, MORE = 100, 200
BATCH = 'batch.scenario.slow'
SECTIONS = {'queue': {'worker': 'True'}}
#: notes when the plan of an execution is about to be committed
PLANNED = [
    'CREATE TABLE planned (execution INTEGER, at TIMESTAMP)',
    """
    CREATE FUNCTION note_planned() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO planned
        VALUES (NEW.id, clock_timestamp() AT TIME ZONE 'UTC');
        RETURN NULL;
    END $$""",
    """
    CREATE TRIGGER note_planned AFTER UPDATE OF state ON batch_execution
    FOR EACH ROW WHEN (NEW.state = 'running' AND OLD.state = 'selecting')
    EXECUTE FUNCTION note_planned()""",
    ]


def measure(ground, options):
    with ground.site(sections=SECTIONS) as site:
        run = Runner(ground, site)
        figures = []
        for seconds, cases in [
                (LIGHT_SECONDS, LIGHT), (HEAVY_SECONDS, HEAVY)]:
            for size, (records, few, bars) in cases.items():
                records = max(int(records * options.scale), 2 * size)
                few = max(int(few * options.scale), 2 * size)
                repeats = options.repeats if not seconds else 1
                figures += compare(
                    run, size, seconds, records, few, bars, repeats)
    return figures


def compare(run, size, seconds, records, few, bars, repeats):
    "Let the rivals run in turn, show them, and return our figures."
    plan = {name: records for name in [OURS, FLOOR, CELERY]}
    plan[QUEUE] = min(few, records)
    times = defaultdict(Sample)
    fill(run.site, records)
    for repeat in range(repeats):
        for name, count in plan.items():
            times[name].append(
                run(name, count, size, seconds) / (count / size))
    ours = times[OURS].median
    # It is the same for all sizes and all work
    counts = {name: run.count(name, size) for name in plan} \
        if not seconds and size == 100 else {}
    say('Chunks of %s, %s; runs: %s\n' % (
            size, '%d ms a record' % (seconds * 1000) if seconds
            else 'light work', repeats))
    table([
            'rival', 'chunks', 'ms a chunk', 'ours to it', 'statements',
            'commits', 'messages'], [
            [name, count // size, times[name].shown(1000),
                '%.2f' % (ours / times[name].median),
                *('%.1f' % n for n in counts.get(name, ()))]
            + [''] * (0 if counts else 3)
            for name, count in plan.items()])
    return [
        Figure(
            'chunks of %s against %s, light work' % (size, name),
            times[OURS].ratio_to(times[name]), bar)
        for name, bar in bars.items()]


class Runner:
    "Runs a rival and checks that each record was treated once by it."

    def __init__(self, ground, site, names=(OURS, FLOOR, CELERY, QUEUE)):
        self.ground = ground
        self.site = site
        self.env = {
            'RIVAL_BROKER': ground.redis.database(),
            'RIVAL_RESULTS': ground.redis.database()}
        site.worker(2)
        if CELERY in names:
            self.start('celery', '--app', 'benchmarks.rival:app', 'worker',
                '--concurrency', '2')
        if QUEUE in names:
            self.start('trytond-worker', '-n', '2')
        for sql in PLANNED:
            site.execute(sql)
        fill(site, 40)
        for name in names:
            # Loads the pool, in both processes
            self(name, 40, 10, 0.02)

    def start(self, name, *args):
        self.site.processes.append(Process([script(name), *args],
                log=os.path.join(self.site.log_dir, name + '.log'),
                env={**self.site.env, **self.env}))

    def __call__(self, name, records, size, seconds):
        "Return the seconds that it took."
        site = self.site
        site.execute('DELETE FROM ir_queue')
        site.execute('UPDATE batch_scenario_record SET treated = 0')
        site.execute('VACUUM ANALYZE')
        if name == OURS:
            took = self.ours(size, seconds)
        else:
            took = float(python(
                    site, 'benchmarks.rival', name, str(records), str(size),
                    str(seconds), env=self.env))
        treated = site.execute(
            'SELECT SUM(treated), MAX(treated) FROM batch_scenario_record')
        assert treated == [(records, 1)], (name, treated)
        return took

    def ours(self, size, seconds):
        "From the end of the planning to the last word, as for rivals."
        self.site.configure({BATCH: {'split_size': size}})
        self.site.coop(
            'batch', BATCH, '--seconds', str(seconds), '--quiet', timeout=900,
            check=True)
        (took,), = self.site.execute("""
            SELECT EXTRACT(EPOCH FROM e.ended_at - p.at)
            FROM batch_execution AS e
            JOIN planned AS p ON p.execution = e.id
            ORDER BY e.id DESC LIMIT 1""")
        return float(took)

    def count(self, name, size):
        """Return statements, commits and messages per chunk.

        By the difference of two runs: what is done once does not count.
        """
        results = []
        for chunks in FEW, MORE:
            fill(self.site, chunks * size)
            with self.ground.counting(self.site) as counts:
                self(name, chunks * size, size, 0)
            results.append(counts)
        less, more = results
        return [
            (more[n] - less[n]) / (MORE - FEW)
            for n in ['statements', 'COMMIT', 'messages']]

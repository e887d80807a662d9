# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""``coop metrics``: the ledger as OpenMetrics, for Prometheus.

Each metric is a gauge that is read from the ledger, or asked of the workers,
at the moment of the scrape: nothing is counted in this process.
"""
import datetime as dt
import signal
import sys
import threading
from collections import Counter

from ..exceptions import BatchError
from ..texts import RECORD, clean, message_of
from .environment import database_of
from .streams import written

__all__ = ['METRICS', 'metrics']

#: seconds between two questions to the workers while scrapes are answered:
#: they answer for a second each time
ASK = 10


def seconds(timestamp):
    "Return a timestamp of the ledger, which is in UTC, as Prometheus has it."
    return timestamp and timestamp.replace(tzinfo=dt.timezone.utc).timestamp()


def duration(last):
    return (last['ended_at'] - last['started_at']).total_seconds()


def states(last):
    return {
        state: int(last['state'] == state)
        for state in ['succeeded', 'failed', 'cancelled']}


def units(last):
    return {name: last[name] or 0
        for name in ['selected', 'done', 'failed', 'left']}


#: name -> (what it is, its value for the BatchMetrics of a batch: a number,
#: a number for each value of the label state, or None where there is none)
METRICS = {
    'batch_last_success_timestamp_seconds': (
        "End of the last execution that succeeded; one that was skipped or "
        "disabled does not count.",
        lambda m: seconds(m.succeeded_at)),
    'batch_last_end_timestamp_seconds': (
        "End of the execution that ended last.",
        lambda m: m.last and seconds(m.last['ended_at'])),
    'batch_last_end_state': (
        "1 for the state of the execution that ended last, 0 for the others.",
        lambda m: m.last and states(m.last)),
    'batch_last_duration_seconds': (
        "Duration of the execution that ended last.",
        lambda m: m.last and duration(m.last)),
    'batch_last_units': (
        "Units of the execution that ended last, by state.",
        lambda m: m.last and units(m.last)),
    'batch_failed_executions': (
        "Executions that somebody has to look at, as under Failed in the "
        "client.",
        lambda m: m.failed),
    'batch_open_failures': (
        "Units that failed and were neither retried nor dismissed.",
        lambda m: m.open_failures),
    'batch_deaths': (
        "Processes that died at a chunk or a selection, of the executions in "
        "the ledger.",
        lambda m: m.deaths),
    'batch_running_executions': (
        "Executions that have not ended.",
        lambda m: m.running),
    'batch_running_since_timestamp_seconds': (
        "Start of the oldest execution that has not ended.",
        lambda m: seconds(m.running_since)),
    'batch_progress_timestamp_seconds': (
        "Last time at which an execution that has not ended started or ended "
        "a chunk.",
        lambda m: seconds(m.progress_at)),
    'batch_waiting_chunk_timestamp_seconds': (
        "Time at which the oldest chunk that is queued was made.",
        lambda m: seconds(m.waiting_since)),
    }
UP = 'batch_up', "Whether the ledger could be read."
WORKERS = 'batch_workers', \
    "Workers that answer for the queue and are fit for the database."


def metrics(options):
    try:
        from prometheus_client import CollectorRegistry
    except ImportError as error:
        raise BatchError("coop metrics needs the package prometheus_client "
            "(%s): pip install 'trytond-batch[metrics]'" % error) from error
    from .. import tasks
    database = database_of(options)
    workers = Workers(database) if tasks.has_broker() else None
    registry = CollectorRegistry()
    registry.register(Collector(
            database, workers, is_lasting=bool(options.listen)))
    if options.listen:
        return listen(registry, workers, *options.listen)
    if options.textfile:
        return write(registry, options.textfile)
    from prometheus_client.openmetrics.exposition import generate_latest
    sys.stdout.write(generate_latest(registry).decode())
    return written()


def write(registry, path):
    """Write the file for the textfile collector of node_exporter.

    It gets its name when it is complete.  Where the ledger can not be read,
    the old one stays: its age is in ``node_textfile_mtime_seconds``.
    """
    from prometheus_client import write_to_textfile
    try:
        write_to_textfile(path, registry)
    except OSError as error:
        raise BatchError('--textfile: "%s" can not be written: %s' % (
                path, error.strerror)) from error
    return 0


def listen(registry, workers, host, port):
    "Answer scrapes until SIGINT or SIGTERM."
    from prometheus_client import start_http_server
    ended = threading.Event()
    for signum in [signal.SIGINT, signal.SIGTERM]:
        signal.signal(signum, lambda *_: ended.set())
    if workers is not None:
        workers.ask()
        threading.Thread(
            target=workers.ask_again, args=[ended], daemon=True).start()
    try:
        server, _ = start_http_server(port, host, registry)
    except OSError as error:
        raise BatchError('--listen: %s:%s can not be used: %s' % (
                host, port, error.strerror)) from error
    say('listening on http://%s:%s/metrics' % (
            '[%s]' % host if ':' in host else host, server.server_port))
    ended.wait()
    server.shutdown()
    return 0


def say(text):
    print('coop: %s' % clean(text, RECORD), file=sys.stderr, flush=True)


class Collector:
    """Reads the ledger at each scrape; it is registered at prometheus_client.

    :param workers: Workers, None without a broker
    :param is_lasting: whether an error is said, and ``batch_up`` is 0, rather
        than raised
    """

    def __init__(self, database, workers, is_lasting):
        self.database = database
        self.workers = workers
        self.is_lasting = is_lasting
        self.is_up = False
        self._said = None

    def collect(self):
        try:
            found = self.read()
            self.is_up, self._said = True, None
        except Exception as error:
            if not self.is_lasting:
                raise
            self.is_up = False
            if message_of(error) != self._said:
                self._said = message_of(error)
                say(self._said)
            return [self.gauge(*UP, [], [([], 0)])]
        return self.families(found)

    def read(self):
        "Return the BatchMetrics by name of batch; raises DatabaseError."
        from trytond.transaction import Transaction

        from .. import ledger
        from ..database import check_database
        if not self.is_up:
            # Only then, as it takes longer than all the rest
            check_database(self.database)
        try:
            with Transaction().start(
                    self.database, 0, readonly=True) as transaction:
                return ledger.metrics.read_metrics(
                    transaction.connection.cursor())
        except Exception:
            # It may know better what is wrong
            check_database(self.database)
            raise

    def families(self, found):
        "Yield the families of metrics, from BatchMetrics by name of batch."
        yield self.gauge(*UP, [], [([], 1)])
        for name, (what, value_of) in METRICS.items():
            values, labels = [], ['batch']
            for batch, metrics in sorted(found.items()):
                value = value_of(metrics)
                if isinstance(value, dict):
                    labels = ['batch', 'state']
                    values += [([batch, n], v) for n, v in value.items()]
                elif value is not None:
                    values.append(([batch], value))
            yield self.gauge(name, what, labels, values)
        if self.workers is not None:
            served = self.workers.served(
                queue for metrics in found.values()
                for queue in metrics.queues)
            yield self.gauge(*WORKERS, ['queue'], [
                    ([queue], count) for queue, count in sorted(
                        served.items())])

    def gauge(self, name, what, labels, values):
        from prometheus_client.core import GaugeMetricFamily
        family = GaugeMetricFamily(name, what, labels=['database', *labels])
        for of, value in values:
            family.add_metric([self.database, *of], value)
        return family


class Workers:
    "What the workers of a database serve."

    def __init__(self, database):
        self.database = database
        self._counts = None
        self._said = None

    def ask(self):
        "Ask the workers; none answers where the broker is away."
        from ..broker import ask_workers
        try:
            answers = ask_workers(self.database).values()
            self._said = None
        except Exception as error:
            # Old counts would hide that nobody answers
            if message_of(error) != self._said:
                self._said = message_of(error)
                say(self._said)
            answers = []
        self._counts = Counter(
            queue for queues, wrong in answers if not wrong
            for queue in queues)

    def ask_again(self, ended):
        while not ended.wait(ASK):
            self.ask()

    def served(self, queues):
        """Return how many workers serve each queue.

        :param queues: those that may be served by none
        """
        if self._counts is None:
            self.ask()
        return {**dict.fromkeys(queues, 0), **self._counts}

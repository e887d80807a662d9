# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""How ``coop check`` shows what it found: to people, as JSON, as a plugin."""
import time
from dataclasses import asdict, dataclass

from .. import texts
from ..outcome import as_json
from .streams import written

__all__ = [
    'CRITICAL', 'Found', 'OK', 'UNKNOWN', 'WARNING', 'WAYS', 'as_plugin',
    'shown']

#: the states of a check, and the exit status of each for a plugin
OK, WARNING, CRITICAL, UNKNOWN = STATES = [
    'ok', 'warning', 'critical', 'unknown']
#: characters of the line of a plugin: NRPE takes 1024 bytes
LINE = 800


@dataclass
class Found:
    "What was found at one of the things that are checked."
    name: str
    state: str
    #: what is wrong, or one line on what is there
    messages: list[str]


def shown(database, checks, way):
    "Print the Found of checks, an iterable; return the exit status."
    return WAYS[way](database, checks)


def as_text(database, checks):
    status = 0
    for check in checks:
        if check.state != OK:
            status = 1
        for message in check.messages:
            print('%-14s %-5s  %s' % (
                    check.name, 'ok' if check.state == OK else 'WRONG',
                    message), flush=True)
    return max(status, written())


def as_json_(database, checks):
    checks = list(checks)
    state = worst(checks)
    print(as_json({
                'database': database, 'state': state,
                'checks': list(map(asdict, checks))}))
    return max(int(state != OK), written())


def as_monitored(database, checks):
    """Print one line with perfdata, as the plugins of Nagios do.

    The exit status is 0, 1 or 2; that of UNKNOWN, 3, is for a command that
    could check nothing.
    """
    started = time.monotonic()
    checks = list(checks)
    state = worst(checks)
    # What one check cannot do without another, both say
    told = {}
    for wrong in [CRITICAL, WARNING]:
        for check in checks:
            if check.state == wrong:
                for message in check.messages:
                    told.setdefault(message, check.name)
    told = '; '.join('%s: %s' % (name, message)
        for message, name in told.items()) or '%s checks' % len(checks)
    return as_plugin(state, '%s: %s' % (database, told), {
            'time': '%.2fs' % (time.monotonic() - started),
            **measured(database)})


def as_plugin(state, text, figures=()):
    "Print the line of a plugin; return its exit status."
    line = 'BATCH %s - %s' % (
        state.upper(), texts.clean(text, LINE).replace('|', '/'))
    if figures:
        line += ' | ' + ' '.join(
            '%s=%s;;;0' % item for item in figures.items())
    print(line)
    written()
    return STATES.index(state)


def worst(checks):
    return max((check.state for check in checks), key=STATES.index)


def measured(database):
    "Return the sums of metrics of all batches; none without a ledger."
    from trytond.transaction import Transaction

    from .. import ledger
    try:
        with Transaction().start(database, 0, readonly=True) as transaction:
            metrics = list(ledger.metrics.read_metrics(
                    transaction.connection.cursor()).values())
    except Exception:
        # That it does not answer is said already
        return {}
    return {
        'running_executions': sum(m.running for m in metrics),
        'failed_executions': sum(m.failed for m in metrics),
        'open_failures': sum(m.open_failures for m in metrics)}


WAYS = {'text': as_text, 'json': as_json_, 'plugin': as_monitored}

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The commands list, history and show, and the help of a batch."""
import json
import sys
import textwrap

from .. import texts
from ..exceptions import ExecutionError
from ..masking import mask_given, mask_value
from .environment import check_batch, pool_of, reading
from .streams import written

__all__ = ['help_batch', 'history', 'list_', 'show']


def help_batch(options):
    import trytond.config as config

    from ..batch import get_batch
    from ..batch_meta import doc_of
    from ..config import BatchConfig
    from ..given import split_given
    from ..parameters import describe_parameters, from_arguments
    from ..settings import shown
    given, _ = split_given(options.name, from_arguments(options.rest))
    with pool_of(options):
        Batch = get_batch(options.name)
        batch_config = BatchConfig.load(config.get('batch', 'config_file'))
        settings = Batch.resolve_settings(batch_config, given)
        print('usage: coop batch %s [--PARAMETER VALUE ...] '
            '[--SETTING VALUE ...] [options]' % options.name)
        if doc := doc_of(Batch):
            print('\n' + texts.escape(doc, keep='\n'))
        rows = describe_parameters(
            Batch.declared_parameters(),
            lambda name: batch_config.parameter(options.name, name))
        print('\nparameters:')
        _table(rows or [('none',)])
        print('\nsettings (batch.conf, or --SETTING VALUE for one run):')
        _table([
                (name, shown(mask_value(name, value)), origin)
                for name, (value, origin) in settings.items()])
        print('\nbatch.conf.example says what the settings mean; "coop batch '
            '--help" shows the\noptions of the command.')
    return written()


def list_(options):
    from ..batch import get_batches
    from ..batch_meta import doc_of
    from ..outcome import as_json
    with pool_of(options):
        rows = [
            (name, (doc_of(Batch).splitlines() or [''])[0],
                Batch.declared_parameters())
            for name, Batch in get_batches().items()]
    if options.json:
        print(as_json([{
                        'batch': name, 'description': description,
                        'parameters': [{
                                'name': parameter.name,
                                'form': parameter.form,
                                'required': parameter.required}
                            for parameter in parameters.values()]}
                    for name, description, parameters in rows]))
    elif rows:
        _table([row[:2] for row in rows], indent='')
    else:
        print('no module with batches is activated', file=sys.stderr)
    return written()


def history(options):
    from .. import ledger
    from ..outcome import as_json, duration, moment, stamp
    with reading(options) as cursor:
        rows = ledger.figures.history(
            cursor, options.name, options.limit, options.failed,
            options.since)
    if options.name and not rows:
        check_batch(options)
    if options.json:
        print(as_json([{
                        'execution': row.pop('id'), **row,
                        'dry_run': bool(row['dry_run']),
                        'started_at': stamp(row['started_at']),
                        'ended_at': stamp(row['ended_at'])}
                    for row in rows]))
        return written()
    if not rows:
        print('no execution%s%s' % (
                ' of "%s"' % texts.escape(options.name)
                if options.name else '',
                ' that was asked for' if options.failed or options.since
                else ' yet'), file=sys.stderr)
        return written()
    head = ['#', 'batch', 'state', 'started', 'took', 'selected', 'done',
        'failed', 'open', 'left']
    _table([head] + [
            (row['id'],
                row['batch'] + (' (dry run)' if row['dry_run'] else ''),
                row['state'],
                moment(row['started_at']), taken(row, duration),
                *('{:,}'.format(row[n]) if row[n] is not None else '-'
                    for n in ['selected', 'done', 'failed', 'open', 'left']))
            for row in rows])
    return written()


def taken(row, duration):
    if not row['ended_at']:
        return '-'
    return duration((row['ended_at'] - row['started_at']).total_seconds())


def show(options):
    from .. import ledger
    from ..outcome import Outcome
    names = [
        'closes_at', 'parameters', 'settings', 'task_id', 'traceback']
    with reading(options) as cursor:
        outcome = Outcome.load(cursor, options.execution)
        if outcome is None:
            raise ExecutionError(options.execution,
                'does not exist ("coop history" shows the last ones)')
        details = ledger.executions.columns(cursor, options.execution, *names)
        for name in ['parameters', 'settings']:
            details[name] = json.loads(mask_given(details[name]) or '{}')
        details['files'] = ledger.outputs.files(cursor, options.execution)
        details['waiting'] = [
            {'chunk': number, 'error': error}
            for number, error in ledger.failures.waits(
                cursor, options.execution)]
        details['inputs'] = [
            {'path': path, 'archived': archived, 'held': bool(held)}
            for path, archived, held in ledger.inputs.list_inputs(
                cursor, options.execution)]
        # A stream: there may be many, with their tracebacks
        failures = ledger.failures.list_failures(
            cursor, options.execution, options.limit, details=True)
        (show_json if options.json else show_text)(
            outcome, details, failures,
            max(0, outcome.failures.count - options.limit))
    return written()


def show_json(outcome, details, failures, more):
    from ..outcome import as_json, failure_as_dict, stamp
    told = {
        **outcome.as_dict(), **details, 'more_failures': more, 'failures': []}
    for name in ['task_id', 'traceback']:
        del told[name]
    told['closes_at'] = stamp(told['closes_at'])
    # At the end, so that they can be printed one by one
    told['failures'] = told.pop('failures')
    head, _, tail = as_json(told).rpartition('[]')
    print(head, end='[')
    separator = '\n'
    for *failure, _, settled in failures:
        print(separator + textwrap.indent(
                as_json(failure_as_dict(*failure, settled)), '    '), end='')
        separator = ',\n'
    print(('\n  ]' if separator != '\n' else ']') + tail)


def show_text(outcome, details, failures, more):
    from ..ledger.states import FailureState
    from ..ledger.units import shown_unit
    from ..outcome import duration, moment
    from ..settings import shown
    print(outcome.text(
            '%s #%s' % (outcome.batch, outcome.id), details=False))
    print('\nstate:     ', outcome.state)
    print('started:   ', moment(outcome.started_at))
    if details['closes_at']:
        print('window:     until', moment(details['closes_at']))
    if outcome.ended_at:
        print('ended:     ', moment(outcome.ended_at),
            '(%s)' % duration(outcome.seconds))
    print('task:      ', details['task_id'] or '-')
    counts = outcome.counts
    print('chunks:     %s, %s of them split, in %s transactions' % (
            counts['chunks'], counts['split'], counts['transactions']))
    for title in ['parameters', 'settings']:
        print('\n%s:' % title)
        _table([
                (name, shown(value), origin)
                for name, (value, origin) in details[title].items()]
            or [('none',)])
    if details['traceback']:
        print('\n' + texts.clean(
                details['traceback'], texts.TRACEBACK, keep='\n\t'))
    for title, paths in [
            ('files', details['files']), ('missing files', outcome.missing)]:
        if paths:
            print('\n%s:' % title)
            _table([(path,) for path in paths])
    if details['inputs']:
        print('\ninput files:')
        _table([
                (i['path'], 'archived as %s' % i['archived']
                    if i['archived'] else 'held' if i['held']
                    else 'moved away') for i in details['inputs']])
    if details['waiting']:
        print('\nwaiting chunks, and the last trouble of each:')
        _table([
                ('#%s.%s' % (outcome.id, wait['chunk']),
                    texts.clean(wait['error'], texts.TEXT))
                for wait in details['waiting']])
    if outcome.failures.count:
        print('\nfailures (%s):' % ', '.join(
                '{:,} {}'.format(outcome.failure_states[state], state)
                for state in FailureState
                if state in outcome.failure_states))
    for number, units, type_, error, traceback, settled in failures:
        print('\n  #%s.%s  %s: %s: %s' % (
                outcome.id, number,
                'the batch' if units is None
                else 'unit %s' % ', '.join(map(shown_unit, units)),
                texts.excerpt(type_), texts.clean(error, texts.TEXT)))
        for row in settled:
            print('    ' + said_of(*row, len(units or [None])))
        if traceback:
            print(textwrap.indent(texts.clean(
                        traceback, texts.TRACEBACK, keep='\n\t').rstrip(),
                    '    '))
    if more:
        print('\n... and {:,} more; coop show {} --limit N shows N of them'
            .format(more, outcome.id))


def said_of(state, retry, reason, count, size):
    "Return what became of count of the size failures of a chunk."
    told = '%s%s' % ('{:,} of {:,} '.format(count, size)
        if count != size else '', 'taken up' if state == 'open' else state)
    if retry:
        told += ' by #%s (coop show %s)' % (retry, retry)
    if reason:
        told += ': %s' % texts.clean(reason, texts.TEXT)
    return told


def _table(rows, indent='  '):
    rows = [[texts.escape(c) for c in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print(indent + '  '.join(
                c.ljust(w) for c, w in zip(row, widths)).rstrip())

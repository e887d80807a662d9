# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The commands and their options.

Tryton's configuration is loaded before any module of Tryton is used.  Results
go to stdout, everything else to stderr.  Exit status 0: all units are done,
1: not all, 2: the command line is wrong.
"""
import argparse
import csv
import os
import re
import sys
import traceback

from .. import texts
from ..exceptions import BatchError, UsageError
from ..retired import instead_of_option
from . import (
    completion, environment, manage, manual, metrics, report, run, show)
from .moments import moment_of
from .streams import lasting, written

__all__ = ['get_parser', 'main']

#: the commands that read no configuration
WITHOUT_DATABASE = [completion.completion, manual.manual]


class Parser(argparse.ArgumentParser):

    def __init__(self, *args, **kwargs):
        kwargs.setdefault('allow_abbrev', False)
        super().__init__(*args, **kwargs)

    def error(self, message):
        self.exit(2, '%s: %s ("%s --help" shows the usage)\n' % (
                self.prog, texts.clean(message, texts.RECORD), self.prog))


def _common(parser, has_log=True):
    "Add the options of trytond's own commands."
    default = argparse.SUPPRESS

    def shown(name):
        # argparse interprets "%" in a help text
        return (os.environ.get(name) or 'unset').replace('%', '%%')

    parser.add_argument(
        '-c', '--config', dest='configfile', metavar='FILE', action='append',
        default=default, help="configuration file of trytond, may be repeated "
        "(TRYTOND_CONFIG: %s)" % shown('TRYTOND_CONFIG'))
    parser.add_argument(
        '-d', '--database', dest='database_names', metavar='DATABASE',
        action='append', default=default, help="the database "
        "(TRYTOND_DATABASE_NAMES: %s)" % shown('TRYTOND_DATABASE_NAMES'))
    if not has_log:
        return
    parser.add_argument(
        '-v', '--verbose', action='count', default=default,
        help="show the log on stderr; -vv, -vvv: show more of it")
    parser.add_argument(
        '--logconf', metavar='FILE', default=default,
        help="logging configuration file (ConfigParser format)")


def get_parser():
    "Return the parser of the commands; nothing of Tryton is imported."
    parser, _ = _parsers()
    return parser


def _parsers():
    "Return the parser of the commands, and that of the command batch."
    parser = Parser(
        prog='coop', description="Run the batches of a Tryton database.",
        epilog="Exit status: 0: every selected unit is done; 1: not all "
        "units are done; 2: the command line is wrong.")
    parser.add_argument(
        '--version', action='version', version=environment.version())
    _common(parser)
    subparsers = parser.add_subparsers(
        dest='command', metavar='COMMAND', required=True, parser_class=Parser)

    def add(name, func, help, **kwargs):
        subparser = subparsers.add_parser(
            name, help=help, description=help[0].upper() + help[1:] + '.',
            **kwargs)
        if func not in WITHOUT_DATABASE:
            # Celery configures the log of a worker
            _common(subparser, has_log=func is not manage.worker)
        subparser.set_defaults(func=func)
        return subparser

    batch = add('batch', run.batch, "run a batch and wait for its end",
        add_help=False,
        usage='coop batch NAME [--PARAMETER VALUE ...] '
        '[--SETTING VALUE ...] [options]')
    batch.add_argument('name', metavar='NAME', nargs='?', type=_name,
        help='the batch ("coop list" shows them)')
    batch.add_argument('-h', '--help', action='store_true',
        help="show this help, or with NAME the parameters and settings of the "
        "batch")
    batch.add_argument('--local', action='store_true',
        help="run the batch in this process, without broker and workers "
        "(default where no broker is configured)")
    batch.add_argument('--detach', action='store_true',
        help="start the batch, print the number of the execution and do not "
        "wait")
    batch.add_argument('--dry-run', action='store_true',
        help="execute every chunk, roll it back, and say which units would "
        "fail")
    batch.add_argument('--plan', action='store_true',
        help="only select and split, and say how many units and chunks there "
        "are")
    _output(batch)
    batch.set_defaults(parser=batch)

    add('list', show.list_, "show the batches, one per line").add_argument(
        '--json', action='store_true', help="as JSON")

    history = add('history', show.history,
        "show past executions, the newest first")
    history.add_argument('name', metavar='NAME', nargs='?', type=_name,
        help="only those of this batch")
    history.add_argument('--limit', metavar='N', default=20,
        type=_whole(1, 1000000),
        help="how many executions (default: %(default)s)")
    history.add_argument('--failed', action='store_true',
        help="only those that failed or were cancelled")
    history.add_argument('--since', metavar='WHEN', type=moment_of,
        help="only those that ran then or later: yesterday, today, a date or "
        "time as 2026-01-31 or 2026-01-31T18:00, or so long ago as 12h or 7d")
    history.add_argument('--json', action='store_true', help="as JSON")

    one = add(
        'show', show.show, "show one execution: counts, failures, files")
    _execution(one)
    one.add_argument('--limit', metavar='N', default=100,
        type=_whole(1, 1000000),
        help="how many failures (default: %(default)s)")
    one.add_argument('--json', action='store_true', help="as JSON")

    night = add('report', report.report,
        "report what ran, failed, is overdue or was left out, on one page")
    night.add_argument('--since', metavar='WHEN', default='yesterday',
        type=moment_of,
        help="yesterday, today, a date or time as 2026-11-26 or "
        "2026-11-26T18:00, or so long ago as 12h or 7d "
        "(default: %(default)s)")
    night.add_argument('--html', action='store_true', help="as HTML")
    night.add_argument('--mail', metavar='TO', action='append', default=[],
        type=_text, help="send it to this e-mail address instead; may be "
        "repeated")

    for again in [
            add('resume', run.resume,
                "go on with the chunks of an execution that are left"),
            add('retry', run.retry,
                "run the open failures of an execution, as a new execution")]:
        _execution(again)
        again.add_argument('--local', action='store_true',
            help="run in this process, without broker and workers")
        _output(again)
    _units(again)

    dismiss = add('dismiss', manage.dismiss,
        "mark open failures of an execution as settled otherwise")
    _execution(dismiss)
    _units(dismiss)
    dismiss.add_argument('--reason', metavar='TEXT', type=_text,
        help="why; coop show shows it")

    cancel = add('cancel', manage.cancel,
        "cancel an execution; running chunks are finished")
    _execution(cancel)

    prune = add('prune', manage.prune,
        "delete old executions, except those with open failures")
    prune.add_argument('name', metavar='NAME', nargs='?', type=_name,
        help="only those of this batch")
    prune.add_argument('--days', metavar='N', default=90,
        type=_whole(0, 36500),
        help="delete executions that ended more than N days ago "
        "(default: %(default)s)")
    prune.add_argument('-q', '--quiet', action='store_true',
        help="print only what is kept because of open failures")

    check = add('check', manage.check,
        "check configuration, database, broker, workers, directories")
    way = check.add_mutually_exclusive_group()
    way.add_argument('--json', action='store_true', help="as JSON")
    way.add_argument('--plugin', action='store_true',
        help="as a plugin of Nagios and Icinga: one line, and exit status 0 "
        "(ok), 1 (warning), 2 (critical) or 3 (unknown)")

    measured = add('metrics', metrics.metrics,
        "print metrics of all batches, as OpenMetrics")
    way = measured.add_mutually_exclusive_group()
    way.add_argument('--textfile', metavar='PATH', type=_textfile,
        help="write them to this file, for the textfile collector of "
        "node_exporter")
    way.add_argument('--listen', metavar='HOST:PORT', type=_address,
        help="answer the scrapes of Prometheus until SIGTERM")

    add('worker', manage.worker, "run a Celery worker for batches",
        usage='coop worker [-d DATABASE ...] [options of celery worker]',
        epilog='All other options are passed to "celery worker": '
        '--concurrency N, -Q QUEUE, --hostname NODE, --logfile FILE, '
        '--loglevel LEVEL ... Its log is /var/log/celeryd/NODE.log unless '
        '--logfile says otherwise.')

    shell = add('completion', completion.completion,
        "print what lets a shell complete commands, batches and parameters",
        epilog='In ~/.bashrc: eval "$(coop completion bash)"')
    shell.add_argument('shell', metavar='SHELL', choices=completion.SHELLS,
        help='%s (default: %%(default)s)' % ', '.join(completion.SHELLS),
        nargs='?', default=completion.SHELLS[0])

    add('man', manual.manual, "print the manual page of these commands",
        epilog='coop man > ~/.local/share/man/man1/coop.1').set_defaults(
        get_parser=get_parser)
    return parser, batch


def _name(text):
    if not re.fullmatch(r'\w[\w.-]*', text):
        raise argparse.ArgumentTypeError(
            'is "%s", expected the name of a batch ("coop list" shows them)'
            % text)
    return text


def _whole(minimum, maximum, form='a whole number from %s to %s'):
    "Return the type of an argument that is a whole number."
    def parse(text):
        if not re.fullmatch('[0-9]{1,10}', text) \
                or not minimum <= int(text) <= maximum:
            raise argparse.ArgumentTypeError('is "%s", expected %s' % (
                    text, form % (minimum, maximum) if '%' in form else form))
        return int(text)
    return parse


def _textfile(text):
    if not text.endswith('.prom'):
        raise argparse.ArgumentTypeError(
            'is "%s", expected a name that ends with .prom: node_exporter '
            'reads no other file' % texts.clean(text, texts.EXCERPT))
    return text


def _address(text):
    "Return (host, port)."
    found = re.fullmatch(r'(\[([0-9a-fA-F:.]+)\]|[\w.-]+):([0-9]{1,5})', text)
    if not found or int(found[3]) > 65535:
        raise argparse.ArgumentTypeError(
            'is "%s", expected HOST:PORT, as localhost:9753 or [::1]:9753'
            % texts.clean(text, texts.EXCERPT))
    return found[2] or found[1], int(found[3])


def _execution(parser):
    parser.add_argument('execution', metavar='N',
        # The range of an integer column of PostgreSQL
        type=_whole(1, 2 ** 31 - 1, 'the number of an execution'),
        help="the number of the execution")


def _units(parser):
    parser.add_argument('--unit', metavar='UNITS', action='append', default=[],
        type=_text, help="only these, separated by commas, each as coop show "
        "names it; may be repeated (default: all open failures)")


def _text(text):
    if not text.strip() or text != texts.escape(text):
        raise argparse.ArgumentTypeError(
            'is "%s", expected a text of one line' % texts.clean(
                text, texts.EXCERPT))
    return text


def _output(parser):
    parser.add_argument('--json', action='store_true',
        help="print the outcome as JSON on stdout")
    parser.add_argument('-q', '--quiet', action='store_true',
        help="print only the summary of a failure")


def parse(argv):
    "Return the options; ``rest`` has the arguments that are not known."
    parser = get_parser()
    options, rest = parser.parse_known_args(argv)
    if options.command == 'batch' and (problem := instead_of_option(
                rest, getattr(options, 'configfile', []))):
        raise UsageError(problem)
    if rest and options.command not in {'batch', 'worker'}:
        parser.error('unrecognized arguments: %s' % ' '.join(rest))
    if options.command == 'batch' and not options.name:
        if options.help:
            options.parser.print_help()
            options.parser.exit()
        options.parser.error('the name of a batch is missing: coop batch NAME')
    options.rest = rest
    for name, default in [
            ('configfile', [os.environ.get('TRYTOND_CONFIG')]),
            ('database_names', _databases()),
            ('verbose', 0),
            ('logconf', os.environ.get('TRYTOND_LOGGING_CONFIG'))]:
        if not hasattr(options, name):
            setattr(options, name, default)
    return options


def _databases():
    text = os.environ.get('TRYTOND_DATABASE_NAMES')
    try:
        return next(csv.reader([text])) if text else []
    except csv.Error as error:
        raise UsageError('TRYTOND_DATABASE_NAMES is no line of comma separated'
            ' names of databases: %s' % error) from error


def main(argv=None):
    "Run the command and return its exit status."
    options = None
    argv = sys.argv[1:] if argv is None else argv
    if '_ARGCOMPLETE' in os.environ:
        completion.offer(*_parsers())
    with lasting():
        try:
            options = parse(argv)
            if options.func not in WITHOUT_DATABASE:
                environment.load_environment(options)
            return options.func(options)
        except SystemExit as leave:
            # --help or --version has printed its text
            if leave.code and is_plugin(argv):
                return unknown('the command line is wrong')
            return leave.code or written()
        except BatchError as error:
            if is_plugin(argv):
                return unknown(error)
            return fail(error, error.exit_status)
        except KeyboardInterrupt:
            return 1
        except Exception as error:
            if getattr(options, 'verbose', 0):
                traceback.print_exc()
            return fail('%s: %s (-v shows where)' % (
                    texts.name_of(type(error)),
                    ' '.join(texts.text_of(error).split())))


def is_plugin(argv):
    "Return whether a plugin is meant, also where the options are wrong."
    return '--plugin' in argv and argv[0] == 'check'


def unknown(problem):
    "Say as a plugin that nothing could be checked; return its status."
    from .check_shown import UNKNOWN, as_plugin
    return as_plugin(UNKNOWN, str(problem))


def fail(problem, status=1):
    "Print the problem as one line on stderr; return the status."
    print('coop: %s' % texts.clean(str(problem), texts.RECORD),
        file=sys.stderr)
    return status

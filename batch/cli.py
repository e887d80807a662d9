# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The commands.  Tryton's configuration is loaded before anything of it is.

Results go to stdout, everything else to stderr.  0: all was done, 1: not all,
2: the command line itself was wrong.
"""
import argparse
import csv
import os
import sys

from . import commands, texts
from .exceptions import BatchError

__all__ = ['get_parser', 'main']


class Parser(argparse.ArgumentParser):

    def __init__(self, *args, **kwargs):
        kwargs.setdefault('allow_abbrev', False)
        super().__init__(*args, **kwargs)

    def error(self, message):
        self.exit(2, '%s: %s ("%s --help" shows the usage)\n' % (
                self.prog, texts.clean(message, texts.RECORD), self.prog))


def _common(parser):
    "Add the options of trytond's own commands."
    default = argparse.SUPPRESS
    parser.add_argument(
        '-c', '--config', dest='configfile', metavar='FILE', action='append',
        default=default, help="configuration file of trytond, may be repeated "
        "(TRYTOND_CONFIG: %s)" % (os.environ.get('TRYTOND_CONFIG') or 'unset'))
    parser.add_argument(
        '-d', '--database', dest='database_names', metavar='DATABASE',
        action='append', default=default, help="the database "
        "(TRYTOND_DATABASE_NAMES: %s)"
        % (os.environ.get('TRYTOND_DATABASE_NAMES') or 'unset'))
    parser.add_argument(
        '-v', '--verbose', action='count', default=default,
        help="show more of the log on stderr; -vv, -vvv: still more")
    parser.add_argument(
        '--logconf', metavar='FILE', default=default,
        help="logging configuration file (ConfigParser format)")


def get_parser():
    "Return the parser of the commands; nothing of Tryton is imported."
    parser = Parser(
        prog='coop', description="Run the batches of a Tryton database.",
        epilog="Exit status: 0: every selected unit was treated; 1: not, or "
        "not all; 2: the command line is wrong.")
    parser.add_argument(
        '--version', action='version', version=commands.version())
    _common(parser)
    subparsers = parser.add_subparsers(
        dest='command', metavar='COMMAND', required=True, parser_class=Parser)

    def add(name, help, **kwargs):
        subparser = subparsers.add_parser(
            name, help=help, description=help[0].upper() + help[1:] + '.',
            **kwargs)
        _common(subparser)
        return subparser

    batch = add('batch', "run a batch and wait for its end", add_help=False,
        usage='coop batch NAME [--PARAMETER VALUE ...] [options]')
    batch.add_argument('name', metavar='NAME', nargs='?',
        help='the batch ("coop list" shows them)')
    batch.add_argument('-h', '--help', action='store_true',
        help="show this, or with NAME its parameters and settings")
    batch.add_argument('--local', action='store_true',
        help="run it in this process, without broker and workers "
        "(default where no broker is configured)")
    batch.add_argument('--detach', action='store_true',
        help="start it, print its number and do not wait")
    batch.add_argument('--dry-run', action='store_true',
        help="execute every chunk, roll it back, and say what would fail")
    batch.add_argument('--plan', action='store_true',
        help="only select and split, say what would be done")
    _output(batch)
    batch.set_defaults(parser=batch)

    add('list', "show the batches, a line each")

    history = add('history', "show past executions, the newest first")
    history.add_argument('name', metavar='NAME', nargs='?',
        help="only those of this batch")
    history.add_argument('--limit', type=int, default=20, metavar='N',
        help="how many (default: %(default)s)")
    history.add_argument('--json', action='store_true', help="as JSON")

    show = add('show', "show one execution: counts, failures, files")
    _execution(show)
    show.add_argument('--json', action='store_true', help="as JSON")

    for again in [
            add('resume', "go on with what is left of an execution"),
            add('retry', "run again just the units that failed")]:
        _execution(again)
        again.add_argument('--local', action='store_true',
            help="in this process, without broker and workers")
        _output(again)

    cancel = add('cancel', "stop an execution; what runs ends its chunk")
    _execution(cancel)

    prune = add('prune', "forget old executions, but none with open failures")
    prune.add_argument('name', metavar='NAME', nargs='?',
        help="only those of this batch")
    prune.add_argument('--days', type=_days, default=90, metavar='N',
        help="how long they are kept after their end (default: %(default)s)")

    add('check', "check configuration, database, broker, workers, "
        "directories")

    worker = add('worker', "run a Celery worker for batches",
        usage='coop worker [-d DATABASE ...] [options of celery worker]',
        epilog='All other options are passed to "celery worker": '
        '--concurrency N, -Q QUEUE, --hostname NODE, --logfile FILE, '
        '--loglevel LEVEL ... Its log is /var/log/celeryd/NODE.log unless '
        '--logfile says otherwise.')
    worker.set_defaults(passes_on=True)
    return parser


def _days(text):
    days = int(text)
    if days < 0:
        raise ValueError(text)
    return days


_days.__name__ = 'number of days'


def _number(text):
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            'is "%s", expected the number of an execution' % text) from None


def _execution(parser):
    parser.add_argument('execution', metavar='N', type=_number,
        help="the number of the execution")


def _output(parser):
    parser.add_argument('--json', action='store_true',
        help="print the outcome as JSON on stdout")
    parser.add_argument('-q', '--quiet', action='store_true',
        help="print nothing but the summary of a failure")


def parse(argv):
    "Return the options, with what the parser does not know in ``rest``."
    parser = get_parser()
    options, rest = parser.parse_known_args(argv)
    if rest and options.command not in {'batch', 'worker'}:
        parser.error('unrecognized arguments: %s' % ' '.join(rest))
    if options.command == 'batch' and not options.name:
        if options.help:
            options.parser.print_help()
            options.parser.exit()
        options.parser.error('the name of a batch is missing')
    options.rest = rest
    environment = os.environ.get('TRYTOND_DATABASE_NAMES')
    for name, default in [
            ('configfile', [os.environ.get('TRYTOND_CONFIG')]),
            ('database_names', next(csv.reader([environment]))
                if environment else []),
            ('verbose', 0),
            ('logconf', os.environ.get('TRYTOND_LOGGING_CONFIG'))]:
        if not hasattr(options, name):
            setattr(options, name, default)
    return options


def main(argv=None):
    "Run the command and return its exit status."
    options = parse(sys.argv[1:] if argv is None else argv)
    try:
        return commands.run(options)
    except BatchError as error:
        print('coop: %s' % texts.clean(str(error), texts.RECORD),
            file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 1

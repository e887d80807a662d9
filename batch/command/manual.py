# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The manual page, made of the parsers of the commands."""
import argparse
import re

from ..internals import arguments_of
from . import environment
from .streams import written

__all__ = ['manual', 'page_of']

#: what the variables are, as (name, text)
ENVIRONMENT = [
    ('TRYTOND_CONFIG', 'configuration file of trytond, without -c'),
    ('TRYTOND_DATABASE_NAMES', 'the database, without -d; of a worker all '
        'its databases, separated by commas'),
    ('TRYTOND_LOGGING_CONFIG', 'logging configuration file, without '
        '--logconf'),
    ('TRYTOND_TZ', 'the time zone of the server'),
    ]
EXIT_STATUS = [
    ('0', 'every selected unit is done, or the command did what it does'),
    ('1', 'not all units are done, or something is wrong'),
    ('2', 'the command line is wrong'),
    ]


def manual(options):
    "Print the page, for man."
    print(page_of(options.get_parser()), end='')
    return written()


def page_of(parser):
    "Return the source of the manual page of the commands, for man."
    commands, = [
        a for a in arguments_of(parser)
        if isinstance(a, argparse._SubParsersAction)]
    common = list(described(parser))
    lines = [
        '.TH COOP 1 "" "trytond\\-batch %s" "Batches for Tryton"'
        % roff(environment.version()),
        '.SH NAME', 'coop \\- %s' % roff(sentence(parser.description)),
        '.SH SYNOPSIS', '.B coop', '.I COMMAND', '[options]',
        '.SH OPTIONS', 'Each command takes these:', *tagged(common),
        '.SH COMMANDS']
    for name, command in commands.choices.items():
        lines += [
            '.SS "coop %s"' % roff(name), roff(command.description), '.PP',
            roff(usage_of(command)),
            *tagged(row for row in described(command) if row not in common)]
        if command.epilog:
            lines += ['.PP', roff(command.epilog)]
    for title, rows in [
            ('EXIT STATUS', EXIT_STATUS), ('ENVIRONMENT', ENVIRONMENT)]:
        lines += ['.SH ' + title, *tagged(rows)]
    return '\n'.join(lines) + '\n'


def usage_of(parser):
    "Return one line, without the options of all commands."
    usage = ' '.join(parser.format_usage().split())
    return usage.removeprefix('usage: ').replace('[-h] ', '').replace(
        '[-c FILE] [-d DATABASE] [-v] [--logconf FILE]', '[options]')


def sentence(text):
    return text[0].lower() + text[1:].rstrip('.')


def described(parser):
    "Yield (names, text) of the arguments of a parser."
    for action in arguments_of(parser):
        if action.help in {None, argparse.SUPPRESS} or isinstance(
                action, argparse._SubParsersAction):
            continue
        value = action.metavar or action.dest.upper()
        names = ', '.join(action.option_strings) or value
        if action.option_strings and action.nargs != 0:
            names += ' ' + value
        text = action.help % {**vars(action), 'prog': parser.prog}
        # Not what they are for whoever makes the page
        yield names, re.sub(r'\((TRYTOND_\w+): .*\)$', r'(\1)', text)


def tagged(rows):
    for names, text in rows:
        yield from ['.TP', '.B ' + roff(names), roff(text)]


def roff(text):
    "Return a text as it is written in the source of a manual page."
    text = text.replace('\\', '\\e').replace('-', '\\-')
    return '\\&' + text if text[:1] in {'.', "'"} else text

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the shell offers on a tab: commands, batches, parameters, settings.

By argcomplete, the extra ``completion``: the shell runs the command with the
variable ``_ARGCOMPLETE`` and the line that is typed.  No database is asked:
the batches are those of all installed modules.
"""
import argparse
import contextlib
import os
import shlex

from ..exceptions import UsageError
from ..internals import arguments_of
from ..settings import SETTINGS
from .environment import load_configuration

__all__ = ['SHELLS', 'completion', 'offer']

SHELLS = ['bash', 'zsh', 'fish']


def completion(options):
    "Print what a shell has to source."
    try:
        from argcomplete import shellcode
    except ImportError as error:
        raise UsageError('the completion needs argcomplete: pip install '
            "'trytond-batch[completion]'") from error
    print(shellcode(['coop'], shell=options.shell))
    return 0


def offer(parser, batch):
    """Print what fits the line that is typed, and end the process.

    :param batch: the parser of the command batch
    """
    try:
        from argcomplete import autocomplete
    except ImportError:
        # What is printed would be taken for a word to offer
        os._exit(1)
    known = {}
    with contextlib.suppress(Exception):
        known = parameters_by_batch(parser)
    for action in [a for a in every_action(parser) if a.metavar == 'NAME']:
        action.completer = lambda **_: sorted(known)
    names = set(SETTINGS)
    for word in words():
        names.update(known.get(word, ()))
    for name in sorted(names):
        with contextlib.suppress(argparse.ArgumentError):
            batch.add_argument('--%s' % name.replace('_', '-'))
    autocomplete(parser, always_complete_options='long')


def words():
    "Return the complete words of the line before the cursor."
    line = os.environ.get('COMP_LINE', '')
    line = line[:int(os.environ.get('COMP_POINT') or len(line))]
    try:
        return shlex.split(line)
    except ValueError:
        # A quote is still open
        return line.split()


def parameters_by_batch(parser):
    "Return the names of the parameters of each installed batch, by name."
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    options.add_argument('-c', '--config', action='append')
    given, _ = options.parse_known_args(words())
    load_configuration([
            os.path.expanduser(name) for name in given.config
            or [os.environ.get('TRYTOND_CONFIG')] if name])
    from trytond.pool import Pool

    from ..installed import installed_batches
    Pool.start()
    return installed_batches()


def every_action(parser):
    "Yield the arguments of a parser, and of its commands."
    for action in arguments_of(parser):
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from every_action(command)

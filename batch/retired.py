# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What batches and command lines had before, with what to write instead.

Imports nothing of Tryton or Celery.
"""
import re
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = [
    'HELPERS', 'instead_of_argument', 'instead_of_helper', 'instead_of_hook',
    'instead_of_option', 'instead_of_parameter', 'instead_of_setting',
    'instead_of_value']

#: settings of before -> what to write, with the value that was there
SETTINGS = {
    'job_size': 'split_size = %s',
    'transaction_size': 'split_size = %s (a chunk is one transaction)',
    'split': 'isolate = %s',
    'disable': 'disabled = %s',
    'mono_divide': 'split_mode = divide and concurrency = 1',
    'mono_number': 'split_mode = number and concurrency = 1',
    }
#: what to write where their value was 0
ZERO = {
    'job_size': 'split_mode = divide and split_size = 1 (all in one chunk)',
    'transaction_size': 'nothing: a chunk is one transaction',
    }
#: hooks of before -> what to write
HOOKS = {
    'get_batch_step': (
        "default_config_items = {'split_size': 4}, with the number that it "
        "returns"),
    'get_batch_stepping_mode': (
        "default_config_items = {'split_mode': 'divide'}, with the mode that "
        "it returns"),
    }
HOOKS['on_job_fail'] = HOOKS['on_job_success'] = (
    'finish(cls, outcome, files), which is called once at the end')
#: arguments of hooks before, without a type -> what to write
ARGUMENTS = {
    'connection_date': (
        'treatment_date, the day that it is for; today is Date.today()'),
    'logger': 'cls.logger in its place, without the argument',
    }
#: methods of before that no other class is likely to have -> what to write
HELPERS = {
    'archive_treated_files': (
        'a BatchRootFiles, which archives a file when all of it is done'),
    'get_file_names_and_paths': (
        'a BatchRootFiles with the parameter "directory", or sorted('
        'os.scandir(directory))'),
    }
#: all methods of before -> what to write
METHODS = {
    **HELPERS,
    'enqueue': 'start(**parameters), which selects by itself',
    }
#: options of before -> what to write
OPTIONS = {
    'connection_date': (
        'the day on which it runs is that of the server; the day that it is '
        'for is --treatment-date DATE'),
    'name': 'the name needs no option: coop batch NAME',
    }
OPTIONS['connexion_date'] = OPTIONS['connection_date']
_date = re.compile(r'\d{4}-\d{1,2}-\d{1,2}')


def instead_of_setting(name: str, value: Any = None) -> str | None:
    """Return what to write instead of a setting of before, None for no such.

    :param value: as it was written, None where there is none
    """
    text = SETTINGS.get(name)
    if text is None:
        return None
    if name in ZERO and str(value).strip() == '0':
        text = ZERO[name]
    elif '%s' in text:
        text %= ('...' if value is None
            else {True: 'yes', False: 'no'}.get(value, value)
            if isinstance(value, bool) else value)
    return 'is a setting of before; write %s' % text


def instead_of_value(name: str, value: Any) -> str | None:
    "Return what to write instead of a value of before, None for no such."
    if name == 'split_mode' and value in {'mono_divide', 'mono_number'}:
        return 'which is a mode of before; write %s' % SETTINGS[value]
    return None


def instead_of_hook(name: str) -> str | None:
    "Return what to write instead of a hook of before, None for no such."
    if name in HOOKS:
        return 'is a hook of before and would not be called; write %s' % (
            HOOKS[name])
    return None


def instead_of_argument(name: str) -> str | None:
    "Return what to write instead of an argument of before, None for no such."
    if name in ARGUMENTS:
        return 'is an argument of before; write %s' % ARGUMENTS[name]
    return None


def instead_of_helper(name: str) -> str | None:
    "Return what to write instead of a method of before, None for no such."
    if name in METHODS:
        return 'is a method of before; write %s' % METHODS[name]
    return None


def instead_of_parameter(name: str, text: str | None) -> str | None:
    "Return what to give instead of an option of before, None for no such."
    if name in OPTIONS:
        return 'is an option of before; %s' % OPTIONS[name]
    if (found := instead_of_setting(name, text)) is None:
        return None
    found = found.replace('a setting', 'an option').replace('write', 'give')
    return re.sub(
        r'(\w+) = (\S+)',
        lambda match: '--%s %s' % (match[1].replace('_', '-'), match[2]),
        found)


def instead_of_option(
        rest: Sequence[str], files: Iterable[str] = ()) -> str | None:
    """Return what to give instead of a short option of before.

    None where there is none.  ``-c`` was a date before, and is a file now.

    :param rest: arguments that are no options of now
    :param files: what was given with ``-c``
    """
    for before, option in zip(['', *rest], rest):
        # Behind a name it is a value
        if option.startswith('-t') and (
                not before.startswith('--') or '=' in before):
            return '"-t" is an option of before; give --treatment-date DATE'
    for file in files:
        if _date.fullmatch(file):
            return '"-c %s" was a date before, and names a file now; %s' % (
                file, OPTIONS['connection_date'])
    return None

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Who may know whom, and what must stay light."""
import ast
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest

from devel.site import script
from trytond.modules.batch.command import cli

ROOT = Path(__file__).resolve().parent.parent
#: rooms by name; one of a wing is "wing.room"
OWN = {
    '.'.join(path.relative_to(ROOT / 'batch').with_suffix('').parts): path
    for path in sorted((ROOT / 'batch').rglob('*.py'))}
CELERY = {'celery', 'celery_tryton', 'kombu', 'billiard'}
#: what each room may know: its own floor and those behind it
FLOORS = [
    {'command', 'chunk_view', 'client_actions', 'dashboard', 'digest',
        'digest_text', 'error_view', 'execution_rows', 'execution_view',
        'failure_view',
        'start_view', 'start_wizard', 'subscription_view', 'view_tools'},
    {'keeper_process', 'worker'},
    {'rescue'},
    {'broker', 'celery_fixes', 'tasks', 'testing', 'testing_checks',
        'testing_environment'},
    {'engine', 'savepoints'},
    {'', 'batch', 'batch_meta', 'class_checks', 'conf_items', 'file_batch',
        'installed', 'searching', 'view_validate'},
    {'database', 'execution', 'failure', 'outcome', 'overdue', 'read_only',
        'subscription'},
    {'ledger'},
    {'aliases', 'chunking', 'config', 'connections', 'context', 'directories',
        'error_lines', 'exceptions', 'files', 'given', 'internals', 'json_log',
        'logging', 'lost_messages', 'mailing', 'masking', 'names', 'output',
        'parameter_types', 'parameters', 'positions', 'retired', 'schema',
        'settings', 'signatures', 'start_form', 'texts', 'tracing',
        'transaction', 'window'},
    ]
#: whose docstring promises it is tested without them
PROMISE = 'Imports nothing of Tryton or Celery'
PACKAGE = 'trytond.modules.batch'


@lru_cache
def imports(name):
    """Return what a room imports anywhere: own rooms and other packages.

    Also what is imported inside of its functions.
    """
    own, foreign = set(), set()
    for node in ast.walk(ast.parse(OWN[name].read_text())):
        if isinstance(node, ast.Import):
            modules = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ''
            if node.level:
                # What the dots stand for
                wing = name.split('.')[:-node.level]
                module = '.'.join(filter(None, [PACKAGE, *wing, module]))
            modules = [(module, alias.name) for alias in node.names]
        else:
            continue
        for module, member in modules:
            if not (module + '.').startswith(PACKAGE + '.'):
                foreign.add(module.split('.')[0])
                continue
            room = module.removeprefix(PACKAGE).lstrip('.')
            own.update({room, '.'.join(filter(None, [room, member]))})
    return own & set(OWN), foreign


def reach(name):
    "Return what a room imports itself and through others."
    own, foreign, todo = set(), set(), [name]
    while todo:
        rooms, packages = imports(todo.pop())
        foreign |= packages
        todo.extend(rooms - own)
        own |= rooms
    return own, foreign


def test_the_imports_are_found():
    assert imports('command.run')[0] >= {
        'command.follow', 'tasks', 'engine.preview'}
    assert imports('tasks')[1] >= {'celery', 'celery_tryton', 'trytond'}
    assert 'celery' in reach('command.run')[1]


PURE = [
    name for name, path in OWN.items()
    if PROMISE in ' '.join(path.read_text().split())]


def test_what_needs_no_tryton_promises_it():
    assert len(PURE) >= 15


@pytest.mark.parametrize('name', PURE)
def test_a_pure_room_knows_neither_tryton_nor_celery(name):
    _, foreign = reach(name)
    assert not foreign & (CELERY | {'trytond', 'sql'})


def floor(name):
    found = [
        index for index, rooms in enumerate(FLOORS)
        if name.removesuffix('__init__').split('.')[0] in rooms]
    assert len(found) == 1, name
    return found[0]


@pytest.mark.parametrize('name', sorted(OWN))
def test_imports_go_down(name):
    above = {
        room for room in imports(name)[0]
        # What the package itself holds is loaded when it is asked for
        if name != '__init__' and floor(room) < floor(name)}
    assert not above


def test_no_room_imports_itself_through_others():
    for name in OWN:
        # The two that only gather their rooms
        if not name.endswith('__init__'):
            own = set()
            for room in imports(name)[0] - {'ledger.__init__'}:
                own |= reach(room)[0] | {room}
            assert name not in own, name


def test_rooms_are_small():
    lines = sorted(
        len(path.read_text().splitlines()) for path in OWN.values())
    assert lines[-1] <= 400
    assert lines[len(lines) // 2] <= 150


def test_of_the_ledger_the_contract_knows_rows_and_units():
    own, foreign = reach('batch')
    assert not foreign & CELERY
    assert {name for name in own if '.' in name} <= {
        'ledger.rows', 'ledger.units'}


@pytest.mark.parametrize('name', sorted(
        name for name in OWN if floor(name) >= floor('engine')))
def test_what_executes_knows_no_celery(name):
    assert not reach(name)[1] & CELERY


def test_the_ledger_knows_only_the_ground():
    rooms = {name for name in OWN if name.startswith('ledger.')}
    known = set().union(*(imports(name)[0] for name in rooms))
    assert known - rooms <= {
        'aliases', 'connections', 'exceptions', 'masking', 'texts',
        'transaction'}


def test_nobody_imports_the_command_but_its_script():
    assert [name for name in OWN if not name.startswith('command.')
        and any(room.startswith('command') for room in imports(name)[0])
        ] == []
    assert 'from trytond.modules.batch.command.cli import main' in (
        ROOT / 'scripts' / 'coop').read_text()


def test_nothing_imports_the_test_kit_which_knows_no_celery():
    assert [name for name in OWN if 'testing' in imports(name)[0]] == []
    assert [name for name in OWN if 'savepoints' in imports(name)[0]] == [
        'testing']
    assert not reach('testing')[1] & CELERY


@pytest.mark.parametrize('args', [
        ['-c', 'import trytond.modules.batch'],
        [script('coop'), '--help'],
        [script('coop'), 'batch', '--help']])
def test_what_is_needed_often_loads_little(args):
    result = subprocess.run(
        [sys.executable, '-X', 'importtime', *args], capture_output=True,
        text=True, check=True)
    loaded = set(re.findall(
            r'^import time: [\d |]+\| +(\S+)$', result.stderr, re.MULTILINE))
    assert 'trytond.modules.batch' in loaded
    heavy = {'trytond.backend', 'trytond.model', 'trytond.pool'} | CELERY
    assert not loaded & heavy


def test_the_papers_name_only_commands_that_exist():
    action, = [a for a in cli.get_parser()._actions if a.dest == 'command']
    targets = re.findall(
        r'^([\w-]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE)
    for path in [ROOT / 'README.rst', *(ROOT / 'doc').glob('**/*.rst')]:
        if not path.exists():
            continue
        text = path.read_text()
        # In a literal block or between backquotes
        for word, known in [('coop', action.choices), ('make', targets)]:
            named = set(re.findall(
                    r'(?:^ +(?:\$ )?|``)%s ([a-z][\w-]*)' % word, text,
                    re.MULTILINE))
            assert named <= set(known), path

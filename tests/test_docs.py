# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the paper says is there, and what is there it says."""
import ast
import enum
import random
import re
import typing
from pathlib import Path

import pytest

from trytond.modules.batch import (
    BatchRoot, ledger, parameter_types, parameters, texts)
from trytond.modules.batch.command import cli
from trytond.modules.batch.engine import bisection
from trytond.modules.batch.ledger import units
from trytond.modules.batch.outcome import KIND, UNIT
from trytond.modules.batch.settings import SETTINGS, shown

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / 'README.rst', *sorted((ROOT / 'doc').glob('*.rst'))]
#: parameters of the batches that the documents run
PARAMETERS = {
    '--again', '--archive', '--books', '--company', '--country', '--crash',
    '--day', '--directory', '--due', '--errors', '--extra-args', '--kind',
    '--no-notify',
    '--notify', '--pattern', '--treatment-date', '--width'}
#: options of other programs
FOREIGN = {
    '--activate-dependencies', '--all', '--email', '--now', '--owner',
    '--repeats', '--scale', '--upgrade', '--write'}
#: options of before, which migration.rst tells
RETIRED = {'--connection', '--connexion-date', '--job', '--name'}
COMMANDS = next(
    a for a in cli.get_parser()._actions if a.dest == 'command').choices

documents = pytest.mark.parametrize(
    'path', DOCUMENTS, ids=lambda path: path.name)


def read(name):
    return (ROOT / name).read_text(encoding='utf-8')


def words(text):
    "Return text without the white space of its layout."
    return ' '.join(text.split())


def literals(text):
    "Yield what stands in literal blocks, line by line, and in literals."
    for block in re.findall(
            r'(?:::|^\.\. code-block:: \w+)\n\n((?:[ ]+.*\n|\n)+)', text,
            re.MULTILINE):
        # A string of a shell may go on in the next line
        yield from block.replace('\\\n', ' ').splitlines()
    for literal in re.findall(r'``(.+?)``', text, re.DOTALL):
        yield words(literal)


def calls(text):
    "Yield (command, its options) of each call of coop."
    one = r'\bcoop (?!->)((?:(?!\bcoop )[^;|#&])+)'
    for line in literals(text):
        for call in re.findall(one, line):
            command, *arguments = call.split()
            yield command, {
                a.split('=')[0] for a in arguments
                if re.match('--?[a-zA-Z]', a)}


def options(parser):
    return {o for action in parser._actions for o in action.option_strings}


def options_of_celery_worker():
    from celery.bin.worker import worker
    return {o for parameter in worker.params for o in parameter.opts}


def allowed(command):
    found = options(COMMANDS[command])
    if command == 'batch':
        found |= PARAMETERS
        for name in SETTINGS:
            name = name.replace('_', '-')
            found |= {'--' + name, '--no-' + name}
    elif command == 'worker':
        found |= options_of_celery_worker()
    return found


def blocks(text, language):
    for block in re.findall(
            r'^\.\. code-block:: %s\n\n((?:[ ]+.*\n|\n)+)' % language, text,
            re.MULTILINE):
        lines = block.splitlines()
        yield '\n'.join(line[4:] for line in lines)


def rows(text):
    "Return the cells of all rows of the list tables."
    return [
        tuple(words(cell).replace('``', '') for cell in re.split(
                r'\n     - ', row))
        for table in re.findall(
            r'\.\. list-table::\n(?:   :.*\n)+\n((?:   .*\n|\n)+)', text)
        for row in re.split(r'(?:^|\n)   \* - ', table)[1:]]


def tables(text):
    "Return the rows of cells of each list table."
    return [
        rows(table) for table in re.split(r'(?=^\.\. list-table::)', text,
            flags=re.MULTILINE)[1:]]


# The limits

def test_the_limits_of_what_is_shown_are_documented():
    table, = re.findall(
        r'^=+ =+\nWhat +Characters that are kept\n(.*?\n)\n',
        read('doc/usage.rst'), re.MULTILINE | re.DOTALL)
    limits = [
        texts.TEXT, texts.TRACEBACK, texts.RECORD, texts.EXCERPT, KIND,
        UNIT]
    assert [int(n.replace(',', '')) for n in re.findall(
            r'  ([\d,]+)(?:;|$)', table, re.MULTILINE)] == limits
    assert units.SHOWN == texts.EXCERPT
    told = words(table)
    assert 'last %s, of each' % texts.CHAIN in told
    assert 'last %s frames, of a group %s errors' % (
        texts.FRAMES, texts.GROUP) in told


# The commands

@documents
def test_every_command_and_option_in_a_document_exists(path):
    found = list(calls(path.read_text(encoding='utf-8')))
    assert found or path.name in {'index.rst', 'releases.rst'}
    assert [(command, used - allowed(command)) for command, used in found
        if command not in COMMANDS or used - allowed(command)] == []


@documents
def test_every_option_that_a_document_names_alone_exists(path):
    known = set().union(*map(allowed, COMMANDS), options(cli.get_parser()))
    named = {
        option
        for literal in literals(path.read_text(encoding='utf-8'))
        for option in re.findall(r'(?<![\w-])--[a-z][a-z-]+', literal)}
    assert named - known - FOREIGN - (
        RETIRED if path.name == 'migration.rst' else set()) == set()


@pytest.mark.parametrize('name', ['README.rst', 'doc/usage.rst'])
def test_every_command_is_documented(name):
    assert set(COMMANDS) - {command for command, _ in calls(read(name))} \
        == set()


def test_every_option_of_a_command_is_documented():
    text = ' '.join(path.read_text(encoding='utf-8') for path in DOCUMENTS)
    every = set().union(*map(options, COMMANDS.values()))
    assert [
        option for option in sorted(every) if option.startswith('--')
        # Told by their short forms
        and option not in {'--config', '--database', '--verbose'}
        and option not in text] == []


# Settings and states

def test_every_setting_is_documented_with_its_form_and_default():
    documented = {
        row[0]: row[1:3] for row in rows(read('doc/configuration.rst'))
        if len(row) == 4}
    assert documented.pop('Setting') == ('Type', 'Default')
    assert list(documented) == list(SETTINGS)
    for name, (form, default) in documented.items():
        assert default == shown(SETTINGS[name].default)
        # The template's goes on
        assert SETTINGS[name].form.startswith(form)
        assert form == SETTINGS[name].form or name == 'filepath_template'


@pytest.mark.parametrize('title, edges', [
        ('States of an execution', ledger.states.EXECUTION),
        ('States of a chunk', ledger.states.CHUNK),
        ('States of a failure', ledger.states.FAILURE)])
def test_every_state_is_documented_with_its_causes(title, edges):
    text = read('doc/design.rst')
    _, found, text = text.partition(
        '\n%s\n%s\n' % (title, '-' * len(title)))
    assert found
    text = re.split(r'\n.+\n-----+\n', text)[0]
    head, *documented = rows(text)
    assert head == ('From', 'To', 'Cause')
    assert documented == [
        (old or 'nothing', new, cause) for (old, new), cause in edges.items()]


def test_every_column_of_the_ledger_is_documented():
    text = read('doc/design.rst')
    names = re.findall(
        r'^    (\w+) = (?:fields\.|_Masked)',
        ''.join(map(read, ['batch/execution.py', 'batch/failure.py',
                    'batch/subscription.py'])), re.MULTILINE)
    assert len(names) > 30
    assert [name for name in names if '``%s``' % name not in text] == []


def test_every_file_of_the_module_is_documented():
    text = read('doc/design.rst')
    documented = set(re.findall(r'^``([\w/]+\.py)`` ', text, re.MULTILINE))
    assert documented == {
        str(path.relative_to(ROOT / 'batch'))
        for path in (ROOT / 'batch').rglob('*.py')}


def test_every_type_of_a_parameter_is_documented():
    text = read('doc/usage.rst')
    (head, *documented), = [
        table for table in tables(text) if table[0][0] == 'Type']
    assert head == ('Type', 'Expected', 'On the command line')
    space = {**vars(typing), **vars(parameter_types), 'Mode': enum.Enum(
            'Mode', ['FAST', 'SLOW'])}
    for type_, form, line in documented:
        parameter = parameters.Parameter('x', eval(type_, space))
        if type_.startswith('Optional'):
            parameter = parameters.Parameter('x', int, optional=True)
        assert parameter.form == form
        for value in re.findall(
                r'--x (\S+?)[:;]?(?= |$)', line.replace("'", '')):
            parameters.parse(parameter, value, 'a.b')
    named = {type_ for type_, *_ in documented}
    assert {kind.__name__ for kind in parameter_types.KINDS} <= named


def test_every_hook_is_documented():
    source = ast.parse(read('batch/batch.py'))
    root, = [
        node for node in source.body
        if isinstance(node, ast.ClassDef) and node.name == 'BatchRoot']
    # From here on come those for the tasks
    names = [
        node.name for node in root.body if isinstance(node, ast.FunctionDef)]
    names = names[:names.index('__setup__')]
    text = read('doc/usage.rst')
    assert [name for name in names if name != 'current_settings'
        and not re.search(r'\b%s\b' % name, text)] == []


def transactions(bad, suspects):
    "Return how many it takes to isolate the bad units of 1000."
    count, chunks = 0, [range(1000)]
    while chunks:
        chunk, count = list(chunks.pop()), count + 1
        failing = [index for index, unit in enumerate(chunk) if unit in bad]
        if failing and len(chunk) > 1:
            chunks.extend(
                bisection.parts(chunk, failing[0] if suspects else None))
    return count


def test_the_figures_of_the_suspects_are_true():
    chance = random.Random(1)
    found = re.findall(
        r'^(\d+) +(\d+) +(\d+) +1001$', read('doc/design.rst'), re.MULTILINE)
    assert len(found) == 3
    for bad, with_suspects, in_halves in (map(int, row) for row in found):
        nights = [
            set(chance.sample(range(1, 999), bad)) for _ in range(200)]
        halves = [transactions(night, False) for night in nights]
        assert in_halves == pytest.approx(sum(halves) / 200, rel=0.02)
        # The first or the last of a chunk has no neighbours on one side
        assert max(transactions(night, True) for night in nights) \
            == with_suspects


# The README

def test_the_readme_stays_short():
    assert len(read('README.rst').splitlines()) < 250


def test_the_batch_of_the_readme_is_one():
    code, = blocks(read('README.rst'), 'python')
    space = {}
    exec(compile(code, 'README.rst', 'exec'), space)
    parameter, = space['Capitals'].declared_parameters().values()
    assert parameter.option == '--country' and parameter.required


def test_the_batch_of_the_migration_is_accepted():
    code, _ = blocks(read('doc/migration.rst'), 'python')
    space = {'BatchRoot': BatchRoot}
    exec(compile(code, 'migration.rst', 'exec'), space)
    Terminate = space['Terminate']
    Terminate.__setup__()
    Terminate.__post_setup__()
    assert list(Terminate.declared_parameters()) == [
        'treatment_date', 'extra_args']
    assert Terminate.get_conf_item('split_size') == 10


@documents
def test_the_code_in_a_document_is_python(path):
    for code in blocks(path.read_text(encoding='utf-8'), 'python'):
        ast.parse(code)


@documents
def test_a_document_names_only_files_that_exist(path):
    names = re.findall(
        r'``((?:doc|examples)/[\w./]+|[A-Z]+|batch\.conf\.example)``',
        path.read_text(encoding='utf-8'))
    assert [name for name in names if not (ROOT / name).exists()
        and not name.isupper()] == []


@documents
def test_the_documents_name_no_version_but_the_declared_one(path):
    declared = re.search(
        r'^version=(\S+)', read('batch/tryton.cfg'), re.MULTILINE)[1]
    text = path.read_text(encoding='utf-8')
    assert set(re.findall(r'\bbatch (\d+\.\d+\.\d+)', text)) <= {declared}


def test_the_requirements_are_those_of_the_package():
    text = words(read('README.rst'))
    setup = read('setup.py')
    assert "'trytond >=8.0,<8.3'" in setup and 'trytond 8.0 or 8.2' in text
    assert "'celery[redis] >=5.4'" in setup and 'Celery 5.4 or later' in text
    versions = re.findall(r'Python :: (3\.\d+)', setup)
    assert 'Python %s to %s' % (versions[0], versions[-1]) in text


def test_make_does_what_the_readme_says():
    targets = re.findall(r'^([a-z]+):', read('Makefile'), re.MULTILINE)
    assert set(re.findall(r'\$ make (\w+)', read('README.rst'))) \
        == {'demo', 'test'} <= set(targets)

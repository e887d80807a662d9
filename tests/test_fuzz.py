# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Whatever is typed or configured: it works, or one line says what is wrong.

Never another exception than a BatchError.
"""
import contextlib
import io
import json
import logging
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import trytond.config as config
from trytond.modules.batch.command import cli
from trytond.modules.batch.config import BatchConfig
from trytond.modules.batch.exceptions import ConfigError
from trytond.modules.batch.settings import SETTINGS, shown

COMMANDS = next(
    a for a in cli.get_parser()._actions if a.dest == 'command').choices
#: values that are right for some setting or nearly so, and some that never are
VALUES = [
    'number', 'divide', '0', '1', '-1', '1e3', '1' * 40, '9' * 5000, '0.1',
    '1e-9', '1e400', 'nan', '5%', '100.5%', 'none', 'NONE', 'yes', 'Off', '{}',
    '{"a": 1}', '{"a": NaN}', '[' * 100000, '/tmp', '~', '~x',
    '%{FILENAME}', '%{FILENAME}%{x', '../%{FILENAME}', '%Y', '%', '%Q',
    '\udcff', '\0', '\x1b[31m', 'é\u2028', '١٢', '1_0', 'a b', '']
values = st.sampled_from(VALUES) | st.text(max_size=20)


def one_line_of(error):
    assert str(error)
    assert '\n' not in str(error)
    assert error.exit_status in {1, 2}


# batch.conf

keys = st.sampled_from([*SETTINGS, 'day', 'Split_Size', '', '[', '#', '%'])
lines = st.one_of(
    st.sampled_from([
            '[default]', '[contract.renew]', '[DEFAULT]', '[', '[]', '[a]]',
            '[a\rb]', '\ufeff', '  continued', '; a comment', '\x0c', '\x85']),
    st.tuples(keys, st.sampled_from(['=', ' = ', ':', '']), values).map(
        ''.join),
    st.text(max_size=20))


@given(st.lists(lines, max_size=8).map('\n'.join) | st.binary(max_size=40))
@example('[default]\nsplit_size = 5\n[contract.renew]\nday = 1')
def test_whatever_stands_in_batch_conf_is_read_or_refused(content):
    if isinstance(content, str):
        content = content.encode('utf-8', 'surrogatepass')
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(content)
        try:
            batch_config = BatchConfig.load(file.name)
            batch_config.check({'contract.renew': ['day'], 'party.move': []})
        except ConfigError as error:
            return one_line_of(error)
        settings = batch_config.resolve('contract.renew')
    # The ledger takes it
    json.dumps(settings, allow_nan=False)
    assert list(settings) == list(SETTINGS)
    batch_config.parameter('contract.renew', 'day')


@pytest.mark.parametrize('name', SETTINGS)
@given(values | st.none() | st.booleans() | st.integers() | st.floats()
    | st.lists(st.integers(), max_size=2) | st.binary(max_size=3)
    | st.dictionaries(st.text(max_size=2), st.floats(), max_size=2))
@example(10 ** 400)
@example('[' * 100000)
def test_whatever_the_value_of_a_setting_is_it_is_one_or_refused(name, value):
    setting = SETTINGS[name]
    try:
        read = setting.value_of(value)
    except ValueError as error:
        assert str(error).startswith('expected %s, got ' % setting.form)
        assert '\n' not in str(error) and len(str(error)) < 500
        return
    # The same value, in the ledger and in batch.conf
    assert json.loads(json.dumps(read, allow_nan=False)) == read
    assert setting.value_of(read) == setting.value_of(shown(read)) == read


def test_every_default_is_of_its_form():
    for setting in SETTINGS.values():
        assert setting.value_of(setting.default) == setting.default
        assert setting.value_of(shown(setting.default)) == setting.default


# The command line

OPTIONS = sorted({
        option for parser in [cli.get_parser(), *COMMANDS.values()]
        for action in parser._actions for option in action.option_strings})
# No system hands on a NUL
arguments = st.one_of(
    st.sampled_from(OPTIONS), st.sampled_from(OPTIONS).flatmap(
        lambda option: values.map(lambda value: option + '=' + value)),
    st.sampled_from([
            'absent', '-d', '-dabsent', '-cnowhere', '/', '/dev/null', '--',
            '-', '--a=1', '-x', 'ir.ui.view.validate', '5', '-5']),
    values).map(lambda text: text.replace('\0', ''))


@contextlib.contextmanager
def untouched():
    "Leave the process as it was, but for what is imported."
    uri = config.get('database', 'uri')
    logger, level = logging.getLogger('batch'), logging.root.level
    try:
        yield
    finally:
        logging.captureWarnings(False)
        logger.propagate = True
        logging.root.setLevel(level)
        config.set('database', 'uri', uri)


def run(argv):
    "Run coop in this process; return its status and what it printed."
    stdout, stderr = io.StringIO(), io.StringIO()
    with untouched(), contextlib.redirect_stdout(stdout), \
            contextlib.redirect_stderr(stderr):
        status = cli.main(argv)
    return status, stdout.getvalue(), stderr.getvalue()


@pytest.mark.parametrize('command', [*COMMANDS, ''])
@given(st.lists(arguments, max_size=5))
def test_whatever_is_typed_is_done_or_refused_in_one_line(command, argv):
    status, stdout, stderr = run([*filter(None, [command]), *argv])
    # As a plugin, a check has a status of its own
    assert status in ({0, 1, 2, 3} if command == 'check' else {0, 1, 2})
    assert 'Traceback' not in stderr and '-v shows where' not in stderr
    if status == 0 or command == 'check' and stdout:
        # The answer to --help, --version and check
        assert stdout and stderr == ''
    else:
        assert stdout == ''
        assert stderr.count('\n') == 1 and stderr.endswith('\n'), stderr


@given(st.text(st.characters(exclude_categories=['Cs']), max_size=20)
    | st.sampled_from([
            'a,b', '"a', '"a"b', 'a\nb', ',', '""', ' ']))
def test_whatever_names_the_databases_is_done_or_refused(text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('TRYTOND_DATABASE_NAMES', text.replace('\0', ''))
        for command in [['history'], ['worker'], ['batch', 'a.b']]:
            status, stdout, stderr = run(command)
            assert status in {1, 2} and stdout == ''
            assert stderr.count('\n') == 1, stderr

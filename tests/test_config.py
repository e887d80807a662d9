# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import json
import os
import re
from pathlib import Path

import pytest

from trytond.modules.batch.config import BatchConfig
from trytond.modules.batch.exceptions import ConfigError, DefinitionError
from trytond.modules.batch.settings import (
    PLACEHOLDERS, SETTINGS, example, failures_allowed, shown)

EXAMPLE = Path(__file__).parent.parent / 'batch.conf.example'
WHOLE_1 = 'a whole number from 1 to 1000000'
WHOLE_0 = 'a whole number from 0 to 1000, or none'
FAILURES = 'a number of units as 10, a percentage as 5%, or none'
SECONDS = 'a number of seconds from 0.1 to 1000000, or none'
DIRECTORY = 'an absolute path, or none'
TEMPLATE = (
    'a path below root_dir with %{FILENAME} in it, and of other placeholders'
    ' only %{BATCHNAME}, %{DATABASE}, %{TIMESTAMP}, %{EXECUTION}, %{CHUNK}')
STRFTIME = 'a format of strftime as %Y-%m-%d'
UNTIL = 'a time of day as 06:00, or none'
JSON = 'a JSON object as {"company": 1}'


@pytest.fixture
def load(tmp_path):
    "Load the lines of a batch.conf; messages name it as FILE."
    def load(*lines, encoding='utf-8'):
        path = tmp_path / 'batch.conf'
        path.write_bytes('\n'.join(lines).encode(encoding))
        return BatchConfig.load(str(path))
    return load


def message(error):
    return re.sub(r'/\S*batch\.conf\b', 'FILE', str(error.value))


@pytest.mark.parametrize('name, given, expected', [
        ('split_mode', 'divide', 'divide'),
        ('split_size', '10', 10),
        ('split_size', 10, 10),
        ('concurrency', ' 1 ', 1),
        ('isolate', 'no', False),
        ('until', '06:00', '06:00'),
        ('until', '6:05', '06:05'),
        ('until', '23:59', '23:59'),
        ('until', 'none', None),
        ('retry', '0', 0),
        ('retry', 'none', None),
        ('retry', None, None),
        ('max_failures', '10', '10'),
        ('max_failures', 10, '10'),
        ('max_failures', '0', '0'),
        ('max_failures', '5%', '5%'),
        ('max_failures', '0.5%', '0.5%'),
        ('max_failures', '100%', '100%'),
        ('max_failures', 'None', None),
        ('time_limit', '300', 300),
        ('time_limit', 300.0, 300),
        ('time_limit', '0.5', 0.5),
        ('time_limit', 'none', None),
        ('queue', 'slow', 'slow'),
        ('user', 'batch', 'batch'),
        ('context', '{"company": 1}', {'company': 1}),
        ('context', {'language': ('fr', 'en')}, {'language': ['fr', 'en']}),
        ('overlap', 'skip', 'skip'),
        ('overlap', 'wait', 'wait'),
        ('overlap', 'allow', 'allow'),
        ('disabled', 'Yes', True),
        ('disabled', 'off', False),
        ('disabled', True, True),
        ('root_dir', '/srv/50%/out', '/srv/50%/out'),
        ('root_dir', Path('/srv'), '/srv'),
        ('root_dir', '~/out', os.path.expanduser('~/out')),
        ('root_dir', 'none', None),
        ('filepath_template',
            '%{BATCHNAME}%{TIMESTAMP}/%{EXECUTION}-%{CHUNK}%{FILENAME}',
            '%{BATCHNAME}%{TIMESTAMP}/%{EXECUTION}-%{CHUNK}%{FILENAME}'),
        ('filepath_template', '%{DATABASE}/%{FILENAME}',
            '%{DATABASE}/%{FILENAME}'),
        ('filepath_timestamp_format', '%Y%%', '%Y%%'),
        ])
def test_a_setting_reads_texts_and_values_of_python(name, given, expected):
    value = SETTINGS[name].value_of(given)
    assert value == expected and type(value) is type(expected)
    assert json.loads(json.dumps(value)) == value


@pytest.mark.parametrize('name, given, form, got', [
        ('split_mode', 'halves', 'number or divide', '"halves"'),
        ('split_mode', 1, 'number or divide', '1'),
        ('split_size', '0', WHOLE_1, '"0"'),
        ('split_size', 'many', WHOLE_1, '"many"'),
        ('split_size', '1.5', WHOLE_1, '"1.5"'),
        ('split_size', 1.5, WHOLE_1, '1.5'),
        ('split_size', True, WHOLE_1, 'True'),
        ('split_size', None, WHOLE_1, 'None'),
        ('split_size', 'none', WHOLE_1, '"none"'),
        ('concurrency', '', 'a whole number from 1 to 10000', '""'),
        ('retry', '-1', WHOLE_0, '"-1"'),
        ('max_failures', '-1', FAILURES, '"-1"'),
        ('max_failures', -1, FAILURES, '-1'),
        ('max_failures', 0.5, FAILURES, '0.5'),
        ('max_failures', '5 percent', FAILURES, '"5 percent"'),
        ('max_failures', '100.5%', FAILURES, '"100.5%"'),
        ('max_failures', True, FAILURES, 'True'),
        ('time_limit', '0', SECONDS, '"0"'),
        ('time_limit', '5m', SECONDS, '"5m"'),
        ('time_limit', 'inf', SECONDS, '"inf"'),
        ('time_limit', 'nan', SECONDS, '"nan"'),
        ('time_limit', True, SECONDS, 'True'),
        ('isolate', 'never', 'yes or no', '"never"'),
        ('until', '6', UNTIL, '"6"'),
        ('until', '24:00', UNTIL, '"24:00"'),
        ('until', '06:00:00', UNTIL, '"06:00:00"'),
        ('until', 6, UNTIL, '6'),
        ('queue', '', 'the name of a queue', '""'),
        ('queue', 3, 'the name of a queue', '3'),
        ('queue', ['slow'], 'the name of a queue', "['slow']"),
        ('user', 1, 'the login of a user', '1'),
        ('user', 'root\nqueue = slow', 'the login of a user',
            '"root queue = slow"'),
        ('context', '[1]', JSON, '"[1]"'),
        ('context', "{'company': 1}", JSON, '"{\'company\': 1}"'),
        ('context', '{"rate": NaN}', JSON, '"{"rate": NaN}"'),
        ('context', '{"rate": 1e999}', JSON, '"{"rate": 1e999}"'),
        ('context', {'company': b'1'}, JSON, "{'company': b'1'}"),
        ('overlap', 'Skip', 'fail, skip, wait or allow', '"Skip"'),
        ('disabled', 'maybe', 'yes or no', '"maybe"'),
        ('disabled', 0, 'yes or no', '0'),
        ('root_dir', 'out', DIRECTORY, '"out"'),
        ('root_dir', '', DIRECTORY, '""'),
        ('root_dir', 1, DIRECTORY, '1'),
        ('filepath_template', 'out.txt', TEMPLATE, '"out.txt"'),
        ('filepath_template', '%{FILENAME}%{DAY}', TEMPLATE,
            '"%{FILENAME}%{DAY}"'),
        ('filepath_template', '%{FILENAME}%{CHUNK', TEMPLATE,
            '"%{FILENAME}%{CHUNK"'),
        ('filepath_template', '/tmp/%{FILENAME}', TEMPLATE,
            '"/tmp/%{FILENAME}"'),
        ('filepath_template', '../%{FILENAME}', TEMPLATE, '"../%{FILENAME}"'),
        ('filepath_template', 1, TEMPLATE, '1'),
        ('filepath_timestamp_format', '', STRFTIME, '""'),
        ('filepath_timestamp_format', '%Q', STRFTIME, '"%Q"'),
        ('filepath_timestamp_format', '%Y%', STRFTIME, '"%Y%"'),
        ])
def test_a_malformed_value_is_told_with_the_expected_form(
        load, name, given, form, got):
    problem = 'expected %s, got %s' % (form, got)
    with pytest.raises(ValueError) as error:
        SETTINGS[name].value_of(given)
    assert str(error.value) == problem
    with pytest.raises(DefinitionError) as error:
        BatchConfig().resolve('a.b', defaults={name: given})
    assert str(error.value) == (
        'batch "a.b", default_config_items: "%s": %s' % (name, problem))
    if isinstance(given, str) and '\n' not in given:
        with pytest.raises(ConfigError) as error:
            load('[a.b]', '%s = %s' % (name, given))
        assert message(error) == 'FILE: [a.b] %s: %s' % (name, problem)


@pytest.mark.parametrize('text, selected, allowed', [
        (None, 1000, None),
        ('0', 1000, 0),
        ('10', 5, 10),
        ('5%', 1000, 50),
        ('5%', 19, 0),
        ('0.1%', 3000, 3),
        ('0%', 1000, 0),
        ('100%', 7, 7),
        ])
def test_failures_are_allowed_by_number_or_percentage(
        text, selected, allowed):
    assert failures_allowed(text, selected) == allowed


def test_without_a_file_all_is_default():
    config = BatchConfig.load()
    config.check({})
    assert config.file is None
    assert config.parameter('a.b', 'limit') is None
    assert config.resolve('a.b', retry=3) == {
        **{name: (setting.default, 'default')
            for name, setting in SETTINGS.items()},
        'retry': (3, '[database] of trytond.conf')}


def test_a_value_comes_from_own_section_then_default_then_class(load):
    config = load(
        '\ufeff[default]', 'split_size = 2', 'queue = q2', 'user = u2',
        'retry = 2',
        '[a.b]', 'split_size = 1', 'retry = none', 'root_dir = /srv/%d',
        '[c.d]', 'user = u9')
    resolved = config.resolve(
        'a.b', retry=7, fixed={'concurrency': '1', 'user': 'u0'},
        defaults={'split_size': 3, 'queue': 'q3', 'overlap': 'wait'})
    assert {n: v for n, v in resolved.items() if v[1] != 'default'} == {
        'split_size': (1, '[a.b] of %s' % config.file),
        'root_dir': ('/srv/%d', '[a.b] of %s' % config.file),
        'queue': ('q2', '[default] of %s' % config.file),
        'overlap': ('wait', 'the class'),
        'concurrency': (1, 'fixed by the class'),
        'user': ('u0', 'fixed by the class'),
        'retry': (7, '[database] of trytond.conf'),
        }
    assert list(resolved) == list(SETTINGS)
    assert config.resolve('c.d')['retry'] == (
        2, '[default] of %s' % config.file)
    assert config.resolve('c.d')['user'][0] == 'u9'


def test_a_resolved_value_can_be_changed_without_harm():
    BatchConfig().resolve('a.b')['context'][0]['company'] = 1
    assert BatchConfig().resolve('a.b')['context'][0] == {}


def test_what_the_class_fixed_may_be_repeated_but_not_changed(load):
    config = load('[a.b]', 'concurrency = 4', 'split_size = 1')
    assert config.resolve('a.b', fixed={'split_size': 1})['split_size'] == (
        1, 'fixed by the class')
    with pytest.raises(ConfigError) as error:
        config.resolve('a.b', fixed={'concurrency': 1})
    assert message(error) == (
        'FILE: [a.b] concurrency: is 4, but the batch is only right with 1;'
        ' remove this line')
    assert (error.value.section, error.value.key) == ('a.b', 'concurrency')
    with pytest.raises(ConfigError, match='is none, but .* with 30; remove'):
        load('[a.b]', 'time_limit = none').resolve(
            'a.b', fixed={'time_limit': 30})
    with pytest.raises(ConfigError, match='is yes, but .* with no; remove'):
        load('[a.b]', 'disabled = 1').resolve('a.b', fixed={'disabled': False})


@pytest.mark.parametrize('attribute', [
        'default_config_items', 'fixed_config_items'])
@pytest.mark.parametrize('name, value, problem', [
        ('splitsize', 1, 'unknown setting "splitsize"; did you mean'
            ' "split_size"?'),
        ('colour', 'red', 'unknown setting "colour"; what a batch needs of'
            ' its own is a parameter: make it an argument of "execute" with a'
            " default (colour='red')"),
        ('concurrency', 0,
            '"concurrency": expected a whole number from 1 to 10000, got 0'),
        ])
def test_a_class_with_a_bad_setting_is_refused(
        attribute, name, value, problem):
    argument = attribute.removesuffix('_config_items') + 's' * (
        attribute[0] == 'd')
    with pytest.raises(DefinitionError) as error:
        BatchConfig().resolve('a.b', **{argument: {name: value}})
    assert str(error.value) == 'batch "a.b", %s: %s' % (attribute, problem)


def test_a_parameter_comes_from_own_section_then_default(load):
    config = load(
        '[default]', 'limit = 5', 'mail = no', '[a.b]', 'limit = 50%',
        'Country = FR')
    assert config.parameter('a.b', 'limit') == (
        '50%', '[a.b] of %s' % config.file)
    assert config.parameter('a.b', 'mail') == (
        'no', '[default] of %s' % config.file)
    assert config.parameter('a.b', 'Country')[0] == 'FR'
    assert config.parameter('a.b', 'country') is None
    assert config.parameter('c.d', 'limit')[0] == '5'


def test_an_indented_line_after_an_empty_one_is_a_key(load):
    config = load('[a.b]', 'split_size = 5', '', '  concurrency = 2')
    assert config.resolve('a.b')['concurrency'][0] == 2


def test_a_path_below_the_home_directory_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'batch.conf').write_text('[default]\nqueue = slow\n')
    config = BatchConfig.load('~/batch.conf')
    assert config.resolve('a.b')['queue'] == (
        'slow', '[default] of %s' % (tmp_path / 'batch.conf'))


def test_settings_and_parameters_pass_the_check(load):
    load('[default]', 'queue = slow', 'country = FR',
        '[contract.renew]', 'treatment_date = 2026-11-24', 'retry = 1',
        '[party.move]', 'country = DE').check({
            'contract.renew': ['treatment_date'], 'party.move': ['country']})


def test_the_example_is_the_table_of_settings():
    text = EXAMPLE.read_text(encoding='utf-8')
    assert text == example(), (
        'write batch.conf.example again: it is what config.example() returns')
    assert max(map(len, text.splitlines())) < 80


def test_the_example_without_its_comment_signs_changes_nothing(load):
    config = load(*re.sub('^#(?! |$)', '', example(), flags=re.M).split('\n'))
    assert {n: v for n, (v, _) in config.resolve('a.b', retry=5).items()} == {
        n: v for n, (v, _) in BatchConfig().resolve('a.b', retry=5).items()}
    assert set(config.texts['default']) == set(SETTINGS)
    assert config.resolve('contract.renew')['split_size'][0] == 20


@pytest.mark.parametrize('setting', SETTINGS.values(), ids=list(SETTINGS))
def test_a_default_is_one_of_its_own_values(setting):
    assert setting.value_of(shown(setting.default)) == setting.default
    assert setting.help.endswith('.') and not setting.form.endswith('.')


def test_the_form_of_the_template_names_each_placeholder():
    for name in PLACEHOLDERS:
        assert '%%{%s}' % name in SETTINGS['filepath_template'].form


# All that is wrong

def test_all_that_is_wrong_with_a_file_is_found_at_once(load, tmp_path):
    lines = [
        '[default]', 'split_size = many', 'nonsense', 'split_sise = 5',
        '[a.b]', 'queue = slow', 'queue = fast', 'concurrency = 0',
        'colour = red', '[c.c]', '[a.b]', 'retry = often', '[d.d]',
        'overlap = never']
    with pytest.raises(ConfigError, match='stands twice'):
        load(*lines)
    wrong = []
    config = BatchConfig.load(str(tmp_path / 'batch.conf'), wrong)
    wrong += config.unknown({'a.b': ['limit'], 'd.d': []})
    assert [
        re.sub(r'FILE: |; did.*|, got.*', '', message_of(error))
        for error in wrong] == [
        '[a.b] queue: stands twice (again in line 7); remove one',
        '[a.b]: stands twice (again in line 11); merge the two',
        'line 3: "nonsense" is neither a [section] nor "key = value"',
        '[default] split_size: expected %s' % WHOLE_1,
        '[a.b] concurrency: expected a whole number from 1 to 10000',
        '[d.d] overlap: expected fail, skip, wait or allow',
        '[default] split_sise: is no setting, and no parameter of any batch',
        '[a.b] colour: is no setting, and no parameter of this batch ("coop '
        'batch a.b --help" shows them)',
        '[c.c]: no batch has this name ("coop list" shows the batches)']
    assert config.resolve('a.b')['queue'][0] == 'slow'


def message_of(error):
    return re.sub(r'/\S*batch\.conf\b', 'FILE', str(error))


def test_each_line_that_changes_what_is_fixed_is_found(load):
    config = load('[a.b]', 'concurrency = 4', 'split_size = 2', 'retry = 1')
    found = config.contradictions(
        'a.b', {'concurrency': 1, 'split_size': 1, 'retry': 1})
    assert [error.key for error in found] == ['concurrency', 'split_size']


def test_a_batch_of_another_database_may_have_a_section(load):
    asked = []

    def installed():
        asked.append(True)
        return {'c.d': ['country'], 'e.f': []}

    batches = {'a.b': ['limit']}
    load('[default]', 'limit = 1', '[a.b]', 'limit = 2').check(
        batches, installed)
    assert not asked
    config = load('[default]', 'country = FR', '[c.d]', 'country = FR',
        'what_its_extensions_say = 1')
    config.check(batches, installed)
    assert asked
    with pytest.raises(ConfigError, match='country'):
        config.check(batches)
    with pytest.raises(ConfigError) as error:
        load('[c.c]').check(batches, installed)
    assert message(error) == 'FILE: [c.c]: no batch has this name; did you ' \
        'mean "c.d"? ("coop list" shows the batches)'
    # Its settings are those of any other
    with pytest.raises(ConfigError, match='expected a whole number'):
        load('[c.d]', 'split_size = many')

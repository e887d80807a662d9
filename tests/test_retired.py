# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What batches, batch.conf and command lines had before: each says what now.

The table of doc/migration.rst has the same messages.
"""
import logging
import re
import shutil
from datetime import date
from pathlib import Path

import pytest
from scene import one_line

from trytond.modules import batch as module
from trytond.modules.batch import BatchRoot, context
from trytond.modules.batch.command import cli
from trytond.modules.batch.config import BatchConfig
from trytond.modules.batch.exceptions import (
    ConfigError, DefinitionError, ParameterError, UsageError)
from trytond.modules.batch.parameters import Parameter, resolve_parameters
from trytond.modules.batch.testing_environment import environment

MIGRATION = ' '.join(Path(__file__).parent.parent.joinpath(
        'doc', 'migration.rst').read_text(encoding='utf-8').split())
only_in_process = pytest.mark.parametrize(
    'stage', ['in-process'], indirect=True)


def documented(message):
    "Return whether the table of doc/migration.rst has the message."
    return '``%s``' % message in MIGRATION


SETTINGS = [
    ('job_size', '20', 'is a setting of before; write split_size = 20'),
    ('job_size', '0', 'is a setting of before; write split_mode = divide and '
        'split_size = 1 (all in one chunk)'),
    ('transaction_size', '20', 'is a setting of before; write split_size = 20 '
        '(a chunk is one transaction)'),
    ('transaction_size', '0', 'is a setting of before; write nothing: a chunk '
        'is one transaction'),
    ('split', 'no', 'is a setting of before; write isolate = no'),
    ('disable', 'yes', 'is a setting of before; write disabled = yes'),
    ('mono_divide', '4', 'is a setting of before; write split_mode = divide '
        'and concurrency = 1'),
    ('mono_number', '4', 'is a setting of before; write split_mode = number '
        'and concurrency = 1'),
    ]


@pytest.mark.parametrize('name, value, message', SETTINGS)
def test_a_setting_of_before_names_what_to_write(name, value, message):
    for section in ['default', 'a.b']:
        config = BatchConfig('FILE', {section: {name: value}})
        with pytest.raises(ConfigError) as error:
            config.check({'a.b': []})
        assert str(error.value) == 'FILE: [%s] %s: %s' % (
            section, name, message)
        # Unless the batch has a parameter of that name
        config.check({'a.b': [name]})
    with pytest.raises(DefinitionError) as error:
        BatchConfig().resolve('a.b', defaults={name: value})
    assert str(error.value) == (
        'batch "a.b", default_config_items: "%s" %s' % (name, message))
    assert documented(message)


def test_a_value_of_python_is_written_as_batch_conf_has_it():
    with pytest.raises(DefinitionError, match='write isolate = no$'):
        BatchConfig().resolve('a.b', defaults={'split': False})
    with pytest.raises(DefinitionError, match='write split_mode = divide'):
        BatchConfig().resolve('a.b', defaults={'job_size': 0})


@pytest.mark.parametrize('mode', ['divide', 'number'])
def test_a_mode_of_before_names_what_to_write(mode):
    message = {
        'divide': 'expected number or divide, got "mono_divide"; which is a '
        'mode of before; write split_mode = divide and concurrency = 1',
        'number': 'expected number or divide, got "mono_number"; which is a '
        'mode of before; write split_mode = number and concurrency = 1',
        }[mode]
    with pytest.raises(ConfigError) as error:
        BatchConfig('FILE', {'a.b': {'split_mode': 'mono_' + mode}})
    assert str(error.value) == 'FILE: [a.b] split_mode: ' + message
    with pytest.raises(DefinitionError) as error:
        BatchConfig().resolve('a.b', defaults={'split_mode': 'mono_' + mode})
    assert str(error.value) == (
        'batch "a.b", default_config_items: "split_mode": ' + message)
    assert documented(message)


OPTIONS = [
    ('connection_date', '2020-01-31', 'is an option of before; the day on '
        'which it runs is that of the server; the day that it is for is '
        '--treatment-date DATE'),
    ('connexion-date', '2020-01-31', 'is an option of before; the day on '
        'which it runs is that of the server; the day that it is for is '
        '--treatment-date DATE'),
    ('name', None, 'is an option of before; the name needs no option: coop '
        'batch NAME'),
    ('job_size', '20', 'is an option of before; give --split-size 20'),
    ('job-size', '0', 'is an option of before; give --split-mode divide and '
        '--split-size 1 (all in one chunk)'),
    ]


@pytest.mark.parametrize('name, value, message', OPTIONS)
def test_an_option_of_before_names_what_to_give(name, value, message):
    with pytest.raises(ParameterError) as error:
        resolve_parameters('a.b', {}, {name: value}, {}.get, date.today)
    name = name.replace('-', '_')
    assert str(error.value) == 'batch "a.b": parameter "%s" %s' % (
        name, message)
    assert documented(message)


@pytest.mark.parametrize('line, message', [
        ('batch a.b -t 2020-01-31', '"-t" is an option of before; give '
            '--treatment-date DATE'),
        ('batch -t 2020-01-31 --name a.b', '"-t" is an option of before; give '
            '--treatment-date DATE'),
        ('batch a.b -c 2020-01-31', '"-c 2020-01-31" was a date before, and '
            'names a file now; the day on which it runs is that of the '
            'server; the day that it is for is --treatment-date DATE'),
        ('batch a.b -c2020-01-31', '"-c 2020-01-31" was a date before, and '
            'names a file now; the day on which it runs is that of the '
            'server; the day that it is for is --treatment-date DATE'),
        ])
def test_a_short_option_of_before_names_what_to_give(line, message):
    with pytest.raises(UsageError) as error:
        cli.parse(line.split())
    assert str(error.value) == message
    assert documented(message)


@pytest.mark.parametrize('line', [
        'batch a.b --text -t', 'batch a.b -c trytond.conf',
        'batch a.b --text=a --number 5', 'worker -t 5'])
def test_what_only_looks_like_an_option_of_before_is_none(line):
    cli.parse(line.split())


@only_in_process
def test_a_command_line_of_before_is_answered_in_one_line(scene):
    one_line(scene.coop('batch', '-t', '2020-01-31', '--name',
            'batch.scenario.ok'), 2, '"-t" is an option of before')
    one_line(scene.coop('batch', '--name', 'batch.scenario.ok'), 2,
        'the name needs no option: coop batch NAME')
    one_line(scene.coop('batch', '--name=batch.scenario.ok'), 2,
        'the name of a batch is missing: coop batch NAME')
    assert scene.execute('SELECT id FROM batch_execution_chunk') == []


# Classes

def make(**attributes):
    class Renew(BatchRoot):
        __name__ = 'shop.renew'

        @classmethod
        def get_batch_main_model_name(cls):
            return 'ir.model'

        @classmethod
        def execute(cls, objects, ids, mail='no', limit: int = 5):
            pass

    for name, value in attributes.items():
        setattr(Renew, name, value)
    return Renew


def set_up(cls):
    cls.__setup__()
    cls.__post_setup__()
    return cls


@pytest.mark.parametrize('name, message', [
        ('get_batch_step', "is a hook of before and would not be called; "
            "write default_config_items = {'split_size': 4}, with the number "
            'that it returns'),
        ('get_batch_stepping_mode', 'is a hook of before and would not be '
            "called; write default_config_items = {'split_mode': 'divide'}, "
            'with the mode that it returns'),
        ('on_job_fail', 'is a hook of before and would not be called; write '
            'finish(cls, outcome, files), which is called once at the end'),
        ('on_job_success', 'is a hook of before and would not be called; '
            'write finish(cls, outcome, files), which is called once at the '
            'end'),
        ])
def test_a_hook_of_before_is_refused_when_the_pool_is_set_up(name, message):
    with pytest.raises(DefinitionError) as error:
        set_up(make(**{name: classmethod(lambda cls: 4)}))
    assert re.sub(r'\S+\.((get|on)_\w+)', r'\1', str(error.value)) == (
        'batch "shop.renew", %s: %s' % (name, message))
    assert documented(message)


def old_logger(cls, objects, ids, logger):
    logger.info('done')


def old_date(cls, objects, ids, connection_date, treatment_date):
    pass


def other_name(cls, contracts, ids, treatment_date):
    pass


def without_ids(cls, objects, company):
    pass


def without_a_name(cls, records, company, treatment_date):
    pass


def with_default(cls, records, company=None):
    pass


def listing(cls, objects, ids):
    return [path for _, path in cls.get_file_names_and_paths('/srv')]


def archiving(cls, objects, ids):
    return [cls.archive_treated_files([], '/srv', day) for day in ids]


@pytest.mark.parametrize('execute, message', [
        (old_logger, '"logger" is an argument of before; write cls.logger in '
            'its place, without the argument'),
        (old_date, '"connection_date" is an argument of before; write '
            'treatment_date, the day that it is for; today is Date.today()'),
        (other_name,
            'must take (cls, objects, ids) before its parameters'),
        (without_ids,
            'must take (cls, objects, ids) before its parameters'),
        (without_a_name,
            'must take (cls, objects, ids) before its parameters'),
        (with_default,
            'must take (cls, objects, ids) before its parameters'),
        (listing, 'calls get_file_names_and_paths, which is a method of '
            'before; write a BatchRootFiles with the parameter "directory", '
            'or sorted(os.scandir(directory))'),
        (archiving, 'calls archive_treated_files, which is a method of '
            'before; write a BatchRootFiles, which archives a file when all '
            'of it is done'),
        ])
def test_an_execute_of_before_is_refused_when_the_pool_is_set_up(
        execute, message):
    with pytest.raises(DefinitionError) as error:
        set_up(make(
                execute=classmethod(execute),
                get_batch_domain=classmethod(lambda cls, company=1: [])))
    assert str(error.value) == (
        'batch "shop.renew", %s.make.<locals>.Renew.execute: %s' % (
            __name__, message))
    assert documented(message)


def test_an_argument_of_before_that_has_a_type_is_a_parameter():
    def execute(cls, objects, ids, connection_date: date, logger='root'):
        pass

    Renew = set_up(make(execute=classmethod(execute)))
    assert list(Renew.declared_parameters()) == ['connection_date', 'logger']


def test_a_method_of_before_that_the_class_has_is_its_own():
    Renew = set_up(make(
            execute=classmethod(listing),
            get_file_names_and_paths=classmethod(lambda cls, path: ())))
    assert Renew.execute([], []) == []


def test_an_argument_by_position_is_required():
    def execute(cls, objects, ids, day):
        pass

    Renew = set_up(make(execute=classmethod(execute)))
    with pytest.raises(ParameterError) as error:
        resolve_parameters(
            'a.b', Renew.declared_parameters(), {}, {}.get, date.today)
    message = 'parameter "day" is missing; give --day with a text'
    assert str(error.value) == 'batch "a.b": ' + message
    assert documented(message)


@pytest.mark.parametrize('declared, name, message', [
        (['treatment_date', 'extra_args'], 'kind', 'parameter "kind" is '
            'unknown; the batch has treatment_date, extra_args: the arguments '
            'that its hooks name'),
        ([], 'not-in', 'parameter "not_in" is unknown; the batch has no '
            'parameters: its hooks name no arguments'),
        ])
def test_a_parameter_that_no_hook_names_is_refused(declared, name, message):
    with pytest.raises(ParameterError) as error:
        resolve_parameters(
            'a.b', {n: Parameter(n, str) for n in declared}, {name: 'x'},
            {}.get, date.today)
    assert str(error.value) == 'batch "a.b": ' + message
    assert documented(message)


def test_a_batch_without_a_name_is_refused():
    class Unnamed(BatchRoot):
        @classmethod
        def execute(cls, objects, ids):
            pass

    with pytest.raises(DefinitionError) as error:
        set_up(Unnamed)
    message = 'is missing; give the class one as __name__ = "contract.renew"'
    assert str(error.value).endswith(', __name__: ' + message)
    assert documented(message)


def test_another_base_class_of_before_is_not_here():
    with pytest.raises(AttributeError) as error:
        module.MemorySavingBatch
    message = "module 'trytond.modules.batch' has no attribute " \
        "'MemorySavingBatch'"
    assert str(error.value) == message
    assert documented(message)


@pytest.mark.parametrize('name, message', [
        ('job_size', '"job_size" is a setting of before; ask for '
            '"split_size"'),
        ('split', '"split" is a setting of before; ask for "isolate"'),
        ('mono_divide', '"mono_divide" is a setting of before; ask for '
            '"split_mode"'),
        ])
def test_a_conf_item_of_before_names_its_successor(name, message):
    with pytest.raises(KeyError) as error:
        set_up(make()).get_conf_item(name)
    assert error.value.args == (message,)
    assert documented(message) or name != 'job_size'


def test_an_own_key_is_refused_with_what_to_write():
    with pytest.raises(DefinitionError) as error:
        set_up(make(default_config_items={'mailbox': 'in'}))
    message = 'unknown setting "mailbox"; what a batch needs of its own is ' \
        'a parameter: make it an argument of "execute" with a default ' \
        "(mailbox='in')"
    assert str(error.value) == (
        'batch "shop.renew", default_config_items: ' + message)
    assert documented(message)


def test_the_conf_item_of_a_parameter_is_its_value():
    Renew = set_up(make())
    assert Renew.get_conf_item('limit') == 5
    work = context.Work('shop.renew', 1, parameters={'limit': 7},
        settings={'split_size': 2}, database='demo')
    with context.working(work):
        assert Renew.get_conf_item('limit') == 7
        assert Renew.get_conf_items('split_size') == 2
        assert Renew.get_conf_item('mail') == 'no'
    with environment('shop.renew', {'limit': 9}) as directory:
        assert Renew.get_conf_item('limit') == 9
    shutil.rmtree(directory)
    with pytest.raises(KeyError) as error:
        Renew.get_conf_item('colour')
    message = '"colour" is no setting, and no parameter of the batch ' \
        '"shop.renew"; make it an argument of "execute" with a default'
    assert error.value.args == (message,)
    assert documented(message)


@pytest.mark.parametrize('call, message', [
        (lambda cls: cls.generate_filepath(), 'generate_filepath: is given no '
            'name; give that of the file, as "report.csv" (the directory of '
            'all outputs is cls.get_conf_items("root_dir"))'),
        (lambda cls: cls.generate_filepath('a.csv', makedirs=True),
            'generate_filepath: is given makedirs, expected a name only; '
            'leave that out: where outputs go is said by the settings '
            'root_dir and filepath_template'),
        (lambda cls: cls.write_batch_output('', 'a.csv', root_dir='/srv'),
            'write_batch_output: is given root_dir, expected a name and what '
            'to write only; leave that out: where outputs go is said by the '
            'settings root_dir and filepath_template'),
        ])
def test_an_output_of_before_is_refused_with_what_to_write(call, message):
    Renew = set_up(make())
    work = context.Work('shop.renew', 1, database='demo')
    with context.working(work), pytest.raises(DefinitionError) as error:
        call(Renew)
    assert str(error.value) == 'batch "shop.renew", ' + message
    assert documented(message)


def test_a_logger_can_be_asked_for_as_before():
    from trytond.modules.batch import get_logger
    assert get_logger is module.get_logger
    logger = module.get_logger('shop.renew')
    assert logger.logger is logging.getLogger('batch.shop.renew')
    assert callable(logger.success) and callable(logger.failure)

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Each bad input, and the whole line that answers it.

The line says what is wrong, where, what was expected and what to do.  Where
it is the answer to a command, so is its exit status.
"""
import enum
import functools
import json
import os
import re
import typing
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from scene import one_line

from trytond.modules.batch import BatchRoot, BatchRootNoSelect
from trytond.modules.batch.batch import RESERVED
from trytond.modules.batch.command import cli
from trytond.modules.batch.config import BatchConfig
from trytond.modules.batch.exceptions import (
    BatchError, ConfigError, DefinitionError, ParameterError, UsageError)
from trytond.modules.batch.parameter_types import SUPPORTED
from trytond.modules.batch.parameters import from_arguments, resolve_parameters
from trytond.modules.batch.settings import SETTINGS
from trytond.modules.batch.signatures import declared_parameters

only_in_process = pytest.mark.parametrize(
    'stage', ['in-process'], indirect=True)
WHOLE = 'a whole number from 1 to 1000000'
EACH = 'a comma separated list, each a whole number'
GIVEN = (
    'execute, select_ids, get_batch_domain, convert_to_instances, finish')


class Mode(enum.Enum):
    FAST = 'f'
    SLOW = 's'


class Rights(enum.Flag):
    READ = 1


class Stock(BatchRoot):
    __slots__ = ()

    @classmethod
    def execute(cls, objects, ids, x: int):
        pass


# Parameters: 2, since they are the command line's

class Renew:
    @classmethod
    def execute(cls, objects, ids, treatment_date, limit: int = 5, post=False,
            tags: list[int] = (), rate: Decimal = None,
            moment: datetime = None, path: Path = None,
            mode: Mode = Mode.FAST, extra: dict = None):
        pass

    @classmethod
    def select_ids(cls, treatment_date, country):
        pass


Renew.__name__ = 'contract.renew'

PARAMETERS = [
    # Not of the form
    ('5', 'unexpected "5"; a parameter is given as --name value'),
    ('a=b', 'unexpected "a=b"; a parameter is given as --name value'),
    ('--limit 5 6', 'unexpected "6"; a parameter is given as --name value'),
    ('-l 5', 'unexpected "-l"; a parameter is given as --name value'),
    ('--', 'unexpected "--"; a parameter is given as --name value'),
    ('--=5', 'unexpected "--=5"; a parameter is given as --name value'),
    ('--limit 5 --limit 6', '"--limit" is given twice'),
    ('--a-b 5 --a_b=6', '"--a_b" is given twice'),
    # Not one of the batch's
    ('', 'parameter "country" is missing; give --country with a text'),
    ('--contry FR', 'parameter "contry" is unknown; did you mean "country"?'),
    ('--no-pots', 'parameter "no_pots" is unknown; did you mean "no_post"?'),
    ('--no-limit', 'parameter "no_limit" is unknown; did you mean "limit"?'),
    ('--xyz 1', 'parameter "xyz" is unknown; the batch has treatment_date, '
        'limit, post, tags, rate, moment, path, mode, extra, country: the '
        'arguments that its hooks name'),
    # Not what it takes
    ('--limit', 'parameter "limit" needs a value, expected a whole number'),
    ('--limit 5.0', 'parameter "limit" is "5.0", expected a whole number'),
    ('--limit=', 'parameter "limit" is "", expected a whole number'),
    ('--limit none', 'parameter "limit" is "none", expected a whole number'),
    ('--no-post=yes', 'parameter "no_post" takes no value'),
    ('--post maybe', 'parameter "post" is "maybe", expected yes or no'),
    ('--post --no-post', 'parameter "post" is given twice'),
    ('--treatment-date 31/12/2026', 'parameter "treatment_date" is '
        '"31/12/2026", expected a date as YYYY-MM-DD'),
    ('--treatment-date 2026-02-30', 'parameter "treatment_date" is '
        '"2026-02-30", expected a date as YYYY-MM-DD'),
    ('--treatment-date today', 'parameter "treatment_date" is "today", '
        'expected a date as YYYY-MM-DD'),
    ('--moment noon', 'parameter "moment" is "noon", expected a date and time '
        'as YYYY-MM-DDTHH:MM:SS, or none'),
    ('--tags 1,a', 'parameter "tags" is "1,a", expected %s' % EACH),
    ('--tags "1', 'parameter "tags" is ""1", expected %s' % EACH),
    ('--rate 1,5', 'parameter "rate" is "1,5", expected a decimal number, or '
        'none'),
    ('--path=', 'parameter "path" is "", expected a path, or none'),
    ('--mode fast', 'parameter "mode" is "fast", expected FAST or SLOW'),
    ('--extra [1]', 'parameter "extra" is "[1]", expected a JSON object as '
        '{"key": 1}, or none'),
    ('--extra {"a":NaN}', 'parameter "extra" is "{"a":NaN}", expected a JSON '
        'object as {"key": 1}, or none'),
    ]


@pytest.mark.parametrize('line, expected', PARAMETERS)
def test_a_bad_parameter(line, expected):
    with pytest.raises(UsageError) as error:
        given = from_arguments(line.split())
        if 'missing' not in expected:
            given.setdefault('country', 'FR')
        resolve_parameters(
            'contract.renew', declared_parameters(Renew), given, {}.get,
            date.today)
    if expected.startswith('parameter'):
        assert isinstance(error.value, ParameterError)
        expected = 'batch "contract.renew": ' + expected
    assert str(error.value) == expected
    assert error.value.exit_status == 2


def test_a_batch_without_parameters_says_so():
    with pytest.raises(ParameterError) as error:
        resolve_parameters('a.b', {}, {'limit': '5'}, {}.get, date.today)
    assert str(error.value) == (
        'batch "a.b": parameter "limit" is unknown; the batch has no '
        'parameters: its hooks name no arguments')


# batch.conf: 1; 2 where it is a parameter that stands there

FILES = [
    # Not a file of this kind
    ('split_size = 5', 'FILE: line 1: "split_size = 5" stands before any '
        'section; put [default] or the name of a batch in brackets above it'),
    ('[default]\n\ndisabled', 'FILE: line 3: "disabled" is neither a '
        '[section] nor "key = value"'),
    ('[default\nsplit_size = 5', 'FILE: line 1: "[default" stands before any '
        'section; put [default] or the name of a batch in brackets above it'),
    ('[party.move]\n[default]\n[party.move]', 'FILE: [party.move]: stands '
        'twice (again in line 3); merge the two'),
    ('[party.move]\nqueue = a\nqueue = b', 'FILE: [party.move] queue: stands '
        'twice (again in line 3); remove one'),
    ('[party.move]\nsplit_size = 5\n  concurrency = 1', 'FILE: [party.move] '
        'split_size: expected %s, got "5 concurrency = 1"; an indented line '
        'continues the one above it' % WHOLE),
    ('[default]\nqueue = a\0b', 'FILE: line 2 has a character NUL; write the '
        'file anew'),
    ('[default]\n# voil\udce0\nqueue = slow',
        'FILE: line 2 is not UTF-8; save the file as UTF-8'),
    # Not known
    ('[contract.renow]', 'FILE: [contract.renow]: no batch has this name; did '
        'you mean "contract.renew"? ("coop list" shows the batches)'),
    ('[DEFAULT]\nqueue = slow', 'FILE: [DEFAULT]: no batch has this name; did '
        'you mean "default"? ("coop list" shows the batches)'),
    ('[x]', 'FILE: [x]: no batch has this name ("coop list" shows the '
        'batches)'),
    ('[contract.renew]\nSplit_Size = 5', 'FILE: [contract.renew] Split_Size: '
        'is no setting, and no parameter of this batch; did you mean '
        '"split_size"? ("coop batch contract.renew --help" shows them)'),
    ('[contract.renew]\ntreatment-date = 2026-11-24', 'FILE: [contract.renew] '
        'treatment-date: is no setting, and no parameter of this batch; did '
        'you mean "treatment_date"? ("coop batch contract.renew --help" shows '
        'them)'),
    ('[party.move]\ncountry = FR', 'FILE: [party.move] country: is no '
        'setting, and no parameter of this batch ("coop batch party.move '
        '--help" shows them)'),
    ('[default]\ncountri = FR', 'FILE: [default] countri: is no setting, and '
        'no parameter of any batch; did you mean "country"? '
        '(batch.conf.example shows the settings)'),
    # Not what a setting takes
    ('[default]\nsplit_mode = half', 'FILE: [default] split_mode: expected '
        'number or divide, got "half"'),
    ('[default]\nsplit_size = 0', 'FILE: [default] split_size: expected %s, '
        'got "0"' % WHOLE),
    ('[default]\nsplit_size =', 'FILE: [default] split_size: expected %s, got '
        '""' % WHOLE),
    ('[default]\nsplit_size = 1' + 30 * '0', 'FILE: [default] split_size: '
        'expected %s, got "1%s"' % (WHOLE, 30 * '0')),
    ('[party.move]\nconcurrency = all', 'FILE: [party.move] concurrency: '
        'expected a whole number from 1 to 10000, got "all"'),
    ('[party.move]\nconcurrency = 10001', 'FILE: [party.move] concurrency: '
        'expected a whole number from 1 to 10000, got "10001"'),
    ('[default]\nretry = -1', 'FILE: [default] retry: expected a whole number '
        'from 0 to 1000, or none, got "-1"'),
    ('[default]\nretry = 1001', 'FILE: [default] retry: expected a whole '
        'number from 0 to 1000, or none, got "1001"'),
    ('[default]\nmax_failures = 1000000000', 'FILE: [default] max_failures: '
        'expected a number of units as 10, a percentage as 5%, or none, got '
        '"1000000000"'),
    ('[default]\nmax_failures = 5 %', 'FILE: [default] max_failures: expected '
        'a number of units as 10, a percentage as 5%, or none, got "5 %"'),
    *(
        ('[default]\ntime_limit = ' + text, 'FILE: [default] time_limit: '
            'expected a number of seconds from 0.1 to 1000000, or none, got '
            '"%s"' % text) for text in ['5m', '1e-9', '1e10']),
    ('[default]\ncontext = ' + 100000 * '[', 'FILE: [default] context: '
        'expected a JSON object as {"company": 1}, got "%s...' % (199 * '[')),
    ('[default]\nqueue =', 'FILE: [default] queue: expected the name of a '
        'queue, got ""'),
    ("[default]\ncontext = {'company': 1}", 'FILE: [default] context: '
        'expected a JSON object as {"company": 1}, got "{\'company\': 1}"'),
    ('[default]\noverlap = Skip', 'FILE: [default] overlap: expected fail, '
        'skip, wait or allow, got "Skip"'),
    ('[default]\ndisabled = maybe', 'FILE: [default] disabled: expected yes '
        'or no, got "maybe"'),
    ('[default]\nroot_dir = out', 'FILE: [default] root_dir: expected an '
        'absolute path, or none, got "out"'),
    ('[default]\nfilepath_template = out.txt', 'FILE: [default] '
        'filepath_template: expected a path below root_dir with %{FILENAME} '
        'in it, and of other placeholders only %{BATCHNAME}, %{DATABASE}, '
        '%{TIMESTAMP}, %{EXECUTION}, %{CHUNK}, got "out.txt"'),
    ('[default]\nfilepath_timestamp_format = %Q', 'FILE: [default] '
        'filepath_timestamp_format: expected a format of strftime as '
        '%Y-%m-%d, got "%Q"'),
    # Not what the batch takes
    ('[invoice.number]\nsplit_size = 4', 'FILE: [invoice.number] split_size: '
        'is 4, but the batch is only right with 1; remove this line'),
    ('[contract.renew]\nlimit = 5%', 'batch "contract.renew": parameter '
        '"limit" is "5%" in [contract.renew] of FILE, expected a whole '
        'number'),
    ('[default]\ntreatment_date = today', 'batch "contract.renew": parameter '
        '"treatment_date" is "today" in [default] of FILE, expected a date as '
        'YYYY-MM-DD'),
    ]


@pytest.mark.parametrize('text, expected', FILES)
def test_a_bad_batch_conf(tmp_path, text, expected):
    path = tmp_path / 'batch.conf'
    path.write_text(text, 'utf-8', 'surrogateescape')
    with pytest.raises(BatchError) as error:
        config = BatchConfig.load(str(path))
        config.check({
                'contract.renew': declared_parameters(Renew), 'party.move': [],
                'invoice.number': []})
        config.resolve('invoice.number', fixed={'split_size': 1})
        resolve_parameters(
            'contract.renew', declared_parameters(Renew), {'country': 'FR'},
            lambda name: config.parameter('contract.renew', name), date.today)
    assert str(error.value).replace(str(path), 'FILE') == expected
    assert error.value.exit_status == (2 if 'parameter "' in expected else 1)
    if isinstance(error.value, ConfigError):
        section = re.search(r'FILE: \[(\S+)\]', expected)
        assert error.value.section == (section and section[1])


@pytest.mark.parametrize('name, reason', [
        ('missing/batch.conf', 'No such file or directory'),
        ('.', 'Is a directory'), ('fifo', 'Is no regular file')])
def test_a_batch_conf_that_can_not_be_read(tmp_path, name, reason):
    path = str(tmp_path / name)
    os.mkfifo(tmp_path / 'fifo')
    with pytest.raises(ConfigError) as error:
        BatchConfig.load(path)
    assert str(error.value) == (
        '%s: can not be read (%s); see config_file in [batch] of trytond.conf'
        % (path, reason))


# Classes: refused when the pool is set up

SPACE = {
    'BatchRoot': BatchRoot, 'BatchRootNoSelect': BatchRootNoSelect,
    'Decimal': Decimal, 'Mode': Mode, 'Rights': Rights, 'Stock': Stock,
    'date': date, 'datetime': datetime, 'functools': functools,
    'typing': typing}


def author(code, name='shop.renew'):
    """Return the class of a batch with this code.

    A line of "def" is a classmethod; the two hooks that every batch needs are
    there unless the code is "without" one.
    """
    hooks = {
        'get_batch_main_model_name':
            "def get_batch_main_model_name(cls): return 'ir.model'",
        'execute': 'def execute(cls, objects, ids): pass'}
    lines = ["__module__, __name__ = 'shop', %r" % name, '__slots__ = ()']
    base, code = re.fullmatch(r'(?:([A-Z]\w+) \| )?(.*)', code).groups()
    missing = code.removeprefix('without ').split()
    for hook, line in hooks.items():
        if hook not in missing and not re.search(r'\b%s\b' % hook, code):
            lines += ['@classmethod', line]
    for line in code.split('; ') if missing == code.split() else []:
        if re.match('(async )?def ', line):
            lines.append('@classmethod')
            line = line if '): ' in line else line + ': pass'
        lines.append(line)
    space = dict(SPACE)
    exec('class Renew(%s):\n' % (base or 'BatchRoot')
        + ''.join('    %s\n' % line for line in lines), space)
    return space['Renew']


def set_up(code, **options):
    cls = author(code, **options)
    cls.__setup__()
    cls.__post_setup__()


def executing(parameters):
    return 'def execute(cls, objects, ids, %s)' % parameters


HOOK = 'shop.Renew.%s: '
EXECUTE = HOOK % 'execute'
CLASSES = [
    # What is there
    ('without execute', 'execute: is missing; every batch needs its own'),
    ('without get_batch_main_model_name',
        'get_batch_main_model_name: is missing; every batch needs its own'),
    ('BatchRootNoSelect | without execute get_batch_main_model_name',
        'execute: is missing; every batch needs its own'),
    ('def get_batch_domian(cls)', HOOK % 'get_batch_domian' + 'is no hook; '
        'did you mean "get_batch_domain"?'),
    ('def select_id(cls)', HOOK % 'select_id' + 'is no hook; did you mean '
        '"select_ids"?'),
    ('default_config_item = {}', HOOK % 'default_config_item' + 'is no hook; '
        'did you mean "default_config_items"?'),
    # What it is
    ('execute = None',
        EXECUTE + 'is no classmethod; put @classmethod above it'),
    ('select_ids = [1, 2]', HOOK % 'select_ids' + 'is no classmethod; put '
        '@classmethod above it'),
    ("get_batch_main_model_name = 'ir.model'",
        HOOK % 'get_batch_main_model_name' + 'is no classmethod; put '
        '@classmethod above it'),
    ('get_batch_domain = staticmethod(list)', HOOK % 'get_batch_domain'
        + 'is no classmethod; put @classmethod above it'),
    ('get_batch_field = functools.cache(str)', HOOK % 'get_batch_field'
        + 'is no classmethod; put @classmethod above it'),
    ('async def execute(cls, objects, ids)', EXECUTE + 'is async, and nobody '
        'would await it; write it with a plain "def"'),
    ('async def select_ids(cls): yield 1', HOOK % 'select_ids' + 'is async, '
        'and nobody would await it; write it with a plain "def"'),
    ('def execute(cls, objects, ids): yield', EXECUTE + 'has a "yield", so '
        'nothing of it would be done; remove the "yield"'),
    ('def get_batch_domain(cls): yield', HOOK % 'get_batch_domain' + 'has a '
        '"yield", so nothing of it would be done; remove the "yield"'),
    # What it takes
    ('def execute(cls)', EXECUTE
        + 'must take (cls, objects, ids) before its parameters'),
    ('def execute(cls, objects)', EXECUTE
        + 'must take (cls, objects, ids) before its parameters'),
    ('def execute(cls, objects, company)', EXECUTE
        + 'must take (cls, objects, ids) before its parameters'),
    ('def execute(cls, company, ids)', EXECUTE
        + 'must take (cls, objects, ids) before its parameters'),
    ('def execute(cls, ids, objects)', EXECUTE
        + 'must take (cls, objects, ids) before its parameters'),
    ('def execute(cls, objects, *, ids)', EXECUTE
        + 'must take (cls, objects, ids) before its parameters'),
    ('def execute(cls, treatment_date, objects, ids)', EXECUTE
        + 'must take (cls, objects, ids) before its parameters'),
    ('def convert_to_instances(cls)', HOOK % 'convert_to_instances'
        + 'must take (cls, ids) before its parameters'),
    ('def select_ids()', HOOK % 'select_ids'
        + 'must take (cls) before its parameters'),
    (executing('*dates'), EXECUTE + 'takes a "*", but parameters are given by '
        'name; take "**parameters"'),
    ('def select_ids(cls, *args)', HOOK % 'select_ids' + 'takes a "*", but '
        'parameters are given by name; take "**parameters"'),
    (executing('x, /'),
        EXECUTE + 'parameter "x" can not be given by name; remove the "/"'),
    ('def get_batch_ordering(cls, treatment_date)', HOOK % 'get_batch_ordering'
        + 'takes (cls, treatment_date), expected (cls); only %s are given '
        'parameters' % GIVEN),
    ('def get_batch_field()', HOOK % 'get_batch_field' + 'takes (), expected '
        '(cls); only %s are given parameters' % GIVEN),
    ('def parse_params(cls)', HOOK % 'parse_params' + 'takes (cls), expected '
        '(cls, params); only %s are given parameters' % GIVEN),
    ('def split(cls, units, size)', HOOK % 'split' + 'takes (cls, units, '
        'size), expected (cls, units); only %s are given parameters' % GIVEN),
    # Names of parameters
    (executing('split_size=5'), EXECUTE + 'parameter "split_size" has the '
        'name of a setting of batch.conf; rename it'),
    (executing('json=False'), EXECUTE + 'parameter "json" has the name of an '
        'option of "coop batch"; rename it'),
    # Types of parameters
    (executing('x: set'), EXECUTE + 'parameter "x" has the annotation set, '
        'expected ' + SUPPORTED),
    (executing('x: dict[str, int]'), EXECUTE + 'parameter "x" has the '
        'annotation dict[str, int], expected ' + SUPPORTED),
    (executing('x: list[list[int]]'), EXECUTE + 'parameter "x" has the '
        'annotation list[list[int]], expected ' + SUPPORTED),
    (executing('x: list[set]'), EXECUTE + 'parameter "x" has the annotation '
        'list[set], expected ' + SUPPORTED),
    (executing('x: int | str'), EXECUTE + 'parameter "x" has the annotation '
        'int | str, expected ' + SUPPORTED),
    (executing('x: int | str | None'), EXECUTE + 'parameter "x" has the '
        'annotation int | str | None, expected ' + SUPPORTED),
    (executing('x: typing.Literal[True]'), EXECUTE + 'parameter "x" has the '
        'annotation Literal[True], expected ' + SUPPORTED),
    (executing("x: typing.Literal[1, '1']"), EXECUTE + 'parameter "x" has the '
        "annotation Literal[1, '1'], expected " + SUPPORTED),
    (executing('x: Rights'), EXECUTE + 'parameter "x" has the annotation '
        'test_messages.Rights, expected ' + SUPPORTED),
    (executing('x: typing.Any'), EXECUTE + 'parameter "x" has the annotation '
        'Any, expected ' + SUPPORTED),
    (executing('x: None'), EXECUTE + 'parameter "x" has the annotation None, '
        'expected ' + SUPPORTED),
    (executing('x: 5'), EXECUTE + 'parameter "x" has the annotation 5, '
        'expected ' + SUPPORTED),
    (executing("x: 'Money'"), EXECUTE + 'parameter "x" has the annotation '
        "'Money', which can not be read (name 'Money' is not defined); import "
        'the type in the file of the hook'),
    (executing('x: int') + '; def select_ids(cls, x: date)', EXECUTE
        + 'parameter "x" is a whole number, but a date as YYYY-MM-DD in '
        'shop.Renew.select_ids; give both the same type'),
    (executing('x=5') + "; def get_batch_domain(cls, x='a')", EXECUTE
        + 'parameter "x" is a whole number, but a text in '
        'shop.Renew.get_batch_domain; give both the same type'),
    # Defaults of parameters
    (executing('x=5') + '; def select_ids(cls, x=6)', EXECUTE + 'parameter '
        '"x" has the default 5, but 6 in shop.Renew.select_ids; give both the '
        'same, or one of them none'),
    (executing('x=set()'), EXECUTE + 'parameter "x" has a default of the type '
        'set, expected ' + SUPPORTED),
    (executing('x=[()]'), EXECUTE + 'parameter "x" has a default of the type '
        'list, expected ' + SUPPORTED),
    (executing('x={1: 2}'), EXECUTE + 'parameter "x" has the default {1: 2}, '
        'expected a JSON object as {"key": 1}'),
    (executing('x={"a": Decimal(1)}'), EXECUTE + 'parameter "x" has the '
        "default {'a': Decimal('1')}, expected a JSON object as "
        '{"key": 1}'),
    (executing("x: int = 'a'"), EXECUTE + 'parameter "x" has the default '
        "'a', expected a whole number"),
    (executing('x: str = 5'), EXECUTE + 'parameter "x" has the default 5, '
        'expected a text'),
    (executing("x: bool = 'no'"), EXECUTE + 'parameter "x" has the default '
        "'no', expected yes or no"),
    (executing("x: date = '2026-01-02'"), EXECUTE + 'parameter "x" has the '
        "default '2026-01-02', expected a date as YYYY-MM-DD"),
    (executing('x: date = datetime(2026, 1, 2)'), EXECUTE + 'parameter "x" '
        'has the default datetime.datetime(2026, 1, 2, 0, 0), expected a date '
        'as YYYY-MM-DD'),
    (executing("x: typing.Literal['a', 'b'] = 'c'"), EXECUTE + 'parameter '
        '"x" has the default \'c\', expected a or b'),
    (executing("x: Mode = 'FAST'"), EXECUTE + 'parameter "x" has the default '
        "'FAST', expected FAST or SLOW"),
    (executing('x: list[int] = 5'), EXECUTE + 'parameter "x" has the default '
        '5, expected %s' % EACH),
    (executing("x=float('nan')"), EXECUTE + 'parameter "x" has the default '
        'nan, expected a number'),
    # Settings
    ("default_config_items = {'split_siz': 1}", 'default_config_items: '
        'unknown setting "split_siz"; did you mean "split_size"?'),
    ("fixed_config_items = {'colour': 'red'}", 'fixed_config_items: unknown '
        'setting "colour"; what a batch needs of its own is a parameter: make '
        'it an argument of "execute" with a default (colour=\'red\')'),
    ("default_config_items = {'split_size': 'many'}", 'default_config_items: '
        '"split_size": expected %s, got "many"' % WHOLE),
    ("fixed_config_items = {'concurrency': True}", 'fixed_config_items: '
        '"concurrency": expected a whole number from 1 to 10000, got True'),
    ("default_config_items = ['split_size']", HOOK % 'default_config_items'
        + 'is a list, expected a dict of settings as {"split_size": 20}'),
    ('def fixed_config_items(cls)', HOOK % 'fixed_config_items'
        + 'is a classmethod, expected a dict of settings as '
        '{"split_size": 20}'),
    ("def __setup__(cls): super().__setup__(), "
        "cls._default_config_items.update(split_size=0)",
        'default_config_items: "split_size": expected %s, got 0' % WHOLE),
    ]


@pytest.mark.parametrize('code, expected', CLASSES)
def test_a_class_that_can_not_work(code, expected):
    with pytest.raises(DefinitionError) as error:
        set_up(code)
    # The tests may be a package, and versions of Python differ
    message = str(error.value).replace('tests.test_messages', 'test_messages')
    assert message.replace('typing.', '') == 'batch "shop.renew", ' + expected
    assert error.value.exit_status == 1


@pytest.mark.parametrize('name', ['default', 'shop/renew', '.renew', 'a b'])
def test_a_name_that_can_not_be_one(name):
    with pytest.raises(DefinitionError) as error:
        set_up(executing('x=5'), name=name)
    assert str(error.value) == (
        'batch "%s", __name__: can not be the name of a section and of a log '
        'file; expected one as "contract.renew"' % name)


def test_two_classes_that_differ_about_a_type_are_both_named():
    with pytest.raises(DefinitionError) as error:
        set_up('Stock | def select_ids(cls, x: str); '
            'def execute(cls, objects, ids, **parameters)')
    assert str(error.value) == (
        'batch "shop.renew", shop.Renew.select_ids: parameter "x" is a text, '
        'but a whole number in test_messages.Stock.execute; give both the '
        'same type')


@pytest.mark.parametrize('code', [
        'def execute(self, things, numbers, treatment_date)',
        'def execute(cls, *args, **parameters)',
        'def select_ids(cls, *args, **parameters)',
        'def split(cls, units, size=5)',
        'def get_batch_name(cls); def get_batch_args_name(cls)',
        'def executed(cls); def splitter(cls); _select_ids = None',
        'def convert_to_instances(cls, ids, colour)',
        'def convert_to_instances(cls, ids): yield 1',
        'def select_ids(cls): yield 1',
        "default_config_items = None; fixed_config_items = {'user': 'root'}",
        'BatchRootNoSelect | def execute(cls, objects, ids, day: date = None)',
        ])
def test_a_class_that_works_is_left_alone(code):
    set_up(code)


# Models: refused at the start, and by coop check

MODELS = [
    ("def get_batch_main_model_name(cls): return 'ir.modle'",
        "get_batch_main_model_name: returns 'ir.modle', which is no model of "
        'the database; did you mean "ir.module"? (its module must be in '
        '"depends" of tryton.cfg)'),
    ('def get_batch_main_model_name(cls): return None',
        'get_batch_main_model_name: returns None, which is no model of the '
        'database (its module must be in "depends" of tryton.cfg)'),
    ("def get_batch_search_model(cls): return 'shop.sale'",
        "get_batch_search_model: returns 'shop.sale', which is no model of "
        'the database (its module must be in "depends" of tryton.cfg)'),
    ("def get_batch_search_model(cls): return 'ir.module.config.start'",
        'get_batch_search_model: returns "ir.module.config.start", which has '
        'no table to search; return a model that has one in '
        'get_batch_search_model, or give the batch a select_ids of its own'),
    ("def get_batch_main_model_name(cls): return 'ir.module.config.start'",
        'get_batch_main_model_name: returns "ir.module.config.start", which '
        'has no table to search; return a model that has one in '
        'get_batch_search_model, or give the batch a select_ids of its own'),
    ("def get_batch_field(cls): return 'nam'", "get_batch_field: returns "
        '\'nam\', expected a field of "ir.model" that is stored; did you mean '
        '"name"?'),
    ("def get_batch_field(cls): return 'fields'", "get_batch_field: returns "
        '\'fields\', expected a field of "ir.model" that is stored'),
    ("def get_batch_field(cls): return 'rec_name'", "get_batch_field: returns "
        '\'rec_name\', expected a field of "ir.model" that is stored; did you '
        'mean "name"?'),
    ("def get_batch_field(cls): return None", "get_batch_field: returns None, "
        'expected a field of "ir.model" that is stored'),
    # Nothing is wrong where nobody asks
    ("def get_batch_main_model_name(cls): return 'ir.module.config.start'; "
        "def select_ids(cls): return []", None),
    ("def get_batch_field(cls): return 'nam'; "
        "def select_ids(cls): return []", None),
    ("def get_batch_main_model_name(cls): return 'x'; "
        "def get_batch_search_model(cls): return 'ir.model'; "
        "def convert_to_instances(cls, ids): return ids", None),
    ('BatchRootNoSelect | def get_batch_main_model_name(cls): return None',
        None),
    ("def get_batch_field(cls): return 'create_uid'", None),
    ]


@only_in_process
def test_a_model_that_is_not_there(scene):
    tests = Path(__file__).parent
    answers = json.loads(scene.script(ASK, tests, tests.parent))
    expected = [
        text and 'batch "shop.renew", ' + text for _, text in MODELS]
    assert answers == expected


ASK = '''\
sys.path[:0] = sys.argv[1:]
from test_messages import MODELS, BatchError, author
from trytond.modules.batch.transaction import load_pool
from trytond.transaction import Transaction

answers = []
load_pool(database)
with Transaction().start(database, 0, readonly=True):
    for code, _ in MODELS:
        cls = author(code)
        cls.__setup__()
        cls.__post_setup__()
        try:
            answers.append(cls.check_models())
        except BatchError as error:
            answers.append(str(error))
print(json.dumps(answers))
'''


# Hooks that go wrong when they are called: 1

SELECTIONS = [
    ('records', 'batch "NAME", select_ids: gave a unit that the ledger can '
        'not store (Object of type batch.scenario.record is not JSON '
        'serializable); expected an id, a row of JSON values, dates and '
        'Decimals, or a list of these'),
    ('number', 'batch "NAME", select_ids: returned 5, expected a list or a '
        'generator of ids, rows or groups'),
    ('name', 'batch "NAME", select_ids: returned \'records\', expected a list '
        'or a generator of ids, rows or groups'),
    ('domain', 'batch "NAME", get_batch_domain: is [(\'colour\', \'=\', '
        '\'red\')], but "batch.scenario.record", or a model that it relates '
        'to, has no field "colour"; correct the name'),
    ('ordering', 'batch "NAME", get_batch_ordering: is [(\'colour\', '
        '\'ASC\')], but "batch.scenario.record", or a model that it relates '
        'to, has no field "colour"; correct the name'),
    ('splitting', 'batch "NAME", split: gave 3 units in its chunks for 4 '
        'selected units; expected each unit exactly once'),
    ('whole', 'batch "NAME", split: gave 1 as a chunk, expected lists of '
        'units'),
    ('leaving', 'the selection failed: SystemExit: 3'),
    ('bad_selection',
        'the selection failed: ZeroDivisionError: no selection today'),
    ]


@only_in_process
@pytest.mark.parametrize('name, expected', SELECTIONS)
def test_a_selection_that_goes_wrong(scene, name, expected):
    scene.records(4)
    execution = scene.batch(name, status=1)
    batch = 'batch.scenario.' + name
    assert execution.stdout == ''
    head, *rest = execution.stderr.splitlines()
    assert head == '[FAILURE] %s #%s: %s; nothing was executed' % (
        batch, execution.id, expected.replace('NAME', batch))
    # What we refuse is said at once, what an author's code raises is not
    assert rest == ([] if expected.startswith('batch') else [
            '  log: %s/%s.log' % (scene.log_dir, batch),
            '  details: coop show %s' % execution.id])


CHUNKS = [
    ('text', [], '4 x DefinitionError: batch "NAME", execute: returned '
        '{\'treated\': \'all\'}, expected None or a dict of texts and '
        'numbers, to be summed up'),
    ('unwritable', [], '4 x OutputError: batch "NAME": output name '
        '"../out.txt" names no file below "root_dir"; pass a relative name '
        'without ".."'),
    ('unwritable', ['--name', '.out'], '4 x OutputError: batch "NAME": output '
        'name ".out" is hidden; choose one that does not begin with a dot'),
    ]


@only_in_process
@pytest.mark.parametrize('name, args, expected', CHUNKS)
def test_a_chunk_that_goes_wrong(scene, name, args, expected):
    scene.records(4)
    execution = scene.batch(name, *args, status=1)
    assert execution.row['state'] == 'failed'
    assert '  %s    1, 2, 3 ... (+1)\n' % expected.replace(
        'NAME', 'batch.scenario.' + name) in execution.stderr


@only_in_process
def test_an_output_without_a_place(scene):
    scene.records(1)
    scene.configure({'default': {'root_dir': 'none'}})
    execution = scene.batch('files', status=1)
    assert (
        '  1 x OutputError: batch "batch.scenario.files": setting "root_dir" '
        'is not set, so there is no place for "records.txt"; set it in '
        'batch.conf to the directory of outputs    1\n') in execution.stderr


# The command itself

OK = 'batch batch.scenario.ok'
USAGE = ' ("coop%s --help" shows the usage)'
REFUSED = '[FAILURE] batch.scenario.ok: %s; nothing was executed'
COMMANDS = [
    ('', 2, 'coop: the following arguments are required: COMMAND'
        + USAGE % ''),
    ('history --js', 2, 'coop: unrecognized arguments: --js' + USAGE % ''),
    ('batch', 2, 'coop batch: the name of a batch is missing: coop batch NAME'
        + USAGE % ' batch'),
    ('show last', 2, 'coop show: argument N: is "last", expected the number '
        'of an execution'
        + USAGE % ' show'),
    ('show 999999', 2, 'coop: execution #999999 does not exist ("coop '
        'history" shows the last ones)'),
    *(
        (line, 2, 'coop %s: argument %s' % (line.split()[0], said)
            + USAGE % (' ' + line.split()[0]))
        for line, said in [
            ('show 0', 'N: is "0", expected the number of an execution'),
            ('show 99999999999', 'N: is "99999999999", expected the number of '
                'an execution'),
            ('history --limit -1', '--limit: is "-1", expected a whole number '
                'from 1 to 1000000'),
            ('history --limit many', '--limit: is "many", expected a whole '
                'number from 1 to 1000000'),
            ('prune --days 999999', '--days: is "999999", expected a whole '
                'number from 0 to 36500'),
            ('prune --days=-1', '--days: is "-1", expected a whole number '
                'from 0 to 36500'),
            ('prune --days 1e9', '--days: is "1e9", expected a whole number '
                'from 0 to 36500'),
            ('history ../x', 'NAME: is "../x", expected the name of a batch '
                '("coop list" shows them)'),
            ('prune a*b', 'NAME: is "a*b", expected the name of a batch '
                '("coop list" shows them)')]),
    ('history batch.scenario.okk', 2, 'coop: unknown batch '
        '"batch.scenario.okk"; did you mean "batch.scenario.ok"? ("coop list" '
        'shows the batches)'),
    ('prune batch.scenario.okk', 2, 'coop: unknown batch '
        '"batch.scenario.okk"; did you mean "batch.scenario.ok"? ("coop list" '
        'shows the batches)'),
    ('resume 999999', 2, 'coop: execution #999999 does not exist ("coop '
        'history" shows the last ones)'),
    ('retry 999999', 2, 'coop: execution #999999 does not exist ("coop '
        'history" shows the last ones)'),
    ('cancel 999999', 2, 'coop: execution #999999 does not exist ("coop '
        'history" shows the last ones)'),
    (OK + ' -d one -d two', 2, 'coop: expected one database, got one two; '
        'name it with -d DATABASE or TRYTOND_DATABASE_NAMES'),
    (OK + ' stray', 2,
        'coop: unexpected "stray"; a parameter is given as --name value'),
    (OK + ' --text a --text b', 2, 'coop: "--text" is given twice'),
    (OK + 'k', 2, '[FAILURE] batch.scenario.okk: unknown batch '
        '"batch.scenario.okk"; did you mean "batch.scenario.ok"? ("coop list" '
        'shows the batches); nothing was executed'),
    (OK + 'k --help', 2, 'coop: unknown batch "batch.scenario.okk"; did you '
        'mean "batch.scenario.ok"? ("coop list" shows the batches)'),
    (OK + ' --quie', 2, REFUSED % 'batch "batch.scenario.ok": parameter '
        '"quie" is unknown; the batch has treatment_date, text, number: the '
        'arguments that its hooks name'),
    (OK + ' --number', 2, REFUSED % 'batch "batch.scenario.ok": parameter '
        '"number" needs a value, expected a whole number'),
    ('worker', 1, 'coop: no broker is configured: a worker needs broker_url '
        'in [celery] of trytond.conf (without one, batches run in the command '
        'itself)'),
    # batch.conf
    (OK, 1, REFUSED % 'BATCH.CONF: [default] split_sise: is no setting, and '
        'no parameter of any batch; did you mean "split_size"? '
        '(batch.conf.example shows the settings)',
        '[default]\nsplit_sise = 5'),
    (OK, 1, 'coop: BATCH.CONF: [default] split_size: expected %s, got "many"'
        % WHOLE, '[default]\nsplit_size = many'),
    (OK, 1, 'coop: BATCH.CONF: can not be read (No such file or directory); '
        'see config_file in [batch] of trytond.conf', None),
    (OK, 1, REFUSED % 'setting "user": is "nobody" ([batch.scenario.ok] of '
        'BATCH.CONF), expected the login of an active user',
        '[batch.scenario.ok]\nuser = nobody'),
    # It is a parameter, wherever it stands
    (OK, 2, REFUSED % 'batch "batch.scenario.ok": parameter "number" is '
        '"many" in [batch.scenario.ok] of BATCH.CONF, expected a whole '
        'number', '[batch.scenario.ok]\nnumber = many'),
    ('batch batch.scenario.numbering', 1, '[FAILURE] '
        'batch.scenario.numbering: BATCH.CONF: [batch.scenario.numbering] '
        'split_size: is 4, but the batch is only right with 1; remove this '
        'line; nothing was executed',
        '[batch.scenario.numbering]\nsplit_size = 4'),
    # trytond.conf
    (OK + ' -c /nowhere/trytond.conf', 1, 'coop: /nowhere/trytond.conf: can '
        'not be read: No such file or directory; name the configuration of '
        'trytond with -c or TRYTOND_CONFIG'),
    (OK + ' -c MORE.CONF', 1, 'coop: MORE.CONF: is no configuration of '
        "trytond: File contains no section headers. file: 'MORE.CONF', line: "
        "1 '[database\\n'", '', '[database'),
    (OK, 1, 'coop: trytond.conf: [celery] broker_ulr: is no setting of '
        'Celery; did you mean "broker_url"?', '',
        '[celery]\nbroker_ulr = redis://localhost'),
    (OK, 1, 'coop: trytond.conf: [celery] task_acks_late: is "perhaps", '
        "expected a value of the type bool: Cannot coerce 'perhaps' to type "
        'bool', '',
        '[celery]\ntask_acks_late = perhaps'),
    (OK, 1, 'coop: trytond.conf: [celery] config: is "no_such_module", '
        "expected a module that can be imported: No module named "
        "'no_such_module'", '',
        '[celery]\nconfig = no_such_module'),
    *(
        (OK, 1, 'coop: trytond.conf: [celery] broker_url: is "%s", expected a '
            'URL as redis://HOST:6379/0 or amqp://HOST:5672//'
            % url, '', '[celery]\nbroker_url = %s' % url)
        for url in ['localhost:6379', 'redis', 'radis://localhost', '://x',
            'redis://a;b', 'foo://user:***@host']),
    (OK, 1, 'coop: trytond.conf: [celery] broker_transport_options: is '
        '"[1]", expected a value of the type dict: expected a JSON object',
        '', '[celery]\nbroker_transport_options = [1]'),
    (OK, 1, 'coop: trytond.conf: [celery] accept_content: is ""json"", '
        'expected a value of the type list: expected a JSON array',
        '', '[celery]\naccept_content = "json"'),
    (OK + ' -c /tmp', 1, 'coop: /tmp: can not be read: Is a directory; name '
        'the configuration of trytond with -c or TRYTOND_CONFIG'),
    (OK + ' --logconf /nowhere/log.conf', 1, 'coop: /nowhere/log.conf: can '
        'not be read: No such file or directory; name the configuration of '
        'logging with --logconf or TRYTOND_LOGGING_CONFIG'),
    (OK + ' --logconf MORE.CONF', 1, 'coop: MORE.CONF: is no configuration of '
        "logging: KeyError: 'formatters'", '', '[loggers]\nkeys = root'),
    *(
        (OK, 1, 'coop: trytond.conf: [database] uri: is "%s", expected one as '
            'postgresql://USER@HOST:5432/ or sqlite:// (%s)' % (uri, why), '',
            '[database]\nuri = %s' % uri.replace('***', 'p%zz'))
        for uri, why in [
            ('localhost', "No module named 'trytond.backend.'"),
            ('//localhost/', "No module named 'trytond.backend.'"),
            ('mysql://localhost/',
                "No module named 'trytond.backend.mysql'"),
            ('postgresql://local%zz/',
                # What follows a "token" is masked
                'invalid percent-encoded token: "***"'),
            ('postgresql://user:***@localhost/',
                'invalid percent-encoded token: "***"'),
            ('postgresql://localhost/?sslmod=on',
                'invalid URI query parameter: "sslmod"'),
            ('postgresql://[::1/', 'Invalid IPv6 URL')]),
    *(
        (OK, 1, 'coop: trytond.conf: [database] %s: is "%s", expected a whole '
            'number' % (name, text), '', '[database]\n%s = %s' % (name, text))
        for name, text in [
            ('retry', 'often'), ('timeout', '1.5'), ('minconn', '-1'),
            ('maxconn', '1e3')]),
    (OK, 1, 'coop: trytond.conf: [database] maxconn: is "2", expected a whole '
        'number of 1 or more that is not below minconn', '',
        '[database]\nminconn = 3\nmaxconn = 2'),
    (OK + ' -d absent', 1, 'coop: the database "absent" can not be reached '
        "(Database 'SITE/db/absent.sqlite' doesn't exist!); check [database] "
        'uri of trytond.conf and that the server runs'),
    ]


@only_in_process
@pytest.mark.parametrize('line, status, expected, batch_conf, more_conf', [
        row + ('', '')[len(row) - 3:] for row in COMMANDS])
def test_a_bad_command(
        scene, tmp_path, line, status, expected, batch_conf, more_conf):
    scene.records(3)
    path = Path(scene.batch_conf)
    more = tmp_path / 'more.conf'
    if batch_conf is None:
        path.unlink()
    elif batch_conf:
        path.write_text(batch_conf)
    if more_conf:
        more.write_text(more_conf + '\n')
        if 'MORE.CONF' not in line:
            line += ' -c %s -c MORE.CONF' % scene.trytond_conf
    said = one_line(
        scene.coop(*line.replace('MORE.CONF', str(more)).split()), status)
    said = said.replace(str(path), 'BATCH.CONF').replace(
        str(more), 'MORE.CONF').replace(scene.directory, 'SITE')
    assert re.sub(r'(\[FAILURE\] [\w.]+) #\d+', r'\1', said) == expected
    assert scene.treated() == {}
    assert scene.execute('SELECT id FROM batch_execution_chunk') == []


@only_in_process
@pytest.mark.parametrize('name', ['a b', '', 'x?y=z', '../x', 'a\nb', '-'])
@pytest.mark.parametrize('command', [OK, 'history', 'check', 'worker'])
def test_what_can_not_be_the_name_of_a_database(scene, command, name):
    said = one_line(scene.coop(*command.split(), '--database=' + name), 2)
    assert said == (
        'coop: no database is named "%s"; expected letters, digits and '
        '_ - . + @ $ ~' % name.replace('\n', r'\n'))
    assert one_line(scene.coop(*command.split(), env={
                'TRYTOND_DATABASE_NAMES': '"%s"' % name}), 2) == said


@only_in_process
@pytest.mark.parametrize('uri, said', [
        ('postgresql://127.0.0.1:port/', 'invalid integer value "port"'),
        ('postgresql://127.0.0.1:99999/name', 'invalid port number: "99999"'),
        ('sqlite://host/', 'invalid uri authority: host')])
def test_a_database_that_its_uri_can_not_reach(scene, tmp_path, uri, said):
    more = tmp_path / 'more.conf'
    more.write_text('[database]\nuri = %s\n' % uri)
    one_line(scene.coop('history', '-c', scene.trytond_conf, '-c', str(more)),
        1, 'the database "%s" can not be reached (' % scene.database, said)


@only_in_process
def test_a_binary_file_is_no_configuration(scene, tmp_path):
    path = tmp_path / 'coop.conf'
    path.write_bytes(b'\x7fELF\x02\x01\x01\x00\xff\xfe\n' * 1000)
    for args in [['-c', str(path)], ['--logconf', str(path)]]:
        line = one_line(scene.coop('history', *args), 1)
        assert re.match('coop: %s: is no configuration of' % path, line)
        assert len(line) < 500


@only_in_process
def test_a_level_of_the_log_that_is_none(scene):
    said = one_line(scene.coop(
            'history', env={'TRYTOND_LOGGING_LEVEL': 'loud'}), 1)
    assert said.startswith(
        'coop: TRYTOND_LOGGING_LEVEL: is no configuration of logging: '
        'ValueError: ')


@only_in_process
def test_an_error_that_nobody_expects_is_one_line_too(scene):
    scene.records(1)
    scene.batch('ok', status=0)
    scene.execute("UPDATE batch_execution SET settings = 'no JSON'")
    show = 'show', str(scene.last_execution())
    assert one_line(scene.coop(*show), 1) == (
        'coop: JSONDecodeError: Expecting value: line 1 column 1 (char 0) (-v '
        'shows where)')
    assert 'Traceback (most recent call last)' in scene.coop(
        *show, '-v').stderr


def test_no_parameter_hides_an_option_of_the_command():
    command, = [
        a for a in cli.get_parser()._actions if a.dest == 'command']
    options = {
        option[2:].replace('-', '_')
        for action in command.choices['batch']._actions
        for option in action.option_strings if option.startswith('--')}
    assert options | set(SETTINGS) == RESERVED

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import enum
import functools
import typing
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, List, Literal, Optional

import pytest

from trytond.modules.batch.exceptions import (
    DefinitionError, ParameterError, UsageError)
from trytond.modules.batch.parameters import (
    TODAY, Parameter, describe_parameters, dump, from_arguments, parse,
    resolve_parameters)
from trytond.modules.batch.signatures import call_hook, declared_parameters


class Mode(enum.Enum):
    FAST = 'f'
    SLOW = 's'


class Rights(enum.Flag):
    READ = 1


TYPES = {
    'Annotated': Annotated, 'Decimal': Decimal, 'List': List,
    'Literal': Literal, 'Mode': Mode, 'Optional': Optional, 'Path': Path,
    'Rights': Rights, 'date': date, 'datetime': datetime, 'typing': typing}
DAY = date(2026, 11, 24)
EXECUTE = 'execute(cls, objects, ids, %s)'


def batch(*signatures, base=object, decorator='classmethod', name='Renew'):
    "Make a batch a.b whose hooks have the signatures and return arguments."
    lines = ['class %s(base):' % name, '    __module__ = "demo"', '    pass']
    for signature in signatures:
        lines += ['    @%s' % decorator, '    def %s:' % signature,
            '        return {k: v for k, v in locals().items() if k != "cls"}']
    namespace = {**TYPES, 'base': base}
    exec('\n'.join(lines), namespace)
    namespace[name].__name__ = 'a.b'
    return namespace[name]


def one(argument):
    "Return the parameter x that execute declares with the argument."
    return declared_parameters(batch(EXECUTE % argument))['x']


def refused(call, *args, **kwargs):
    with pytest.raises((DefinitionError, UsageError)) as error:
        call(*args, **kwargs)
    return str(error.value)


@pytest.mark.parametrize('argument, type_, default, required, optional', [
        ('x', str, None, True, False),
        ('x: str', str, None, True, False),
        ('x="a"', str, 'a', False, False),
        ('x=None', str, None, False, True),
        ('x: int = 5', int, 5, False, False),
        ('*, x: int', int, None, True, False),
        ('x: int = None', int, None, False, True),
        ('x: Optional[int]', int, None, True, True),
        ('x: Optional[int] = 5', int, 5, False, True),
        ('x: int | None = None', int, None, False, True),
        ('x=5', int, 5, False, False),
        ('x=True', bool, True, False, False),
        ('x=1.5', float, 1.5, False, False),
        ('x: float = 1', float, 1.0, False, False),
        ('x: Decimal = 1', Decimal, Decimal(1), False, False),
        ('x=Decimal("1.50")', Decimal, Decimal('1.50'), False, False),
        ('x=date(2026, 1, 2)', date, date(2026, 1, 2), False, False),
        ('x=datetime(2026, 1, 2)', datetime, datetime(2026, 1, 2), False,
            False),
        ('x=Path("a")', Path, Path('a'), False, False),
        ('x: Path', Path, None, True, False),
        ('x=Mode.SLOW', Mode, Mode.SLOW, False, False),
        ('x: Mode', Mode, None, True, False),
        ('x: Literal["a", 2] = 2', Literal['a', 2], 2, False, False),
        ('x: Literal["a", None] = None', Literal['a'], None, False, True),
        ('x: Literal["a", None]', Literal['a'], None, True, True),
        ('x: list', list[str], None, True, False),
        ('x: List', list[str], None, True, False),
        ('x: List[int]', list[int], None, True, False),
        ('x: list[date]', list[date], None, True, False),
        ('x=[]', list[str], [], False, False),
        ('x=[1]', list[int], [1], False, False),
        ('x=()', list[str], [], False, False),
        ('x: list[int] = (1, 2)', list[int], [1, 2], False, False),
        ('x: dict', dict, None, True, False),
        ('x={"a": [1]}', dict, {'a': [1]}, False, False),
        ('x: "date"', date, None, True, False),
        ('x: "Optional[date]" = None', date, None, False, True),
        ('x: Optional["date"] = None', date, None, False, True),
        ('x: Annotated[int, "documented"]', int, None, True, False),
        ])
def test_the_type_is_the_annotation_or_that_of_the_default(
        argument, type_, default, required, optional):
    assert one(argument) == Parameter(
        'x', type_, default, required, optional)
    assert type(one(argument).default) is type(default)


@pytest.mark.parametrize('argument, type_, default, required', [
        ('treatment_date', date, TODAY, False),
        ('treatment_date=None', date, TODAY, False),
        ('treatment_date: date', date, TODAY, False),
        ('treatment_date: date = None', date, TODAY, False),
        ('treatment_date: Optional[date]', date, TODAY, False),
        ('treatment_date: Optional[date] = None', date, None, False),
        ('treatment_date=date(2026, 1, 2)', date, date(2026, 1, 2), False),
        ('treatment_date: datetime', datetime, None, True),
        ('treatment_date: str', str, None, True),
        ])
def test_treatment_date_is_a_date_and_today_unless_said_otherwise(
        argument, type_, default, required):
    parameter, = declared_parameters(batch(EXECUTE % argument)).values()
    assert (parameter.type, parameter.default, parameter.required) == (
        type_, default, required)


@pytest.mark.parametrize('argument, type_, default, required', [
        ('extra_args', dict, {}, False),
        ('extra_args=None', dict, {}, False),
        ('extra_args: Optional[dict] = None', dict, None, False),
        ('extra_args={"a": 1}', dict, {'a': 1}, False),
        ('extra_args: str', str, None, True),
        ])
def test_extra_args_is_a_dict_and_empty_unless_said_otherwise(
        argument, type_, default, required):
    parameter = declared_parameters(batch(EXECUTE % argument))['extra_args']
    assert (parameter.type, parameter.default, parameter.required) == (
        type_, default, required)
    assert parameter.default is not declared_parameters(
        batch(EXECUTE % argument))['extra_args'].default or not default


def test_the_named_arguments_of_all_hooks_are_parameters():
    Renew = batch(
        'execute(cls, records, numbers, treatment_date, mail=False, *a, **k)',
        'select_ids(cls, treatment_date, country: str, mail=False)',
        'get_batch_domain(cls, *, limit: int = 5, **parameters)',
        'split(cls, units)')
    assert list(declared_parameters(Renew)) == [
        'treatment_date', 'mail', 'country', 'limit']
    assert declared_parameters(Renew, hooks=['select_ids']) == {
        'treatment_date': Parameter('treatment_date', date, TODAY),
        'country': Parameter('country', str, None, True),
        'mail': Parameter('mail', bool, False)}
    cls = batch('execute(cls, *args, **parameters)')
    assert declared_parameters(cls) == {}
    assert declared_parameters(batch()) == {}


def test_other_hooks_can_be_asked_too():
    Renew = batch('convert_to_instances(cls, ids, limit=5)')
    hooks = ['convert_to_instances']
    assert list(declared_parameters(Renew, hooks=hooks)) == ['limit']
    bad = batch('convert_to_instances(cls)')
    assert refused(declared_parameters, bad, hooks) == (
        'batch "a.b", demo.Renew.convert_to_instances: must take (cls, ids) '
        'before its parameters')


def test_a_decorated_hook_keeps_its_parameters():
    def decorated(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)
        return wrapper

    class Renew:
        @classmethod
        @decorated
        def execute(cls, objects, ids, limit: 'Decimal' = 5):
            return limit

    assert declared_parameters(Renew)['limit'].type is Decimal
    assert call_hook(Renew, 'execute', {'limit': 6, 'other': 7}, [], []) == 6


def test_a_hook_may_be_a_function_of_another_name():
    class Renew:
        execute = classmethod(lambda cls, objects, ids, limit=5: limit)

    assert call_hook(Renew, 'execute', {'limit': 6, 'other': 7}, [], []) == 6


def test_classes_are_looked_at_as_far_as_hooks_hand_on_the_rest():
    Root = batch('execute(cls, objects, ids, **parameters)',
        'select_ids(cls, **parameters)')
    Base = batch(EXECUTE % 'a, b: int = 1', 'select_ids(cls, c=1)', base=Root)
    Open = batch(EXECUTE % 'b: int = 2, **parameters', base=Base)
    Closed = batch(EXECUTE % 'd=4', base=Open)
    assert {n: p.default for n, p in declared_parameters(Open).items()} == {
        'b': 2, 'a': None, 'c': 1}
    assert {n: p.default for n, p in declared_parameters(Closed).items()} == {
        'd': 4, 'c': 1}


def test_a_default_comes_from_the_most_derived_class():
    Base = batch(EXECUTE % 'a: int = 1, b: int = 1', 'select_ids(cls, a=1)')
    Derived = batch('select_ids(cls, a=2, b=None, **k)', base=Base)
    assert declared_parameters(Derived)['a'].default == 2
    assert declared_parameters(Derived)['b'] == Parameter(
        'b', int, None, optional=True)


def test_one_hook_may_leave_type_and_default_to_another():
    Renew = batch(EXECUTE % 'limit, when, treatment_date',
        'select_ids(cls, limit: int = 5, when: date | None = None,'
        ' treatment_date: datetime = datetime(2026, 1, 2))')
    assert list(declared_parameters(Renew).values()) == [
        Parameter('limit', int, 5),
        Parameter('when', date, None, optional=True),
        Parameter('treatment_date', datetime, datetime(2026, 1, 2))]


@pytest.mark.parametrize('argument, text, value, canonical', [
        ('x: str', ' a, b ', ' a, b ', ' a, b '),
        ('x: str', '', '', ''),
        ('x: str', 'none', 'none', 'none'),
        ('x: int', '-5', -5, '-5'),
        ('x: int', ' 5 ', 5, '5'),
        ('x: float', '0.1', 0.1, '0.1'),
        ('x: float', 'inf', float('inf'), 'inf'),
        ('x: Decimal', '10.50', Decimal('10.50'), '10.50'),
        ('x: bool', 'Yes', True, 'yes'),
        ('x: bool', 'true', True, 'yes'),
        ('x: bool', '1', True, 'yes'),
        ('x: bool', 'on', True, 'yes'),
        ('x: bool', 'no', False, 'no'),
        ('x: bool', 'false', False, 'no'),
        ('x: bool', '0', False, 'no'),
        ('x: bool', 'OFF', False, 'no'),
        ('x: date', '2026-11-24', DAY, '2026-11-24'),
        ('x: datetime', '2026-11-24 07:30', datetime(2026, 11, 24, 7, 30),
            '2026-11-24T07:30:00'),
        ('x: Path', 'in/a b', Path('in/a b'), 'in/a b'),
        ('x: Literal["a", 2]', '2', 2, '2'),
        ('x: Mode', 'SLOW', Mode.SLOW, 'SLOW'),
        ('x: dict', ' {"a":1} ', {'a': 1}, '{"a": 1}'),
        ('x: list[int]', '1, 2,3', [1, 2, 3], '1,2,3'),
        ('x: list[int]', '', [], ''),
        ('x: list', 'a, "b, c"', ['a', 'b, c'], 'a,"b, c"'),
        ('x: list', 'a "b', ['a "b'], '"a ""b"'),
        ('x: list[Mode]', 'SLOW,FAST', [Mode.SLOW, Mode.FAST], 'SLOW,FAST'),
        ('x: list[Decimal]', '1.0', [Decimal('1.0')], '1.0'),
        ('x: Optional[int]', 'None', None, 'none'),
        ('x: Optional[int]', '5', 5, '5'),
        ('x: Optional[list[int]]', 'none', None, 'none'),
        ('x: Optional[list[int]]', '', [], ''),
        ('x: Optional[str]', 'none', None, 'none'),
        ('x: Optional[str]', '', '', ''),
        ('x: Optional[str]', '\\none', 'none', '\\none'),
        ])
def test_a_text_is_parsed_and_the_value_dumped(
        argument, text, value, canonical):
    parameter = one(argument)
    parsed = parse(parameter, text, 'a.b')
    assert parsed == value and type(parsed) is type(value)
    assert dump(parameter, value) == canonical
    assert parse(parameter, canonical, 'a.b') == value


@pytest.mark.parametrize('argument, value', [
        *[('x: %s' % type_, text)
            for type_ in ['str', 'Optional[str]', 'Literal["none", "a"]']
            for text in ['none', 'a']],
        *[('x: Optional[str]', text) for text in [
            None, '', 'None', ' none ', '\\none', '\\\\ None', '\\', '\\a']],
        *[('x: %s' % type_, values)
            for type_ in ['list[str]', 'Optional[list[str]]']
            for values in [
                [], [''], ['', ''], ['a,b', '"', "'"], [' a ', '\t'], ['a\nb'],
                ['\r', '\n', '\r\n'], ['none'], ['\\none'], ['none', 'b']]],
        ('x: list[bool]', [True, False]),
        ('x: list[date]', [DAY]),
        ('x: list[datetime]', [datetime(2026, 11, 24, 7, 30, 1, 5)]),
        ('x: list[Path]', [Path('a, b')]),
        ('x: Optional[bool]', None),
        ('x: float', 1e300),
        ('x: Decimal', Decimal('1E+5')),
        ('x: int', 10 ** 30),
        ])
def test_a_dumped_value_comes_back_as_it_was(argument, value):
    parameter = one(argument)
    text = dump(parameter, value)
    assert isinstance(text, str)
    assert parse(parameter, text, 'a.b') == value


@pytest.mark.parametrize('argument, text, form', [
        ('x: int', '5.0', 'a whole number'),
        ('x: int', '', 'a whole number'),
        ('x: int', 'none', 'a whole number'),
        ('x: float', 'a', 'a number'),
        ('x: float', 'nan', 'a number'),
        ('x: Decimal', '1,5', 'a decimal number'),
        ('x: Decimal', 'NaN', 'a decimal number'),
        ('x: Decimal', 'sNaN', 'a decimal number'),
        ('x: bool', 'maybe', 'yes or no'),
        ('x: date', '31/12/2026', 'a date as YYYY-MM-DD'),
        ('x: date', '20261231', 'a date as YYYY-MM-DD'),
        ('x: date', '2026-02-30', 'a date as YYYY-MM-DD'),
        ('x: datetime', 'noon', 'a date and time as YYYY-MM-DDTHH:MM:SS'),
        ('x: Path', '', 'a path'),
        ('x: Literal["a", "b", "c"]', 'd', 'a, b or c'),
        ('x: Literal["a"]', 'A', 'a'),
        ('x: Mode', 'fast', 'FAST or SLOW'),
        ('x: dict', '5', 'a JSON object as {"key": 1}'),
        ('x: dict', '{a: 1}', 'a JSON object as {"key": 1}'),
        ('x: list[int]', '1,a', 'a comma separated list, each a whole number'),
        ('x: list[str]', '"a', 'a comma separated list, each a text'),
        ('x: list[date]', '2026-01-01,',
            'a comma separated list, each a date as YYYY-MM-DD'),
        ('x: Optional[int]', '', 'a whole number, or none'),
        ])
def test_a_malformed_value_is_told_with_the_expected_form(
        argument, text, form):
    with pytest.raises(ParameterError) as error:
        parse(one(argument), text, 'a.b')
    assert str(error.value) == (
        'batch "a.b": parameter "x" is "%s", expected %s' % (text, form))
    assert (error.value.batch, error.value.parameter) == ('a.b', 'x')


def test_a_list_over_several_lines_is_refused():
    assert refused(parse, one('x: list'), 'a,\nlimit = 5', 'a.b') == (
        'batch "a.b": parameter "x" is "a, limit = 5", expected a comma'
        ' separated list, each a text')


Renew = batch(
    EXECUTE % 'treatment_date, limit: int = 5, post=False',
    'select_ids(cls, treatment_date, country, tags: list = ["a"])')


def settle(given=(), conf=(), cls=Renew):
    return resolve_parameters(
        'a.b', declared_parameters(cls), dict(given), dict(conf).get,
        lambda: DAY)


def test_a_value_comes_from_command_line_then_batch_conf_then_signature():
    assert settle(
        {'country': 'FR', 'no-post': None},
        {'country': ('DE', '[a.b] of f'), 'limit': ('7', '[default] of f'),
            'post': ('yes', '[a.b] of f')}) == {
        'treatment_date': (DAY, '2026-11-24', 'default'),
        'limit': (7, '7', '[default] of f'),
        'post': (False, 'no', 'the command line'),
        'country': ('FR', 'FR', 'the command line'),
        'tags': (['a'], 'a', 'default'),
        }


@pytest.mark.parametrize('given, name, value', [
        ({'treatment-date': '2026-01-02'}, 'treatment_date',
            date(2026, 1, 2)),
        ({'treatment_date': '2026-01-02'}, 'treatment_date',
            date(2026, 1, 2)),
        ({'post': None}, 'post', True),
        ({'post': 'no'}, 'post', False),
        ({'no_post': None}, 'post', False),
        ])
def test_names_may_have_dashes_and_flags_may_stand_alone(given, name, value):
    assert settle({'country': 'FR', **given})[name][0] == value


def test_a_parameter_whose_name_begins_with_no_is_itself():
    cls = batch(EXECUTE % 'mail=True, no_mail=False')
    settled = settle({'no-mail': None}, cls=cls)
    assert settled['no_mail'][0] is True and settled['mail'][0] is True


def test_a_default_list_is_not_shared():
    settle({'country': 'FR'})['tags'][0].append('b')
    assert settle({'country': 'FR'})['tags'][0] == ['a']


def test_texts_as_stored_give_the_same_values_again():
    stored = settle({'country': 'FR', 'post': None})
    again = settle({name: text for name, (_, text, _) in stored.items()})
    assert {n: v for n, (v, _, _) in again.items()} == {
        n: v for n, (v, _, _) in stored.items()}


def test_a_hook_is_given_what_it_names():
    everything = {'treatment_date': DAY, 'limit': 5, 'mail': True}
    Old = batch(EXECUTE % 'treatment_date',
        'get_batch_domain(cls, treatment_date)', 'select_ids(cls)',
        'convert_to_instances(cls, ids, **parameters)')
    assert call_hook(Old, 'execute', everything, ['o'], [1]) == {
        'objects': ['o'], 'ids': [1], 'treatment_date': DAY}
    assert call_hook(Old, 'get_batch_domain', everything) == {
        'treatment_date': DAY}
    assert call_hook(Old, 'select_ids', everything) == {}
    assert call_hook(
        Old, 'convert_to_instances', {'ids': 0, **everything}, [1]) == {
            'ids': [1], 'parameters': everything}


def test_a_hook_that_hands_on_is_given_what_those_behind_it_name():
    everything = {'a': 1, 'b': 2, 'c': 3}
    Base = batch(EXECUTE % 'a')

    class Derived(Base):
        @classmethod
        def execute(cls, objects, ids, b, **parameters):
            return b, parameters, super().execute(objects, ids, **parameters)

    assert call_hook(Derived, 'execute', everything, [], []) == (
        2, {'a': 1}, {'objects': [], 'ids': [], 'a': 1})


def test_a_hook_that_hands_nothing_on_is_given_all_where_it_takes_all():
    everything = {'a': 1, 'b': 2, 'c': 3}
    Base = batch(EXECUTE % 'a')
    Derived = batch(EXECUTE % 'b, **parameters', base=Base)
    assert call_hook(Derived, 'execute', everything, [], []) == {
        'objects': [], 'ids': [], 'b': 2, 'parameters': {'a': 1, 'c': 3}}

    class Further(Derived):
        @classmethod
        def execute(cls, objects, ids, **parameters):
            return super().execute(objects, ids, **parameters)

    assert call_hook(Further, 'execute', everything, [], []) == {
        'objects': [], 'ids': [], 'b': 2, 'parameters': {'a': 1, 'c': 3}}


def test_a_parameter_that_is_not_there_is_left_to_the_signature():
    cls = batch('select_ids(cls, a=1)')
    assert call_hook(cls, 'select_ids', {}) == {'a': 1}


def test_the_help_shows_each_parameter_with_its_default_and_origin():
    conf = {'limit': ('7', '[a.b] of f')}
    cls = batch(
        EXECUTE % 'treatment_date, limit: int = 5, post=False',
        'select_ids(cls, country, due: date | None = None)')
    rows = describe_parameters(declared_parameters(cls), conf.get)
    assert [tuple(row) for row in rows] == [
        ('--treatment-date', 'a date as YYYY-MM-DD', 'today', 'default'),
        ('--limit', 'a whole number', '7', '[a.b] of f'),
        ('--post, --no-post', 'yes or no', 'no', 'default'),
        ('--country', 'a text', '', 'required'),
        ('--due', 'a date as YYYY-MM-DD, or none', 'none', 'default'),
        ]


@pytest.mark.parametrize('line, given', [
        ('', {}),
        ('--treatment-date 2026-11-24 --post --no-mail --limit=5 --amount -5',
            {'treatment_date': '2026-11-24', 'post': None, 'no_mail': None,
                'limit': '5', 'amount': '-5'}),
        ('--name= --path=a=b', {'name': '', 'path': 'a=b'}),
        ('--text=--post --post', {'text': '--post', 'post': None}),
        ])
def test_arguments_become_names_and_texts(line, given):
    assert from_arguments(line.split()) == given

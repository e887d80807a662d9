# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The form of a batch's parameters, and what is given by what is entered."""
import datetime as dt
from decimal import Decimal
from enum import Enum
from typing import Literal

import pytest

from trytond.modules.batch.exceptions import ParameterError
from trytond.modules.batch.parameters import (
    TODAY, Parameter, resolve_parameters)
from trytond.modules.batch.start_form import entries_of, given_by

DAY = dt.date(2026, 1, 31)


class Mode(Enum):
    FAST = 1
    SLOW = 2


def declared(*parameters):
    return {p.name: p for p in parameters}


def nothing(name):
    return None


def today():
    return DAY


def entry(parameter, found=None):
    entry, = entries_of(
        'a.b', declared(parameter), lambda name: found, today)
    return entry


def given(parameter, value, found=None):
    return given_by([entry(parameter, found)], {
            'parameter_' + parameter.name: value})


def resolved(parameter, value):
    found = resolve_parameters(
        'a.b', declared(parameter), given(parameter, value), nothing, today)
    return found[parameter.name][0]


@pytest.mark.parametrize('type_, field, default', [
        (int, 'integer', 3), (float, 'float', 1.5),
        (Decimal, 'numeric', Decimal('1.10')), (bool, 'boolean', True),
        (dt.date, 'date', DAY), (str, 'char', 'x'), (dict, 'text', {}),
        (Literal['a', 'b'], 'selection', 'a'), (Mode, 'selection', Mode.SLOW),
        (list[int], 'char', [1, 2])])
def test_a_parameter_has_a_field_of_its_type(type_, field, default):
    found = entry(Parameter('some_name', type_, default))
    assert (found.type, found.string) == (field, 'Some name')
    # What stands there and is left is not given
    assert given(found.parameter, found.default) == {}


@pytest.mark.parametrize('type_, value, text', [
        (int, 7, '7'), (float, 2.5, '2.5'), (Decimal, Decimal('2'), '2'),
        (bool, True, 'yes'), (bool, False, 'no'), (dt.date, DAY, '2026-01-31'),
        (str, 'y', 'y'), (Literal['a', 'b'], 'b', 'b'), (Mode, 'FAST', 'FAST'),
        (list[int], '3,4', '3,4')])
def test_what_is_entered_is_given(type_, value, text):
    assert given(Parameter('x', type_, required=True), value) == {'x': text}


@pytest.mark.parametrize('type_', [
        int, Decimal, dt.date, str, Literal['a', 'b'], list[int], dict])
@pytest.mark.parametrize('value', [None, ''])
def test_a_required_one_that_is_empty_is_an_error(type_, value):
    parameter = Parameter('x', type_, required=True)
    assert entry(parameter).is_required
    with pytest.raises(ParameterError):
        resolved(parameter, value)


def test_an_emptied_one_is_never_its_default():
    with pytest.raises(ParameterError):
        resolved(Parameter('x', int, 3), None)
    assert resolved(Parameter('x', str, 'default'), '') == ''
    assert resolved(Parameter('x', int, 3, optional=True), None) is None


def test_what_batch_conf_says_stands_there():
    found = entry(Parameter('x', int, required=True), ('5', 'batch.conf'))
    assert found.default == 5 and found.origin == 'batch.conf'
    assert entry(Parameter('day', dt.date, TODAY)).default == DAY


def test_no_secret_is_shown():
    parameter = Parameter('api_token', str, required=True)
    found = entry(parameter, ('hunter2', 'batch.conf'))
    assert found.is_secret and found.default is None
    assert not found.is_required
    assert given(parameter, '', ('hunter2', 'batch.conf')) == {}
    assert given(parameter, 'new', ('hunter2', 'batch.conf')) == {
        'api_token': 'new'}


def test_what_the_batch_may_derive_needs_not_be_entered():
    parameter = Parameter('x', int, required=True)
    found, = entries_of('a.b', declared(parameter), nothing, today, False)
    assert not found.is_required
    assert given_by([found], {'parameter_x': None}) == {}
    assert given_by([found], {'parameter_x': 5}) == {'x': '5'}

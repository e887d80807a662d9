# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What others wrote is fit to be written again: short, plain, no secret."""
import json
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trytond.modules.batch import texts
from trytond.modules.batch.engine import suspects
from trytond.modules.batch.engine.watched import Watched
from trytond.modules.batch.masking import (
    MASK, is_secret, mask_given, mask_line, mask_secrets, mask_value)

ANY_TEXT = st.text(st.characters(exclude_categories=[]))
BAD = [
    *map(chr, range(32)), *map(chr, range(127, 160)), '\u061c', '\u200e',
    '\u200f', '\u2028', '\u2029', '\u202a', '\u202e', '\u2066', '\u2069',
    '\ud800', '\udcff', '\udfff']


# Characters

@pytest.mark.parametrize('text, escaped', [
        ('plain text, é € 日本 😀', 'plain text, é € 日本 😀'),
        ('a\\b', 'a\\b'),
        ('x\n[SUCCESS] all done', r'x\n[SUCCESS] all done'),
        ('\x1b[2J\a\r\t\0', r'\x1b[2J\x07\r\t\x00'),
        ('\x7f\x85\x9b', r'\x7f\x85\x9b'),
        ('\u2028\u2029\u202e\u2066', r'\u2028\u2029\u202e\u2066'),
        ('bad \udcff', r'bad \udcff'),
        ])
def test_what_is_no_plain_character_is_escaped(text, escaped):
    assert texts.escape(text) == escaped


@given(ANY_TEXT)
def test_an_escaped_text_is_one_line_that_any_database_takes(text):
    escaped = texts.escape(text)
    assert len(escaped.splitlines()) <= 1
    assert not set(BAD) & set(escaped)
    escaped.encode('utf-8')
    assert texts.escape(escaped) == escaped


@given(ANY_TEXT)
def test_line_breaks_are_kept_where_they_are_wanted(text):
    escaped = texts.escape(text, keep='\n\t')
    assert escaped.count('\n') == text.count('\n')
    assert not set(BAD) - {'\n', '\t'} & set(escaped)


@given(ANY_TEXT, st.integers(60, 90), st.integers(0, 50))
def test_a_text_is_cut_in_its_middle(text, limit, times):
    text *= times
    cut = texts.cut(text, limit)
    assert len(cut) <= limit
    if len(text) > limit:
        assert cut[:10] == text[:10] and cut[-10:] == text[-10:]
        assert 'characters) ...' in cut
    else:
        assert cut == text


@given(ANY_TEXT, st.integers(0, 5))
def test_a_clean_text_is_short_and_plain_whatever_it_was(text, times):
    clean = texts.clean(text * 10 ** times if len(text) < 9 else text, 100)
    assert len(clean) <= 100
    assert not set(BAD) & set(clean)


def test_a_secret_is_not_cut_in_two():
    for offset in range(0, 40):
        text = 2_000 * 'x' + ' password=hunter2hunter2 ' + (
            (980 + offset) * 'y')
        clean = texts.clean(text, 2_000)
        assert 'hunter' not in clean and 'nter2' not in clean


@pytest.mark.parametrize('value, text', [
        (5, '5'),
        ('two\nlines', r'two\nlines'),
        (b'\xff', r"b'\xff'"),
        (300 * 'x', None),
        ])
def test_an_excerpt_is_one_short_line(value, text):
    excerpt = texts.excerpt(value)
    assert len(excerpt) <= texts.EXCERPT
    assert text is None or excerpt == text


# Tracebacks

def raised(function):
    try:
        function()
    except BaseException as error:
        return error


def divide():
    1 / 0


def test_a_traceback_is_as_that_of_python():
    error = raised(divide)
    assert texts.traceback_of(error) == ''.join(
        traceback.format_exception(error))


def test_the_causes_are_in_the_traceback_as_python_has_them():
    def function():
        try:
            try:
                divide()
            except ZeroDivisionError as error:
                raise KeyError('cause') from error
        except KeyError:
            raise ValueError('context')

    error = raised(function)
    assert texts.traceback_of(error) == ''.join(
        traceback.format_exception(error))
    error.__suppress_context__ = True
    assert 'KeyError' not in texts.traceback_of(error)


def test_a_traceback_begins_at_the_hook():
    @texts.calls_hooks
    def call(hook):
        return hook()

    def hook():
        call(divide)

    text = texts.traceback_of(raised(lambda: call(hook)))
    assert 'in divide' in text
    assert 'in hook' not in text and 'in call' not in text
    # What the caller raises itself is not lost
    assert 'in call' in texts.traceback_of(raised(lambda: call(None)))


def test_a_long_traceback_has_its_beginning_and_its_end():
    def down(depth):
        if not depth:
            divide()
        down(depth - 1)

    text = texts.traceback_of(raised(lambda: down(500)))
    assert 'in raised' in text and text.endswith(
        'ZeroDivisionError: division by zero\n')
    assert ' more frames)' in text
    assert len(text) <= texts.TRACEBACK


def test_of_many_causes_the_first_and_the_last_are_shown():
    error = None
    for i in range(5_000):
        try:
            raise KeyError(i) from error
        except KeyError as other:
            error = other
    text = texts.traceback_of(error)
    for shown in ['KeyError: 0\n', '(4,992 more causes)', 'KeyError: 4999\n']:
        assert shown in text
    assert len(text) <= texts.TRACEBACK


def test_of_a_group_of_errors_some_are_shown():
    Group = getattr(__builtins__, 'ExceptionGroup', None) or (
        isinstance(__builtins__, dict)
        and __builtins__.get('ExceptionGroup'))
    if not Group:
        # Python 3.10 has none
        return
    error = Group('many', [raised(divide) for _ in range(1_000)])
    for _ in range(300):
        error = Group('in one', [ValueError('nul \0'), error])
    text = texts.traceback_of(error)
    assert 'in one' in text and r'nul \x00' in text
    text = texts.traceback_of(Group('many', [raised(divide)] * 1_000))
    assert '997 more' in text and 'in divide' in text
    assert len(text) <= texts.TRACEBACK


def test_no_line_of_a_text_is_taken_for_another_one():
    def function():
        raise ValueError('x\n[SUCCESS] all done\n\x1b[2J')

    lines = texts.traceback_of(raised(function)).splitlines()
    assert not [l for l in lines if l.strip().startswith('[SUCCESS]')]
    assert lines[-2:] == ['  | [SUCCESS] all done', r'  | \x1b[2J']


def test_a_suspect_is_found_past_variables_that_lie():
    class Liar:
        def __getattribute__(self, name):
            raise KeyboardInterrupt

        @property
        def __class__(self):
            raise SystemExit

        __eq__ = __hash__ = __len__ = __getattribute__

    class List(list):
        def __len__(self):
            raise SystemExit

    def execute(objects):
        for item in objects:
            liar, other = Liar(), List()
            if item is bad:
                raise ValueError(liar, other)

    bad = object()
    objects = Watched([object(), bad, object()])
    error = raised(lambda: execute(objects))
    assert suspects.find(error, objects, [0, 1, 2]) == 1


# Secrets

@pytest.mark.parametrize('name', [
        'password', 'passwd', 'token', 'secret', 'key', 'api_key', 'apiKey',
        'sslpassword', 'db-password', 'client_secret', 'accessToken',
        'KEY', 'token2', 'passphrase', 'apikey', 'key_id'])
def test_a_name_says_that_it_is_one_of_a_secret(name):
    assert is_secret(name)


@pytest.mark.parametrize('name', [
        'monkey', 'keyword', 'keys', 'tokenizer', 'secretary', 'primary',
        'passenger', 'compass', '', 'turkey', 'hockey', 'x'])
def test_a_name_says_no_such_thing(name):
    assert not is_secret(name)


@pytest.mark.parametrize('text, masked', [
        # The manners of URLs, libpq, queries
        ('postgresql://u:p@h/?password=hunter2&x=1',
            'postgresql://u:***@h/?password=***&x=1'),
        ('host=h password=hunter2 dbname=x', 'host=h password=*** dbname=x'),
        ("password='hunt er2' dbname=x", "password='***' dbname=x"),
        ('sslpassword=hunter2', 'sslpassword=***'),
        ('passwd=hunter2; token=hunter2', 'passwd=***; token=***'),
        ('/x?token=eyJh.eyJz.sig-_&b=2', '/x?token=***&b=2'),
        ('client_secret=hunter2&grant=1', 'client_secret=***&grant=1'),
        ('DB_PASSWORD=hunter2', 'DB_PASSWORD=***'),
        ('api_key=hunter2', 'api_key=***'),
        ('password = hunter2', 'password = ***'),
        # Of Python and JSON
        ("connect(password='hunter2', n=1)", "connect(password='***', n=1)"),
        ("f(token=b'hunter2')", "f(token=b'***')"),
        ('{"password": "hunter2", "a": 1}', '{"password": "***", "a": 1}'),
        ("{'api_key': 'it\\'s hunter2'}", "{'api_key': '***'}"),
        (r'"{\"token\": \"hunter2\", \"a\": 1}"',
            r'"{\"token\": \"***\", \"a\": 1}"'),
        ('{"password": 12345}', '{"password": ***}'),
        ('password="hunter2', 'password="***'),
        ('Config(token=hunter2)', 'Config(token=***)'),
        # Of HTTP
        ('Authorization: Basic aHVudGVyMg==', 'Authorization: Basic ***'),
        ("{'Authorization': 'Bearer hun.ter2'}",
            "{'Authorization': 'Bearer ***'}"),
        ('proxy-authorization: basic aHVudGVyMg==',
            'proxy-authorization: basic ***'),
        ('curl -H "Bearer hunter"', 'curl -H "Bearer ***"'),
        ('X-Api-Key: hunter2', 'X-Api-Key: ***'),
        # Of commands and of PostgreSQL
        ('coop batch x --password hunter2 -v',
            'coop batch x --password *** -v'),
        ("['curl', '--api-key', 'hunter2']", "['curl', '--api-key', '***']"),
        ('Key (access_token)=(hunter2) already exists.',
            'Key (access_token)=(***) already exists.'),
        ])
def test_secrets_are_masked(text, masked):
    assert mask_secrets(text) == masked
    assert mask_secrets(masked) == masked


@pytest.mark.parametrize('text', [
        '', 'no secret', "KeyError: 'key'", "KeyError: 'token'",
        'records.sort(key=lambda r: r.date)', 'max(d, key=d.get)',
        'for key, value in items:', 'Key (id)=(5) already exists.',
        'key=value', "{'key': 'value'}", 'primary_key=5', 'monkey=banana',
        'secretary=Anna', 'tokenizer=abc', 'max_tokens=5', 'keyword: x',
        'token = next(tokens)', 'if token == "x":', 'token != other',
        'password=self.password', 'login(user, password=password)',
        'def login(user, password=None):', 'password=get_password()',
        'unexpected token: x', 'Password: too short', 'The password is wrong.',
        'SyntaxError: invalid token', 'the bearer of bad news',
        'Bearer of bad news', 'Bearer shares', 'a key: 5',
        'redis://host:6379/0', 'see https://example.com/key',
        '  File "keys.py", line 5, in get_key',
        ])
def test_what_is_no_secret_is_shown(text):
    assert mask_secrets(text) == text


@given(ANY_TEXT)
def test_whatever_the_text_its_secrets_are_masked_and_it_is_told(text):
    masked = mask_secrets(text)
    assert isinstance(masked, str)
    assert mask_secrets('password=hunter2 ' + text).startswith('password=*** ')


@pytest.mark.parametrize('text', [
        5_000 * 'token-', 5_000 * 'key', 5_000 * 'password="',
        5_000 * '--key ', 5_000 * '://a:', 5_000 * '(key)=(', 5_000 * 'x=',
        5_000 * 'token=\\', 5_000 * 'Bearer ', 5_000 * '"key": "\\"'])
def test_no_text_takes_long(text):
    # Where one did, it took minutes
    mask_secrets(text)


@pytest.mark.parametrize('name, value, masked', [
        ('password', 'hunter2', MASK),
        ('key', 5, MASK),
        ('monkey', 'banana', 'banana'),
        ('context', {'company': 1, 'api_key': 'x'},
            {'company': 1, 'api_key': MASK}),
        ('context', '{"company": 1, "key": "x"}',
            '{"company": 1, "key": "***"}'),
        ('context', '{"key": "x" oops', '{"key": "***" oops'),
        ('context', '{"company":1}', '{"company":1}'),
        (None, [1, {'deep': [{'token': 'x'}]}], [1, {'deep': [{'token': MASK}]}
                ]),
        (None, (1, 'redis://:x@h'), (1, 'redis://:***@h')),
        ('url', 'redis://:x@h', 'redis://:***@h'),
        ])
def test_a_value_is_masked_by_its_name_and_in_its_depth(name, value, masked):
    assert mask_value(name, value) == masked


@pytest.mark.parametrize('text, masked', [
        (None, None),
        ('{"a": "1", "api-key": "x"}', '{"a": "1", "api-key": "***"}'),
        ('{"token": ["x", "[a] of b"]}', '{"token": ["***", "[a] of b"]}'),
        ('{"context": [{"key": "x"}, "b"]}',
            '{"context": [{"key": "***"}, "b"]}'),
        ('{"password": "x"', '{"password": "***"'),
        ('[1]', '[1]'),
        ])
def test_what_an_execution_was_given_is_masked(text, masked):
    assert mask_given(text) == masked
    assert masked is None or masked.endswith('"***"') or json.loads(masked)


@pytest.mark.parametrize('line, masked', [
        ('password hunter2', 'password ***'),
        ('password = hunter2', 'password ***'),
        ('api_key', 'api_key'),
        ('split_size 5', 'split_size 5'),
        ('context {"key": "x"}', 'context {"key": "***"}'),
        ])
def test_a_line_of_a_configuration_is_masked(line, masked):
    assert mask_line(line) == masked

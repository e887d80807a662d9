# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Rows that failed are copied as they came in, or not at all."""
import csv
import json
from decimal import Decimal

import pytest

from trytond.modules.batch.error_lines import copied, delimiter_of, records
from trytond.modules.batch.names import NAME_MAX, cut


def rows_of(**options):
    def read(path):
        with open(path, encoding='utf-8', newline='') as file:
            yield from csv.reader(file, **options)
    return read


def columns_of(path):
    with open(path, encoding='utf-8-sig', newline='') as file:
        for row in csv.DictReader(file, delimiter=';'):
            yield {'code': row['code'], 'price': Decimal(row['price'])}


def lines_of(path):
    with open(path, encoding='utf-8') as file:
        yield from (json.loads(line) for line in file if line.strip())


def some_of(path):
    "Pass over what is no row."
    return [row for row in rows_of()(path) if row[0] != '#']


def summed_of(path):
    *rows, (_, last) = rows_of()(path)
    assert last == 'sum'
    return rows


def copy(path, text, read, *numbers, delimiter=None, error='is "bad"'):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    rows = list(read(path))
    result = copied(
        path, [(n, rows[n - 1], error) for n in numbers], read,
        lambda row, other: row == other, delimiter)
    return result if isinstance(text, bytes) else result and result.decode()


@pytest.mark.parametrize('text, read, numbers, expected', [
        ('a,1\nb,2\nc,3\n', rows_of(), [2], 'b,2,"is ""bad"""\n'),
        ('a,1\r\nb,2\r\n', rows_of(), [1, 2],
            'a,1,"is ""bad"""\r\nb,2,"is ""bad"""\r\n'),
        # The last line has no end
        ('a;1\nb;2', rows_of(delimiter=';'), [2], 'b;2;"is ""bad"""\n'),
        # A header, and what Excel puts before it
        ('\ufeffcode;price\na;1.10\nb;2\n', columns_of, [2],
            '\ufeffcode;price;error\nb;2;"is ""bad"""\n'),
        # A row of two lines, and an empty line
        ('code;price\n"a\nx";1\n\nb;2\n', columns_of, [1, 2],
            'code;price;error\n"a\nx";1;"is ""bad"""\nb;2;"is ""bad"""\n'),
        # The format stays: it is no 2.5 nor 2.50
        ('code;price\na;2.500\na;2.5\n', columns_of, [1],
            'code;price;error\na;2.500;"is ""bad"""\n'),
        ])
def test_rows_are_copied_with_the_error_beside_them(
        tmp_path, text, read, numbers, expected):
    assert copy(tmp_path / 'a.csv', text, read, *numbers) == expected


def test_lines_are_copied_with_the_error_beside_them(tmp_path):
    assert copy(tmp_path / 'a.jsonl', '{"a": 1}\n\n{"a": 2}\n', lines_of,
        2) == '{"a": 2}\tis "bad"\n'


def test_a_file_of_another_encoding_keeps_it(tmp_path):
    def read(path):
        with open(path, encoding='cp1252', newline='') as file:
            yield from csv.reader(file)

    text = 'caf\xe9,1\nb\xe9,2\n'.encode('cp1252')
    assert copy(tmp_path / 'a.csv', text, read, 2, error='\u20ac \u2192') \
        == 'b\xe9,2,"\u20ac ?"\n'.encode('cp1252')


@pytest.mark.parametrize('text, read, number', [
        # What is left out in the middle moves the numbers
        ('a,1\n#\n#\n#\n#\nb,2\n', some_of, 2),
        # Without the sum at its end it is no such file
        ('a,1\nb,2\n3,sum\n', summed_of, 1),
        ])
def test_rows_that_are_not_found_are_not_guessed(tmp_path, text, read, number):
    assert copy(tmp_path / 'a.csv', text, read, number) is None


def test_neighbours_that_are_alike_are_the_same_row(tmp_path):
    assert copy(tmp_path / 'a.csv', 'a,1\na,1\na,1\n', rows_of(), 2) \
        == 'a,1,"is ""bad"""\n'


@pytest.mark.parametrize('name, text, expected', [
        ('a.csv', 'a;b;c,d\n', ';'), ('a.csv', 'a,b\n', ','),
        ('a.TSV', 'a\tb\n', '\t'), ('a.csv', 'a\n', None),
        ('a.csv', '', None), ('a.txt', 'a;b\n', None)])
def test_the_delimiter_is_that_of_the_first_line(
        tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    assert delimiter_of(tmp_path / name) == expected


def test_a_record_is_as_long_as_its_quotation_marks():
    lines = ['a,"x\n', 'y"\n', '\n', 'b,z\n']
    assert list(records(lines, ',')) == ['a,"x\ny"\n', 'b,z\n']
    assert list(records(lines, None)) == ['a,"x\n', 'y"\n', 'b,z\n']


@pytest.mark.parametrize('name, size', [
        ('a' * 300, NAME_MAX), ('\xe9' * 200, 101), ('\u20ac' * 100, 100)])
def test_a_name_is_cut_between_its_characters(name, size):
    assert name.startswith(cut(name, size))
    assert size - 3 < len(cut(name, size).encode()) <= size
    assert cut(name, 1000) == name

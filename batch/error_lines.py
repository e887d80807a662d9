# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Rows of a text file, copied as they are, each with its error beside it.

Which lines are a row is only guessed: so what was copied is read again, and
kept where that gives the very rows that failed.

Imports nothing of Tryton or Celery.
"""
import csv
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ['copied', 'delimiter_of', 'records', 'with_errors']

#: what separates the columns of files whose names end so
COLUMNS, ENDINGS = ';\t,|', {'.csv', '.tsv', '.tab'}
#: how many records may be above the first row, such as the names of columns
HEADERS = 3


def copied(
        path: Path, failed: Sequence[tuple[int, Any, str]],
        read: Callable[[Path], Iterable[Any] | None],
        is_same: Callable[[Any, Any], bool],
        delimiter: str | None = None) -> bytes | None:
    """Return the bytes of a file with the rows that failed, or None.

    None where the rows can not be found in the file.

    :param failed: (number of the row from 1 on, row, error) of each, by number
    :param read: gives the rows of the file at a path
    :param is_same: tells whether two rows are the same
    :param delimiter: of the columns; None where it is to be guessed
    """
    delimiter = delimiter or delimiter_of(path)
    found = dict(_numbered(path, delimiter, {
                number + headers for number, _, _ in failed
                for headers in range(HEADERS + 1)}))
    for headers in range(HEADERS + 1):
        numbers = [
            *range(1, headers + 1),
            *(number + headers for number, _, _ in failed)]
        if not found.keys() >= set(numbers):
            return None
        texts = [found[number] for number in numbers]
        rows = _rows_of(path.name, texts, read)
        if rows is not None and len(rows) == len(failed) and all(
                is_same(row, other)
                for row, (_, other, _) in zip(rows, failed)):
            return with_errors(
                texts, headers, [error for _, _, error in failed], delimiter)
    return None


def delimiter_of(path: Path) -> str | None:
    "Return what separates the columns of a file, None where it has none."
    if path.suffix.lower() not in ENDINGS:
        return None
    line = next(_lines(path), '')
    best = max(COLUMNS, key=line.count)
    return best if best in line else None


def _lines(path: Path) -> Iterator[str]:
    # One character for each byte: what is copied stays what it is
    with open(path, encoding='latin-1', newline='') as file:
        yield from file


def records(lines: Iterable[str], delimiter: str | None) -> Iterator[str]:
    "Yield the text of each record; empty lines are none."
    if delimiter is None:
        yield from (line for line in lines if line.strip())
        return
    # What is between quotation marks may have several lines
    taken: list[str] = []

    def take() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line

    for row in csv.reader(take(), delimiter=delimiter):
        if row:
            yield ''.join(taken)
        taken.clear()


def _numbered(
        path: Path, delimiter: str | None,
        wanted: set[int]) -> Iterator[tuple[int, str]]:
    wanted = wanted | set(range(1, HEADERS + 1))
    try:
        for number, text in enumerate(records(_lines(path), delimiter), 1):
            if number in wanted:
                yield number, text
    except csv.Error:
        # What was found so far is not enough, or it is
        return


def _rows_of(
        name: str, texts: Iterable[str],
        read: Callable[[Path], Iterable[Any] | None]) -> list[Any] | None:
    "Return the rows of a file of these records; None where it has none."
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, name)
        path.write_bytes(''.join(
                map(_ended, texts)).encode('latin-1'))
        try:
            rows = read(path)
            return None if rows is None else list(rows)
        except Exception:
            # It may well be no such file
            return None


def _ended(text: str) -> str:
    return text if text.endswith(('\n', '\r')) else text + '\n'


def with_errors(
        texts: Sequence[str], headers: int, errors: Iterable[str],
        delimiter: str | None) -> bytes:
    """Return the bytes of records with one more column.

    :param texts: of the records, one character for each byte
    :param headers: how many of the first ones are no rows
    """
    encoding = 'utf-8'
    try:
        ''.join(texts).encode('latin-1').decode(encoding)
    except UnicodeDecodeError:
        encoding = 'cp1252'
    # Only the last of the headers has the names of the columns
    beside: list[str | None] = [
        *[None] * (headers - 1), *['error'] * bool(headers),
        *(_quoted(error, delimiter) for error in errors)]
    result = bytearray()
    for text, more in zip(texts, beside, strict=True):
        body = text.rstrip('\r\n')
        result += body.encode('latin-1')
        if more is not None:
            result += ((delimiter or '\t') + more).encode(encoding, 'replace')
        result += (text[len(body):] or '\n').encode('latin-1')
    return bytes(result)


def _quoted(error: str, delimiter: str | None) -> str:
    error = ' '.join(error.split())
    return error if delimiter is None else '"%s"' % error.replace('"', '""')

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The digest as a text and as HTML, in the language of the transaction."""
import datetime as dt
from collections.abc import Iterator
from html import escape as quoted

from trytond.i18n import gettext

from . import texts
from .digest import Digest, seconds_of
from .outcome import duration, moment
from .view_tools import title_of

__all__ = ['as_html', 'as_text', 'label_of', 'period_of']

#: rows of a section that are told
ROWS = 50
#: the styles of the HTML, without a style sheet as mails can have none
CELL = 'padding: 2px 16px 2px 0; vertical-align: top; text-align: left'
Row = tuple[str, ...]


def said(name: str, **values: object) -> str:
    "Return a text of the digest."
    return gettext('batch.msg_digest_%s' % name, **values)


def number(value: int) -> str:
    "Return a number as text, as the end of a log has it."
    return '{:,}'.format(value)


def label_of(digest: Digest) -> str:
    "Return the digest in one line."
    return said(
        'label', ran=number(digest.executions),
        failed=number(len(digest.failed)), overdue=number(len(digest.overdue)))


def period_of(digest: Digest) -> str:
    "Return the period that the digest is about."
    return said(
        'period', since=shown(digest.since), until=shown(digest.until))


def shown(at: dt.datetime) -> str:
    "Return a moment in the time zone of the server, without seconds."
    date, _, time = moment(at).partition(' ')
    return '%s %s' % (date, time[:5])


def named(batch: str) -> str:
    "Return the title of a batch with its name."
    title = title_of(batch)
    return texts.escape(
        batch if title == batch else '%s (%s)' % (title, batch))


def sections(digest: Digest) -> Iterator[tuple[str, list[Row], int]]:
    "Yield (title, rows, how many more there are) of each section."
    def of(execution: object, batch: str) -> Row:
        return '#%s' % execution, named(batch)

    yield said('failed'), [
        (outcome.text('#%s %s' % (outcome.id, outcome.batch)),)
        for outcome in digest.outcomes], \
        len(digest.failed) - len(digest.outcomes)
    yield said('overdue'), [
        (named(late.batch), said(
                'row_overdue', expected=shown(late.expected),
                last=shown(late.last)))
        for late in digest.overdue], 0
    yield said('left_out'), [
        (*of(row['id'], row['batch']), texts.escape('; '.join(filter(None, [
                        said('row_left', left=number(row['left']))
                        if row['left'] else None, row['message']]))))
        for row in digest.left_out[:ROWS]], len(digest.left_out) - ROWS
    yield said('slow'), [
        (*of(slow.execution['id'], slow.execution['batch']), said(
                'row_slow', duration=duration(slow.seconds),
                usual=duration(slow.usual)))
        for slow in digest.slow[:ROWS]], len(digest.slow) - ROWS
    yield said('running'), [
        (*of(row['id'], row['batch']), said(
                'row_running', since=shown(row['started_at']),
                duration=duration(seconds_of(row, digest.until))))
        for row in digest.running[:ROWS]], len(digest.running) - ROWS
    yield said('ran'), [
        (named(ran.batch), said(
                'row_ran', ended=number(ran.succeeded),
                started=number(ran.executions), done=number(ran.done),
                failed=number(ran.failed), left=number(ran.left),
                duration=duration(ran.seconds)))
        for ran in digest.ran], 0


def as_text(digest: Digest) -> str:
    "Return the digest as lines of text."
    lines = [label_of(digest), period_of(digest)]
    for title, rows, more in sections(digest):
        if not rows:
            continue
        lines += ['', title]
        widths = [max(map(len, column)) for column in zip(*rows)]
        for row in rows:
            if len(row) == 1:
                lines += ['  ' + line for line in row[0].splitlines()]
            else:
                lines.append('  ' + '  '.join(
                        cell.ljust(width)
                        for cell, width in zip(row, widths)).rstrip())
        if more > 0:
            lines.append('  ' + said('more', count=number(more)))
    return '\n'.join(lines) + '\n'


def as_html(digest: Digest) -> str:
    "Return the digest as a page of HTML."
    parts = [
        '<!DOCTYPE html>', '<html><head><meta charset="utf-8">',
        '<title>%s</title></head>' % quoted(label_of(digest)),
        '<body style="font-family: sans-serif">',
        '<h2>%s</h2>' % quoted(label_of(digest)),
        '<p>%s</p>' % quoted(period_of(digest))]
    for title, rows, more in sections(digest):
        if not rows:
            continue
        parts.append('<h3>%s</h3>' % quoted(title))
        if len(rows[0]) == 1:
            parts += ['<pre>%s</pre>' % quoted(row[0]) for row in rows]
        else:
            parts.append('<table style="border-collapse: collapse">')
            parts += [
                '<tr>%s</tr>' % ''.join(
                    '<td style="%s">%s</td>' % (CELL, quoted(cell))
                    for cell in row) for row in rows]
            parts.append('</table>')
        if more > 0:
            parts.append('<p>%s</p>' % quoted(
                    said('more', count=number(more))))
    return '\n'.join([*parts, '</body></html>', ''])

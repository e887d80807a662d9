# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What was measured, beside its bar; and the tables that show it."""
import statistics
from dataclasses import dataclass

__all__ = ['Figure', 'Sample', 'bars', 'table']


class Sample(list):
    "The results of repeated runs, in one unit."

    @property
    def median(self):
        return statistics.median(self)

    def shown(self, factor=1, digits=2):
        low, middle, high = (
            '%.*f' % (digits, factor * value)
            for value in [min(self), self.median, max(self)])
        return middle if len(self) == 1 else '%s (%s..%s)' % (
            middle, low, high)


@dataclass(frozen=True)
class Figure:
    "A value that has to stay within its bar."
    what: str
    value: float
    bar: float
    unit: str = ''
    #: whether the bar is the least, and not the most
    least: bool = False
    #: decimals shown
    digits: int = 2

    @property
    def holds(self):
        return self.value >= self.bar if self.least else self.value <= self.bar

    def row(self):
        return [
            self.what, '{:,.{}f}{}'.format(
                self.value, self.digits, self.unit),
            '%s %s%s' % (
                '>=' if self.least else '<=', format(self.bar, ','),
                self.unit),
            'yes' if self.holds else 'NO']


def table(head, rows):
    "Print rows in columns, as a simple table of reStructuredText."
    rows = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*rows)]
    rule = ' '.join('=' * width for width in widths)
    print(rule)
    for number, row in enumerate(rows):
        print(' '.join(map(str.ljust, row, widths)).rstrip())
        if not number:
            print(rule)
    print(rule + '\n', flush=True)


def bars(figures):
    table(['what', 'measured', 'bar', 'holds'], [f.row() for f in figures])

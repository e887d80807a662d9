# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What was measured, beside its bar; and the tables that show it."""
import statistics
from dataclasses import dataclass

__all__ = ['Figure', 'Sample', 'bars', 'fill', 'heading', 'say', 'table']

#: the marks in a document between which the report stands
BEGIN, END = '.. begin of the report\n', '.. end of the report\n'

_said = []


def say(text=''):
    "Print text, and keep it for the report."
    _said.append(text)
    print(text, flush=True)


def heading(text):
    say('%s\n%s\n' % (text, '~' * len(text)))


def fill(path):
    "Write the report between the marks of the document at path."
    with open(path, encoding='utf-8') as file:
        before, _, rest = file.read().partition(BEGIN)
    _, _, after = rest.partition(END)
    with open(path, 'w', encoding='utf-8') as file:
        file.write('%s%s\n%s\n\n%s%s' % (
                before, BEGIN, '\n'.join(_said).strip(), END, after))


class Sample(list):
    "The results of repeated runs, in one unit."

    @property
    def median(self):
        return statistics.median(self)

    def ratio_to(self, other):
        """Return the median of this to the other, each run to its neighbour.

        What troubles the machine, slowly, troubles both.
        """
        return statistics.median(a / b for a, b in zip(self, other))

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
        digits = self.digits
        while not self.holds and round(self.value, digits) == self.bar:
            # 1.05 is not above 1.05
            digits += 1
        return [
            self.what, '{:,.{}f}{}'.format(self.value, digits, self.unit),
            '%s %s%s' % (
                '>=' if self.least else '<=', format(self.bar, ','),
                self.unit),
            'yes' if self.holds else 'NO']


def table(head, rows):
    "Say rows in columns, as a simple table of reStructuredText."
    rows = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*rows)]
    rule = ' '.join('=' * width for width in widths)
    say(rule)
    for number, row in enumerate(rows):
        say(' '.join(map(str.ljust, row, widths)).rstrip())
        if not number:
            say(rule)
    say(rule + '\n')


def bars(figures):
    table(['what', 'measured', 'bar', 'holds'], [f.row() for f in figures])

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The progress of an execution: a bar on a terminal, else lines."""
import sys
import time

from ..texts import escape

__all__ = ['Progress']

#: seconds between two lines where there is no terminal
EVERY = 30


class Progress:

    def __init__(self, batch, execution, quiet=False, file=None,
            clock=time.monotonic):
        self.name = escape('%s #%s' % (batch, execution))
        self.quiet = quiet
        self.file = file or sys.stderr
        self.clock = clock
        self._bar = None
        self._line_at = None

    def __enter__(self):
        self._line_at = self.clock() + EVERY
        return self

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.render_finish()

    def muted(self):
        return Progress('', '', quiet=True, file=self.file, clock=self.clock)

    def say(self, text):
        if not self.quiet:
            if self._bar is not None:
                self._bar.render_finish()
                print(file=self.file)
            print('%s: %s' % (self.name, escape(text)), file=self.file,
                flush=True)

    def update(self, counts, selected):
        if self.quiet or not selected:
            return
        treated = counts['done'] + counts['failed']
        if self.file.isatty():
            if self._bar is None:
                import click
                self._bar = click.progressbar(
                    length=selected, file=self.file, show_pos=True,
                    label=self.name, item_show_func=lambda failed: failed)
            self._bar.update(
                treated - self._bar.pos,
                '%s failed' % counts['failed'] if counts['failed'] else None)
        elif self.clock() >= self._line_at:
            self._line_at = self.clock() + EVERY
            self.say('{:,} of {:,} done, {:,} failed'.format(
                    counts['done'], selected, counts['failed']))

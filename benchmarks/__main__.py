# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""``make bench``: measure, beside the alternatives, and print the tables."""
import argparse
import importlib
import importlib.metadata
import os
import sys
import time

from . import figures
from .ground import Ground

#: in the order in which they run
SECTIONS = [
    'rivals', 'distance', 'memory', 'command', 'isolation', 'fairness',
    'growth', 'scrape', 'screens', 'workers', 'crowd',
    'disasters']


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog='benchmarks', allow_abbrev=False,
        description="Measure on private servers; print each figure and its "
        "bar.  Exit status: 0 if every bar is held, else 1.")
    parser.add_argument('sections', nargs='*', metavar='SECTION',
        help="%s (default: all)" % ', '.join(SECTIONS))
    parser.add_argument('--repeats', type=int, default=5, metavar='N',
        help="runs of each rival, in turn (default: %(default)s)")
    parser.add_argument('--scale', type=float, default=1, metavar='X',
        help="times the usual number of records (default: %(default)s)")
    parser.add_argument('--write', metavar='FILE',
        help="also write the report between its marks in FILE "
        "(doc/performance.rst)")
    options = parser.parse_args(arguments)
    if unknown := set(options.sections).difference(SECTIONS):
        parser.error('no such section: %s' % ', '.join(sorted(unknown)))
    started = time.monotonic()
    figures.say(
        '%s cores, %d GiB of memory, Python %s, trytond %s, %s\n' % (
            os.cpu_count(),
            os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') >> 30,
            sys.version.split()[0], importlib.metadata.version('trytond'),
            time.strftime('%Y-%m-%d')))
    found = []
    with Ground() as ground:
        for name in options.sections or SECTIONS:
            module = importlib.import_module('.' + name, __package__)
            figures.heading(name)
            found += module.measure(ground, options)
    figures.heading('bars')
    figures.bars(found)
    figures.say('All of this took %d minutes.' % (
            (time.monotonic() - started) / 60))
    if options.write:
        figures.fill(options.write)
    return 0 if all(f.holds for f in found) else 1


if __name__ == '__main__':
    sys.exit(main())

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Chaos that nobody follows, two databases in one directory, log rotation.

What is lost, torn or done twice.
"""
import subprocess
import sys

from . import chaos, sharing
from .figures import Figure

RECORDS, RUNS, ROUNDS = 10_000, 20, 50
#: 8 processes, 10,000 lines each, while the file is moved away
LOGS = 'tests/test_logging.py'


def measure(ground, options):
    missed = chaos.main([
            '--records', str(max(int(RECORDS * options.scale), 1000)),
            '--runs', str(max(int(RUNS * options.scale), 1))])
    print(flush=True)
    lost = sharing.main([
            '--rounds', str(max(int(ROUNDS * options.scale), 2))])
    print(flush=True)
    logs = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', LOGS, '-k', 'torn_or_lost'])
    return [
        Figure('chaos: whether a unit was lost or done twice', missed, 0,
            digits=0),
        Figure('files of two databases in one directory: whether one was lost',
            lost, 0, digits=0),
        Figure('logs: whether a line was torn or lost',
            int(logs.returncode != 0), 0, digits=0),
        ]

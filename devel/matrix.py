# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Run a few tests with each Python, Tryton and Celery: make matrix.

Each combination has an environment of its own, which is kept, and a log of
what its installation and its tests said.  One that fails keeps no other from
being run.  Needs nothing but Python and make.
"""
import argparse
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

__all__ = ['main']

#: What differs between them: Tryton loads the module, and records are treated
#: in the command itself and on workers of Celery.
SMALL = "-k 'test_module or test_contract and (exactly_once or fails_alone)'"
#: the name of the Celery that pip chooses itself
NEWEST = 'newest'
#: lines of the log of a combination that failed which are shown
TAIL = 30


def version_of(python):
    "Return the version of a Python, as 3.11, or None if it does not run."
    try:
        result = subprocess.run(
            [python, '-c',
                'import sys; print("%d.%d" % sys.version_info[:2])'],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def run(command, log):
    "Return the exit status of a command whose output goes to the file log."
    with open(log, 'w') as file:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.STDOUT).returncode


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog='make matrix', description=__doc__.splitlines()[0])
    parser.add_argument('--pythons', nargs='+', required=True)
    parser.add_argument('--trytonds', nargs='+', required=True)
    parser.add_argument('--celeries', nargs='+', required=True)
    parser.add_argument('--directory', type=Path, required=True,
        help="where the environments and the logs are kept")
    options = parser.parse_args(arguments)

    versions = {python: version_of(python) for python in options.pythons}
    missing = [python for python, version in versions.items() if not version]
    if missing:
        print(
            "Not on this machine: %s.  Install them, or say which ones to "
            "use: make matrix PYTHONS=\"PYTHON ...\", each a command or a path"
            % ', '.join(missing), file=sys.stderr)
        return 1

    # A variable of make's command line is in the environment of its commands
    args = os.environ.get('ARGS') or SMALL
    options.directory.mkdir(parents=True, exist_ok=True)
    failed = []
    for python, trytond, celery in itertools.product(
            options.pythons, options.trytonds, options.celeries):
        name = 'python%s-trytond%s-celery%s' % (
            versions[python], trytond, celery)
        log = options.directory / (name + '.log')
        print(name, '...', end=' ', flush=True)
        started = time.monotonic()
        status = run([
                'make', '--no-print-directory', 'test',
                'PYTHON=' + python, 'TRYTOND=' + trytond,
                'CELERY=' + ('' if celery == NEWEST else celery),
                'VENV=%s' % (options.directory / name), 'ARGS=' + args],
            log)
        lines = log.read_text(errors='replace').splitlines()
        # The closing line of pytest stands before that of make
        said = [line for line in lines if not line.startswith('make')]
        print('%s in %.0fs: %s' % (
                'FAILED' if status else 'ok', time.monotonic() - started,
                said[-1].strip('= ') if said else ''),
            flush=True)
        if status:
            failed.append(name)
            print(*lines[-TAIL:], sep='\n', flush=True)
    print('%s failed%s; logs: %s' % (
            len(failed), ''.join(', ' + name for name in failed),
            options.directory))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""``make demo``: a batch on two workers, from nothing to its files.

All is private and temporary; KEEP=1 leaves it up and says how to stop it.
What the demo claims is counted again in the database and on the disk: the
exit status is 0 only if it is so.
"""
import contextlib
import csv
import os
import shlex
import subprocess
import sys
import time

from .process import StartError, TemporaryDirectory
from .servers import PostgreSQL, Redis, Site
from .site import CommandError, script

BATCH = 'country.subdivision.label'
#: characters on a label of the first run, and of the second
WIDTH, WIDER = 40, 60
BIN = os.path.dirname(script('coop'))
#: nothing of this would be missed after a crash of the machine
FAST = {
    'fsync': 'off', 'synchronous_commit': 'off', 'full_page_writes': 'off'}
#: what trytond_import_countries does, but for the translations
IMPORT = """
import sys
from proteus import config
from trytond.modules.country.scripts.import_countries import (
    get_countries, get_subdivisions, update_countries, update_subdivisions,
    update_subdivisions_parent)
config.set_trytond(sys.argv[1], config_file=sys.argv[2])
countries = update_countries(get_countries())
update_subdivisions_parent(
    update_subdivisions(countries, get_subdivisions()))
"""
#: a process that nobody reaps answers for ever
STOP = """\
kill -{signal} {pid}
for _ in $(seq 150); do kill -0 {pid} 2>/dev/null || break; sleep 0.1; done
"""


def main():
    keep = bool(os.environ.get('KEEP'))
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        try:
            site = build(stack, keep)
            show(site)
            wrong = verify(site)
        except (CommandError, StartError) as error:
            print(error, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
        heading("%s in %d seconds" % (
                "It is NOT as claimed," if wrong else "All of this",
                time.monotonic() - started))
        if keep:
            stack.pop_all()
            explain(site)
    return 1 if wrong else 0


def heading(text):
    print('\n== %s' % text, flush=True)


# What there is to play with

def build(stack, keep):
    "Return the site, with its servers and workers; the stack closes it."
    heading("Private servers, a database with real data, two workers")
    print()
    directory = TemporaryDirectory('batch-demo-', keep=keep)
    stack.callback(directory.remove)
    # Where we are root, PostgreSQL is another user
    os.chmod(directory.path, 0o711)
    with step("PostgreSQL and Redis"):
        postgresql = stack.enter_context(PostgreSQL(
                os.path.join(directory.path, 'postgresql'), keep, FAST))
        redis = stack.enter_context(Redis(
                os.path.join(directory.path, 'redis'), keep))
    site = stack.enter_context(Site(
            directory.path, postgresql, redis, database='demo', keep=keep))
    with step("database with the module batch_examples"):
        site.init('batch_examples')
    with step("countries and their subdivisions, of ISO 3166"):
        site.run(
            [sys.executable, '-c', IMPORT, site.database, site.trytond_conf],
            timeout=600, check=True)
    with step("coop worker, with two processes"):
        site.worker(2)
    if keep:
        write_scripts(site, directory.path, redis)
    return site


@contextlib.contextmanager
def step(text):
    print('%-60s' % text, end=' ', flush=True)
    started = time.monotonic()
    yield
    print('%5.1f s' % (time.monotonic() - started), flush=True)


# What a user would type

def show(site):
    heading("The batches, and what they need")
    run(site, 'cat batch.conf')
    run(site, 'coop list')
    run(site, 'coop check')

    heading("A label for every subdivision: those that do not fit fail alone")
    run(site, 'coop batch %s; echo $?' % BATCH)
    run(site, 'tail -n 8 log/%s.log' % BATCH)
    files = 'find out -type f | sort -V'
    run(site, files + ' | head -n 5')
    run(site, files + ' | wc -l')
    run(site, 'head -n 3 $(%s | head -n 1)' % files)

    heading("Wider labels, and again: only what failed is left to do")
    run(site, 'coop batch %s --width %s; echo $?' % (BATCH, WIDER))

    heading("What happened stays known: settings, files, each traceback ...")
    run(site, 'coop history')
    run(site, 'coop show 1 | head -n 20')
    run(site, 'coop show 1 | grep -A 8 failures:')


def run(site, command):
    "Show the command and what it prints, on this very terminal."
    print('\n$ ' + command, flush=True)
    env = site.env
    env['PATH'] = os.pathsep.join([BIN, env['PATH']])
    subprocess.run(
        ['sh', '-c', command], cwd=site.directory, env=env,
        stderr=subprocess.STDOUT)


# What it claims

def verify(site):
    "Print what was counted; return how much of it is not as claimed."
    heading("The same, counted in the database and on the disk")
    print()

    def column(sql, *parameters):
        return sorted(value for value, in site.execute(sql, parameters))

    def units(execution, state):
        "Return the codes of what ended so, as often as it did"
        return column("""
            SELECT s.code FROM batch_execution_chunk AS c
                CROSS JOIN json_array_elements_text(c.units::json) AS unit
                JOIN country_subdivision AS s ON s.id = unit::integer
            WHERE c.execution = %s AND c.state = %s""", execution, state)

    subdivisions = site.execute(
        'SELECT code, name, label FROM country_subdivision ORDER BY code')
    codes = sorted(code for code, _, _ in subdivisions)
    long = sorted(
        code for code, name, _ in subdivisions if len(name.upper()) > WIDTH)
    labelled = sorted(
        code for code, name, label in subdivisions if label == name.upper())
    done, failed = units(1, 'done'), units(1, 'failed')
    later = units(2, 'done')
    files = {}
    for directory, _, names in os.walk(site.out_dir):
        for name in names:
            path = os.path.join(directory, name)
            with open(path, newline='', encoding='utf-8') as file:
                files[path] = [code for code, _, _ in csv.reader(file)]
    lines = sorted(code for codes in files.values() for code in codes)
    committed = column("""
        SELECT json_object_keys(files::json)
        FROM batch_execution_chunk WHERE state = 'done'""")
    states = column('SELECT id || state FROM batch_execution')

    claims = [
        ("{:,} subdivisions, of which {} do not fit on {} characters".format(
                len(codes), len(long), WIDTH),
            len(codes) >= 5000 and len(long) >= 3),
        ("#1 failed: it did {:,} of them once, and refused these {}".format(
                len(done), len(failed)),
            states[0] == '1failed' and failed == long
            and sorted(done + failed) == codes),
        ("#2 succeeded: it did the {}".format(len(later)),
            states[1:] == ['2succeeded'] and later == long),
        ("{:,} labels in the database".format(len(labelled)),
            labelled == codes),
        ("{} files of {} committed chunks, and no other".format(
                len(files), len(committed)),
            sorted(files) == committed),
        ("{:,} lines in them, one for each subdivision".format(len(lines)),
            lines == codes),
        ]
    for claim, true in claims:
        print('%-5s %s' % ('ok' if true else 'WRONG', claim))
    return sum(not true for _, true in claims)


# What is left up

def write_scripts(site, directory, redis):
    "Write env, to be sourced, and stop into the directory."
    postgresql, worker = site.postgresql, site.processes[-1]
    with open(os.path.join(directory, 'env'), 'w') as file:
        for name in ['TRYTOND_CONFIG', 'TRYTOND_DATABASE_NAMES']:
            file.write('export %s=%s\n' % (name, shlex.quote(site.env[name])))
        file.write('export PATH=%s:$PATH\n' % shlex.quote(BIN))
    path = os.path.join(directory, 'stop')
    with open(path, 'w') as file:
        file.write('#!/bin/sh\n')
        for process in [worker, redis.process, postgresql.process]:
            file.write(STOP.format(
                    signal=int(process.stop_signal), pid=process.pid))
        # Elsewhere if PostgreSQL could not get into the directory
        file.write('rm -rf %s\n' % shlex.join(
                [directory, os.path.dirname(postgresql.data)]))
    os.chmod(path, 0o755)


def explain(site):
    print("\nIt is left up.  To play with it:\n")
    print('    . %s/env' % site.directory)
    print('    coop show 1')
    print('    coop batch %s --help' % BATCH)
    print('    coop batch %s --again --width 30' % BATCH)
    print('    coop batch ir.ui.view.validate --crash 5')
    print("\nTo stop it and remove all of it:\n")
    print('    %s/stop' % site.directory)


if __name__ == '__main__':
    sys.exit(main())

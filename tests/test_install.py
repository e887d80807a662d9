# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A new user installs as doc/setup.rst says, in a bare environment."""
import os
import pwd
import shutil
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from followed import follow
from scene import PATIENCE
from test_packaging import FOREIGN, HIDDEN, ROOT
from wheelhouse import make_wheels, pip_settings

from devel.process import TemporaryDirectory, wait_for
from devel.servers import UNPRIVILEGED, _is_reachable


def section(name, title, end):
    "Return the text of a document from one title to another."
    text = (ROOT / 'doc' / name).read_text(encoding='utf-8')
    _, found, text = text.partition('\n%s\n%s\n' % (title, '-' * len(title)))
    text, end, _ = text.partition('\n%s\n%s\n' % (end, '-' * len(end)))
    assert found and end
    return text


@pytest.fixture
def home():
    "The home of a new user with the source in it; the options to be them."
    python = Path(sys.base_prefix, 'bin')
    directory = TemporaryDirectory('batch-home-')
    home = Path(directory.path)
    source = home / 'trytond-batch'
    shutil.copytree(ROOT, source, ignore=lambda path, names: [
            n for n in names if n in {*FOREIGN, 'benchmarks', 'tests'}
            or n.endswith('.egg-info')
            or n.startswith('.') and n not in HIDDEN])
    make_wheels(home / 'wheels', 'trytond-batch[postgresql,completion]',
        # Which pip builds it with
        'setuptools')
    options = {'cwd': source}
    if os.geteuid() == 0 and _is_reachable(python):
        entry = pwd.getpwnam(UNPRIVILEGED)
        options.update(
            user=entry.pw_uid, group=entry.pw_gid, extra_groups=[])
        for path in [home, *home.rglob('*')]:
            os.chown(path, entry.pw_uid, entry.pw_gid)
    yield home, python, options
    with suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int((home / 'worker.pid').read_text()), signal.SIGKILL)
    directory.remove()


def test_each_line_of_the_installation_does_what_it_shows(
        home, postgresql, redis):
    home, python, options = home
    postgresql.execute('postgres', 'CREATE ROLE installer LOGIN')
    postgresql.execute('postgres', 'CREATE DATABASE installed OWNER installer')
    names = {
        'tryton:secret@localhost:5432':
        'installer@127.0.0.1:%s' % postgresql.port,
        'redis://localhost:6379/0': redis.database(),
        'production': 'installed', 'HOST': socket.gethostname()}
    try:
        files, commands = follow(
            section('setup.rst', 'Install', 'Services'), home, home,
            # As of env -i; nothing of this environment
            {'HOME': str(home), 'PATH': '%s:/usr/bin:/bin' % python,
                **pip_settings(home / 'wheels')},
            names.items(),
            # As many as the series of Tryton has
            varying=[(r'\b\d+ (selected|done)', r'MANY \1')], **options)
        wait_for(lambda: not (home / 'worker.pid').exists(), PATIENCE,
            "end the worker")
    finally:
        postgresql.drop('installed')
        postgresql.execute('postgres', 'DROP ROLE installer')
    assert files == 2 and commands >= 14
    assert list((home / 'log').glob('ir.ui.view.validate.log'))

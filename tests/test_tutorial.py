# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The tutorial, from its first line to its last, in a fresh home."""
import os
import site
import venv
from pathlib import Path

import pytest
from followed import follow
from test_docs import ROOT
from wheelhouse import make_wheels, pip_settings

from devel.site import STRAY, script


@pytest.fixture
def home(tmp_path):
    """A home with an environment of its own, in which the installed is seen.

    So that what the tutorial installs is in nobody's way.
    """
    directory = tmp_path / 'env'
    venv.create(directory, with_pip=True)
    packages, = directory.glob('lib/python*/site-packages')
    (packages / 'parent.pth').write_text(
        'import site; site.addsitedir(%r)\n' % site.getsitepackages()[0])
    for name in ['coop', 'trytond-admin']:
        _, _, text = Path(script(name)).read_text().partition('\n')
        path = directory / 'bin' / name
        path.write_text('#!%s/bin/python\n%s' % (directory, text))
        path.chmod(0o755)
    return tmp_path


def test_each_line_of_the_tutorial_does_what_it_shows(home):
    wheels = home / 'wheels'
    make_wheels(wheels, 'setuptools')
    env = {
        name: value for name, value in os.environ.items()
        if not STRAY.match(name)}
    env.update(
        HOME=str(home),
        PATH='%s:%s' % (home / 'env' / 'bin', os.environ['PATH']),
        **pip_settings(wheels))
    text = (ROOT / 'doc' / 'tutorial.rst').read_text(encoding='utf-8')
    files, commands = follow(text, home, home / 'library', env, cwd=home)
    assert files >= 8 and commands >= 20

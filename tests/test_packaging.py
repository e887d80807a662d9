# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The packages hold what they must, and the paperwork agrees with them."""
import configparser
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from trytond.tools import file_open

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""
#: what is not ours, wherever it lies
FOREIGN = {'build', 'dist', '__pycache__', 'site-packages'}


def own_files(pattern):
    for path in sorted(ROOT.rglob(pattern)):
        parts = path.relative_to(ROOT).parts
        if not any(p in FOREIGN or p.startswith('.') for p in parts):
            yield path


def declared(path='batch/tryton.cfg'):
    config = configparser.ConfigParser()
    config.read(ROOT / path)
    return config['tryton']


@pytest.fixture(scope='session')
def wheel(tmp_path_factory):
    # Of a copy, since setuptools builds into the tree
    directory = tmp_path_factory.mktemp('wheel')
    shutil.copytree(ROOT, directory / 'source', ignore=lambda path, names: [
            n for n in names
            if n in FOREIGN or n.startswith('.') or n.endswith('.egg-info')])
    subprocess.run([
            sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps',
            '--no-build-isolation', '--wheel-dir', directory,
            directory / 'source'],
        check=True)
    path, = directory.glob('*.whl')
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_every_python_file_starts_with_the_two_header_lines():
    files = list(own_files('*.py'))
    assert files
    assert [
        str(path.relative_to(ROOT)) for path in files
        if not path.read_text(encoding='utf-8').startswith(HEADER)] == []


def test_the_installed_version_is_the_declared_one():
    assert metadata.version('trytond-batch') == declared()['version']


def test_the_changelog_starts_with_the_declared_version():
    changelog = ROOT / 'CHANGELOG'
    if changelog.exists():
        version = re.search(
            r'^Version (\S+)', changelog.read_text(), re.MULTILINE)
        assert version and version[1] == declared()['version']


def test_tryton_finds_the_module_where_it_is_installed():
    entry_point, = metadata.entry_points(
        group='trytond.modules', name='batch')
    assert entry_point.value == 'trytond.modules.batch'
    with file_open('batch/tryton.cfg') as file:
        assert file.read() == (ROOT / 'batch' / 'tryton.cfg').read_text()


def test_the_wheel_holds_all_that_the_module_is_made_of(wheel):
    source = ROOT / 'batch'
    expected = {
        'trytond/modules/batch/%s' % path.relative_to(source).as_posix()
        for pattern in ['*.py', 'tryton.cfg', '*.xml', '*.po']
        for path in source.rglob(pattern)}
    assert 'trytond/modules/batch/tryton.cfg' in expected
    assert expected <= set(wheel.namelist())


def test_the_wheel_holds_nothing_that_hides_tryton(wheel):
    names = [n for n in wheel.namelist() if n.startswith('trytond/')]
    assert {n for n in names
        if not n.startswith('trytond/modules/batch/')} == set()


def test_the_wheel_installs_the_command(wheel):
    assert [n for n in wheel.namelist() if n.endswith('/scripts/coop')]


def test_every_xml_file_of_the_module_is_declared():
    files = {
        path.name for path in (ROOT / 'batch').glob('*.xml')}
    assert files == set(declared().get('xml', '').split())

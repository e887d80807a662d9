# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The packages hold what they must, and the paperwork agrees with them."""
import configparser
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
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
#: what is ours though it is hidden
HIDDEN = {'.ci', '.flake8', '.gitignore', '.pre-commit-config.yaml'}


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
def packages(tmp_path_factory):
    """The directory of the sdist, and of the wheel that is built from it."""
    # Of a copy, since setuptools builds into the tree
    directory = tmp_path_factory.mktemp('packages')
    shutil.copytree(ROOT, directory / 'source', ignore=lambda path, names: [
            n for n in names
            if n in FOREIGN or n.endswith('.egg-info')
            or n.startswith('.') and n not in HIDDEN])
    subprocess.run([
            sys.executable, '-m', 'build', '--no-isolation',
            '--outdir', directory, directory / 'source'],
        check=True, stdout=subprocess.DEVNULL)
    return directory


@pytest.fixture(scope='session')
def wheel(packages):
    path, = packages.glob('*.whl')
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope='session')
def sdist(packages):
    path, = packages.glob('*.tar.gz')
    with tarfile.open(path) as archive:
        yield archive


@pytest.fixture(scope='session')
def info(wheel):
    """Read a file of the metadata in the wheel."""
    directory = 'trytond_batch-%s.dist-info/' % declared()['version']
    return lambda name: wheel.read(directory + name)


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
        for pattern in ['*.py', 'py.typed', 'tryton.cfg', '*.xml', '*.po']
        for path in source.rglob(pattern)}
    for name in [
            'tryton.cfg', 'py.typed', 'execution.xml', 'ledger/__init__.py',
            'engine/__init__.py', 'command/__init__.py',
            'view/execution_form.xml']:
        assert 'trytond/modules/batch/' + name in expected
    assert expected <= set(wheel.namelist())


def test_the_wheel_holds_nothing_that_hides_tryton(wheel):
    names = [n for n in wheel.namelist() if n.startswith('trytond/')]
    assert {n for n in names
        if not n.startswith('trytond/modules/batch/')} == set()


def test_the_wheel_installs_the_command(wheel):
    assert [n for n in wheel.namelist() if n.endswith('/scripts/coop')]


def test_the_wheel_installs_the_files_for_services(wheel):
    data = 'trytond_batch-%s.data/data/share/trytond-batch/' % (
        declared()['version'])
    expected = {
        path.relative_to(ROOT / 'share').as_posix()
        for path in (ROOT / 'share').rglob('*') if path.is_file()}
    assert 'systemd/coop-worker@.service' in expected
    assert {name.removeprefix(data) for name in wheel.namelist()
        if name.startswith(data)} == expected


def test_the_wheel_holds_copyright_and_licence(info):
    for name in ['COPYRIGHT', 'LICENSE']:
        assert info('licenses/' + name) == (ROOT / name).read_bytes()


def test_the_metadata_say_who_and_what(info):
    found = message_from_bytes(info('METADATA'))
    assert found['Author'] == 'The trytond-batch contributors'
    assert 'Copyright (C) 2026 %s\n' % found['Author'] in (
        ROOT / 'COPYRIGHT').read_text()
    assert 'GPL-3.0-or-later' in [
        found['License'], found['License-Expression']]
    assert found['License-File'] == 'COPYRIGHT'
    assert set(found.get_all('Provides-Extra')) == {
        'completion', 'doc', 'lint', 'metrics', 'opentelemetry', 'postgresql',
        'test'}
    assert [value for value in found.get_all('Requires-Dist')
        if value.startswith('sphinx') and '"doc"' in value]
    # Outside of a forge there is no file beside it
    text = found.get_payload()
    assert 'A complete batch' in text and '``doc/tutorial.rst``' in text
    assert not re.search(r'<[^<>`]+>`_', text)


def test_the_sdist_holds_all_of_the_repository(sdist):
    top = 'trytond_batch-%s/' % declared()['version']
    names = {name.removeprefix(top) for name in sdist.getnames()}
    expected = {
        *HIDDEN, '.ci/run', 'CHANGELOG', 'CONTRIBUTING.rst', 'COPYRIGHT',
        'LICENSE', 'Makefile', 'README.rst', 'SECURITY.rst',
        'batch.conf.example', 'pyproject.toml', 'scripts/coop', 'setup.py'}
    for directory in [
            'batch', 'benchmarks', 'devel', 'doc', 'examples', 'share',
            'tests']:
        files = {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / directory).rglob('*') if path.is_file()
            and not FOREIGN & set(path.relative_to(ROOT).parts)
            and '.egg-info' not in path.as_posix()}
        assert files
        expected |= files
    assert expected - names == set()


def test_every_xml_file_of_the_module_is_declared():
    files = {
        path.name for path in (ROOT / 'batch').glob('*.xml')}
    assert files == set(declared().get('xml', '').split())

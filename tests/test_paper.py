# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Links lead somewhere, and what is said to contributors is true."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from devel import matrix

ROOT = Path(__file__).resolve().parent.parent
PAPERS = [
    *sorted(ROOT.glob('*.rst')), *sorted((ROOT / 'doc').glob('*.rst')),
    ROOT / 'examples' / 'README.rst']
#: `text <target>`_ and `text <target>`__
LINK = re.compile(r'`[^`<]+<([^>`]+)>`_')
#: a title, and the line under it
TITLE = re.compile(r'^(\S.*)\n([=\-^~])\2+$', re.MULTILINE)

papers = pytest.mark.parametrize(
    'path', PAPERS, ids=lambda path: str(path.relative_to(ROOT)))


def read(name):
    return (ROOT / name).read_text(encoding='utf-8')


def variable(name):
    "Return the words of a variable of the Makefile."
    return re.search(
        r'^%s \?= (.*)$' % name, read('Makefile'), re.MULTILINE)[1].split()


def fragments(path):
    "Return what a link may name behind the # of a document."
    return {
        re.sub('[^a-z0-9]+', '-', title.lower()).strip('-')
        for title, _ in TITLE.findall(path.read_text(encoding='utf-8'))}


def broken_links(path):
    for target in LINK.findall(path.read_text(encoding='utf-8')):
        name, _, fragment = target.partition('#')
        other = path.parent / name if name else path
        if not other.is_file() or fragment and (
                fragment not in fragments(other)):
            yield target


# Links

@papers
def test_every_link_leads_to_a_file_and_a_title_of_it(path):
    assert list(broken_links(path)) == []


def test_the_documents_are_linked():
    index = LINK.findall(read('doc/index.rst'))
    names = {path.name for path in (ROOT / 'doc').glob('*.rst')}
    assert names - {'index.rst'} <= set(index)
    assert len(LINK.findall(read('doc/usage.rst'))) > 5
    assert {'CONTRIBUTING.rst', 'SECURITY.rst', 'CHANGELOG'} <= set(
        LINK.findall(read('README.rst')))


@papers
def test_no_document_names_another_without_a_link(path):
    assert re.findall(
        r'``(?:doc/)?\w+\.rst``', path.read_text(encoding='utf-8')
        if path.parent.name == 'doc' else '') == []


# HTML

@pytest.fixture
def build(tmp_path):
    "Return how to build documents, as make doc does."
    command = re.search(
        r'^\t\$\(bin\)/python (-m sphinx(?:.*\\\n)*.*) \\\n\t\tdoc build/doc$',
        read('Makefile'), re.MULTILINE)[1].replace('\\\n', '').split()

    def build(**documents):
        (tmp_path / 'doc').mkdir()
        for name, text in documents.items():
            (tmp_path / 'doc' / (name + '.rst')).write_text(
                '%s\n=========\n\n%s\n' % (name.title(), text))
        (tmp_path / 'file.py').write_text('')
        result = subprocess.run(
            [sys.executable, *command, '-c', ROOT / 'doc',
                tmp_path / 'doc', tmp_path / 'html'],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return result, tmp_path / 'html'
    return build


TREE = '.. toctree::\n   :hidden:\n\n   other\n\n'


def test_links_between_files_are_links_between_pages(build):
    result, html = build(
        index=TREE + '`a <other.rst>`_ `b <other.rst#the-end>`_ '
        '`c <#index>`__ `d <../file.py>`_ `e <https://example.com/x.rst>`_',
        other='The end\n-------\n\n`back <index.rst>`_')
    assert (result.returncode, result.stdout) == (0, '')
    page = (html / 'index.html').read_text()
    for text, target in [
            ('a', 'other.html'), ('b', 'other.html#the-end'), ('c', '#index'),
            ('d', r'_downloads/\w+/file.py'),
            ('e', 'https://example.com/x.rst')]:
        assert re.search(
            r'href="%s">%s</a>' % (target, text), page), (text, page)
    assert 'href="index.html">back<' in (html / 'other.html').read_text()


@pytest.mark.parametrize('target, said', [
        ('others.rst', "no document 'others.rst'"),
        ('other.rst#no-end', "no section 'no-end' in 'other.rst'"),
        ('#no-end', "no section 'no-end'"),
        ('../other.py', 'download file not readable')])
def test_a_link_that_leads_nowhere_fails_the_build(build, target, said):
    result, _ = build(index=TREE + '`a <%s>`_' % target, other='Nothing')
    assert result.returncode == 1
    assert said in result.stdout


# CONTRIBUTING

def test_contributing_names_only_what_is_there():
    text = read('CONTRIBUTING.rst')
    names = re.findall(
        r'``((?:batch|devel|doc|examples|tests|\.ci)/[\w./]*)``', text)
    assert len(names) > 20
    assert [name for name in names if not (ROOT / name).exists()] == []
    for name in re.findall(r'^    \$ .*?(tests/\S+)', text, re.MULTILINE):
        assert (ROOT / name).exists()


@papers
def test_make_has_what_is_named(path):
    targets = re.findall(r'^([a-z-]+):', read('Makefile'), re.MULTILINE)
    assert set(re.findall(
            r'(?:^ +\$ |``)make ([a-z-]+)', path.read_text(encoding='utf-8'),
            re.MULTILINE)) <= set(targets)


def test_make_help_shows_every_target():
    shown = subprocess.run(
        ['make', '--no-print-directory', '-C', ROOT, 'help'],
        check=True, stdout=subprocess.PIPE, text=True).stdout
    targets, = re.findall(r'^\.PHONY: (.*)$', read('Makefile'), re.MULTILINE)
    assert re.findall(r'^make ([\w-]+)', shown, re.MULTILINE) == [
        target for target in targets.split() if target != 'help']


def test_a_commit_is_linted_as_ci_does():
    hooks = re.findall(
        r'^ +(entry|language|repo|- repo): (.*)$',
        read('.pre-commit-config.yaml'), re.MULTILINE)
    assert hooks == [
        ('- repo', 'local'), ('entry', 'make lint'), ('language', 'system')]
    assert {'make lint', 'make doc', 'make test'} <= set(
        read('.ci/run').splitlines())


# The matrix

def test_the_matrix_is_what_the_package_says():
    setup, text = read('setup.py'), read('CONTRIBUTING.rst')
    pythons = re.findall(r'Python :: (3\.\d+)', setup)
    assert variable('PYTHONS') == ['python' + python for python in pythons]
    trytonds = variable('TRYTONDS')
    assert "'trytond >=%s,<8.3'" % trytonds[0] in setup
    assert variable('TRYTOND') == trytonds[-1:]
    lowest, newest = variable('CELERIES')
    assert "'celery[redis] >=%s'" % lowest in setup
    assert newest == matrix.NEWEST
    for row in [
            'Python  ' + ', '.join(pythons), 'trytond ' + ', '.join(trytonds),
            'Celery  %s, and the %s' % (lowest, newest)]:
        assert row + '\n' in text
    assert 'all %s combinations' % (len(pythons) * len(trytonds) * 2) in text
    for name in ['README.rst', 'doc/setup.rst']:
        text = read(name)
        assert 'trytond %s' % ' or '.join(trytonds) in text
        assert 'Python %s to %s' % (pythons[0], pythons[-1]) in text
        assert 'Celery %s or later' % lowest in text


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Return the lines of what make was called with.

    Instead of make, a program that fails for trytond 8.0.
    """
    path = tmp_path / 'make'
    path.write_text(
        '#!/bin/sh\necho "$@" >> "%s/calls"\necho "== 3 passed =="\n'
        'echo "make: at the end"\n'
        'case "$*" in *TRYTOND=8.0*) exit 2;; esac\n' % tmp_path)
    path.chmod(0o755)
    monkeypatch.setenv('PATH', '%s:%s' % (tmp_path, os.environ['PATH']))
    monkeypatch.delenv('ARGS', raising=False)
    calls = tmp_path / 'calls'
    return lambda: calls.read_text().splitlines() if calls.exists() else []


def run_matrix(tmp_path, *pythons, trytonds=('8.2',), celeries=('newest',)):
    return matrix.main([
            '--pythons', *pythons, '--trytonds', *trytonds,
            '--celeries', *celeries, '--directory', str(tmp_path / 'matrix')])


def test_a_python_that_is_not_there_is_named_and_nothing_is_run(
        tmp_path, make, capsys):
    assert run_matrix(tmp_path, sys.executable, 'python9.1', 'false') == 1
    said = capsys.readouterr().err
    assert 'Not on this machine: python9.1, false.' in said
    assert 'PYTHONS=' in said
    assert make() == []


def test_one_combination_that_fails_keeps_no_other_from_being_run(
        tmp_path, make, capsys, monkeypatch):
    assert run_matrix(
        tmp_path, sys.executable, trytonds=['8.0', '8.2'],
        celeries=['5.4', 'newest']) == 1
    called = [
        re.search(r'TRYTOND=(\S+) CELERY=(\S*) ', call).groups()
        for call in make()]
    assert called == [
        ('8.0', '5.4'), ('8.0', ''), ('8.2', '5.4'), ('8.2', '')]
    assert all(matrix.SMALL in call for call in make())
    assert len(set(re.findall(r'VENV=(\S+)', '\n'.join(make())))) == 4
    said = capsys.readouterr().out
    assert len(re.findall('ok in .*: 3 passed$', said, re.MULTILINE)) == 2
    assert len(re.findall('FAILED in .*: 3 passed$', said, re.MULTILINE)) == 2
    assert '\n2 failed, ' in said
    monkeypatch.setenv('ARGS', 'tests')
    assert run_matrix(tmp_path, sys.executable) == 0
    assert make()[-1].endswith('ARGS=tests')

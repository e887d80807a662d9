# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The tutorial, from its first line to its last, in a fresh home."""
import os
import re
import site
import subprocess
import venv
from pathlib import Path

import pytest
from test_docs import ROOT

from devel.site import STRAY, script

TEXT = (ROOT / 'doc' / 'tutorial.rst').read_text(encoding='utf-8')
#: what differs from run to run, and what stands for it
VARYING = [
    (r'\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\+00:00)?', 'TIME'),
    (r' (INFO|WARNING|ERROR) +\d+ ', r' \1 PID '),
    (r'\b\d+(\.\d+)?s\b', 'SECONDS'),
    # Of a column, as wide as its widest
    (r' +', ' '),
    (r' +$', ''),
    ]


def steps():
    "Yield each file with its content and each command with its output."
    for block in re.findall(
            r'^(?:\.\. code-block:: \w+|::)\n\n((?:[ ]+.*\n|\n)+)', TEXT,
            re.MULTILINE):
        lines = [line[4:] for line in block.rstrip('\n').splitlines()]
        if lines[0].startswith('# '):
            yield lines[0][2:], '\n'.join(lines[1:]).strip('\n') + '\n', None
            continue
        commands = re.split(r'^\$ ', '\n'.join(lines), flags=re.MULTILINE)
        assert commands.pop(0) == ''
        for command in commands:
            command, _, output = command.rstrip('\n').partition('\n')
            yield None, command, output


@pytest.fixture
def home(tmp_path):
    """A home with an environment of its own, in which the installed is seen.

    So that what the tutorial installs is in nobody's way.
    """
    directory = tmp_path / 'env'
    venv.create(directory)
    packages, = directory.glob('lib/python*/site-packages')
    (packages / 'parent.pth').write_text(
        'import site; site.addsitedir(%r)\n' % site.getsitepackages()[0])
    for name in ['coop', 'trytond-admin']:
        _, _, text = Path(script(name)).read_text().partition('\n')
        path = directory / 'bin' / name
        path.write_text('#!%s/bin/python\n%s' % (directory, text))
        path.chmod(0o755)
    return tmp_path


def normal(text, home):
    text = text.replace(str(home), '/home/me')
    for pattern, word in VARYING:
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return text


def is_as_shown(output, shown, home):
    "Return whether the output is as shown, where a line ... is for any."
    pattern = ''.join(
        '(?:.*\n)*?' if line == '...' else re.escape(line) + '\n'
        for line in normal(shown, home).splitlines())
    return re.fullmatch(pattern, normal(output, home) + '\n' * bool(output))


def test_each_line_of_the_tutorial_does_what_it_shows(home):
    env = {
        name: value for name, value in os.environ.items()
        if not STRAY.match(name)}
    env.update(HOME=str(home), PATH='%s:%s' % (
            home / 'env' / 'bin', os.environ['PATH']),
        # It would tell of its new releases
        PIP_DISABLE_PIP_VERSION_CHECK='1')
    before, last, files, commands = [], None, 0, 0
    for name, text, shown in steps():
        if name:
            (home / 'library' / name).write_text(text)
            files += 1
            continue
        if re.match('(cd|export) ', text):
            before.append(text)
        if text == 'echo $?':
            assert shown == str(last)
            continue
        result = subprocess.run(
            ['bash', '-c', '\n'.join([*before, text])], env=env, cwd=home,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=300)
        output, last = result.stdout.strip('\n'), result.returncode
        assert is_as_shown(output, shown, home), '$ %s\n%s' % (text, output)
        assert last == 0 or '[FAILURE]' in shown, text
        commands += 1
    assert files >= 8 and commands >= 20

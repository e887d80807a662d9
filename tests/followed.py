# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Does what a document says, line by line, and compares what it shows."""
import re
import subprocess
from pathlib import Path

__all__ = ['follow', 'steps']

#: what differs from run to run, and what stands for it
VARYING = [
    (r'\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\+00:00)?', 'TIME'),
    (r' (INFO|WARNING|ERROR) +\d+ ', r' \1 PID '),
    (r'\b\d+(\.\d+)?s\b', 'SECONDS'),
    # Of a column, as wide as its widest
    (r' +', ' '),
    (r' +$', ''),
    ]


def steps(text):
    "Yield each file with its content and each command with its output."
    for block in re.findall(
            r'^(?:\.\. code-block:: \w+|::)\n\n((?:[ ]+.*\n|\n)+)', text,
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


def normal(text, home, varying=()):
    text = text.replace(str(home), '/home/me')
    for pattern, word in [*VARYING, *varying]:
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return text


def is_as_shown(output, shown, home, varying=()):
    "Return whether the output is as shown, where a line ... is for any."
    pattern = ''.join(
        '(?:.*\n)*?' if line == '...' else re.escape(line) + '\n'
        for line in normal(shown, home, varying).splitlines())
    return re.fullmatch(
        pattern, normal(output, home, varying) + '\n' * bool(output))


def follow(
        text, home, directory, env, names=(), varying=(), **options):
    """Do what a text says; return how many (files, commands) there were.

    :param home: the home of who does it
    :param directory: that its files are relative to, a Path
    :param names: what is something else here, as (word of the text, what)
    :param varying: what else differs, as VARYING
    :param options: of subprocess.run
    """
    def here(text):
        for word, other in names:
            text = text.replace(word, other)
        return text

    before, last, files, commands = [], None, 0, 0
    for name, text, shown in steps(text):
        if name:
            (directory / Path(name.replace('~', str(home)))).write_text(
                here(text))
            files += 1
            continue
        text = here(text)
        if re.match('(cd|export) ', text):
            before.append(text)
        if text == 'echo $?':
            assert shown == str(last)
            continue
        result = subprocess.run(
            ['bash', '-c', '\n'.join([*before, text])], env=env,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=300, **options)
        output, last = result.stdout.strip('\n'), result.returncode
        assert is_as_shown(
            output, here(shown), home, varying), '$ %s\n%s' % (
            text, output)
        assert last == 0 or '[FAILURE]' in shown, text
        commands += 1
    return files, commands

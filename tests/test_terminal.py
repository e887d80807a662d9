# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The work is done whatever becomes of the streams of its command.

The exit status is that of the work; what was only asked for to be read, and
can not be written, ends with 1.
"""
import os
import pty
import re
import sys

import pytest
from scene import PATIENCE

from devel.process import Process, wait_for
from devel.site import script

only_workers = pytest.mark.parametrize('stage', ['workers'], indirect=True)
only_in_process = pytest.mark.parametrize(
    'stage', ['in-process'], indirect=True)
COOP = script('coop')
STREAMS = [
    '2>&-', '>&-', '<&- >&- 2>&-', '2>/dev/full', '>/dev/full',
    '>/dev/full 2>&1']
#: what of them needs no shell
FULL = {
    '>/dev/full': ['stdout'], '2>/dev/full': ['stderr'],
    '>/dev/full 2>&1': ['stdout', 'stderr']}
#: makes the terminal on its stdin that of its session
CONTROLLED = '''\
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
'''
ASCII = {
    'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0',
    'PYTHONIOENCODING': 'ascii'}
NO_SPACE = 'coop: stdout can not be written: No space left on device'


def shell(scene, streams, *args, env=None):
    "Run coop with its streams as the shell is told to make them."
    if streams in FULL:
        with open('/dev/full', 'w') as full:
            result = scene.run(
                [COOP, *args], env=env, **dict.fromkeys(FULL[streams], full))
        result.stdout, result.stderr = result.stdout or '', result.stderr or ''
        return result
    return scene.run(
        ['/bin/sh', '-c', 'exec "$0" "$@" ' + streams, COOP, *args], env=env)


def unread(scene, stream, *args):
    "Run coop with a stream that nobody reads."
    reading, writing = os.pipe()
    os.close(reading)
    try:
        return scene.run([COOP, *args], **{stream: writing})
    finally:
        os.close(writing)


@pytest.mark.parametrize('streams', STREAMS)
def test_a_batch_is_executed_whatever_its_streams_are(scene, streams):
    scene.records(20, bad=[3])
    name = 'batch', 'batch.scenario.bad'
    assert shell(scene, streams, *name).returncode == 1
    execution = scene.last_execution()
    assert scene.state(execution) == 'failed'
    assert scene.treated() == {i: 1 for i in range(1, 21) if i != 3}

    scene.execute('UPDATE batch_scenario_record SET bad = false')
    result = shell(scene, streams, 'retry', str(execution))
    assert result.returncode == 0
    assert scene.treated() == {i: 1 for i in range(1, 21)}
    assert 'Traceback' not in result.stdout + result.stderr


@pytest.mark.parametrize('stream', ['stdout', 'stderr'])
def test_a_batch_is_executed_though_nobody_reads_what_it_says(scene, stream):
    scene.records(20, bad=[3])
    result = unread(scene, stream, 'batch', 'batch.scenario.bad')
    assert result.returncode == 1
    assert scene.state(scene.last_execution()) == 'failed'
    assert len(scene.treated()) == 19


def test_a_batch_is_executed_though_its_terminal_goes_away(scene, tmp_path):
    scene.records(10)
    scene.configure({'default': {'split_size': 1, 'concurrency': 1}})
    started = tmp_path / 'started'
    master, terminal = pty.openpty()
    with Process([
                sys.executable, '-c', CONTROLLED, COOP,
                'batch', 'batch.scenario.slow', '--seconds', '0.3',
                '--started', str(started)],
            env=scene.env, stdin=terminal, stdout=terminal, stderr=terminal
            ) as command:
        os.close(terminal)
        wait_for(started.exists, PATIENCE, "begin")
        # SIGHUP to its session, and EIO to who writes
        os.close(master)
        assert command.wait(PATIENCE) == 0
    assert scene.treated() == {i: 1 for i in range(1, 11)}
    assert scene.state(scene.last_execution()) == 'succeeded'


def test_a_batch_is_executed_without_any_environment(scene):
    scene.records(20)
    result = scene.run([
            '/usr/bin/env', '-i', '/bin/sh', '-c',
            'exec "$0" "$@" <&- >&- 2>&-', COOP, 'batch', 'batch.scenario.ok',
            '-c', scene.trytond_conf, '-d', scene.database])
    assert (result.returncode, result.stdout, result.stderr) == (0, '', '')
    assert scene.treated() == {i: 1 for i in range(1, 21)}


def test_what_a_terminal_lacks_is_shown_with_backslashes(scene):
    scene.coop('batch', 'batch.scenario.names', env=ASCII)
    result = scene.coop('batch', 'batch.scenario.names', env=ASCII)
    assert result.returncode == 1
    assert 'Traceback' not in result.stderr
    named = r'1 x UserError: \xab\u0141ukasz\xbb n\u2019est pas l\xe0    ' \
        r'\u0141ukasz'
    assert named in result.stderr
    execution = str(scene.last_execution())
    for args, text in [
            (['show', execution], r'\xab\u0141ukasz\xbb n\u2019est pas'),
            (['show', execution, '--json'], r'\u0141ukasz'),
            (['list'], r'names of people: Zo\xeb, \u0141ukasz'),
            (['batch', 'batch.scenario.names', '--help'], r'Zo\xeb')]:
        result = scene.coop(*args, env=ASCII)
        assert (result.returncode, result.stderr) == (0, '')
        assert text in result.stdout
    result = scene.coop('batch', 'batch.scenario.zoë', env=ASCII)
    assert result.returncode == 2
    assert 'Traceback' not in result.stderr


@only_in_process
@pytest.mark.parametrize('args', [
        ['list'], ['history'], ['history', '--json'], ['show', 'LAST'],
        ['show', 'LAST', '--json'], ['batch', 'batch.scenario.ok', '--help'],
        ['batch', 'batch.scenario.ok', '--plan'], ['check'], ['--help'],
        ['show', '--help'], ['batch', '--help'], ['--version']])
def test_an_answer_that_can_not_be_written_is_no_success(scene, args):
    scene.records(3)
    scene.batch('ok', status=0)
    args = [str(scene.last_execution()) if a == 'LAST' else a for a in args]
    result = shell(scene, '>/dev/full', *args)
    assert (result.returncode, result.stderr) == (1, NO_SPACE + '\n')
    result = shell(scene, '>&-', *args)
    assert (result.returncode, result.stderr) == (
        1, 'coop: stdout can not be written: Bad file descriptor\n')
    # Nobody is there to be told
    assert shell(scene, '>/dev/full 2>&1', *args).returncode == 1
    # Who reads no further knows it
    assert unread(scene, 'stdout', *args).stderr == ''


@only_workers
def test_the_number_of_a_detached_execution_is_an_answer(scene):
    scene.records(3)
    result = shell(
        scene, '>/dev/full', 'batch', 'batch.scenario.ok', '--detach')
    assert (result.returncode, result.stderr) == (1, NO_SPACE + '\n')
    wait_for(lambda: scene.state(scene.last_execution()) == 'succeeded',
        PATIENCE, "go on by itself")


# Whatever else goes wrong in the command

@pytest.fixture
def follower(scene, tmp_path):
    """A role of the database that can be kept from reading the chunks.

    Gives the options of a command that has it.
    """
    scene.execute('CREATE ROLE follower LOGIN')
    scene.execute('GRANT ALL ON ALL TABLES IN SCHEMA public TO follower')
    scene.execute('GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO follower')
    path = tmp_path / 'follower.conf'
    path.write_text('[database]\nuri = %s\n' % re.sub(
            '//[^@/]*@', '//follower@', scene.postgresql.uri))
    yield '-c', scene.trytond_conf, '-c', str(path)
    scene.execute('DROP OWNED BY follower')
    scene.execute('DROP ROLE follower')


def keep_out(scene, tmp_path, follower, *args):
    "Return what a command says that may read no further, and the execution."
    scene.records(20)
    scene.configure({'default': {'split_size': 1, 'concurrency': 1}})
    started = tmp_path / 'started'
    command = scene.start_coop(
        'batch', 'batch.scenario.slow', '--seconds', '0.2',
        '--started', str(started), *follower, *args)
    wait_for(started.exists, PATIENCE, "begin")
    scene.execute('REVOKE ALL ON batch_execution_chunk FROM follower')
    stdout, stderr = command.communicate(timeout=PATIENCE)
    assert command.returncode == 1
    assert 'Traceback' not in stderr
    *_, line = stderr.splitlines()
    assert 'InsufficientPrivilege: permission denied' in line
    return line, scene.last_execution()


@only_workers
def test_a_command_that_stumbles_ends_no_execution(
        scene, tmp_path, follower):
    line, execution = keep_out(scene, tmp_path, follower)
    assert line.endswith('; execution #%s goes on without this command; '
        'details: coop show %s' % (execution, execution))
    wait_for(lambda: scene.state(execution) != 'running', PATIENCE, "end")
    assert scene.state(execution) == 'succeeded'
    assert scene.treated() == {i: 1 for i in range(1, 21)}


@only_workers
def test_what_a_command_executed_itself_can_be_gone_on_with(
        scene, tmp_path, follower):
    line, execution = keep_out(scene, tmp_path, follower, '--local')
    assert line.endswith('; to go on with execution #%s: coop resume %s' % (
            execution, execution))
    assert scene.state(execution) == 'running'
    assert len(scene.treated()) < 20
    assert scene.coop('resume', str(execution), '--local').returncode == 0
    assert scene.treated() == {i: 1 for i in range(1, 21)}

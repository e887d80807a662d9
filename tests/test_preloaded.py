# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A command that begins where its imports end is what the script is."""
import json
import os
import re
import signal
import sys

import pytest
from scene import PATIENCE, Child

from devel.process import wait_for
from devel.site import Site, script

pytestmark = pytest.mark.skipif(
    sys.platform != 'linux', reason="commands are always the script here")

#: what a process can tell of itself
TELL = '''\
import json, os, signal, sys, threading
import trytond.config as config
config.update_etc([os.environ['TRYTOND_CONFIG']])
# It sets variables, too
from trytond import backend
from trytond.cache import Cache
backend.name
print(json.dumps({
            'argv': sys.argv,
            'path': sys.path,
            'main': [__name__, sys.modules['__main__'].__dict__ is globals()],
            'flags': str(sys.flags),
            'cwd': os.getcwd(),
            'env': {k: v for k, v in os.environ.items()
                # That of a script is its own
                if k != 'TRYTOND_APPNAME'},
            'uri': config.get('database', 'uri'),
            'leads': os.getsid(0) == os.getpgid(0) == os.getpid(),
            'parent': os.getppid(),
            'files': sorted(os.listdir('/proc/self/fd')),
            'streams': [[
                    s.fileno(), s.encoding, s.errors, s.isatty(),
                    s.line_buffering, s.write_through]
                for s in [sys.stdin, sys.stdout, sys.stderr]],
            'signals': [str(signal.getsignal(n))
                for n in sorted(signal.valid_signals())],
            'masked': sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
            'threads': threading.active_count(),
            'umask': os.umask(0o22),
            'niceness': os.nice(0),
            'cached': str(Cache._clean_last),
            }))
'''


@pytest.fixture
def scene(scene):
    # The first command of a scene is always the script
    if not scene._commands:
        scene.coop('--version')
    return scene


def both(scene, args, **streams):
    "Run a command as a script and as it is run here; return the results."
    process = scene._popen(args, **streams)
    assert isinstance(process, Child)
    here = *process.communicate(timeout=PATIENCE), process.returncode
    process.stop(timeout=0)
    process = Site._popen(scene, args, **streams)
    assert not isinstance(process, Child)
    there = *process.communicate(timeout=PATIENCE), process.returncode
    process.stop(timeout=0)
    return here, there


def test_it_has_what_a_process_has(scene):
    here, there = both(scene, [sys.executable, '-c', TELL, 'an argument'])
    assert here[1:] == there[1:]
    here, there = json.loads(here[0]), json.loads(there[0])
    assert here['parent'] == there['parent'] == os.getpid()
    assert here == there


VARYING = [
    (r'#\d+', '#N'), (r'\b(show|resume|retry|cancel) \d+', r'\1 N'),
    (r'\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(\+00:00)?', 'TIME'),
    (r'\d+(\.\d+)? ?m?s\b', 'SECONDS'), (r'"execution": \d+', 'N'),
    (r'"seconds": [\d.]+', 'SECONDS'), (r' +\d+ ', ' N ')]


def normal(result):
    stdout, stderr, status = result
    # Said where the command sees it before it is over
    stderr = re.sub('.*: started\n', '', stderr)
    for pattern, word in VARYING:
        stdout = re.sub(pattern, word, stdout)
        stderr = re.sub(pattern, word, stderr)
    return stdout, stderr, status


@pytest.mark.parametrize('args', [
        ['list'], ['history'], ['check'], ['show', '999999'],
        ['batch', '--help'], ['batch', 'batch.scenario.ok', '--help'],
        ['batch', 'batch.scenario.ok'],
        ['batch', 'batch.scenario.ok', '--json', '--text', 'x'],
        ['batch', 'batch.scenario.ok', '--plan'],
        ['batch', 'batch.scenario.bad_at_work', '--local'],
        ['batch', 'batch.scenario.absent'], ['batch'], ['absent'], [],
        ['batch', 'batch.scenario.ok', '-d', 'absent'],
        ['prune', '-v'],
        ], ids=' '.join)
def test_it_says_and_does_what_the_script_does(scene, args):
    scene.records(4, bad=[3])
    here, there = both(scene, [script('coop'), *args])
    assert normal(here) == normal(there)
    done = {tuple(row) for row in scene.execute(
            'SELECT batch, state, message FROM batch_execution')}
    assert len(done) <= 1
    assert set(scene.treated().values()) <= {2}


@pytest.mark.parametrize('code', [
        'print(1); sys.exit(3)', 'sys.exit("why")', 'raise SystemExit',
        'atexit.register(print, "late")', 'print("unflushed", end="")',
        'os._exit(4)', 'os.abort()',
        'os.kill(os.getpid(), signal.SIGTERM)',
        'signal.raise_signal(signal.SIGINT)',
        'threading.Thread(target=lambda: time.sleep(0.1) or print(2)).start()',
        ])
def test_it_ends_as_a_process_does(scene, code):
    code = 'import atexit, os, signal, sys, threading, time; ' + code
    (*said, status), there = both(scene, [sys.executable, '-c', code])
    assert status == there[-1]
    assert said[0] == there[0]
    # What is below it in a traceback is not of the command
    assert said[1].splitlines()[-1:] == there[1].splitlines()[-1:]


@pytest.mark.parametrize('stream', ['stdout', 'stderr'])
@pytest.mark.parametrize('args', [
        [script('coop'), 'list'], [script('coop'), 'show', '999999']],
    ids=['list', 'show'])
def test_it_ends_as_a_process_does_that_can_not_write(scene, stream, args):
    with open('/dev/full', 'w') as full:
        here, there = both(scene, args, **{stream: full})
    assert here == there
    reading, writing = os.pipe()
    os.close(reading)
    try:
        here, there = both(scene, args, **{stream: writing})
    finally:
        os.close(writing)
    assert here == there


def test_it_is_killed_as_a_process_is(scene):
    for number in [signal.SIGKILL, signal.SIGTERM]:
        process = scene._popen([
                sys.executable, '-c', 'import time; print(1, flush=True); '
                'time.sleep(%s)' % (4 * PATIENCE)])
        assert isinstance(process, Child)
        assert process.stdout.readline() == '1\n'
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(PATIENCE) == -number
        process.communicate()
        process.stop(timeout=0)


def test_what_it_leaves_is_no_child_of_ours(scene):
    pid = int(scene.run([
                sys.executable, '-c', 'import os, time\n'
                'pid = os.fork()\n'
                'if pid: print(pid)\n'
                'else: os.close(1); os.close(2); time.sleep(0.2)']).stdout)
    wait_for(lambda: not os.path.exists('/proc/%s' % pid), PATIENCE, "end")


@pytest.mark.parametrize('args, env', [
        (['list', '-c', 'trytond.conf'], {}), (['worker', '--help'], {}),
        (['--help'], {}), (['--version'], {}),
        (['list'], {'TRYTOND_DATABASE_NAMES': ''}),
        (['list'], {'PYTHONHASHSEED': '1'})])
def test_what_would_begin_otherwise_is_the_script(scene, args, env):
    process = scene._popen([script('coop'), *args], env)
    assert not isinstance(process, Child)
    process.communicate(timeout=PATIENCE)
    process.stop(timeout=0)


def test_with_another_configuration_it_is_the_script(scene):
    with open(scene.trytond_conf) as file:
        before = file.read()
    try:
        with open(scene.trytond_conf, 'a') as file:
            file.write('[more]\na = b\n')
        process = scene._popen([script('coop'), 'list'])
        assert not isinstance(process, Child)
        process.communicate(timeout=PATIENCE)
        process.stop(timeout=0)
    finally:
        with open(scene.trytond_conf, 'w') as file:
            file.write(before)

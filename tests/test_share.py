# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The files of share/, and what the shell and man get from the command."""
import configparser
import getpass
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from scene import PATIENCE
from test_docs import COMMANDS, allowed

from devel.process import Process, wait_for
from devel.site import script
from trytond.modules.batch.command import cli, manual

ROOT = Path(__file__).resolve().parent.parent
SHARE = ROOT / 'share'
UNITS = sorted((SHARE / 'systemd').iterdir())
SERVICES = [path for path in UNITS if path.suffix == '.service']
only_in_process = pytest.mark.parametrize(
    'stage', ['in-process'], indirect=True)
services = pytest.mark.parametrize(
    'path', SERVICES, ids=lambda path: path.name)


def read_unit(path):
    "Return {section: [(name, value)]} of a unit."
    sections = {}
    for line in path.read_text().splitlines():
        if line.startswith('['):
            section = sections.setdefault(line.strip('[]'), [])
        elif line and not line.startswith('#'):
            section.append(tuple(line.split('=', 1)))
    return sections


def values(path, name, section='Service'):
    return [
        value for other, value in read_unit(path)[section] if other == name]


def environment_of(path, instance):
    return dict(
        value.replace('%i', instance).split('=', 1)
        for value in values(path, 'Environment'))


def command_of(path, instance, environment):
    "Return the words that systemd makes of ExecStart."
    line, = values(path, 'ExecStart')
    words = []
    for word in line.replace('%i', instance).replace('%%', '%').split():
        if found := re.fullmatch(r'\$\{(\w+)\}', word):
            words.append(environment[found[1]])
        elif word.startswith('$'):
            words += environment[word[1:]].split()
        else:
            words.append(word)
    return words


# systemd

def verified(path, tmp_path):
    "Return (status, what it says) of systemd-analyze."
    for unit in UNITS:
        name = unit.name.replace('@.', '@production.')
        (tmp_path / name).write_text(unit.read_text().replace(
                '/opt/tryton/bin/coop', script('coop')))
    result = subprocess.run([
            'systemd-analyze', 'verify', '--man=no',
            tmp_path / path.name.replace('@.', '@production.')],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    # Of units of this machine, that ours only name
    return result.returncode, [
        line for line in result.stdout.splitlines() if '/coop-' in line
        or 'coop-' in line.split(':')[0]]


def exposure(path, tmp_path):
    "Return what is left open, from 0 to 10."
    unit = tmp_path / path.name.replace('@.', '@production.')
    unit.write_text(path.read_text())
    said = subprocess.run(
        ['systemd-analyze', 'security', '--offline=yes', '--no-pager', unit],
        stdout=subprocess.PIPE, text=True).stdout
    return float(re.search(r'exposure level for \S+: ([\d.]+)', said)[1])


# Not everybody who tests has it; what follows needs nothing
if shutil.which('systemd-analyze'):
    @pytest.mark.parametrize('path', UNITS, ids=lambda path: path.name)
    def test_systemd_understands_the_units(path, tmp_path):
        assert verified(path, tmp_path) == (0, [])

    @services
    def test_a_service_may_do_little(path, tmp_path):
        assert exposure(path, tmp_path) < 2


def test_there_is_a_worker_and_two_timers():
    assert [path.name for path in UNITS] == [
        'coop-prune@.service', 'coop-prune@.timer', 'coop-report@.service',
        'coop-report@.timer', 'coop-worker@.service']
    for path in UNITS:
        parser = configparser.RawConfigParser(strict=False)
        parser.optionxform = str
        parser.read_string(path.read_text())
        assert parser.get('Unit', 'Description')


@services
def test_a_service_runs_a_command_that_there_is(path):
    environment = environment_of(path, 'production')
    program, command, *arguments = command_of(path, 'production', environment)
    assert program == '/opt/tryton/bin/coop'
    assert environment['TRYTOND_DATABASE_NAMES'] == 'production'
    assert command == re.match(r'coop-(\w+)@', path.name)[1]
    # Its own file can set all of that
    assert values(path, 'EnvironmentFile') == ['-/etc/tryton/coop-%i.env']
    assert {word for word in arguments if word.startswith('-')} <= allowed(
        command)


def test_a_worker_may_write_its_logs_and_files():
    path, = [path for path in SERVICES if 'worker' in path.name]
    assert values(path, 'ProtectSystem') == ['strict']
    assert values(path, 'LogsDirectory') == ['tryton/batch celeryd']
    assert values(path, 'ReadWritePaths') == ['-/srv/tryton']
    text = (ROOT / 'doc' / 'setup.rst').read_text()
    for name in ['/var/log/tryton/batch', '/var/log/celeryd', '/srv/tryton']:
        assert '``%s``' % name in text


def test_a_worker_is_started_again_without_end():
    path, = [path for path in SERVICES if 'worker' in path.name]
    assert values(path, 'Restart') == ['always']
    assert values(path, 'RestartSec') == ['5']
    assert values(path, 'StartLimitIntervalSec', 'Unit') == ['0']
    assert values(path, 'KillMode') == ['mixed']


def test_a_worker_survives_a_database_that_comes_up_late(crashed):
    path, = [path for path in SERVICES if 'worker' in path.name]
    environment = {
        **environment_of(path, crashed.database),
        'COOP_WORKER_OPTIONS': '--concurrency 1',
        'TRYTOND_CONFIG': crashed.trytond_conf}
    _, *words = command_of(path, crashed.database, environment)
    crashed.postgresql.stop()
    log = Path(crashed.directory, 'service.log')
    # What systemd does with Restart=always
    with Process([
                'sh', '-c', 'while :; do "$@"; sleep 1; done', 'sh',
                script('coop'), *words], log=log,
            env={**crashed.env, **environment}) as service:
        try:
            service.wait_until(
                lambda: log.read_text().count('can not be reached') > 1,
                2 * PATIENCE, "begin without the database")
        finally:
            crashed.postgresql.start()
        wait_for(
            lambda: re.search(
                r'%s@\S+ ready\.' % crashed.database, log.read_text()),
            2 * PATIENCE, "begin with the database")


# logrotate

def rotation(tmp_path, user):
    "Return the configuration, for the directory and a user of this machine."
    text = (SHARE / 'logrotate' / 'tryton-batch').read_text()
    assert '/var/log/tryton/batch/*.log' in text
    return text.replace('/var/log', str(tmp_path / 'log')).replace(
        'su tryton tryton', user)


if os.path.exists('/usr/sbin/logrotate'):
    def test_the_logs_are_rotated(tmp_path):
        log = tmp_path / 'log' / 'tryton' / 'batch'
        log.mkdir(parents=True)
        (tmp_path / 'log' / 'celeryd').mkdir()
        for name in ['a.log', 'b.log']:
            (log / name).write_text('a line\n')
        conf = tmp_path / 'logrotate.conf'
        conf.write_text(rotation(tmp_path, 'su %s %s' % (
                    getpass.getuser(), getpass.getuser())
                if os.geteuid() == 0 else ''))
        conf.chmod(0o644)
        result = subprocess.run([
                '/usr/sbin/logrotate', '--force', '--verbose', '--state',
                tmp_path / 'state', conf], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True)
        assert result.returncode == 0 and 'error' not in result.stdout, (
            result.stdout)
        assert sorted(path.name for path in log.iterdir()) == [
            'a.log.1', 'b.log.1']


# cron

def table():
    "Return the environment of the table of cron, and its commands."
    environment, commands = {}, []
    for line in (SHARE / 'cron' / 'tryton-batch').read_text().splitlines():
        # Those that only need other names are tried, too
        line = re.sub(r'^# (?=\d+ )', '', line)
        if found := re.match(r'(\w+)=(.*)$', line):
            environment[found[1]] = found[2]
        elif line and not line.startswith('#'):
            *_, user, command = line.split(None, 6)
            assert user == 'tryton'
            commands.append(command)
    return environment, commands


@pytest.fixture
def cron(scene):
    "Return what runs a command as cron does, in its bare environment."
    def run(command):
        environment, _ = table()
        environment = {
            **environment, 'TRYTOND_CONFIG': scene.trytond_conf,
            'TRYTOND_DATABASE_NAMES': scene.database,
            'PATH': environment['PATH'].replace(
                '/opt/tryton/bin', os.path.dirname(script('coop')))}
        return subprocess.run([
                'env', '-i', 'HOME=%s' % scene.directory, 'LOGNAME=tryton',
                *('%s=%s' % item for item in environment.items()),
                environment['SHELL'], '-c',
                # It begins the input of the command
                re.sub(r'\\%', '%', re.split(r'(?<!\\)%', command)[0])],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            cwd='/', timeout=4 * PATIENCE)
    return run


@only_in_process
def test_cron_mails_only_what_failed(scene, cron):
    environment, commands = table()
    assert environment['MAILTO']
    assert len(commands) == 4
    names = {'FIRST': 'ok', 'SECOND': 'ok', 'NAME': 'old_arguments'}
    scene.records(3)
    for command in commands:
        for word, name in names.items():
            command = re.sub(
                r'\b%s\b' % word, 'batch.scenario.%s' % name, command)
        result = cron(command)
        assert (result.returncode, result.stdout) == (0, ''), command
    scene.execute('UPDATE batch_scenario_record SET bad = true')
    result = cron('coop batch batch.scenario.bad --quiet')
    assert result.returncode == 1 and '[FAILURE]' in result.stdout
    # What has to be kept is mailed, too
    scene.execute("UPDATE batch_execution SET ended_at = '2020-01-01'")
    result = cron(commands[-1])
    assert result.returncode == 0
    assert re.fullmatch(
        'kept because of open failures: 1 execution: .*\n', result.stdout)


# The shell

def completed(line, env=None):
    "Return what bash offers at the end of the line."
    return subprocess.run(['bash', '-c', '''
        eval "$(coop completion bash)"
        COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9 COMP_KEY=9
        read -ra COMP_WORDS <<< "$1"
        [[ $1 == *' ' ]] && COMP_WORDS+=('')
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _python_argcomplete coop
        printf '%s\n' "${COMPREPLY[@]}"
        ''', 'bash', line], stdout=subprocess.PIPE, text=True, check=True,
        env={
            'PATH': '%s:%s' % (
                os.path.dirname(script('coop')), os.environ['PATH']),
            **(env or {})}).stdout.split()


@pytest.mark.parametrize('line, offered', [
        ('coop ba', {'batch'}),
        ('coop batch batch.scenario.mer',
            {'batch.scenario.merging', 'batch.scenario.merging_done'}),
        ('coop history ir.ui.', {'ir.ui.view.validate'}),
        ('coop prune ir.ui.view.v', {'ir.ui.view.validate'}),
        # A parameter, a setting, an option
        ('coop batch ir.ui.view.validate --cra', {'--crash'}),
        ('coop batch ir.ui.view.validate --split-', {
                '--split-mode', '--split-size'}),
        ('coop batch ir.ui.view.validate --dr', {'--dry-run'}),
        ('coop batch batch.scenario.ok --cra', set()),
        ('coop show 4 --js', {'--json'}),
        ('coop completion z', {'zsh'}),
        ])
def test_the_shell_completes(line, offered):
    assert set(completed(line)) == offered


def test_the_shell_completes_without_a_configuration_that_can_be_read():
    env = {'TRYTOND_CONFIG': '/does/not/exist'}
    assert set(completed('coop batch --lo', env)) == {'--local', '--logconf'}
    assert completed('coop batch ir.ui', env) == []


@pytest.mark.parametrize('shell', ['bash', 'zsh', 'fish'])
def test_each_shell_has_something_to_source(shell):
    said = subprocess.run(
        [script('coop'), 'completion', shell], check=True,
        stdout=subprocess.PIPE, text=True).stdout
    assert 'coop' in said and '_ARGCOMPLETE' in said


# The manual page

def test_the_manual_page_has_every_command_and_option():
    page = manual.page_of(cli.get_parser()).replace('\\-', '-')
    for name, command in COMMANDS.items():
        _, found, text = page.partition('.SS "coop %s"\n' % name)
        assert found
        text, _, _ = text.partition('\n.S')
        for action in command._actions:
            for option in action.option_strings:
                assert option in text + page.partition('.SH COMMANDS')[0]
    assert '\n.' not in page.replace('\n.SH', '').replace('\n.SS', '') \
        .replace('\n.TP', '').replace('\n.PP', '').replace('\n.B', '') \
        .replace('\n.I', '')


def test_the_manual_page_is_the_same_for_everybody():
    said = {
        subprocess.run(
            [script('coop'), 'man'], check=True, stdout=subprocess.PIPE,
            env={**os.environ, 'TRYTOND_CONFIG': name}).stdout
        for name in ['', '/of/somebody']}
    assert len(said) == 1


if shutil.which('groff'):
    def test_man_shows_the_page_without_a_warning():
        result = subprocess.run(
            ['groff', '-man', '-Tascii', '-ww'], capture_output=True,
            text=True, input=manual.page_of(cli.get_parser()))
        assert (result.returncode, result.stderr) == (0, '')
        shown = re.sub(r'\x1b\[\d*m|.\x08', '', result.stdout)
        assert 'coop - run the batches of a Tryton database' in shown
        assert re.search(r'--unit UNITS\n +only these', shown)

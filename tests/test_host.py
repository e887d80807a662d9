# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A host that vanishes from the network keeps no lock for long."""
import os
import secrets
import shutil
import subprocess

from scene import Scene

from devel.process import wait_for
from devel.servers import PostgreSQL
from devel.site import script
from trytond.modules.batch.transaction import kept_alive

#: the two ends of the cable, addresses of nobody else on this machine
SERVER, CLIENT = '10.213.77.1', '10.213.77.2'


def ip(*args):
    return subprocess.run(
        ['ip', *args], capture_output=True, text=True, check=True).stdout


class Cable:
    "A host of its own (a network namespace) at the other end of a cable."

    def __init__(self):
        name = secrets.token_hex(3)
        self.host = 'batch-%s' % name
        self.here, self.there = 'bs%s' % name, 'bc%s' % name

    def __enter__(self):
        ip('netns', 'add', self.host)
        ip('link', 'add', self.here, 'type', 'veth', 'peer', 'name',
            self.there, 'netns', self.host)
        ip('addr', 'add', SERVER + '/30', 'dev', self.here)
        ip('link', 'set', self.here, 'up')
        ip('-n', self.host, 'addr', 'add', CLIENT + '/30', 'dev', self.there)
        ip('-n', self.host, 'link', 'set', self.there, 'up')
        ip('-n', self.host, 'link', 'set', 'lo', 'up')
        return self

    def __exit__(self, *exception):
        # The namespace would stay, with its end, as long as a process is there
        ip('link', 'del', self.here)
        ip('netns', 'del', self.host)

    def cut(self):
        # With the cable itself down our kernel would hold back its own
        # questions: here they go out, and nobody answers
        ip('-n', self.host, 'addr', 'flush', 'dev', self.there)


def may_make_hosts():
    if os.geteuid() != 0 or not shutil.which('ip'):
        return False
    try:
        with Cable():
            return True
    except subprocess.CalledProcessError:
        return False


def test_connections_ask_whether_their_server_is_still_there():
    assert kept_alive('postgresql://db.example/') == (
        'postgresql://db.example/?keepalives_idle=30&keepalives_interval=10'
        '&keepalives_count=3&tcp_user_timeout=60000')
    assert kept_alive('postgresql://db/?sslmode=require').startswith(
        'postgresql://db/?sslmode=require&keepalives_idle=30&')


def test_what_the_operator_chose_for_connections_is_kept():
    for uri in [
            'postgresql://db/?keepalives_idle=5',
            'postgresql://db/?tcp_user_timeout=5', 'sqlite://']:
        assert kept_alive(uri) == uri


if may_make_hosts():
    def test_the_chunk_of_a_host_that_vanished_is_taken_up_again(tmp_path):
        # PostgreSQL's own keepalives are those that free the lock
        with Cable() as cable, PostgreSQL(settings={
                    'listen_addresses': '127.0.0.1,%s' % SERVER,
                    'tcp_keepalives_idle': '1',
                    'tcp_keepalives_interval': '1',
                    'tcp_keepalives_count': '2',
                    # For the answer that was on its way
                    'tcp_user_timeout': '3000',
                    }) as postgresql:
            with open(os.path.join(postgresql.data, 'pg_hba.conf'), 'a') as f:
                f.write('host all all %s/30 trust\n' % SERVER)
            postgresql.restart()
            with Scene(postgresql=postgresql) as scene:
                scene.records(2)
                scene.configure({'default': {'split_size': 1}})
                there = tmp_path / 'there.conf'
                there.write_text('[database]\nuri = %s\n' % (
                        postgresql.uri.replace('127.0.0.1', SERVER)))
                started = tmp_path / 'started'
                vanished = subprocess.Popen(
                    ['ip', 'netns', 'exec', cable.host, script('coop'),
                        'batch', 'batch.scenario.slow', '--seconds', '600',
                        '--started', str(started), '--local', '-c',
                        scene.trytond_conf, '-c', str(there)],
                    env=scene.env, stderr=subprocess.PIPE, text=True)
                try:
                    wait_for(
                        lambda: started.exists()
                        or vanished.poll() is not None,
                        60, "begin with a chunk")
                    assert vanished.poll() is None, vanished.stderr.read()
                    cable.cut()
                    execution = scene.last_execution()
                    # It was told 600 s a record, and has them from the ledger
                    scene.execute(
                        "UPDATE batch_execution SET parameters = replace("
                        "parameters, '600', '0')")
                    result = scene.coop(
                        'resume', str(execution), '--local', timeout=60)
                    assert result.returncode == 0, result.stderr
                    assert scene.treated() == {1: 1, 2: 1}
                finally:
                    vanished.kill()
                    vanished.communicate()

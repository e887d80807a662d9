# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Each commit is accepted, but no answer to any of them arrives.

The connection breaks after the server has committed.  Whoever sent it can not
know that, unless the server is asked; who does it again does it twice.
"""
import re
import select
import socket
import threading
import time
from pathlib import Path

import pytest
from scene import Execution, Scene
from stage import exactly

HOST = '127.0.0.1'
RECORDS, BAD = 12, 5
SIZE = 1 << 16
#: seconds
AWAY = 12
LOST = 'and with it the answer to a commit: it was accepted'


class Doubtful:
    """A PostgreSQL server whose answers to commits are lost, when told.

    Or only the first one: then it is away for some seconds.
    """

    def __init__(self, server):
        self.server = server
        self.loses, self.lost = False, 0
        self.away, self.back_at = 0, 0
        self.listener = socket.create_server((HOST, 0))
        self.uri = 'postgresql://postgres@%s:%s/' % (
            HOST, self.listener.getsockname()[1])
        threading.Thread(target=self.accept, daemon=True).start()

    def __getattr__(self, name):
        return getattr(self.server, name)

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if time.monotonic() < self.back_at:
                client.close()
                continue
            threading.Thread(
                target=self.relay, args=[client], daemon=True).start()

    def relay(self, client):
        is_committing = False
        with client, socket.create_connection(
                (HOST, self.server.port)) as server:
            other = {client: server, server: client}
            while True:
                for end in select.select(list(other), [], [])[0]:
                    try:
                        data = end.recv(SIZE)
                        if end is client:
                            is_committing |= self.loses and b'COMMIT' in data
                        elif is_committing:
                            self.lost += 1
                            if self.away:
                                self.loses = False
                                self.back_at = time.monotonic() + self.away
                            return
                        if not data:
                            return
                        other[end].sendall(data)
                    except OSError:
                        return


@pytest.fixture(scope='module')
def server(postgresql):
    server = Doubtful(postgresql)
    yield server
    server.listener.close()


@pytest.fixture(scope='module', params=['in-process', 'workers'])
def doubted(request, server):
    redis = None
    if request.param == 'workers':
        redis = request.getfixturevalue('redis')
    with Scene(postgresql=server, redis=redis) as scene:
        if redis:
            scene.worker(2)
        scene.configure({'default': {'split_size': 4}})
        scene.marks = Path(scene.directory, 'marks')
        scene.marks.mkdir()
        yield scene


def said(lines, execution):
    "Return what lines of a log say, but not when, where and how long."
    lines = (
        re.sub(r'^[-0-9T:+]+ |(?<=[A-Z]) [0-9]+ |[0-9.]+s\b', '', line)
        for line in lines if ' WARNING ' not in line)
    return sorted(
        re.sub('#%s|(show|retry) %s' % (execution, execution), '#', line)
        for line in lines)


def test_what_is_committed_is_neither_repeated_nor_forgotten(doubted, server):
    scene = doubted
    logs, files = [], []
    for loses in False, True:
        scene.reset()
        scene.configure({'default': {'split_size': 4}})
        scene.records(RECORDS, bad=[BAD])
        server.lost = 0
        server.loses = loses
        try:
            execution = scene.batch(
                'merging', '--directory', scene.marks, status=1)
        finally:
            server.loses = False
        assert server.lost >= 10 if loses else not server.lost
        id, = [id for id, in scene.execute('SELECT id FROM batch_execution')]
        assert id == execution.id
        # What finish writes
        scene.execute(
            "DELETE FROM batch_scenario_record WHERE name = 'finished'")
        exactly(scene, execution, RECORDS, bad=[BAD])
        assert {c['attempts'] for c in execution.chunks} <= {None, 1}
        assert not [p for p in scene.files() if p.name.startswith('.')]
        log = execution.log()
        assert any(LOST in line for line in log) == loses
        logs.append(said(log, id))
        # Who gives which name to its file is a matter of time
        files.append((
                sorted(p.name for p in scene.files()), sorted(
                    line for p in scene.files()
                    for line in p.read_text().splitlines())))
    assert logs[0] == logs[1]
    assert files[0] == files[1]


def test_what_a_command_has_done_is_no_error(doubted, server):
    scene = doubted
    scene.reset()
    scene.records(3, bad=[1, 2, 3])
    first = scene.batch('merging', '--directory', scene.marks, status=1)
    scene.execute('UPDATE batch_scenario_record SET bad = false')
    server.loses = True
    try:
        dismissed = scene.coop('dismiss', str(first.id), '--unit', '3')
        retried = scene.coop('retry', str(first.id))
    finally:
        server.loses = False
    assert dismissed.returncode == 0, dismissed.stderr
    assert retried.returncode == 0, retried.stderr
    assert scene.execute('SELECT COUNT(*) FROM batch_execution') == [(2,)]
    exactly(scene, Execution(scene), 2)


def test_a_database_that_is_away_as_soon_as_it_is_made(doubted, server):
    scene = doubted
    scene.reset()
    scene.records(4)
    server.loses, server.away, server.lost = True, AWAY, 0
    try:
        execution = scene.batch(
            'merging', '--directory', scene.marks, status=0)
    finally:
        server.loses, server.away = False, 0
    assert server.lost == 1
    assert scene.execute('SELECT COUNT(*) FROM batch_execution') == [(1,)]
    assert execution.row['done'] == 4

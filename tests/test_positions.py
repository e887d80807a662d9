# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Where a process of a worker is, as its parent can read it."""
import os
import signal

import pytest

from trytond.modules.batch import positions
from trytond.modules.batch.engine.watched import Watched


@pytest.fixture(autouse=True)
def shared(monkeypatch):
    monkeypatch.setattr(positions, '_all', None)
    monkeypatch.setattr(positions, '_own', positions.UNUSED[:])
    positions.share()


def killed(index, function):
    "Call a function in the process of an index, which is then killed."
    if not (pid := os.fork()):
        positions.take(index)
        function()
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize('index', [0, 7, positions.COUNT - 1])
def test_the_parent_reads_where_a_killed_process_was(index):
    def work():
        positions.begin_task('an id')
        positions.begin_chunk(1 << 40)
        for number in Watched([4, 5, 6, 7], positions.own()):
            if number == 6:
                return

    killed(index, work)
    assert positions.find('an id') == (1 << 40, 2)
    assert positions.find('another') == (None, None)


def test_outside_of_an_iteration_the_chunk_is_known():
    def work():
        positions.begin_task('an id')
        positions.begin_chunk(5)
        list(iter(Watched([4, 5], positions.own())))

    killed(3, work)
    assert positions.find('an id') == (5, None)


def test_what_a_process_did_before_is_forgotten():
    def work():
        positions.begin_task('first')
        positions.begin_chunk(5)
        for _ in Watched([4, 5], positions.own()):
            break
        positions.begin_task('second')

    killed(3, work)
    assert positions.find('first') == positions.find('second') == (None, None)
    killed(3, lambda: None)
    assert positions.find('second') == (None, None)


@pytest.mark.parametrize('index', [None, -1, positions.COUNT])
def test_without_a_place_nothing_is_told(index):
    def work():
        positions.begin_task('an id')
        positions.begin_chunk(5)

    killed(index, work)
    assert positions.find('an id') == (None, None)


def test_two_lists_do_not_share_a_place_of_their_own():
    first, second = Watched([1, 2]), Watched([1, 2])
    for _ in first:
        break
    assert (first.at, second.at) == (0, None)

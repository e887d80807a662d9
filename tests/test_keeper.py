# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the keeper takes for lost, by a clock that is handed in."""
from trytond.modules.batch.lost_messages import MAX_DELAY, PATIENCE, Case
from trytond.modules.batch.rescue import LOOK

#: seconds within which what is lost has to be sent again, with a margin
BOUND = 12


class Queue:
    "Looks at an execution each second; what is sent again is remembered."

    def __init__(self, *free, busy=()):
        self.case = Case()
        self.free, self.busy = set(free), set(busy)
        self.now = 0
        self.lost, self.probes = [], []

    def look(self, seconds=LOOK):
        for _ in range(int(seconds / LOOK)):
            lost, probe = self.case.look(self.free, self.busy, self.now)
            self.lost += [(self.now, chunk) for chunk in lost]
            if probe is not None:
                self.probes.append((self.now, probe))
            self.now += LOOK
        return self

    def take(self, *chunks):
        self.free.difference_update(chunks)
        self.busy.update(chunks)
        return self

    def desert(self, *chunks):
        self.busy.difference_update(chunks)
        self.free.update(chunks)
        return self


def chunks(sent):
    return [chunk for _, chunk in sent]


def test_what_somebody_works_on_is_never_sent():
    queue = Queue(busy=[1, 2]).look(3600)
    assert queue.lost == queue.probes == []


def test_a_chunk_whose_worker_died_is_sent_within_seconds():
    queue = Queue(busy=[1, 2]).look(100)
    queue.desert(1).look(PATIENCE + 2 * LOOK)
    assert chunks(queue.lost) == [1]
    assert queue.probes == []


def test_when_all_messages_are_lost_all_chunks_are_sent_within_the_bound():
    queue = Queue(*range(1, 65))
    while not queue.probes:
        queue.look()
    assert queue.now < BOUND / 2
    # A worker is idle, and takes it at once
    queue.take(64).look(2 * LOOK)
    assert chunks(queue.lost) == list(range(1, 64))
    assert queue.now < BOUND


def test_of_a_long_queue_only_one_chunk_is_sent_now_and_then():
    queue = Queue(*range(1, 65)).look(3600)
    assert queue.lost == []
    assert set(chunks(queue.probes)) == {64}
    assert len(queue.probes) <= 3600 / MAX_DELAY + 5
    pauses = [
        b - a for (a, _), (b, _) in zip(queue.probes, queue.probes[1:])]
    assert pauses == sorted(pauses)
    assert max(pauses) <= MAX_DELAY


def test_whatever_it_waited_a_lost_message_is_found_within_the_bound():
    # The queue is never empty, and one worker takes what is sent
    queue = Queue(*range(1, 65)).look(3600)
    flushed = queue.now
    while queue.probes[-1][0] < flushed:
        queue.look()
    queue.take(64).look(2 * LOOK)
    assert len(queue.lost) == 63
    assert queue.now - flushed <= MAX_DELAY + 4 * LOOK


def test_what_was_queued_after_the_probe_is_not_taken_for_lost():
    queue = Queue(1, 2, 3).look(PATIENCE + LOOK)
    assert chunks(queue.probes) == [3]
    queue.free.update([4, 5])
    queue.take(3).look(2 * LOOK)
    assert chunks(queue.lost) == [1, 2]


def test_a_queue_that_moves_sends_next_to_nothing_again():
    # Four processes take what was queued first, ten seconds each
    waiting, queue = list(range(5, 65)), Queue(*range(5, 65), busy=range(1, 5))
    last = 64
    while last < 400:
        queue.look(10)
        queue.busy.clear()
        for _ in range(4):
            queue.take(waiting.pop(0))
            last += 1
            waiting.append(last)
            queue.free.add(last)
    assert queue.lost == []
    assert len(queue.probes) <= 1.2 * queue.now / MAX_DELAY


def test_what_is_given_back_again_and_again_is_sent_more_and_more_seldom():
    # It waits for the database, say
    queue, times = Queue(busy=[1]).look(), []
    while queue.now < 3600:
        queue.desert(1)
        while not queue.lost:
            queue.look()
        times += [now for now, _ in queue.lost]
        queue.lost.clear()
        queue.take(1).look()
    assert queue.probes == []
    assert len(times) <= 3600 / MAX_DELAY + 10
    assert times[0] < BOUND
    assert max(b - a for a, b in zip(times, times[1:])) <= MAX_DELAY + 5


def test_who_takes_over_loses_no_time():
    case = Case(age=PATIENCE)
    lost, probe = case.look([1, 2, 3], [4], 100)
    assert (lost, probe) == ([], 3)
    # Somebody takes it: so all that was sent before it was lost
    assert case.look([1, 2, 5], [3, 4], 101) == ([1, 2], None)


def test_what_is_sent_again_and_lost_again_is_sent_again():
    queue = Queue(busy=[1]).look()
    queue.desert(1).look(60)
    # First as a chunk of somebody who died, then to find out
    assert chunks(queue.lost) == [1]
    assert len(queue.probes) > 3

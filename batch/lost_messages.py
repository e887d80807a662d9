# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Which messages of an execution are lost, from what the keeper sees of it.

Imports nothing of Tryton or Celery.
"""
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ['Case', 'MAX_DELAY', 'PATIENCE']

#: seconds for which a queued chunk is not locked before it may be
#: lost
PATIENCE = 3
#: maximum seconds between two probes, and until a chunk is sent again that is
#: claimed and released repeatedly: it waits for the database, or its whole
#: worker dies each time
MAX_DELAY = 10


@dataclass
class Case:
    """What the keeper knows of one execution, from one check to the next.

    The message of a queued chunk that is not locked may wait in a long queue,
    or it may be lost.  To find out, the keeper sends the chunk that was queued
    last once more (the probe).  When a process claims the probe, all earlier
    messages have left the queue, so the messages of the earlier chunks that
    are still not locked are lost.

    :param age: seconds for which the chunks that the first check finds may
        already have been free
    """
    age: float = 0
    #: chunk -> when it was first seen not locked
    since: dict[int, float] = field(default_factory=dict)
    #: chunks that were locked at the last check
    busy: set[int] = field(default_factory=set)
    #: chunk -> how often it was locked and then released without an end
    returned: Counter[int] = field(default_factory=Counter)
    #: chunks that were locked and are released: their messages are used up
    deserted: set[int] = field(default_factory=set)
    probe: int | None = None
    probe_at: float = 0
    #: seconds until the probe is sent again
    delay: float = PATIENCE
    #: whether the execution was ready, to be closed or selected, at the last
    #: check
    was_ready: bool = False
    #: whether fewer lanes were in flight at the last check than there may be
    was_short: bool = False
    #: the first chunks of lanes that may not have begun, None if not known
    lanes: list[str] | None = None
    #: the last logged error of a check of this execution
    trouble: str | None = None

    def look(
            self, free: Iterable[int], busy: Iterable[int],
            now: float) -> tuple[list[int], int | None]:
        """Return which chunks have to be sent again.

        :param free: ids of the queued chunks that are not locked
        :param busy: ids of the queued chunks that are locked
        :param now: seconds
        :return: (lost, probe): a list of chunks, and one chunk or None
        """
        free, busy = set(free), set(busy)
        self.since = {
            chunk: self.since.get(chunk, now - self.age) for chunk in free}
        self.age = 0
        self.returned.update(self.busy & free)
        self.deserted = (self.deserted | self.busy) & free
        self.busy = busy
        patient = {
            chunk for chunk in free
            if now - self.since[chunk] >= self.patience(chunk)}
        lost = patient & self.deserted
        if self.probe is not None and self.probe not in free:
            lost |= {
                chunk for chunk in patient
                if self.since[chunk] <= self.probe_since}
            self.probe, self.delay = None, PATIENCE
        for chunk in lost:
            self.since[chunk] = now
        self.deserted -= lost
        patient -= lost
        return sorted(lost), self.next_probe(patient, now)

    def patience(self, chunk: int) -> float:
        "Return seconds; more for a chunk that was released repeatedly."
        returns = max(self.returned[chunk] - 1, 0)
        return min(PATIENCE * 2 ** min(returns, 10), MAX_DELAY)

    def next_probe(self, patient: set[int], now: float) -> int | None:
        if not patient:
            return None
        if self.probe is not None:
            if now - self.probe_at < self.delay:
                return None
            self.delay = min(2 * self.delay, MAX_DELAY)
        if self.probe not in patient:
            self.probe = max(patient, key=lambda c: (self.since[c], c))
            self.probe_since = self.since[self.probe]
        self.probe_at = now
        return self.probe

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Batches that write files, and die or are robbed of them."""
import os
import random
import signal
from pathlib import Path

from trytond.exceptions import UserError
from trytond.modules.batch import BatchRoot, context, names
from trytond.pool import Pool
from trytond.transaction import Transaction

from .crashes import Killer


class _Output(BatchRoot):
    __slots__ = ()

    @classmethod
    def get_batch_main_model_name(cls):
        return 'batch.scenario.record'

    @classmethod
    def write(cls, ids, name='records.txt'):
        return cls.write_batch_output(
            ''.join('%s\n' % id for id in ids), name)


class Fetching(_Output):
    "Write a file, and fetch those that are there"
    __name__ = 'batch.scenario.fetching'

    @classmethod
    def execute(cls, objects, ids):
        path = cls.write(ids)
        for other in Path(path).parent.glob('[!.]*'):
            other.unlink()
        Pool().get('batch.scenario.record').treat(objects)


class Selecting(_Output):
    "Write a file while selecting, and die when that is committed"
    __name__ = 'batch.scenario.selecting'

    @classmethod
    def select_ids(cls, mark: Path):
        Killer(mark).join_first()
        cls.write(['selected'], 'selection.txt')
        return super().select_ids()

    @classmethod
    def execute(cls, objects, ids):
        Pool().get('batch.scenario.record').treat(objects)


class Nested(_Output):
    "Write a file in a transaction of its own, and fail in some chunks"
    __name__ = 'batch.scenario.nested'

    @classmethod
    def execute(cls, objects, ids):
        with Transaction().new_transaction():
            cls.write(ids)
        if any(r.bad for r in objects):
            raise UserError('A record is bad.')
        Pool().get('batch.scenario.record').treat(objects)


class Littering(_Output):
    "Write a file, and leave another as does a connection lost at the commit"
    __name__ = 'batch.scenario.littering'

    @classmethod
    def execute(cls, objects, ids):
        path = Path(cls.write(ids))
        tag = context.current_work().outputs.tag
        path.with_name(names.hidden('left.txt', tag, 'ready')).touch()
        path.with_name('.left.txt.taken').symlink_to(tag)
        Pool().get('batch.scenario.record').treat(objects)


class Gambler:
    "Kills the process, or not, at a moment of its commit"

    def __init__(self, risk):
        self.risk = risk

    def tpc_begin(self, transaction):
        pass

    commit = tpc_abort = tpc_begin

    def tpc_vote(self, transaction):
        if random.random() < self.risk:
            os.kill(os.getpid(), signal.SIGKILL)

    tpc_finish = tpc_vote


class Gambling(_Output):
    "Write two files for each chunk, and die at times around the commit"
    __name__ = 'batch.scenario.gambling'

    @classmethod
    def execute(cls, objects, ids, risk: float):
        # Before and after the files: they vote and finish in this order
        Transaction()._datamanagers.insert(0, Gambler(risk / 4))
        for name in ['a.txt', 'b.txt']:
            cls.write(ids, name)
        Transaction().join(Gambler(risk / 4))
        Pool().get('batch.scenario.record').treat(objects)

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Batches that start others, and one that a debugger stops."""
from pathlib import Path

from trytond.exceptions import UserError
from trytond.modules.batch import BatchRoot
from trytond.pool import Pool
from trytond.transaction import Transaction


class Starting(BatchRoot):
    "Start another batch for each chunk"
    __name__ = 'batch.scenario.starting'

    @classmethod
    def get_batch_main_model_name(cls):
        return 'batch.scenario.record'

    @classmethod
    def execute(cls, objects, ids):
        Pool().get('batch.scenario.started').start(chunk=ids)
        if any(r.bad for r in objects):
            raise UserError('A record is bad.')


class Started(BatchRoot):
    "Write into the records which execution treats them"
    __name__ = 'batch.scenario.started'

    @classmethod
    def get_batch_main_model_name(cls):
        return 'batch.scenario.record'

    @classmethod
    def get_batch_domain(cls, chunk: list[int]):
        return [('id', 'in', chunk)]

    @classmethod
    def execute(cls, objects, ids):
        context = Transaction().context
        for record in objects:
            record.note = '%s #%s' % (
                context['batch'], context['batch_execution'])
        Pool().get('batch.scenario.record').treat(objects)


class Debugged(BatchRoot):
    "Stop in a debugger at the bad records"
    __name__ = 'batch.scenario.debugged'

    @classmethod
    def get_batch_main_model_name(cls):
        return 'batch.scenario.record'

    @classmethod
    def execute(cls, objects, ids, go: Path = None):
        for record in objects:
            if record.bad and not (go and go.exists()):
                breakpoint()
        Pool().get('batch.scenario.record').treat(objects)

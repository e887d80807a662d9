# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Batches with a hook that is called once, when no unit is left."""
import os
import signal
import uuid
from pathlib import Path

from sql.aggregate import Max

from trytond import backend
from trytond.exceptions import UserError
from trytond.modules.batch import BatchRoot, BatchRootNoSelect, context
from trytond.pool import Pool
from trytond.transaction import Transaction

from .crashes import Killer
from .waiting import wait_until


class Merging(BatchRoot):
    "Write a file for each chunk, and at last one of them all"
    __name__ = 'batch.scenario.merging'

    @classmethod
    def get_batch_main_model_name(cls):
        return 'batch.scenario.record'

    @classmethod
    def execute(cls, objects, ids):
        if any(r.bad for r in objects):
            raise UserError('A record is bad.')
        cls.write_batch_output(
            ''.join('%s\n' % id for id in ids), 'records.txt')
        Pool().get('batch.scenario.record').treat(objects)
        return {'records': len(ids)}

    @classmethod
    def finish(cls, outcome, files, directory: Path, way='well'):
        (directory / ('called-%s' % uuid.uuid4())).touch()
        text = ''.join(
            path.read_text() for path in files if path.name != 'all.txt')
        cls.write_batch_output(text + '%s: %s of %s, %s\n' % (
                outcome.state, outcome.counts['done'], outcome.selected,
                outcome.numbers.get('records', 0)), 'all.txt')
        # Behind the records of the test, whose ids the test gives
        table = Pool().get('batch.scenario.record').__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(Max(table.id)))
        id = (cursor.fetchone()[0] or 0) + 1
        cursor.execute(*table.insert(
                [table.id, table.name, table.user, table.treated],
                [[id, 'finished', Transaction().user, 0]]))
        (directory / 'context').write_text('%s %s' % (
                context.current_work().label,
                Transaction().context.get('company')))
        getattr(cls, way)(directory)

    @classmethod
    def well(cls, directory):
        pass

    @classmethod
    def badly(cls, directory):
        if not (directory / 'go').exists():
            raise UserError('It can not be sent.')

    @classmethod
    def dying(cls, directory):
        if not (directory / 'go').exists():
            os.kill(os.getpid(), signal.SIGKILL)

    @classmethod
    def dying_once(cls, directory):
        if len(list(directory.glob('called-*'))) == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    @classmethod
    def dying_when_committed(cls, directory):
        Killer(directory / 'died').join_first()

    @classmethod
    def committing(cls, directory):
        Transaction().commit()

    @classmethod
    def waiting(cls, directory):
        (directory / 'waits').touch()
        wait_until((directory / 'go').exists)

    @classmethod
    def conflicting(cls, directory):
        if len(list(directory.glob('called-*'))) == 1:
            raise backend.DatabaseOperationalError('a conflict')


class MergingDone(Merging):
    "Finish only where all is done"
    __name__ = 'batch.scenario.merging_done'
    fixed_config_items = {'finish_on': 'success'}


class OnceAndFinish(BatchRootNoSelect):
    "Be executed once, and finish"
    __name__ = 'batch.scenario.once_and_finish'

    @classmethod
    def execute(cls, objects, ids):
        pass

    @classmethod
    def finish(cls, outcome, files, directory: Path):
        assert outcome.succeeded and not files
        (directory / 'called').touch()

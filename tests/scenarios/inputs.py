# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Batches whose units come from files."""
import csv
import datetime as dt
import os
from decimal import Decimal
from pathlib import Path
from typing import Optional

from trytond.exceptions import UserError
from trytond.modules.batch import BatchRootFiles
from trytond.pool import Pool
from trytond.transaction import Transaction

from .crashes import Killer
from .waiting import wait_until


class _Inputs(BatchRootFiles):
    __slots__ = ()

    @classmethod
    def treat(cls, ids):
        records = Pool().get('batch.scenario.record').browse(ids)
        for record in records:
            if record.bad:
                raise UserError('The record "%s" is bad.' % record.name)
        Pool().get('batch.scenario.record').treat(records)


class Letters(_Inputs):
    "Treat the records that each file names"
    __name__ = 'batch.scenario.letters'

    @classmethod
    def execute(cls, objects, ids, mark: Optional[Path] = None):
        assert [path.name for path in objects] == ids
        if mark:
            Transaction().join(Killer(mark))
        for path in objects:
            cls.treat(list(map(int, path.read_text().split())))


class Lines(_Inputs):
    "Treat a record for each row of a file"
    __name__ = 'batch.scenario.lines'

    @classmethod
    def read_file(cls, path, delimiter=';', wait: Optional[Path] = None):
        if wait and path.stem == wait.name:
            # For the moment at which two executions select
            Path('%s-%s' % (wait, os.getpid())).touch()
            wait_until(wait.exists)
        with open(path, encoding='utf-8', newline='') as file:
            for id, day, amount in csv.reader(file, delimiter=delimiter):
                yield {
                    'id': int(id), 'day': dt.date.fromisoformat(day),
                    'amount': Decimal(amount)}

    @classmethod
    def execute(
            cls, objects, ids, change: Optional[Path] = None,
            mark: Optional[Path] = None, rewrite: Optional[Path] = None,
            spoil: Optional[Path] = None):
        if mark:
            Transaction().join(Killer(mark))
        if change and change.exists():
            with change.open('a') as file:
                file.write('1;2026-01-01;1\n')
        if spoil:
            spoil.rmdir()
            spoil.symlink_to('/tmp')
        if rewrite:
            status, text = rewrite.stat(), rewrite.read_text()
            with rewrite.open('r+') as file:
                file.write(text.replace('1;', '3;', 1))
            os.utime(rewrite, ns=(status.st_atime_ns, status.st_mtime_ns))
        for row, (name, number, same) in zip(objects, ids, strict=True):
            assert row == same and name.endswith('.csv') and number > 0
            assert type(row['day']) is dt.date
            cls.treat([row['id']])
        return {'amount': float(sum(row['amount'] for row in objects))}


class Payments(Lines):
    "Give back what failed in a format of its own"
    __name__ = 'batch.scenario.payments'

    @classmethod
    def format_errors(cls, path, failed, way='text', **parameters):
        if way == 'crash':
            raise ValueError('no format')
        if way == 'none':
            return None
        return (
            '%s %s: %s\n' % (number, row['id'], error)
            for number, row, error in failed)

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Executions that failed, among the errors that Tryton lists."""
from trytond.pool import Pool, PoolMeta

__all__ = ['Error']


class Error(metaclass=PoolMeta):
    __name__ = 'ir.error'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.origin.selection.append(('batch.execution', "Batch Execution"))

    @classmethod
    def solve(cls, errors):
        Execution = Pool().get('batch.execution')
        super().solve(errors)
        for error in errors:
            if not isinstance(error.origin, Execution):
                continue
            # By the buttons, which check who may do that
            if error.origin.can_retry:
                Execution.retry([error.origin])
            elif error.origin.can_resume:
                Execution.resume([error.origin])

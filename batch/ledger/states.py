# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The states of an execution and of a chunk, and the edges between them."""
__all__ = ['CHUNK', 'EXECUTION', 'OPEN']

#: (from, to) -> the cause.  What is not here does not happen: each statement
#: that moves a row names the state that it moves from.
EXECUTION = {
    (None, 'selecting'): "somebody started the batch",
    ('selecting', 'running'): "the selection is planned: its chunks exist",
    ('selecting', 'failed'): "the selection raised, or the start was refused",
    ('selecting', 'cancelled'): "cancelled before it was selected",
    ('running', 'succeeded'): "the last chunk ended and every unit is done",
    ('running', 'failed'):
        "the last chunk ended and some unit failed, or a file is missing",
    ('running', 'cancelled'): "the last chunk ended and some were cancelled",
    ('failed', 'running'): "resumed: chunks were left, or files missing",
    ('cancelled', 'running'): "resumed: chunks were left, or files missing",
    }
CHUNK = {
    (None, 'waiting'): "planned, or a part behind another one",
    (None, 'queued'): "among the first of the plan, or the first part",
    ('waiting', 'queued'): "its predecessor ended, or it was resumed",
    ('queued', 'done'): "its work is in the same commit",
    ('queued', 'split'): "it failed, and its parts replace it",
    ('queued', 'failed'): "it failed and can not be split",
    ('waiting', 'cancelled'): "the execution was cancelled",
    ('queued', 'cancelled'): "the execution was cancelled, nobody was at it",
    ('cancelled', 'waiting'): "the execution was resumed",
    }
#: states of a chunk that still has to be treated
OPEN = ['waiting', 'queued']

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The states of an execution, a chunk and a failure, and their edges."""
from enum import Enum

__all__ = [
    'Admission', 'CHUNK', 'ChunkState', 'ENDED_EXECUTIONS', 'EXECUTION',
    'Event', 'ExecutionState', 'FAILURE', 'FailureState', 'Finish',
    'OPEN_CHUNKS', 'OPEN_EXECUTIONS']


class _Text(str, Enum):
    "An enum whose members are the texts that the columns have."
    __str__ = str.__str__

    def __format__(self, format_spec: str) -> str:
        return str.__format__(self, format_spec)


class ExecutionState(_Text):
    "The column ``state`` of an execution."
    SELECTING = 'selecting'
    RUNNING = 'running'
    SUCCEEDED = 'succeeded'
    FAILED = 'failed'
    CANCELLED = 'cancelled'


class ChunkState(_Text):
    "The column ``state`` of a chunk."
    WAITING = 'waiting'
    QUEUED = 'queued'
    DONE = 'done'
    SPLIT = 'split'
    FAILED = 'failed'
    CANCELLED = 'cancelled'


class FailureState(_Text):
    "The column ``state`` of a failure: what became of a unit that failed."
    OPEN = 'open'
    RETRIED = 'retried'
    SOLVED = 'solved'
    DISMISSED = 'dismissed'


class Admission(_Text):
    """The column ``admission`` of an execution: whether it may begin.

    Empty until that is decided.  Skipped and disabled executions succeed, and
    select nothing.
    """
    ADMITTED = 'admitted'
    WAITING = 'waiting'
    SKIPPED = 'skipped'
    DISABLED = 'disabled'
    REFUSED = 'refused'


class Finish(_Text):
    """The column ``finish`` of an execution: whether that hook was called.

    It is empty where the hook is not to be called.  A resume makes it due
    again after it failed.
    """
    DUE = 'due'
    BEGUN = 'begun'
    DONE = 'done'
    FAILED = 'failed'


class Event(_Text):
    "The column ``event`` of a subscription: when its user is told."
    FAILURE = 'failure'
    END = 'end'
    DIGEST = 'digest'


#: (from, to) -> the cause.  What is not here does not happen: each statement
#: that moves a row names the state that it moves from.
EXECUTION: dict[tuple[ExecutionState | None, ExecutionState], str] = {
    (None, ExecutionState.SELECTING): "the batch was started",
    (ExecutionState.SELECTING, ExecutionState.RUNNING):
        "the selection is planned: its chunks exist",
    (ExecutionState.SELECTING, ExecutionState.FAILED):
        "the selection raised, or the start was refused",
    (ExecutionState.SELECTING, ExecutionState.CANCELLED):
        "cancelled before it was selected",
    (ExecutionState.RUNNING, ExecutionState.SUCCEEDED):
        "the last chunk ended and every unit is done",
    (ExecutionState.RUNNING, ExecutionState.FAILED):
        "the last chunk ended, and a unit failed, a file is missing or "
        "finish failed",
    (ExecutionState.RUNNING, ExecutionState.CANCELLED):
        "the last chunk ended and some were cancelled",
    (ExecutionState.FAILED, ExecutionState.RUNNING):
        "resumed: chunks were left, files missing, or finish had failed",
    (ExecutionState.CANCELLED, ExecutionState.RUNNING):
        "resumed: chunks were left, or files missing",
    }
CHUNK: dict[tuple[ChunkState | None, ChunkState], str] = {
    (None, ChunkState.WAITING): "planned, or a part that is not the first",
    (None, ChunkState.QUEUED):
        "planned as the first of all, or the first part",
    (ChunkState.WAITING, ChunkState.QUEUED):
        "its predecessor ended, its lane was begun, or it was resumed",
    (ChunkState.QUEUED, ChunkState.DONE): "its work is in the same commit",
    (ChunkState.QUEUED, ChunkState.SPLIT):
        "it failed, and its parts replace it",
    (ChunkState.QUEUED, ChunkState.FAILED): "it failed and can not be split",
    (ChunkState.WAITING, ChunkState.CANCELLED): "the execution was cancelled",
    (ChunkState.QUEUED, ChunkState.CANCELLED):
        "the execution was cancelled, and no process worked on it",
    (ChunkState.CANCELLED, ChunkState.WAITING): "the execution was resumed",
    }
FAILURE: dict[tuple[FailureState | None, FailureState], str] = {
    (None, FailureState.OPEN): "the unit failed, alone or with its chunk",
    (None, FailureState.DISMISSED): "the unit failed in a dry run",
    (FailureState.OPEN, FailureState.RETRIED): "a retry selected the unit",
    (FailureState.OPEN, FailureState.DISMISSED):
        "it was dismissed: somebody settled it otherwise",
    (FailureState.RETRIED, FailureState.SOLVED):
        "the retry ended, and the unit is done",
    }
#: states of a chunk that still has to be treated
OPEN_CHUNKS = [ChunkState.WAITING, ChunkState.QUEUED]
#: states of an execution that is not over, and of one that is
OPEN_EXECUTIONS = [ExecutionState.SELECTING, ExecutionState.RUNNING]
ENDED_EXECUTIONS = [
    ExecutionState.SUCCEEDED, ExecutionState.FAILED, ExecutionState.CANCELLED]

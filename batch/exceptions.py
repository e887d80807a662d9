# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""One tree of errors: each says what is wrong, where, and what to do.

Imports nothing of Tryton or Celery, so that every room can raise them.
"""
import difflib
from collections.abc import Iterable

__all__ = [
    'BatchError', 'BrokerError', 'ConfigError', 'DatabaseError',
    'DefinitionError', 'ExecutionError', 'FollowError', 'InputError',
    'NoWorkerError', 'OutageError', 'OutputError', 'OverlapError',
    'ParameterError', 'SettingError', 'StateError', 'TaskFailedError',
    'TimeLimitError', 'TransactionEndedError', 'UnitsError',
    'UnknownBatchError', 'UsageError', 'WorkerLostError', 'nearest']


def nearest(name: object, names: Iterable[object], cutoff: float = 0.6) -> str:
    """Return "; did you mean "x"?" for the nearest of names, or ""."""
    found = difflib.get_close_matches(
        str(name), list(map(str, names)), 1, cutoff)
    return '; did you mean "%s"?' % found[0] if found else ''


class BatchError(Exception):
    "Root of the tree; the message is one line, complete by itself."
    #: the status with which the command ends
    exit_status = 1


class UsageError(BatchError):
    "Raised when the command line itself is wrong."
    exit_status = 2


class UnknownBatchError(UsageError):
    "Raised when no batch of the database has the name."

    def __init__(self, name: str, names: Iterable[str]) -> None:
        self.name = name
        super().__init__(
            'unknown batch "%s"%s ("coop list" shows the batches)'
            % (name, nearest(name, names)))


class ParameterError(UsageError):
    "Raised when a parameter is unknown, missing or malformed."

    def __init__(self, batch: str, parameter: str, problem: str) -> None:
        self.batch = batch
        self.parameter = parameter
        super().__init__(
            'batch "%s": parameter "%s" %s' % (batch, parameter, problem))


class SettingError(UsageError):
    "Raised when a setting for one run is malformed, or fixed by the class."

    def __init__(self, batch: str, setting: str, problem: str) -> None:
        self.batch = batch
        self.setting = setting
        super().__init__('batch "%s": setting "%s" on the command line: %s' % (
                batch, setting, problem))


class ExecutionError(UsageError):
    "Raised when an execution does not exist or its state forbids the act."

    def __init__(self, execution: int, problem: str) -> None:
        self.execution = execution
        super().__init__('execution #%s %s' % (execution, problem))


class ConfigError(BatchError):
    "Raised when a configuration file is unreadable, unknown or malformed."

    def __init__(
            self, file: str | None, problem: str, section: str | None = None,
            key: str | None = None) -> None:
        self.file = file
        self.section = section
        self.key = key
        where = str(file)
        if section:
            where += ': [%s]' % section
        if key:
            where += ' %s' % key
        super().__init__('%s: %s' % (where, problem))


class DefinitionError(BatchError):
    "Raised when the class of a batch can not work as it is written."

    def __init__(
            self, batch: str, problem: str, hook: str | None = None) -> None:
        self.batch = batch
        self.hook = hook
        super().__init__('batch "%s"%s: %s' % (
                batch, ', %s' % hook if hook else '', problem))


class FollowError(BatchError):
    "Raised when a command can not follow an execution, which goes on."

    def __init__(
            self, execution: int, problem: BaseException,
            local: bool = False) -> None:
        self.execution = execution
        text = str(problem) if isinstance(problem, BatchError) \
            else '%s: %s' % (type(problem).__name__, problem)
        super().__init__('%s; %s' % (
                text, 'to go on with execution #%s: coop resume %s'
                % (execution, execution) if local else
                'execution #%s goes on without this command; details: '
                'coop show %s' % (execution, execution)))


class TransactionEndedError(DefinitionError):
    "Raised when a hook ends the transaction that it is called in."

    def __init__(
            self, batch: str, what: str, became: str,
            hook: str | None = None) -> None:
        super().__init__(batch, '%s: %s; remove that, as the transaction is '
            'committed with the end of its chunk; to commit something '
            'separately, use "with Transaction().new_transaction():"' % (
                what, became), hook)


class UnitsError(BatchError):
    "Raised when the ledger has units that can not be loaded."

    def __init__(self, problem: str) -> None:
        super().__init__('the units in the ledger can not be loaded: %s'
            % problem)


class InputError(BatchError):
    "Raised when a directory of input files, or one of them, can not be used."


class OutageError(BatchError):
    "Raised when the database can not work for now: the chunk stays queued."


class OutputError(BatchError):
    "Raised when an output can not be written where the settings want it."


class OverlapError(BatchError):
    "Raised when another execution of the batch runs and overlap is fail."

    def __init__(self, execution: int, told: str) -> None:
        self.execution = execution
        super().__init__(
            '%s (overlap = fail); details: coop show %s, cancel it: coop '
            'cancel %s, go on with it: coop resume %s' % (
                told, execution, execution, execution))


class StateError(BatchError):
    "Raised when a chunk is not queued any more: another process ended it."

    def __init__(self, label: str, state: str) -> None:
        super().__init__(
            '%s is not queued any more and can not become %s'
            % (label, state))


class TaskFailedError(BatchError):
    """Raised at the end of a task whose units failed, or whose start failed.

    The ledger has it already: this only lets Celery's clients show the task
    as failed.
    """


class TimeLimitError(BatchError):
    "Raised when a chunk took longer than its time_limit."


class WorkerLostError(BatchError):
    "Recorded for a chunk, or a selection, whose process died executing it."


class DatabaseError(BatchError):
    "Raised when the database is unreachable or has no module batch."


class BrokerError(BatchError):
    "Raised when the broker of the messages is unreachable."


class NoWorkerError(BatchError):
    "Raised when no worker answers for the queue."

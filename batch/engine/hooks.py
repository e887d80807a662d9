# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Keeps a hook from ending its transaction, and from going on after a fork.

The engine commits the changes of a hook and the state ``done`` of its chunk
together, in one process.
"""
import os
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Any, NoReturn

from trytond import backend
from trytond.transaction import Transaction

from ..connections import status_of
from ..context import end_child
from ..exceptions import TransactionEndedError
from ..internals import stack_of
from ..logging import get_logger
from ..texts import attribute_of, calls_hooks
from ..transaction import is_shutdown
from .errors import exc_info, one_line

__all__ = ['Guard']

#: the methods of trytond's Transaction and of a connection that end a
#: transaction
TRANSACTION = 'commit', 'rollback', 'stop'
CONNECTION = (
    'close', 'commit', 'executescript', 'rollback', 'set_autocommit')
#: the numbers of transaction states in psycopg
IDLE, IN_TRANSACTION, IN_ERROR = 0, 2, 3
#: the Guards in which hooks are running
_guards: list['Guard'] = []


class Guard:
    """A context manager around the hooks of the current transaction.

    It raises TransactionEndedError if a hook ends the transaction: at once if
    the hook calls a method, at its exit if the hook does so in SQL.
    Savepoints and separate transactions are allowed.

    A process that a hook forked ends at the exit.

    :param batch: ``__name__`` of the batch
    :param id: of the transaction in PostgreSQL, None if it is not known
    :param check_later: whether the caller compares the id of the transaction
        in its own statement, which saves a query, and calls check_refused()
        if that is refused
    """

    def __init__(
            self, batch: str, id: int | None = None,
            check_later: bool = False) -> None:
        self.batch = batch
        self.transaction = Transaction()
        self.connection = self.transaction.connection
        self.id = id
        self.check_later = check_later and backend.name != 'sqlite'
        self.process = os.getpid()
        self.refused: TransactionEndedError | None = None

    def __enter__(self) -> 'Guard':
        # Attributes of the objects hide the methods of their classes
        for target, names in self.ends():
            target.__dict__.update({n: partial(self.refuse, n) for n in names})
        _guards.append(self)
        if backend.name == 'sqlite':
            if not self.connection.in_transaction:
                self.execute('BEGIN')
            self.execute('SAVEPOINT batch_hooks')
        elif self.id is None:
            self.id = self.execute('SELECT txid_current()')
        return self

    @calls_hooks
    def __exit__(
            self, type_: type[BaseException] | None,
            error: BaseException | None, trace: TracebackType | None) -> None:
        if os.getpid() != self.process:
            self.end_child(error)
        _guards.remove(self)
        for target, names in self.ends():
            for name in names:
                target.__dict__.pop(name, None)
        if error is not None and is_shutdown(error):
            return
        if self.refused is not None:
            raise self.refused
        if error is not None or not self.check_later:
            self.check(error)

    def ends(self) -> tuple[tuple[Any, tuple[str, ...]], ...]:
        "Return (object, names of its methods that end the transaction)."
        return (self.transaction, TRANSACTION), (self.connection, CONNECTION)

    def refuse(self, name: str, *args: Any, **kwargs: Any) -> Any:
        "Raise TransactionEndedError, in place of such a method."
        if name == 'stop' and self.is_nested():
            return type(self.transaction).stop(
                self.transaction, *args, **kwargs)
        self.refused = TransactionEndedError(
            self.batch, 'calls "%s" of its transaction' % name,
            'nothing was committed')
        raise self.refused

    def is_nested(self) -> bool:
        "Return whether the transaction is on the stack more than once."
        return stack_of(self.transaction).transactions.count(
            self.transaction) > 1

    def check(self, error: BaseException | None = None) -> None:
        """Raise TransactionEndedError if the transaction was ended in SQL.

        :param error: what a hook raised, None if it did not
        """
        became = self.became(error)
        if became is not None:
            raise self.ended(became) from error

    def check_refused(self) -> None:
        """Raise TransactionEndedError if the transaction was ended in SQL.

        Asks on another connection, as this one may accept no query.
        """
        status = status_of(self.transaction.database.name, self.id)
        if status != 'in progress':
            raise self.ended(
                'committed' if status == 'committed' else 'rolled back')

    def ended(self, became: str) -> TransactionEndedError:
        return TransactionEndedError(
            self.batch, 'ends its transaction in SQL',
            'what it did before is %s' % became)

    def became(self, error: BaseException | None) -> str | None:
        "Return how the transaction was ended, None if it is still open."
        if backend.name == 'sqlite':
            if error is not None and not self.connection.in_transaction:
                # SQLite itself may have rolled back because of the error
                return None
            try:
                self.execute('RELEASE SAVEPOINT batch_hooks')
            except backend.DatabaseOperationalError as gone:
                if 'no such savepoint' not in str(gone):
                    raise
                return 'committed, or rolled back'
            return None
        status = self.connection.info.transaction_status
        if status == IN_ERROR:
            # It accepts no query, and will be rolled back in any case
            self.connection.rollback()
        elif status not in {IDLE, IN_TRANSACTION}:
            return None
        became = self.execute('SELECT txid_status(%s)', [self.id])
        if became == 'committed':
            return 'committed'
        if became == 'aborted' and status != IN_ERROR:
            return 'rolled back'
        return None

    def execute(self, statement: str, params: Sequence[Any] = ()) -> Any:
        "Execute a statement; return the one value that it selects."
        cursor = self.connection.cursor()
        cursor.execute(statement, params)
        row = cursor.fetchone() if statement.startswith('SELECT') else None
        return row and row[0]

    def end_child(self, error: BaseException | None) -> None:
        "End a process that a hook forked, with its natural exit status."
        status = 0
        if error is not None and issubclass(type(error), SystemExit):
            code = attribute_of(error, 'code', SystemExit)
            status = code if type(code) is int else int(code is not None)
        elif error is not None:
            status = 1
            get_logger(self.batch).error(
                "a process that a hook forked failed: %s", one_line(error),
                exc_info=exc_info(error))
        end_child(status)


class _Inherited:
    "Replaces the connection of the parent in a forked process."

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(
            'a process that a hook forked can not use the transaction of the '
            'hook; start one: Transaction(new=True).start(...)')

    def __enter__(self) -> Any:
        # As the lock of a connection of psycopg
        return self.acquire

    def __exit__(self, *_: object) -> None:
        pass


def _leave_to_parent() -> None:
    "Keep a forked process from using the connection of its parent."
    for guard in _guards:
        guard.transaction.connection = guard.connection.lock = _Inherited()


os.register_at_fork(after_in_child=_leave_to_parent)

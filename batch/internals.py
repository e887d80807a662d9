# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The private attributes of other libraries that this module uses.

Each stands here only, with the reason why nothing public does.
``tests/test_internals.py`` fails once a library no longer has it.  Imports
nothing of Tryton or Celery.
"""
from typing import Any

__all__ = [
    'arguments_of', 'connection_parameters', 'forget_producers', 'jobs_of',
    'number_of', 'processes_of', 'stack_of']


def stack_of(transaction: Any) -> Any:
    """Return the holder of ``transactions`` and ``tasks`` of this thread.

    trytond: Transaction() returns only the last transaction of the stack.
    """
    return transaction._local


def connection_parameters(Database: Any, name: str) -> dict[str, Any]:
    """Return the parameters of psycopg.connect for a database.

    trytond: get_connection() waits 30 s for a server that does not answer,
    and begins a transaction.
    """
    parameters: dict[str, Any] = Database._connection_params(name)
    return parameters


def jobs_of(pool: Any) -> list[Any]:
    """Return the unfinished jobs of Celery's pool, none if it is no prefork.

    billiard: a pool tells the public how many jobs it has, and not which.

    :param pool: ``consumer.pool``
    """
    billiard = getattr(pool, '_pool', None)
    cache = getattr(billiard, '_cache', None)
    return [] if cache is None else [
        job for job in list(cache.values()) if not job.ready()]


def number_of(job: Any) -> int:
    """Return what tells a job of billiard from the others of its pool.

    billiard: the public attributes of two jobs may be equal.
    """
    number: int = job._job
    return number


def processes_of(pool: Any) -> list[int]:
    """Return the ids of the processes of Celery's pool, none if no prefork.

    Celery: ``pool.info`` has them too, but raises while a process ends.

    :param pool: ``consumer.pool``
    """
    billiard = getattr(pool, '_pool', None)
    return [process.pid for process in getattr(billiard, '_pool', None) or ()]


def forget_producers(control: Any) -> None:
    """Let a Control of Celery send by the connection that it is given.

    kombu: a mailbox has a pool of producers, and prefers their connection.
    """
    control.mailbox._producer_pool = None


def arguments_of(parser: Any) -> list[Any]:
    """Return the actions of a parser of argparse.

    argparse: it shows them to nobody but in its help.
    """
    actions: list[Any] = parser._actions
    return actions

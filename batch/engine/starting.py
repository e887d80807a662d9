# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Executions that are started from code: with a commit, or never.

The row of the execution is made in the transaction of the caller.  The message
is sent after the commit; if it is lost, the keeper of a worker sends it again.
"""
import logging
import pkgutil
from collections.abc import Mapping
from typing import Any

import trytond.config as config
from trytond.transaction import Transaction

from .. import ledger
from ..batch import get_batch, today
from ..config import BatchConfig
from ..parameters import given_text, resolve_parameters
from . import local
from .admission import parses

__all__ = ['Started', 'start']

logger = logging.getLogger(__name__)

#: imported only when an execution is started: it imports Celery
TASKS = 'trytond.modules.batch.tasks'


def start(name: str, values: Mapping[str, Any]) -> int:
    """Make an execution in the current transaction; return its id.

    Raises BatchError if the batch, a parameter or batch.conf is wrong.

    :param values: of Python or texts, by name of the parameter
    """
    transaction = Transaction()
    Batch = get_batch(name)
    declared = Batch.declared_parameters()
    batch_config = BatchConfig.load(config.get('batch', 'config_file'))
    given = {
        parameter: given_text(name, declared, parameter, value)
        for parameter, value in values.items()}
    resolve_parameters(
        name, declared, given,
        lambda parameter: batch_config.parameter(name, parameter), today,
        complete=not parses(Batch))
    settings = Batch.resolve_settings(batch_config)
    is_local = not has_workers()
    execution = ledger.executions.create(
        transaction.connection.cursor(), name, given, local=is_local)
    transaction.join(Started(transaction.database.name)).add(
        name, execution, None if is_local else settings['queue'][0])
    return execution


def has_workers() -> bool:
    "Return whether a broker is configured."
    return bool(pkgutil.resolve_name(TASKS).has_broker())


class Started:
    "The executions that a transaction has made: a two-phase data manager."

    def __init__(self, database: str) -> None:
        self.database = database
        self._executions: list[tuple[str, int, str | None]] = []

    def __eq__(self, other: object) -> bool:
        # Transaction.join finds the one that has joined already
        return isinstance(other, Started) and other.database == self.database

    def add(self, name: str, execution: int, queue: str | None) -> None:
        """Add an execution that begins after the commit.

        :param queue: None to execute it in this process, as Tryton does with
            the tasks of its own queue if no worker is configured
        """
        self._executions.append((name, execution, queue))

    def tpc_begin(self, transaction: Transaction) -> None:
        "Nothing is to be done before the commit."

    commit = tpc_vote = tpc_begin

    def tpc_finish(self, transaction: Transaction) -> None:
        "Begin each of them; raises nothing, as they are committed."
        executions, self._executions = self._executions, []
        for name, execution, queue in executions:
            try:
                self.begin(name, execution, queue)
            except Exception:
                logger.exception("execution #%s of %s is made, but could not "
                    "be begun: coop resume %s goes on with it", execution,
                    name, execution)

    def begin(self, name: str, execution: int, queue: str | None) -> None:
        "Send the message that selects, or execute it here."
        if queue is None:
            local.process_here(
                self.database, name, execution, tick=lambda: None)
        elif problem := pkgutil.resolve_name(TASKS).send_execution(
                self.database, name, execution, queue):
            logger.warning("%s; execution #%s of %s begins when it does",
                problem, execution, name)

    def tpc_abort(self, transaction: Transaction) -> None:
        "Begin none of them."
        self._executions = []

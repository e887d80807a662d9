# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Executions that are started from code: with a commit, or never.

The row of the execution is made in the transaction of the caller.  The message
goes after the commit, and where it is lost, the keeper of a worker sends it.
"""
import logging
import pkgutil

import trytond.config as config
from trytond.transaction import Transaction

from .. import ledger
from ..batch import get_batch, today
from ..config import BatchConfig
from ..parameters import resolve_parameters, text_of
from . import local

__all__ = ['Started', 'start']

logger = logging.getLogger(__name__)

#: by name, as only who starts an execution has a use for what it imports
TASKS = 'trytond.modules.batch.tasks'


def start(name, values):
    """Make an execution in the current transaction; return its id.

    Raises BatchError for what a command would refuse before it begins.

    :param values: of Python or texts, by name of the parameter
    """
    transaction = Transaction()
    Batch = get_batch(name)
    declared = Batch.declared_parameters()
    batch_config = BatchConfig.load(config.get('batch', 'config_file'))
    given = {
        parameter: text_of(name, declared, parameter, value)
        for parameter, value in values.items()}
    resolve_parameters(
        name, declared, given,
        lambda parameter: batch_config.parameter(name, parameter), today)
    settings = Batch.resolve_settings(batch_config)
    is_local = not has_workers()
    execution = ledger.executions.create(
        transaction.connection.cursor(), name, given, local=is_local)
    transaction.join(Started(transaction.database.name)).add(
        name, execution, None if is_local else settings['queue'][0])
    return execution


def has_workers():
    return pkgutil.resolve_name(TASKS).has_broker()


class Started:
    "The executions that a transaction has made: a two-phase data manager."

    def __init__(self, database):
        self.database = database
        self._executions = []

    def __eq__(self, other):
        # Transaction.join finds the one that has joined already
        return isinstance(other, Started) and other.database == self.database

    def add(self, name, execution, queue):
        """Add an execution that begins after the commit.

        :param queue: None to execute it in this process, as Tryton does with
            the tasks of its own queue where no worker is configured
        """
        self._executions.append((name, execution, queue))

    def tpc_begin(self, transaction):
        pass

    commit = tpc_vote = tpc_begin

    def tpc_finish(self, transaction):
        "Begin with all of them; raises nothing, as they are committed."
        executions, self._executions = self._executions, []
        for name, execution, queue in executions:
            try:
                self.begin(name, execution, queue)
            except Exception:
                logger.exception("execution #%s of %s is made, but could not "
                    "be begun: coop resume %s goes on with it", execution,
                    name, execution)

    def begin(self, name, execution, queue):
        if queue is None:
            local.process_here(
                self.database, name, execution, tick=lambda: None)
        elif problem := pkgutil.resolve_name(TASKS).send_execution(
                self.database, name, execution, queue):
            logger.warning("%s; execution #%s of %s begins when it does",
                problem, execution, name)

    def tpc_abort(self, transaction):
        self._executions = []

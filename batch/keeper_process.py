# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The process of a worker in which its keepers run, one for each database."""
import json
import os
import select
import sys
import threading

from billiard.context import Process
from celery import platforms
from celery.utils.log import iter_open_logger_fds

from . import tasks
from .logging import close_logs
from .rescue import LOOK, Death, Keeper

__all__ = ['KeeperProcess']


class KeeperProcess(Process):
    """A process that runs a keeper for each database, in a thread each.

    :param reader: descriptor of the pipe on which the parent reports deaths
    """

    def __init__(self, databases, reader):
        super().__init__(name='batch-keeper', daemon=True)
        self.databases = databases
        self.reader = reader
        self.parent = os.getpid()

    def run(self):
        platforms.signals.reset('SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT')
        # On Ctrl-C, the parent terminates this process
        platforms.signals.ignore('SIGINT')
        platforms.set_mp_process_title('coop worker', info='keeper')
        close_logs()
        platforms.close_open_fds([
                sys.__stdin__, sys.__stdout__, sys.__stderr__, self.reader,
                *iter_open_logger_fds()])
        tasks.celery_app.set_default()
        tasks.celery_app.set_current()
        keepers = {name: Keeper(name) for name in self.databases}
        for keeper in keepers.values():
            threading.Thread(
                target=keep, args=[keeper], name=keeper.database,
                daemon=True).start()
        text = b''
        # The end of the pipe does not show that the parent is gone: pool
        # processes that outlive it keep the pipe open
        while os.getppid() == self.parent:
            if not select.select([self.reader], [], [], LOOK)[0]:
                continue
            *lines, text = (text + os.read(self.reader, 1 << 16)).split(b'\n')
            for line in lines:
                death = Death(**json.loads(line))
                if keeper := keepers.get(death.database):
                    keeper.tell(death)


def keep(keeper):
    while True:
        keeper.step()
        keeper.wait()

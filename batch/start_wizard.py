# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The wizard that starts a batch."""
import trytond.config as config
from trytond.exceptions import UserError
from trytond.i18n import gettext
from trytond.wizard import Button, StateAction, StateView, Wizard

from . import client_actions
from .batch import get_batch, today
from .config import BatchConfig
from .engine.admission import parses
from .parameters import resolve_parameters
from .start_form import entries_of, given_by
from .start_view import ParametersView

__all__ = ['Start']


class Start(Wizard):
    "Start a batch"
    __name__ = 'batch.start'

    start = StateView('batch.start.batch', 'batch.start_batch_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Next", 'parameters', 'tryton-forward', default=True)])
    parameters = ParametersView(
        'batch.start.parameters', 'batch.start_parameters_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Back", 'start', 'tryton-back', validate=False),
            Button("Start", 'begin', 'tryton-launch', default=True)])
    begin = StateAction('batch.act_execution_one')

    def entries(self):
        "Return the fields of the parameters of the batch."
        if not self.start.batch:
            return []
        with client_actions.saying():
            batch_config, declared, complete = self.declared()
            return entries_of(
                self.start.batch, declared, lambda name:
                batch_config.parameter(self.start.batch, name), today,
                complete)

    def declared(self):
        Batch = get_batch(self.start.batch)
        return (
            BatchConfig.load(config.get('batch', 'config_file')),
            Batch.declared_parameters(), not parses(Batch))

    def problem(self):
        "Return why nobody would begin with it, None if all is well."
        if not self.start.batch:
            return None
        try:
            if problem := client_actions.missing_workers(self.start.batch):
                return gettext(
                    'batch.msg_start_waits', problem=problem)
        except UserError as error:
            return error.message

    def do_begin(self, action):
        batch = self.start.batch
        entered = {
            entry.field: getattr(self.parameters, entry.field, None)
            for entry in self.entries()}
        given = given_by(self.entries(), entered)
        with client_actions.saying():
            batch_config, declared, complete = self.declared()
            # Refused here, nothing was made yet
            resolve_parameters(
                batch, declared, given,
                lambda name: batch_config.parameter(batch, name), today,
                complete)
        client_actions.missing_workers(batch)
        execution = client_actions.start(
            batch, given, bool(self.parameters.dry_run))
        return action, {'res_id': [execution]}

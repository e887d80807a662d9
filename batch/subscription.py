# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Who is told of the ends of which batch: a table that users write."""
from trytond.model import Index, ModelSQL, ModelView, fields
from trytond.pyson import Eval

from .ledger.states import Event

__all__ = ['Subscription']


class Subscription(ModelSQL, ModelView):
    __name__ = 'batch.subscription'

    user = fields.Many2One(
        'res.user', "User", required=True, ondelete='CASCADE')
    batch = fields.Selection(
        'get_batches', "Batch", translate=False,
        help="Leave empty for all batches.")
    batch_string = batch.translated('batch')
    event = fields.Selection([
            (Event.FAILURE.value, "On Each Failure"),
            (Event.END.value, "On Each End"),
            (Event.DIGEST.value, "Once a Day"),
            ], "When", required=True, sort=False,
        help="On Each Failure: when not all units of an execution are done, "
        "or nothing was executed.\n"
        "On Each End: then, and also when all units are done.\n"
        "Once a Day: of all executions since the last time.")
    by_notification = fields.Boolean("Notification",
        help="Shown in the client.")
    by_mail = fields.Boolean("E-Mail",
        help="Sent to the e-mail address of the user.")
    by_error = fields.Boolean("Error",
        states={
            'invisible': Eval('event') == Event.DIGEST.value,
            },
        help="Listed once among the errors of Tryton, if it failed: to solve "
        "it there retries or resumes the execution.")
    digest_until = fields.Timestamp("Last Digest until", readonly=True,
        help="The end of the time that the last digest was about.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('user', 'ASC'), ('batch', 'ASC'), ('id', 'ASC')]
        table = cls.__table__()
        cls._sql_indexes.add(Index(table, (table.user, Index.Equality())))

    @classmethod
    def get_batches(cls):
        "Return the selection of the batch; the screens add the batches."
        return [(None, "")]

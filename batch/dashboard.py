# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the dashboard shows beside executions: nights, and batches.

A graph needs a date, which a Timestamp is not, and draws one series.
"""
import datetime as dt
from collections import Counter
from textwrap import shorten

from trytond.model import ModelSQL, ModelView, fields

from .ledger import summaries
from .read_only import ReadOnlyMixin
from .view_tools import title_of, whole_seconds

__all__ = ['Night', 'Summary']

#: characters of a title in a graph
LABEL = 35


class Night(ReadOnlyMixin, ModelSQL, ModelView):
    "What ran from the noon of a day to the next one."
    __name__ = 'batch.night'

    night = fields.Date("Night", readonly=True,
        help="The day at whose noon, UTC, it began.")
    executions = fields.Integer("Executions", readonly=True)
    failed = fields.Integer("Failed Executions", readonly=True)
    failed_units = fields.Integer("Failed Units", readonly=True)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('night', 'DESC'), ('id', 'DESC')]

    @classmethod
    def table_query(cls):
        return summaries.by_night()


class Summary(ReadOnlyMixin, ModelSQL, ModelView):
    "A batch: how it ran last, and how it usually does."
    __name__ = 'batch.summary'
    _rec_name = 'batch'

    batch = fields.Char("Name", readonly=True)
    started_at = fields.Timestamp("Started at", readonly=True)
    seconds = fields.Float("Seconds", digits=(None, 0), readonly=True,
        help="How long it ran last.")
    usual_seconds = fields.Float(
        "Usual Seconds", digits=(None, 0), readonly=True)
    gap = fields.Float(
        "Seconds between Starts", digits=(None, 0), readonly=True)
    is_overdue = fields.Boolean("Overdue", readonly=True,
        help="It did not start when it usually does.")
    title = fields.Function(
        fields.Char("Batch", help="What it does."), 'get_titles')
    label = fields.Function(
        fields.Char("Batch", help="Short, and of no other batch."),
        'get_labels')
    minutes = fields.Function(
        fields.Float("Minutes", digits=(None, 2)), 'get_minutes')
    started = fields.Function(
        fields.DateTime("Last Start", help="In whole seconds."),
        'get_started')
    duration = fields.Function(
        fields.TimeDelta("Duration", help="Until now, if it is not over."),
        'get_times')
    usual_duration = fields.Function(
        fields.TimeDelta("Usual Duration"), 'get_times')
    usual_gap = fields.Function(
        fields.TimeDelta("Usually every", help="Between two starts."),
        'get_times')
    execution = fields.Function(
        fields.Many2One('batch.execution', "Last Execution"), 'get_execution')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('batch', 'ASC'), ('id', 'ASC')]

    @classmethod
    def table_query(cls):
        return summaries.by_batch()

    @classmethod
    def get_titles(cls, records, name):
        return {s.id: title_of(s.batch) for s in records}

    @classmethod
    def get_labels(cls, records, name):
        labels = {
            s.id: shorten(title_of(s.batch), LABEL, placeholder="...")
            for s in records}
        counts = Counter(labels.values())
        return {
            s.id: labels[s.id] if counts[labels[s.id]] == 1 else s.batch
            for s in records}

    def get_minutes(self, name):
        return None if self.seconds is None else round(self.seconds / 60, 2)

    def get_started(self, name):
        return whole_seconds(self.started_at)

    @classmethod
    def get_times(cls, records, names):
        columns = {
            'duration': 'seconds', 'usual_duration': 'usual_seconds',
            'usual_gap': 'gap'}
        return {
            name: {
                s.id: None if (value := getattr(s, columns[name])) is None
                else dt.timedelta(seconds=round(value)) for s in records}
            for name in names}

    def get_execution(self, name):
        "Return its id, which is that of the last execution."
        return self.id

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the dashboard shows beside executions: nights, and batches.

A graph needs a date, which a Timestamp is not, and draws one series.
"""
import datetime as dt
from collections import Counter
from textwrap import shorten

from trytond.model import ModelSQL, ModelView, fields
from trytond.transaction import Transaction

from .ledger import summaries
from .ledger.tables import now
from .overdue import list_overdue
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
    is_overdue = fields.Function(
        fields.Boolean("Overdue",
            help="It did not start when it usually does."),
        'get_overdue', searcher='search_is_overdue')
    expected = fields.Function(
        fields.DateTime("Expected",
            help="When it usually would have started."),
        'get_overdue')
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
            'duration': 'seconds', 'usual_duration': 'usual_seconds'}
        return {
            name: {
                s.id: None if (value := getattr(s, columns[name])) is None
                else dt.timedelta(seconds=round(value)) for s in records}
            for name in names}

    @staticmethod
    def _overdue():
        "Return the batches that are Overdue, by name."
        cursor = Transaction().connection.cursor()
        return {
            overdue.batch: overdue
            for overdue in list_overdue(cursor, now(cursor))}

    @classmethod
    def get_overdue(cls, records, names):
        found = cls._overdue()
        values = {
            'is_overdue': {s.id: s.batch in found for s in records},
            'expected': {
                s.id: s.batch in found
                and whole_seconds(found[s.batch].expected) or None
                for s in records}}
        return {name: values[name] for name in names}

    @classmethod
    def search_is_overdue(cls, name, clause):
        _, operator, value = clause[:3]
        is_wanted = bool(value) == (operator == '=')
        return [('batch', 'in' if is_wanted else 'not in',
                list(cls._overdue()))]

    def get_execution(self, name):
        "Return its id, which is that of the last execution."
        return self.id

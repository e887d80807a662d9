# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The models of the ledger, which the package ``ledger`` writes by SQL.

The client shows them read-only.
"""
from collections.abc import Callable

from sql import Null

from trytond import backend
from trytond.model import Index, ModelSQL, ModelView, Unique, fields
from trytond.transaction import Transaction

from . import ledger
from .ledger.states import Admission, ChunkState, ExecutionState, Finish
from .masking import mask_given, mask_secrets
from .read_only import ReadOnlyMixin

__all__ = ['Execution', 'ExecutionChunk', 'ExecutionInput']


def _choices(states):
    "Return the states as the selection of a field."
    return [(state.value, state.value.capitalize()) for state in states]


class _Masked(fields.Text):
    """A text that is shown with ``***`` instead of its secrets.

    The ledger reads the column by SQL, with the secrets, which it needs.
    """
    mask: Callable[[str], str | None] = staticmethod(mask_given)

    def __init__(self, *args, **options):
        # Long, and read for nothing with whatever else is read of a row
        super().__init__(*args, loading='lazy', **options)

    def __get__(self, inst, cls):
        value = super().__get__(inst, cls)
        return value if inst is None or value is None else self.mask(value)


class _MaskedUnits(_Masked):
    "Units, which may contain a text that looks like a secret."
    mask = staticmethod(mask_secrets)


class _MaskedModel(ReadOnlyMixin, ModelSQL):
    __slots__ = ()

    @classmethod
    def read(cls, ids, fields_names):
        rows = super().read(ids, fields_names)
        for row in rows:
            for name in row:
                field = cls._fields.get(name)
                if isinstance(field, _Masked) and row[name] is not None:
                    row[name] = field.mask(row[name])
        return rows


class Execution(_MaskedModel, ModelView):
    __name__ = 'batch.execution'
    _rec_name = 'batch'

    batch = fields.Char("Batch", required=True, readonly=True,
        help="The name of the batch's class.")
    given = _Masked("Given", readonly=True,
        help="Settings and parameters as the command line gave them, as "
        "JSON.")
    parameters = _Masked("Parameters", readonly=True,
        help="Each parameter with its value and its origin, as JSON.")
    derived = _MaskedUnits("Derived", readonly=True,
        help="What parse_params made of the parameters, as JSON.")
    settings = _Masked("Settings", readonly=True,
        help="Each setting with its value and its origin, as JSON.")
    user = fields.Many2One('res.user', "User", readonly=True,
        ondelete='SET NULL')
    state = fields.Selection(
        _choices(ExecutionState), "State", required=True, readonly=True,
        sort=False)
    stopping = fields.Selection(
        [(None, ""), *_choices(
                [ExecutionState.FAILED, ExecutionState.CANCELLED])],
        "Stopping", readonly=True, sort=False,
        help="The state in which the execution will end; no further chunk is "
        "started.")
    admission = fields.Selection(
        [(None, ""), *_choices(Admission)], "Admission", readonly=True,
        sort=False,
        help="Whether the execution may start; empty until that is decided.")
    finish = fields.Selection(
        [(None, ""), *_choices(Finish)], "Finish", readonly=True, sort=False,
        help="Whether that hook was called; empty if it is not to be.")
    exit_status = fields.Integer("Exit Status", readonly=True,
        help="The exit status of the command: 0: all units are done, 1: not "
        "all, 2: the command line was wrong.")
    hooks_committed = fields.Boolean("Hooks Committed", readonly=True,
        help="A hook ended its transaction: its changes may be committed.")
    retry_of = fields.Many2One(
        'batch.execution', "Retry of", readonly=True, ondelete='RESTRICT',
        help="The execution whose failed units this one processes again.")
    dry_run = fields.Boolean("Dry Run", readonly=True,
        help="The changes of each chunk are rolled back.")
    local = fields.Boolean("Local", readonly=True,
        help="The command processes the chunks itself, without workers.")
    waiting_for = fields.Many2One(
        'batch.execution', "Waiting for", readonly=True, ondelete='SET NULL',
        help="The execution of the same batch that must end first.")
    task_id = fields.Char("Task ID", readonly=True,
        help="The id of the Celery task that selected.")
    begun_by = fields.Char("Begun by", readonly=True,
        help="The host, process and worker that started the selection.")
    deaths = fields.Integer("Deaths", readonly=True,
        help="How many processes died during the selection.")
    started_at = fields.Timestamp("Started at", readonly=True)
    closes_at = fields.Timestamp("Closes at", readonly=True,
        help="The end of its window: no chunk begins after it.")
    ended_at = fields.Timestamp("Ended at", readonly=True)
    selected = fields.Integer("Selected", readonly=True,
        help="How many units were selected.")
    duplicates = fields.Integer("Duplicates", readonly=True,
        help="How many units were selected more than once, and dropped.")
    done = fields.Integer("Done", readonly=True)
    failed = fields.Integer("Failed", readonly=True)
    left = fields.Integer("Left", readonly=True,
        help="How many units are neither done nor failed.")
    outputs = fields.Text("Outputs", readonly=True,
        help="The files that the selection and finish wrote, as JSON, in the "
        "form of the files of a chunk.")
    missing = fields.Text("Missing Files", readonly=True,
        help="The committed files that could not appear, as JSON.")
    message = fields.Text("Message", readonly=True,
        help="Why the execution ended in this state, if the counts do not "
        "show it.")
    error_type = fields.Char("Error Type", readonly=True)
    traceback = fields.Text("Traceback", readonly=True)
    chunks = fields.One2Many(
        'batch.execution.chunk', 'execution', "Chunks", readonly=True)
    files = fields.Function(
        fields.Text("Files", help="The files that it wrote, one per line."),
        'get_files')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('id', 'DESC')]
        table = cls.__table__()
        cls._sql_indexes.add(
            Index(
                table,
                (table.batch, Index.Equality()),
                (table.state, Index.Equality(cardinality='low'))))
        # For the query of the keepers, which runs each second
        cls._sql_indexes.add(
            Index(
                table,
                (table.state, Index.Equality(cardinality='low')),
                where=table.ended_at == Null))

    @classmethod
    def __register__(cls, module):
        table_h = cls.__table_handler__(module)
        exists = backend.TableHandler.table_exist(cls._table)
        is_old = exists and not table_h.column_exist('admission')
        # The old name of begun_by
        if exists and table_h.column_exist('begun'):
            table_h.column_rename('begun', 'begun_by')
        super().__register__(module)
        if is_old:
            cls._set_admission()

    @classmethod
    def _set_admission(cls):
        "Fill the new columns from the columns that contained their values."
        table, cursor = cls.__table__(), Transaction().connection.cursor()

        def update(where, **values):
            cursor.execute(*table.update(
                    [getattr(table, name) for name in values],
                    list(values.values()), where=where))

        update(table.settings != Null, admission=Admission.ADMITTED)
        update(table.waiting_for != Null, admission=Admission.WAITING)
        for admission, like in [
                (Admission.SKIPPED, 'skipped (overlap = skip)%'),
                (Admission.DISABLED, 'disabled by %')]:
            update(table.message.like(like), admission=admission)
        update(table.ended_at != Null, exit_status=1)
        update(table.state == ExecutionState.SUCCEEDED, exit_status=0)
        refused = (table.error_type != Null) & (table.traceback == Null)
        update(refused, admission=Admission.REFUSED)
        update(refused & table.error_type.in_([
                    'ExecutionError', 'ParameterError', 'UnknownBatchError',
                    'UsageError']), exit_status=2)

    def get_rec_name(self, name):
        return '%s #%s' % (self.batch, self.id)

    def get_files(self, name):
        cursor = Transaction().connection.cursor()
        return '\n'.join(ledger.outputs.files(cursor, self.id))


class ExecutionChunk(_MaskedModel, ModelView):
    __name__ = 'batch.execution.chunk'
    _rec_name = 'number'

    execution = fields.Many2One(
        'batch.execution', "Execution", required=True, readonly=True,
        ondelete='CASCADE')
    number = fields.Char("Number", required=True, readonly=True,
        help="The chunks of an execution are 1, 2 ...; the parts of 7 are "
        "7.1, 7.2 ...")
    parent = fields.Many2One(
        'batch.execution.chunk', "Parent", readonly=True, ondelete='CASCADE',
        help="The failed chunk that this part replaces, with others.")
    units = _MaskedUnits("Units", readonly=True,
        help="The units, as JSON; empty if the batch selects nothing.")
    size = fields.Integer("Size", required=True, readonly=True,
        help="The number of units.")
    state = fields.Selection(
        _choices(ChunkState), "State", required=True, readonly=True,
        sort=False)
    successor = fields.Char("Successor", readonly=True,
        help="The number of the chunk that is queued when this one ends.")
    attempts = fields.Integer("Attempts", readonly=True,
        help="How many transactions were needed.")
    suspect = fields.Char("Suspect", readonly=True,
        help="The number of the part whose unit probably caused the error.")
    careful = fields.Boolean("Careful", readonly=True,
        help="The chunk may have been started before: a process writes its "
        "name into Begun by before it starts the chunk.")
    begun_by = fields.Char("Begun by", readonly=True,
        help="The host, process and worker that started a careful chunk last."
        )
    deaths = fields.Integer("Deaths", readonly=True,
        help="How many processes died while they processed the chunk.")
    reached = fields.Integer("Reached", readonly=True,
        help="The index of the unit that the process was at when it died.")
    worker = fields.Char("Worker", readonly=True,
        help="The host and process that ended the chunk.")
    started_at = fields.Timestamp("Started at", readonly=True)
    ended_at = fields.Timestamp("Ended at", readonly=True)
    error_type = fields.Char("Error Type", readonly=True)
    fingerprint = fields.Char("Fingerprint", readonly=True,
        help="The class of the error and the line that raised it.")
    error = fields.Text("Error", readonly=True)
    traceback = fields.Text("Traceback", readonly=True)
    files = fields.Text("Files", readonly=True,
        help="The files that it wrote, as JSON: each path with the identity "
        "of the committed file, or with null once the file has appeared.")
    numbers = fields.Text("Numbers", readonly=True,
        help="The numbers that the batch returned, as JSON.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('id', 'ASC')]
        table = cls.__table__()
        cls._sql_constraints.append(
            ('number_unique', Unique(table, table.execution, table.number),
                'batch.msg_execution_chunk_number_unique'))
        # Each index is written up to three times for a chunk, so there is no
        # index of the number, which is never searched in all executions.
        # The conditions keep PostgreSQL from using these indexes to find a
        # chunk by its number, as it did right after the planning, when it has
        # no statistics of the new rows
        cls._sql_indexes = {
            Index(
                table,
                (table.execution, Index.Equality()),
                (table.state, Index.Equality(cardinality='low')),
                where=table.ended_at == Null),
            Index(
                table,
                (table.execution, Index.Range()),
                (table.state, Index.Range()),
                (table.ended_at, Index.Range()),
                where=table.ended_at != Null),
            # The few that wrote files
            Index(
                table,
                (table.execution, Index.Range()),
                where=table.files != Null),
            # For the foreign key: deleting a row searches for its parts
            Index(
                table,
                (table.parent, Index.Equality()),
                where=table.parent != Null),
            # For the metrics, which sum them up: few rows have any
            Index(
                table,
                (table.execution, Index.Range()),
                where=table.deaths != Null),
            }

    @classmethod
    def __register__(cls, module):
        table_h = cls.__table_handler__(module)
        # The old name of begun_by, in which '' meant careful
        is_old = backend.TableHandler.table_exist(cls._table) \
            and table_h.column_exist('begun')
        if is_old:
            table_h.column_rename('begun', 'begun_by')
        super().__register__(module)
        if is_old:
            table, cursor = cls.__table__(), Transaction().connection.cursor()
            cursor.execute(*table.update(
                    [table.careful], [True], where=table.begun_by != Null))
            cursor.execute(*table.update(
                    [table.begun_by], [None], where=table.begun_by == ''))

    @classmethod
    def __setup_indexes__(cls):
        super().__setup_indexes__()
        table = cls.__table__()
        # The index of the constraint serves this, too
        cls._sql_indexes.discard(
            Index(table, (table.execution, Index.Range()), where=None))

    def get_rec_name(self, name):
        return '#%s.%s' % (self.execution.id, self.number)


class ExecutionInput(ReadOnlyMixin, ModelSQL, ModelView):
    __name__ = 'batch.execution.input'
    _rec_name = 'path'

    execution = fields.Many2One(
        'batch.execution', "Execution", required=True, readonly=True,
        ondelete='CASCADE')
    path = fields.Char("Path", required=True, readonly=True, strip=False,
        help="The file that the execution selected.")
    held = fields.Char("Held", readonly=True, strip=False,
        help="The path, as long as the execution holds the file.")
    identity = fields.Char("Identity", required=True, readonly=True,
        help="Inode, size and time of the file when it was selected.")
    units = fields.Integer("Units", required=True, readonly=True,
        help="The number of units in the file.")
    archive = fields.Char("Archive", required=True, readonly=True,
        strip=False, help="The directory to which the file is archived.")
    archived = fields.Char("Archived", readonly=True, strip=False,
        help="The path of the file in the archive.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        table = cls.__table__()
        cls._sql_constraints.append(
            ('held_unique', Unique(table, table.held),
                'batch.msg_execution_input_held_unique'))
        cls._sql_indexes.add(
            Index(table, (table.execution, Index.Equality())))

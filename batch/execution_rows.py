# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Rows that the client shows and no table has.

The parameters, settings and files of an execution are JSON in the ledger, and
its kinds of errors are counted; here each of them is a record, whose id holds
that of the execution.
"""
import json
import os
import stat

from trytond.model import ModelStorage, ModelView, fields
from trytond.pool import Pool
from trytond.transaction import Transaction

from . import ledger
from .directories import Directory, open_file
from .read_only import ReadOnlyMixin
from .settings import shown
from .texts import excerpt

__all__ = ['ExecutionError', 'ExecutionFile', 'ExecutionValue']

#: rows that an execution may have of each model
ROWS = 1_000_000
#: among them, the number of the first setting
SETTINGS = 500_000
#: bytes of a file that the client may open
SIZE = 50_000_000
#: files that are listed
FILES = 1_000
#: kinds of errors that are listed
KINDS = 1_000


class _Rows(ReadOnlyMixin, ModelStorage, ModelView):
    __slots__ = ()

    @classmethod
    def rows(cls, execution):
        "Return the values by the number of the row."
        raise NotImplementedError

    @classmethod
    def read(cls, ids, fields_names):
        ModelAccess = Pool().get('ir.model.access')
        Execution = Pool().get('batch.execution')
        ModelAccess.check(cls.__name__, 'read')
        rows, found = {}, []
        for id in ids:
            execution, number = divmod(id, ROWS)
            if execution not in rows:
                # With the rules of access of its execution
                Execution.read([execution], ['id'])
                rows[execution] = cls.rows(Execution(execution))
            values = dict.fromkeys(fields_names)
            values.update({'_write': False, '_delete': False, 'id': id})
            row = rows[execution][number]
            values.update({n: row[n] for n in fields_names if n in row})
            if 'rec_name' in values:
                values['rec_name'] = row['name']
            if 'data' in values:
                values['data'] = cls._content(row['path'])
            found.append(values)
        return found

    @classmethod
    def search(cls, domain, offset=0, limit=None, order=None, count=False,
            query=False):
        # They are reached through their execution only
        Pool().get('ir.model.access').check(cls.__name__, 'read')
        return 0 if count else []

    @classmethod
    def search_count(cls, domain, offset=0, limit=None):
        return 0


class ExecutionValue(_Rows):
    "A parameter or a setting of an execution, with where it comes from."
    __name__ = 'batch.execution.value'
    _rec_name = 'name'

    name = fields.Char("Name", readonly=True)
    value = fields.Char("Value", readonly=True)
    origin = fields.Char("From", readonly=True)

    @classmethod
    def ids_of(cls, execution, name):
        "Return the ids of the rows of an execution's field."
        first = 0 if name == 'parameter_values' else SETTINGS
        return [
            execution.id * ROWS + number for number in cls.rows(execution)
            if (number >= SETTINGS) == (first == SETTINGS)]

    @classmethod
    def rows(cls, execution):
        rows = {}
        for first, text in [
                (0, execution.parameters or execution.given),
                (SETTINGS, execution.settings)]:
            for number, (name, value) in enumerate(
                    json.loads(text or '{}').items(), first):
                # Before it is admitted there is only what was given
                value, origin = value if isinstance(value, list) \
                    else (value, 'the command line')
                if origin == 'the command line':
                    origin = "given at the start"
                rows[number] = {
                    'name': name, 'value': shown(value), 'origin': origin}
        return rows


class ExecutionError(_Rows):
    "The failures of an execution that are of one kind, counted."
    __name__ = 'batch.execution.error'
    _rec_name = 'first_line'

    fingerprint = fields.Char("Fingerprint", readonly=True)
    units = fields.Integer("Units", readonly=True)
    failure = fields.Many2One('batch.failure', "Example", readonly=True)
    error_type = fields.Char("Kind", readonly=True)
    first_line = fields.Char("Error", readonly=True)

    @classmethod
    def ids_of(cls, execution):
        count = len(cls._kinds(execution.id))
        return [execution.id * ROWS + number for number in range(count)]

    @classmethod
    def _kinds(cls, execution):
        return ledger.screens.kinds_of(
            Transaction().connection.cursor(), execution)[:KINDS]

    @classmethod
    def rows(cls, execution):
        names = ['fingerprint', 'units', 'failure', 'error_type', 'error']
        rows = {}
        for number, kind in enumerate(cls._kinds(execution.id)):
            row = rows[number] = dict(zip(names, kind))
            row['first_line'] = row['name'] = excerpt(row['error'] or '')
        return rows


class ExecutionFile(_Rows):
    "A file that an execution wrote."
    __name__ = 'batch.execution.file'
    _rec_name = 'name'

    name = fields.Char("Name", readonly=True)
    directory = fields.Char("Directory", readonly=True)
    path = fields.Char("Path", readonly=True)
    data = fields.Binary("File", filename='name', readonly=True,
        help="Empty if this server does not see the file.")

    @classmethod
    def ids_of(cls, execution):
        count = len(cls._paths(execution))
        return [execution * ROWS + number for number in range(count)]

    @classmethod
    def _paths(cls, execution):
        cursor = Transaction().connection.cursor()
        return ledger.outputs.files(cursor, execution)[:FILES]

    @classmethod
    def rows(cls, execution):
        rows = {}
        for number, path in enumerate(cls._paths(execution.id)):
            directory, name = os.path.split(path)
            rows[number] = {
                'name': name, 'directory': directory, 'path': path}
        return rows

    @classmethod
    def _content(cls, path):
        "Return the content, or its size where the client asks for that."
        is_size = Transaction().context.get(
            '%s.data' % cls.__name__) == 'size'
        directory, name = os.path.split(path)
        try:
            # Whoever may write there could exchange a directory for a link
            with Directory(directory) as where:
                descriptor = open_file(
                    name, os.O_RDONLY | os.O_NONBLOCK, where.descriptor)
                with os.fdopen(descriptor, 'rb') as file:
                    status = os.fstat(file.fileno())
                    if not stat.S_ISREG(status.st_mode) \
                            or status.st_size > SIZE:
                        return None
                    return status.st_size if is_size \
                        else fields.Binary.cast(file.read())
        except OSError:
            return None

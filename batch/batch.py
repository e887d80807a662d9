# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The contract: what a business module subclasses.

Knows neither Celery nor the ledger.
"""
import datetime as dt
import inspect

import trytond.config as config
from trytond.model import ModelSQL, ModelView
from trytond.pool import Pool
from trytond.tools import timezone as tz
from trytond.transaction import Transaction

from . import chunking
from .class_checks import (
    check_class, check_models, check_output_arguments, check_search,
    merged_items)
from .config import BatchConfig
from .context import Work, current_work
from .exceptions import DefinitionError, UnknownBatchError
from .ledger.rows import streamed
from .logging import get_logger
from .names import tag_of
from .output import Outputs, filepath
from .parameters import NAMED, resolve_parameters
from .settings import SETTINGS
from .signatures import call_hook, declared_parameters
from .texts import calls_hooks

__all__ = [
    'BatchRoot', 'BatchRootNoSelect', 'doc_of', 'get_batch', 'get_batches',
    'today']


#: what means something else in batch.conf or on the command line
RESERVED = frozenset(SETTINGS) | {
    'config', 'database', 'detach', 'dry_run', 'help', 'json', 'local',
    'logconf', 'plan', 'quiet', 'verbose'}


class classproperty:
    def __init__(self, getter):
        self.getter = getter

    def __get__(self, instance, owner):
        return self.getter(owner)


class BatchMeta(type(ModelView)):

    def __dir__(cls):
        # The tests of Tryton take each default_x of a model for the default
        # of a field, and would fail for every module that has a batch
        return [
            name for name in super().__dir__()
            if name != 'default_config_items']


class BatchRoot(ModelView, metaclass=BatchMeta):
    """A job that cron starts: which records, and what to do with some of them.

    A subclass gives itself a ``__name__`` and a docstring, names its model in
    ``get_batch_main_model_name`` and does its work in ``execute``.  The rest
    has defaults.  All hooks are classmethods; each is given those parameters
    of the batch that it names as arguments.
    """

    #: defaults of settings; merged along the classes, the nearest wins
    default_config_items = {}
    #: settings that the batch needs to be right; batch.conf can not change
    #: them; merged likewise
    fixed_config_items = {}

    # What an author must write

    @classmethod
    def get_batch_main_model_name(cls):
        "Return the name of the model of ``objects``; called at the selection."
        raise DefinitionError(
            cls.__name__, 'returns nothing; expected the name of the model of '
            'the objects that "execute" is given',
            hook='get_batch_main_model_name')

    @classmethod
    def execute(cls, objects, ids, **parameters):
        """Treat one chunk; called in a transaction of its own.

        :param objects: what ``convert_to_instances`` made of ids
        :param ids: the units of the chunk, groups flattened
        :return: None, or a dict of numbers that are summed up over the
            execution
        """
        raise DefinitionError(
            cls.__name__, 'does nothing; expected a method that treats '
            '"objects"', hook='execute')

    # What an author may write

    @classmethod
    def get_batch_search_model(cls):
        "Return the name of the model that is searched."
        return cls.get_batch_main_model_name()

    @classmethod
    def get_batch_domain(cls, *old, **parameters):
        "Return the domain of the records to select."
        return []

    @classmethod
    def get_batch_ordering(cls):
        "Return the ``order`` of the selection, as of ``Model.search``."
        return [('id', 'ASC')]

    @classmethod
    def get_batch_field(cls):
        "Return the field of the searched model that holds the ids."
        return 'id'

    @classmethod
    @calls_hooks
    def select_ids(cls, *old, **parameters):
        """Return the units, as any iterable; called once per execution.

        An item is an id, a row ``(id,)``, a row with more values, any value
        of JSON (dates and Decimals too), or a list of those that must stay
        together in one chunk.  What comes twice is treated once.
        """
        # Batches of the old way call this with treatment_date, extra_args
        parameters.update(zip(NAMED, old))
        Search = Pool().get(cls.get_batch_search_model())
        domain = call_hook(cls, 'get_batch_domain', parameters)
        order = cls.get_batch_ordering()
        try:
            query = Search.search(domain, order=order, query=True)
        except KeyError as error:
            check_search(cls, Search, error, domain, order)
            raise
        field = cls.get_batch_field()
        if field != 'id':
            table = Search.__table__()
            query.columns = [table.select(
                    getattr(table, field),
                    where=table.id == query.columns[0].expression).as_(field)]
        for rows in streamed(Transaction().connection.cursor(), query):
            yield from [value for value, in rows if value is not None]

    @classmethod
    def split(cls, units):
        """Yield the chunks of the iterable units, as lists of units.

        Called once per execution, with the distinct units in their order.
        """
        return chunking.split(
            units, cls.get_conf_items('split_mode'),
            cls.get_conf_items('split_size'))

    @classmethod
    @calls_hooks
    def convert_to_instances(cls, ids, **parameters):
        """Return the ``objects`` of a chunk; called before ``execute``.

        An id is its record, a row ``(id, ...)`` that of its first value.
        """
        Model = Pool().get(cls.get_batch_main_model_name())
        if not issubclass(Model, ModelSQL):
            return []
        return Model.browse(map(record_id, ids))

    # What an author may call

    @classproperty
    def logger(cls):
        "The logger of the batch: info ... error, success, failure."
        return get_logger(cls.__name__)

    @classmethod
    def current_settings(cls):
        """Return the values of all settings, as get_conf_items."""
        work = current_work()
        if work is not None and work.batch == cls.__name__ and work.settings:
            return work.settings
        return {
            key: value for key, (value, _) in cls.resolve_settings().items()}

    @classmethod
    def get_conf_items(cls, key):
        """Return the setting, or parameter, that this execution was given.

        Outside of an execution, as batch.conf has it now.  Raises KeyError
        if there is neither.
        """
        if key in SETTINGS:
            return cls.current_settings()[key]
        work = current_work()
        if work is not None and work.batch == cls.__name__ \
                and key in work.parameters:
            return work.parameters[key]
        declared = cls.declared_parameters()
        if key not in declared:
            raise KeyError('"%s" is no setting, and no parameter of the batch '
                '"%s"; make it an argument of "execute" with a default'
                % (key, cls.__name__))
        batch_config = BatchConfig.load(config.get('batch', 'config_file'))
        value, _, _ = resolve_parameters(
            cls.__name__, {key: declared[key]}, {},
            lambda name: batch_config.parameter(cls.__name__, name),
            today)[key]
        return value

    get_conf_item = get_conf_items

    @classmethod
    def generate_filepath(cls, filename='', **old):
        """Return the path that the settings give to filename.

        Raises OutputError where root_dir is missing or would be left.
        """
        check_output_arguments(cls, 'generate_filepath', filename, old)
        work = current_work() or Work(
            cls.__name__, 0, started_at=dt.datetime.now(),
            database=Transaction().database.name)
        return filepath(
            filename, cls.current_settings(), cls.__name__, work.execution,
            work.chunk, work.started_at, work.database)

    @classmethod
    def write_batch_output(cls, buffer, filename='', **old):
        """Write buffer (str or bytes) into a file of its own.

        The file appears, whole, when the transaction of the chunk commits.
        Nothing is ever overwritten: a name that is taken gets a number.
        Returns the path; raises OutputError.
        """
        check_output_arguments(cls, 'write_batch_output', filename, old)
        work = current_work()
        outputs = work and work.outputs
        if outputs is None:
            outputs = Transaction().join(Outputs(
                    tag_of(Transaction().database.name, 0)))
        return outputs.write(cls.generate_filepath(filename), buffer)

    # What the engine asks

    #: whether no unit can come twice: then none is remembered
    has_distinct_units = False
    #: whether its units come from files that it archives
    has_input_files = False

    @classmethod
    def __setup__(cls):
        super().__setup__()
        # Batches of the old way update() this in their own __setup__
        cls._default_config_items = merged_items(
            cls, 'default_config_items')

    @classmethod
    def __post_setup__(cls):
        super().__post_setup__()
        cls._check()

    @classmethod
    def _check(cls):
        "Raise DefinitionError if the class can not work as it is written."
        check_class(cls, BatchRoot)
        cls.declared_parameters()
        # What batch.conf says is no matter of the class
        BatchConfig().resolve(
            cls.__name__, defaults=cls._default_config_items,
            fixed=merged_items(cls, 'fixed_config_items'))

    @classmethod
    def has_units(cls):
        "Return whether it selects; else it is executed once, as a whole."
        return True

    @classmethod
    def units_again(cls, units, parameters):
        "Yield what is to be done again, of units that failed."
        yield from units

    @classmethod
    def check_models(cls):
        "Raise DefinitionError if the hooks name a model that is not there."
        check_models(cls, BatchRoot)

    @classmethod
    def declared_parameters(cls):
        "Return the parameters that the hooks declare, by name."
        return declared_parameters(cls, reserved=RESERVED)

    @classmethod
    def resolve_settings(cls, batch_config=None, given=()):
        """Return each setting with its origin.

        Raises ConfigError, or SettingError for those that one run is given.
        """
        if batch_config is None:
            batch_config = BatchConfig.load(
                config.get('batch', 'config_file'))
        return batch_config.resolve(
            cls.__name__,
            defaults=cls._default_config_items,
            fixed=merged_items(cls, 'fixed_config_items'),
            retry=config.getint('database', 'retry'), given=given)

    @classmethod
    def contradictions(cls, batch_config):
        "Yield an error for each line that changes what the class has fixed."
        yield from batch_config.contradictions(
            cls.__name__, merged_items(cls, 'fixed_config_items'))


class BatchRootNoSelect(BatchRoot):
    """A batch that selects nothing: it is executed exactly once.

    ``execute`` is called with ``objects`` and ``ids`` empty, in one
    transaction, and is never split.
    """

    @classmethod
    def get_batch_main_model_name(cls):
        return None

    @classmethod
    def select_ids(cls, **parameters):
        return []

    @classmethod
    def has_units(cls):
        return False

    @classmethod
    def check_models(cls):
        pass


def record_id(id):
    "Return the id of the record that an item of ids stands for."
    return id[0] if isinstance(id, tuple) else id


def get_batches():
    "Return the batches of the pool by name."
    return {
        name: cls for name, cls in sorted(Pool().iterobject())
        if issubclass(cls, BatchRoot)}


def get_batch(name):
    "Return the batch of the pool; raises UnknownBatchError."
    batches = get_batches()
    try:
        return batches[name]
    except KeyError:
        raise UnknownBatchError(name, batches) from None


def doc_of(Batch):
    "Return the docstring of a batch; the pool's class has none of its own."
    for base in Batch.__mro__:
        if base in {BatchRoot, BatchRootNoSelect}:
            break
        if base.__doc__:
            return inspect.cleandoc(base.__doc__)
    return ''


def today():
    "Return the day in the time zone of the server (TRYTOND_TZ)."
    return dt.datetime.now(tz.SERVER).date()

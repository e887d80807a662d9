# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The contract: what a business module subclasses.

Knows neither Celery nor the ledger.
"""
import datetime as dt
import os
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import trytond.config as config
from trytond.model import ModelSQL, ModelView
from trytond.pool import Pool
from trytond.tools import timezone as tz
from trytond.transaction import Transaction

from . import chunking
from .aliases import Params, Resolved, Settings, Unit
from .batch_meta import BatchMeta, classproperty
from .class_checks import (
    check_class, check_models, check_output_arguments, is_own, merged_items)
from .conf_items import parameter_item
from .config import BatchConfig
from .context import Work, current_work
from .exceptions import DefinitionError, UnknownBatchError
from .logging import BatchLogger, get_logger
from .names import tag_of
from .output import Buffer, Outputs, filepath
from .parameters import Parameter
from .searching import Found, found_ids
from .settings import SETTINGS
from .signatures import declared_parameters
from .texts import calls_hooks

__all__ = [
    'BatchRoot', 'BatchRootNoSelect', 'get_batch', 'get_batches', 'today']

#: imported only when an execution is started
START = 'trytond.modules.batch.engine.starting:start'
#: what means something else in batch.conf or on the command line
RESERVED = frozenset(SETTINGS) | {
    'config', 'database', 'detach', 'dry_run', 'help', 'json', 'local',
    'logconf', 'plan', 'quiet', 'verbose'}


class BatchRoot(ModelView, metaclass=BatchMeta):
    """A job that cron starts: which records, and what is done with a chunk.

    A subclass gives itself a ``__name__`` and a docstring, names its model in
    ``get_batch_main_model_name`` and does its work in ``execute``.  The rest
    has defaults.  All hooks are classmethods; each is given those parameters
    of the batch that it names as arguments.
    """

    #: defaults of settings; merged along the classes, the nearest wins
    default_config_items: dict[str, Any] = {}
    #: settings that batch.conf can not change; merged likewise
    fixed_config_items: dict[str, Any] = {}

    # "*_" beside "**parameters" lets type checkers accept any parameter

    # What an author must write

    @classmethod
    def get_batch_main_model_name(cls) -> str | None:
        "Return the name of the model of ``objects``; called at the selection."
        raise DefinitionError(
            cls.__name__, 'returns nothing; expected the name of the model of '
            'the objects that "execute" is given',
            hook='get_batch_main_model_name')

    @classmethod
    def execute(
            cls, objects: Any, ids: list[Unit], *_: Any,
            **parameters: Any) -> Mapping[str, float] | None:
        """Do the work of one chunk; called in a transaction of its own.

        :param objects: what ``convert_to_instances`` returned for ids
        :param ids: the units of the chunk, groups flattened
        :return: None, or a dict of numbers that are summed up over the
            execution
        """
        raise DefinitionError(
            cls.__name__, 'does nothing; expected a method that treats '
            '"objects"', hook='execute')

    # What an author may write

    @classmethod
    def get_batch_search_model(cls) -> str | None:
        "Return the name of the model that is searched."
        return cls.get_batch_main_model_name()

    @classmethod
    def get_batch_domain(cls, *old: Any, **parameters: Any) -> list[Any]:
        "Return the domain of the records to select."
        return []

    @classmethod
    def get_batch_ordering(cls) -> list[Any] | None:
        "Return the ``order`` of the selection, as of ``Model.search``."
        return [('id', 'ASC')]

    @classmethod
    def get_batch_field(cls) -> str:
        "Return the field of the searched model that holds the ids."
        return 'id'

    @classmethod
    def select_ids(cls, *old: Any, **parameters: Any) -> Iterable[Any]:
        """Return the units, as any iterable; called once per execution.

        An item is an id, a row ``(id,)``, a row with more values, any value
        of JSON (dates and Decimals too), or a list of those that must stay
        together in one chunk.  Duplicates are dropped.
        """
        found = found_ids(cls, old, parameters)
        return Found(found) if is_own(cls, 'select_ids', BatchRoot) else found

    @classmethod
    def split(cls, units: Iterable[Unit]) -> Iterable[Iterable[Unit]]:
        """Yield the chunks of the iterable units, as lists of units.

        Called once per execution, with the distinct units in their order.
        """
        return chunking.split(
            units, cls.get_conf_items('split_mode'),
            cls.get_conf_items('split_size'))

    @classmethod
    @calls_hooks
    def convert_to_instances(
            cls, ids: list[Unit], *_: Any, **parameters: Any) -> Any:
        """Return the ``objects`` of a chunk; called before ``execute``.

        An id is its record, a row ``(id, ...)`` that of its first value.
        """
        Model = Pool().get(cls.get_batch_main_model_name())
        if not issubclass(Model, ModelSQL):
            return []
        return Model.browse(map(record_id, ids))

    @classmethod
    def finish(
            cls, outcome: Any, files: list[Path], **parameters: Any) -> None:
        """Do once what is to be done when no unit is left.

        Called in a transaction of its own, right before the execution ends,
        also if units failed or none was selected.  If it raises, the execution
        fails, and ``coop resume`` calls it again.  Not called in a dry run,
        nor while an execution is stopped.

        :param outcome: the result of the execution: ``succeeded``,
            ``selected``, ``counts`` and ``numbers``, see outcome.py
        :param files: the path of each output, in the order of the chunks
        """

    @classmethod
    def parse_params(cls, params: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters that hooks are given, in place of params.

        Called once per execution, before anything is selected.  It may check
        values, and add values that it derives from them.  A UserError or
        ValueError refuses the start.

        :param params: the values by name; a required one may be missing
        :return: a dict of values that the ledger can store
        """
        return params

    # What an author may call

    @classproperty
    def logger(cls) -> BatchLogger:
        "The logger of the batch: info ... error, success, failure."
        return get_logger(cls.__name__)

    @classmethod
    def current_settings(cls) -> Settings:
        """Return the values of all settings, as get_conf_items."""
        work = current_work()
        if work is not None and work.batch == cls.__name__ and work.settings:
            return work.settings
        return {
            key: value for key, (value, _) in cls.resolve_settings().items()}

    @classmethod
    def get_conf_items(cls, key: str) -> Any:
        """Return the setting, or parameter, that this execution was given.

        Outside of an execution, as batch.conf has it now.  Raises KeyError
        if there is neither.
        """
        if key in SETTINGS:
            return cls.current_settings()[key]
        return parameter_item(
            cls.__name__, cls.declared_parameters(), key, today)

    get_conf_item = get_conf_items

    @classmethod
    def start(cls, **parameters: Any) -> int:
        """Make an execution in the current transaction; return its id.

        It begins when that commits, never if it is rolled back.  Raises
        ParameterError: the parameters, values or texts, are checked now.
        """
        execution: int = pkgutil.resolve_name(START)(cls.__name__, parameters)
        return execution

    @classmethod
    def generate_filepath(
            cls, filename: str | os.PathLike[str] = '', **old: Any) -> Path:
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
    def write_batch_output(
            cls, buffer: Buffer, filename: str | os.PathLike[str] = '',
            *rest: Any, **old: Any) -> Path:
        """Write buffer (str or bytes) into a file of its own.

        The file appears, whole, when the transaction of the chunk commits.
        Nothing is ever overwritten: a name that is taken gets a number.
        Returns the path; raises OutputError.
        """
        check_output_arguments(
            cls, 'write_batch_output', filename, old, rest)
        work = current_work()
        outputs = work.outputs if work else None
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
    def __setup__(cls) -> None:
        super().__setup__()
        # Batches of the old way update() this in their own __setup__
        cls._default_config_items = merged_items(
            cls, 'default_config_items')

    @classmethod
    def __post_setup__(cls) -> None:
        super().__post_setup__()
        cls._check()

    @classmethod
    def _check(cls) -> None:
        "Raise DefinitionError if the class can not work as it is written."
        check_class(cls, BatchRoot)
        cls.declared_parameters()
        # What batch.conf says is no matter of the class
        BatchConfig().resolve(
            cls.__name__, defaults=cls._default_config_items,
            fixed=merged_items(cls, 'fixed_config_items'))

    @classmethod
    def has_units(cls) -> bool:
        "Return whether it selects; else it is executed once, as a whole."
        return True

    @classmethod
    def keeps_rows(cls) -> bool:
        "Return whether a row of one column is a unit, and not its value."
        return False

    @classmethod
    def units_again(
            cls, units: Iterable[Unit], parameters: Params) -> Iterator[Unit]:
        "Yield what is to be done again, of units that failed."
        yield from units

    @classmethod
    def check_models(cls) -> None:
        "Raise DefinitionError if the hooks name a model that is not there."
        check_models(cls, BatchRoot)

    @classmethod
    def declared_parameters(cls) -> dict[str, Parameter]:
        "Return the parameters that the hooks declare, by name."
        return declared_parameters(cls, reserved=RESERVED)

    @classmethod
    def resolve_settings(
            cls, batch_config: BatchConfig | None = None,
            given: Settings | None = None) -> Resolved:
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


class BatchRootNoSelect(BatchRoot):
    """A batch without a model.

    With a ``select_ids`` of its own its units are what that gives, and so are
    the ``objects``.  Without, it is executed exactly once: with ``objects``
    and ``ids`` empty, in one transaction, and is never split.
    """

    @classmethod
    def get_batch_main_model_name(cls) -> None:
        return None

    @classmethod
    def select_ids(cls, *old: Any, **parameters: Any) -> list[Unit]:
        return []

    @classmethod
    def convert_to_instances(
            cls, ids: list[Unit], *_: Any, **parameters: Any) -> Any:
        if cls.get_batch_main_model_name() is None:
            return list(ids)
        return super().convert_to_instances(ids, **parameters)

    @classmethod
    def has_units(cls) -> bool:
        return is_own(cls, 'select_ids', BatchRootNoSelect)

    @classmethod
    def keeps_rows(cls) -> bool:
        return cls.get_batch_main_model_name() is None

    @classmethod
    def check_models(cls) -> None:
        if cls.has_units() and cls.get_batch_main_model_name() is not None:
            check_models(cls, BatchRootNoSelect)


def record_id(id: Unit) -> Any:
    "Return the id of the record of an item of ids, the first of a row."
    return id[0] if isinstance(id, tuple) else id


def get_batches() -> dict[str, type[BatchRoot]]:
    "Return the batches of the pool by name."
    return {
        name: cls for name, cls in sorted(Pool().iterobject())
        if issubclass(cls, BatchRoot)}


def get_batch(name: str) -> type[BatchRoot]:
    "Return the batch of the pool; raises UnknownBatchError."
    batches = get_batches()
    try:
        return batches[name]
    except KeyError:
        raise UnknownBatchError(name, batches) from None


def today() -> dt.date:
    "Return the day in the time zone of the server (TRYTOND_TZ)."
    return dt.datetime.now(tz.SERVER).date()

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The batches of all installed modules, activated in this database or not.

One ``batch.conf`` may serve several databases.
"""
import logging
from collections.abc import Iterable

from trytond.modules import get_module_info
from trytond.pool import Pool
from trytond.tools import resolve

from .batch import BatchRoot
from .exceptions import DefinitionError

__all__ = ['installed_batches']

logger = logging.getLogger(__name__)


def installed_batches() -> dict[str, list[str]]:
    """Return the names of the parameters of each installed batch, by name.

    Modules that are not activated are imported for it.
    """
    batches: dict[str, list[str]] = {}
    for module, classes in list(Pool.classes['model'].items()):
        if not _needs_batch(module):
            continue
        for cls in classes:
            if isinstance(cls, str):
                try:
                    cls = resolve('trytond.modules.%s.%s' % (module, cls))
                except Exception as error:
                    logger.warning(
                        'the batches of the module "%s" are not known, as it '
                        'can not be imported: %s: %s', module,
                        type(error).__name__, error)
                    break
            if issubclass(cls, BatchRoot):
                batches.setdefault(cls.__name__, []).extend(_parameters(cls))
    return batches


def _needs_batch(module: str, seen: frozenset[str] = frozenset()) -> bool:
    "Return whether a module depends on ours, directly or not."
    if module == 'batch':
        return True
    if module in {'ir', 'res', 'tests', *seen}:
        return False
    try:
        info = get_module_info(module)
    except OSError:
        # One that is only needed where it is installed
        return False
    return any(
        _needs_batch(other, seen | {module})
        for other in [
            *info.get('depends', ()), *info.get('extras_depend', ())])


def _parameters(cls: type[BatchRoot]) -> Iterable[str]:
    try:
        return cls.declared_parameters()
    except DefinitionError:
        # It is refused where it is activated
        return ()

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Batches for Tryton: selected, cut into chunks, executed on Celery workers.

Importing this package stays cheap: what business modules subclass is loaded
when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .batch import BatchRoot, BatchRootNoSelect
    from .file_batch import BatchRootFiles
    from .logging import get_logger

__all__ = ['BatchRoot', 'BatchRootFiles', 'BatchRootNoSelect', 'get_logger']


def __getattr__(name: str) -> Any:
    if name == 'BatchRootFiles':
        from .file_batch import BatchRootFiles
        return BatchRootFiles
    if name == 'get_logger':
        # As batches of before ask for it
        from .logging import get_logger
        return get_logger
    if name == 'celery':
        # So that celery finds it: celery -A trytond.modules.batch
        return import_module('.tasks', __name__).celery_app
    if name in __all__:
        from . import batch
        return getattr(batch, name)
    raise AttributeError(
        "module '%s' has no attribute '%s'" % (__name__, name))

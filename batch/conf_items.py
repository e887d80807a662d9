# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The value of a setting or a parameter, for the code of a batch."""
import datetime as dt
from collections.abc import Callable
from typing import Any

import trytond.config as config

from .config import BatchConfig
from .context import current_work
from .parameters import Declared, resolve_parameters
from .retired import SETTINGS as RETIRED

__all__ = ['parameter_item']


def parameter_item(
        batch: str, declared: Declared, name: str,
        today: Callable[[], dt.date]) -> Any:
    """Return the value of a parameter in this execution.

    Outside of an execution, the value that batch.conf or the signature gives.
    Raises KeyError if the batch has no such parameter.
    """
    work = current_work()
    if work is not None and work.batch == batch and name in work.parameters:
        return work.parameters[name]
    if name not in declared:
        if name in RETIRED:
            raise KeyError('"%s" is a setting of before; ask for "%s"' % (
                    name, RETIRED[name].split()[0]))
        raise KeyError('"%s" is no setting, and no parameter of the batch '
            '"%s"; make it an argument of "execute" with a default'
            % (name, batch))
    batch_config = BatchConfig.load(config.get('batch', 'config_file'))
    value, _, _ = resolve_parameters(
        batch, {name: declared[name]}, {},
        lambda name: batch_config.parameter(batch, name), today)[name]
    return value

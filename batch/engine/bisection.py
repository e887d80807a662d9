# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Pure functions: from a failed chunk to the parts that replace it.

Imports nothing of Tryton or Celery.
"""

from ..aliases import Unit
from ..chunking import split

__all__ = ['parts', 'parts_of_lost']


def parts(
        units: list[Unit], suspect: int | None = None,
        in_order: bool = False) -> list[list[Unit]]:
    """Return the parts that replace a failed chunk, none empty.

    With a suspect: it alone, the units before it, those after it.  It is
    first, so that how the others are split depends on whether it failed.
    Without: two halves.

    :param units: two or more
    :param suspect: an index
    :param in_order: whether the suspect stays in its place
    """
    if suspect is not None:
        cuts = [units[:suspect], [units[suspect]], units[suspect + 1:]]
        if not in_order:
            cuts[:2] = cuts[1::-1]
    else:
        middle = len(units) // 2
        cuts = [units[:middle], units[middle:]]
    return [part for part in cuts if part]


def parts_of_lost(units: list[Unit], count: int = 10) -> list[list[Unit]]:
    """Return the parts that replace a chunk whose process died executing it.

    There is no traceback, and each try costs a process: so there are more
    than two, to find the one unit in fewer tries.

    :param units: two or more
    :param count: how many parts at most
    """
    return list(split(units, 'divide', count))

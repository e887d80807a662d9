# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Pure functions: from a failed chunk to the parts that replace it.

Imports nothing of Tryton or Celery.
"""

from ..chunking import split

__all__ = ['parts', 'parts_of_lost']


def parts(units, suspect=None, in_order=False):
    """Return the parts that replace a failed chunk.

    With a suspect (an index): the units before it, it alone, those after it.
    It comes first, so that the others are taken apart by what became of it,
    whatever order the work is done in.  Without: two halves.

    :param units: a list of two units or more
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


def parts_of_lost(units, count=10):
    """Return the parts that replace a chunk whose worker died at it.

    There is no traceback, and each death costs a process: so more parts than
    two, to come to the one unit in fewer of them.

    :param units: a list of two units or more
    """
    return list(split(units, 'divide', count))

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Models that nobody writes through Tryton, not even an administrator."""
from trytond.i18n import gettext
from trytond.model.exceptions import AccessError

__all__ = ['ReadOnlyMixin']


class ReadOnlyMixin:
    """Refuse create, write and delete, whoever asks.

    Access rights would not do: an administrator of Tryton 8.2 passes them.
    The ledger is written by statements, which do not come along here.
    """
    __slots__ = ()

    @classmethod
    def _refuse(cls):
        raise AccessError(gettext('batch.msg_read_only', **cls.__names__()))

    @classmethod
    def create(cls, vlist):
        cls._refuse()

    @classmethod
    def write(cls, records, values, *args):
        cls._refuse()

    @classmethod
    def delete(cls, records):
        cls._refuse()

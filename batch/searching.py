# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the select_ids of BatchRoot gives: the ids that a search finds.

Batches of before take ids for the rows that the older BatchRoot gave them.
"""
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, NoReturn

from trytond.pool import Pool
from trytond.transaction import Transaction

from .class_checks import check_search
from .ledger.rows import streamed
from .parameters import NAMED
from .signatures import call_hook
from .texts import calls_hooks

__all__ = ['Found', 'RowId', 'found_ids']

#: what a list has, and those who read ids one by one do not
LIST = {
    'append', 'clear', 'copy', 'count', 'extend', 'index', 'insert', 'pop',
    'remove', 'reverse', 'sort'}


def found_ids(
        cls: Any, old: tuple[Any, ...],
        parameters: dict[str, Any]) -> Iterator[Any]:
    """Return an iterator of the ids that the hooks of a batch search for.

    :param old: what ``select_ids`` was given by position
    """
    return chain.from_iterable(_lists(cls, old, parameters))


@calls_hooks
def _lists(
        cls: Any, old: tuple[Any, ...],
        parameters: dict[str, Any]) -> Iterator[list[Any]]:
    # Batches written for coog call it with treatment_date, extra_args
    for value, (name, type_) in zip(old, NAMED.items()):
        if not isinstance(value, type_):
            break
        parameters[name] = value
    else:
        value = None
    if len(old) > len(NAMED) or value is not None:
        raise TypeError(
            'super().select_ids of "%s" is given %r by position, expected '
            'treatment_date, and behind it extra_args; give all others '
            'by name, as super().select_ids(treatment_date, x=x)'
            % (cls.__name__, old))
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
    for rows in streamed(
            Transaction().connection.cursor(), query, binary=field == 'id'):
        yield [value for value, in rows if value is not None]


class Found(Iterator[Any]):
    """The ids for a select_ids that calls the one of BatchRoot.

    They come one by one, as ids and as rows.  The older one gave a list.
    """

    def __init__(self, ids: Iterable[Any]) -> None:
        self._ids = iter(ids)

    @calls_hooks
    def __next__(self) -> Any:
        id = next(self._ids)
        return RowId(id) if type(id) is int else id

    def __add__(self, other: Iterable[Any]) -> list[Any]:
        return [*self, *other]

    def __getattr__(self, name: str) -> NoReturn:
        if name in LIST:
            self._refuse(name)
        raise AttributeError(name)

    def __getitem__(self, index: Any) -> NoReturn:
        self._refuse('[...]')

    def __len__(self) -> NoReturn:
        self._refuse('len')

    @staticmethod
    def _refuse(what: str) -> NoReturn:
        raise TypeError(
            'super().select_ids gives ids one by one, and no list with %s; '
            'make one: list(super().select_ids(...))' % what)


class RowId(int):
    "An id that is also its row ``(id,)``."
    __slots__ = ()

    def __getitem__(self, index: int) -> int:
        return (int(self),)[index]

    def __iter__(self) -> Iterator[int]:
        yield int(self)

    def __len__(self) -> int:
        return 1

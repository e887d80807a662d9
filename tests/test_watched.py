# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The list of records that hooks are given, whose records are made late."""
import copy
import gc
import json
import weakref

import pytest

from trytond.modules.batch.engine import suspects
from trytond.modules.batch.engine.watched import FILLING, PIECE, Watched


class Record:
    _values = None
    __name__ = 'test.record'

    def __init__(self, id):
        self.id = id


class Late(list):
    "Makes each record when it is asked for, as what browse() gives."

    def __init__(self, ids):
        super().__init__()
        self.ids = ids

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        end = index.stop if isinstance(index, slice) else index + 1
        for id in self.ids[super().__len__():end]:
            self.append(Record(id))
        return super().__getitem__(index)

    @property
    def made(self):
        return super().__len__()


@pytest.fixture
def late():
    return Late(range(1, 1001))


@pytest.fixture
def watched(late):
    return Watched(late)


def ids(records):
    return [record.id for record in records]


def test_an_iteration_makes_the_records_that_it_reaches(late, watched):
    assert len(watched) == 1000 and late.made == 0
    for record in watched:
        if record.id == 3:
            break
    assert late.made == PIECE
    assert watched.at == 2
    assert ids(watched) == list(late.ids)
    assert watched.at is None


def test_each_iteration_gives_the_same_records(watched):
    first = list(watched)
    assert all(a is b for a, b in zip(first, watched, strict=True))
    assert all(a is b for a, b in zip(first, [*watched], strict=True))


USES = {
    'the last': lambda w: w[-1].id == 1000,
    'a slice': lambda w: ids(w[998:]) == [999, 1000],
    'backwards': lambda w: next(reversed(w)).id == 1000,
    'behind a list': lambda w: len([0] + w) == 1001,
    'before a list': lambda w: len(w + [0]) == 1001,
    'twice': lambda w: len(w * 2) == len(2 * w) == 2000,
    'contained': lambda w: w[999] in w,
    'index': lambda w: w.index(w[999]) == 999,
    'pop': lambda w: w.pop().id == 1000 and len(w) == 999,
    'append': lambda w: w.append(0) is None and len(w) == 1001,
    'sort': lambda w: w.sort(key=lambda r: -r.id) is None and w[0].id == 1000,
    'reverse': lambda w: w.reverse() is None and ids(w)[0] == 1000,
    'delete': lambda w: w.__delitem__(0) is None and ids(w)[0] == 2,
    'replace': lambda w: w.__setitem__(999, w[0]) is None and len(w) == 1000,
    'equal': lambda w: w == list(w) and list(w) == w,
    'a copy': lambda w: len(w.copy()) == len(copy.copy(w)) == 1000,
    'extended': lambda w: len([].__iadd__(w)) == 1000,
    'sorted': lambda w: len(sorted(w, key=lambda r: r.id)) == 1000,
    'a tuple': lambda w: len(tuple(w)) == 1000,
    'unpacked': lambda w: (lambda *all: len(all))(*w) == 1000,
    'shown': lambda w: repr(w).count('Record') == 1000,
    'true': bool,
    }


@pytest.mark.parametrize('use', USES.values(), ids=USES)
def test_it_is_a_list_whatever_one_does_first(watched, use):
    assert use(watched)


@pytest.mark.parametrize('use', USES.values(), ids=USES)
def test_it_is_a_list_in_the_middle_of_an_iteration(watched, use):
    for record in watched:
        if record.id == 150:
            assert use(watched)
            break


def test_every_method_of_a_list_is_thought_of():
    own = {'__init__', '__iter__', '__len__', *FILLING}
    harmless = {
        '__getattribute__', '__hash__', '__new__', '__sizeof__', '__doc__',
        '__class_getitem__'}
    assert set(vars(list)) - own - harmless == set()


def test_a_record_that_is_removed_meanwhile_is_passed_over_as_in_a_list():
    def rest(objects):
        seen = []
        for record in objects:
            seen.append(record.id)
            if record.id in {50, 150}:
                objects.remove(record)
        return seen
    records = [Record(id) for id in range(1, 301)]
    assert rest(Watched(Late(range(1, 301)))) == rest(records)


@pytest.fixture
def pieces(late):
    "A Watched in pieces of 300, and the lists that they are."
    made = []

    def browse(ids):
        made.append(Late(ids))
        return made[-1]

    return Watched(late, browse=browse, piece=300), made


def test_pieces_are_lists_of_their_own_that_are_made_one_by_one(late, pieces):
    watched, made = pieces
    # At once, in the context that the hook was called in
    assert [len(piece) for piece in made] == [300, 300, 300, 100]
    assert not any(piece.made for piece in made)
    for record in watched:
        if record.id == 301:
            break
    assert [piece.made for piece in made] == [300, 300, 0, 0]
    assert len(watched) == 1000 and watched.at == 300
    assert ids(watched) == list(range(1, 1001))
    assert watched.at is None and not late.made


@pytest.mark.parametrize('use', USES.values(), ids=USES)
def test_it_is_a_list_in_pieces_too(pieces, use):
    watched, _ = pieces
    for record in watched:
        if record.id == 350:
            assert use(watched)
            break


CONVERT = '''
from dataclasses import replace
from trytond.pool import Pool
from trytond.modules.batch import ledger
from trytond.modules.batch.engine import selection
from trytond.modules.batch.engine.running import load_job
from trytond.modules.batch.engine.treatment import convert
from trytond.modules.batch.transaction import load_pool, transact
load_pool(database)
sent = []
execution = transact(database, lambda cursor: ledger.executions.create(
    cursor, 'batch.scenario.ok', {}, local=True))
selection.select_and_plan(database, 'batch.scenario.ok', execution,
    send=lambda execution, chunk: sent.append(chunk))
job = load_job(database, execution)

def work(cursor):
    chunk = ledger.chunks.claim(cursor, execution, sent[0])
    read = []
    for parent in [None, chunk.id]:
        objects, ids = convert(job, replace(chunk, parent=parent))
        assert [record.id for record in objects] == ids
        # What Tryton reads behind a record is in its list
        lists = {id(record._ids): len(record._ids) for record in objects}
        read.append(list(lists.values()))
    Record = Pool().get('batch.scenario.record')
    return [hasattr(Record.browse([]), 'ids'), read]
print(json.dumps(transact(database, work)))
'''


def test_tryton_reads_the_records_of_a_chunk_in_pieces(on_workers):
    on_workers.reset()
    on_workers.records(1050)
    on_workers.configure({'default': {'split_size': 1050}})
    is_late, read = json.loads(on_workers.script(CONVERT))
    # Tryton 8.0 has made all records of a list before anybody asks
    assert read == (
        [[500, 500, 50], 10 * [100] + [50]] if is_late else 2 * [[1050]])


def test_a_record_that_was_not_made_is_suspected(late, watched):
    def execute(objects):
        other = Record(700)
        raise ValueError(other)
    with pytest.raises(ValueError) as caught:
        execute(watched)
    assert suspects.find(
        caught.value, watched, list(range(1000))) == 699
    assert late.made == 1


@pytest.mark.parametrize('browse', [None, Late], ids=['whole', 'pieces'])
def test_it_is_gone_as_soon_as_nobody_refers_to_it(late, browse):
    class Referred(Watched):
        pass

    watched = Referred(late, browse=browse, piece=300)
    next(iter(watched))
    referred = weakref.ref(watched)
    gc.disable()
    try:
        del watched
        assert referred() is None
    finally:
        gc.enable()


def test_nothing_is_made_of_nothing():
    watched = Watched(Late([]))
    assert not watched and list(watched) == [] and watched == []
    with pytest.raises(ValueError) as caught:
        raise ValueError(Record(1))
    assert suspects.find(caught.value, Watched(Late([])), []) is None


def test_two_lists_are_added_and_compared():
    lists = [Watched(Late(range(1, 1001))) for _ in range(4)]
    assert len(lists[0] + lists[1]) == 2000
    assert lists[2] != lists[3] and ids(lists[2]) == ids(lists[3])


def test_a_list_of_somebody_else_is_copied_whatever_its_attributes():
    class Rows(list):
        ids = None

    rows = Rows([5, 6])
    watched = Watched(rows)
    assert watched.lazy is None and watched == [5, 6]

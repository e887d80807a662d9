# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What a select_ids gets of super().select_ids(): ids that are rows, too."""
import pytest

from trytond.modules.batch.chunking import Distinct
from trytond.modules.batch.ledger.units import dump_units
from trytond.modules.batch.searching import Found


@pytest.mark.parametrize('make, units', [
        (list, [3, 5]),
        (set, [3, 5]),
        (lambda found: found + [(7,)], [3, 5, 7]),
        (lambda found: [x[0] for x in found], [3, 5]),
        (lambda found: [id for id, in found], [3, 5]),
        (lambda found: [x for row in found for x in row], [3, 5]),
        (lambda found: [(x, 'more') for x in found], [
                (3, 'more'), (5, 'more')]),
        (lambda found: [(*x, 'more') for x in found], [
                (3, 'more'), (5, 'more')]),
        (lambda found: [[x] for x in found], [[3], [5]]),
        (lambda found: (x for x in found if x > 3), [5]),
        (lambda found: dict.fromkeys(found), [3, 5]),
        ])
def test_ids_can_be_taken_for_rows_and_for_numbers(make, units):
    found = list(Distinct(make(Found([3, 5]))))
    assert found == units
    assert dump_units(found) == dump_units(units)


def test_an_id_and_its_row_are_one_unit():
    units = Distinct([*Found([3, 5]), 3, (5,), True])
    assert list(units) == [3, 5, True]
    assert units.duplicates == 2


def test_what_is_no_number_comes_as_it_is():
    assert list(Found(['a', None])) == ['a', None]


@pytest.mark.parametrize('use, told', [
        (lambda found: found.extend([3]), 'with extend'),
        (lambda found: found.sort(), 'with sort'),
        (lambda found: found[0], r'with \[...\]'),
        (lambda found: found[1:], r'with \[...\]'),
        (lambda found: len(found), 'with len'),
        ])
def test_it_is_no_list_and_says_how_to_make_one(use, told):
    with pytest.raises(TypeError, match='ids one by one, and no list %s; make '
            r'one: list\(super\(\).select_ids\(...\)\)$' % told):
        use(Found([3, 5]))


def test_another_attribute_is_none_of_a_list():
    assert not hasattr(Found([]), 'nobody')

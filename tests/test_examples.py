# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The examples, tested as their authors would."""
import csv
import datetime as dt
import tempfile
from decimal import Decimal
from pathlib import Path

from trytond.modules.batch.exceptions import ConfigError
from trytond.modules.batch.testing import (
    BatchTestMixin, FailOnError, run_batch)
from trytond.pool import Pool
from trytond.tests.test_tryton import ModuleTestCase, with_transaction
from trytond.transaction import inactive_records

TODAY = dt.date(2026, 3, 31)
#: after whatever a test writes
LATER = dt.date(2100, 1, 1)


class BatchExamplesTestCase(BatchTestMixin, ModuleTestCase):
    "Test Batch Examples module"
    module = 'batch_examples'

    # One by one

    @with_transaction()
    def test_inactive_parties_are_forgotten(self):
        Party = Pool().get('party.party')
        gone = parties(3)
        Party.write(gone, {'active': False})
        kept, = parties(1)
        for days, done in [(100_000, []), (365, ids(gone)), (365, [])]:
            outcome = run_batch(
                'party.forget', treatment_date=LATER, days=days)
            self.assertEqual(outcome.done, done)
        self.assertEqual([p.name for p in gone], [None] * 3)
        self.assertEqual(kept.name, 'party 0')

    @with_transaction()
    def test_who_can_not_be_forgotten_fails_alone(self):
        one, two, three = gone = parties(3)
        Pool().get('party.party').write(gone, {'active': False})
        outcome = run_batch(
            'party.forget', treatment_date=LATER, fail_on=[two.id])
        self.assertEqual(list(outcome.failed), [two.id])
        self.assertEqual(
            [p.name for p in gone], [None, 'party 1', None])
        # Nothing was to be done anew for it
        self.assertEqual(
            [c.units for c in outcome.chunks], [[p.id] for p in gone])

    # Extended

    @with_transaction()
    def test_only_parties_of_some_countries_are_forgotten(self):
        be, nl, no = countries('BE', 'NL', 'NO')
        gone = [party(country=country) for country in [be, nl, no]]
        Pool().get('party.party').write(gone, {'active': False})
        outcome = run_batch(
            'party.forget', treatment_date=LATER, countries=['BE', 'NO'])
        self.assertEqual(outcome.done, [gone[0].id, gone[2].id])
        outcome = run_batch('party.forget', treatment_date=LATER)
        self.assertEqual(outcome.done, [gone[1].id])

    # Grouped

    def streets(self):
        "Return two parties whose addresses, not in their order, are twice."
        one, two = parties(2, addresses=0)
        Address = Pool().get('party.address')
        return one, two, Address.create([
                {'party': party.id, 'street': street}
                for party, street in [
                    (two, 'Mill'), (one, 'High'), (two, 'Park'),
                    (one, 'High'), (two, 'Mill')]])

    @with_transaction()
    def test_the_addresses_of_a_party_stay_together(self):
        one, two, addresses = self.streets()
        a, b, c, d, e = ids(addresses)
        outcome = run_batch(
            'party.address.deduplicate', settings={'split_size': 1})
        self.assertEqual(outcome.done, [[b, d], [a, c, e]])
        self.assertEqual(outcome.numbers, {'deactivated': 2})
        self.assertEqual(
            [x.active for x in addresses], [True, True, True, False, False])

    @with_transaction()
    def test_a_party_fails_with_all_of_its_addresses(self):
        one, two, addresses = self.streets()
        a, b, c, d, e = ids(addresses)
        outcome = run_batch('party.address.deduplicate', fail_on=[c])
        self.assertEqual(list(outcome.failed), [(a, c, e)])
        self.assertEqual(outcome.done, [[b, d]])
        self.assertEqual(
            [x.active for x in addresses], [True, True, True, False, True])

    # Strictly sequential

    @with_transaction()
    def test_numbers_are_in_order_and_have_no_gap(self):
        members = parties(7)
        bad = members[2]
        Pool().get('party.address').delete(bad.addresses)
        outcome = run_batch(
            'party.register', settings={'split_size': 3}, deliveries=2)
        self.assertEqual(list(outcome.failed), [bad.id])
        self.assertIn("without an address", str(outcome.failed[bad.id]))
        self.assertEqual(
            [p.register_number for p in members],
            ['1', '2', None, '3', '4', '5', '6'])

        Pool().get('party.address').create([{'party': bad.id}])
        outcome = run_batch('party.register')
        self.assertEqual(outcome.done, [bad.id])
        self.assertEqual(bad.register_number, '7')

    @with_transaction()
    def test_numbers_are_given_by_one_after_the_other(self):
        with self.assertRaises(ConfigError):
            run_batch('party.register', settings={'concurrency': 2})

    @with_transaction()
    def test_a_process_that_dies_takes_no_number(self):
        members = parties(5)
        outcome = run_batch('party.register', kill_on=[members[1].id])
        self.assertEqual(list(outcome.failed), [members[1].id])
        self.assertEqual(
            [p.register_number for p in members],
            ['1', None, '2', '3', '4'])

    # All or nothing

    @with_transaction()
    def test_all_rates_are_in_one_file(self):
        currencies(EUR=(TODAY, '1'), USD=(TODAY, '1.25'), NOK=(TODAY, '11'))
        outcome = run_batch(
            'currency.rate.export', treatment_date=TODAY, deliveries=2)
        self.assertTrue(outcome.succeeded)
        path, = outcome.files
        self.assertEqual(path.name, 'rates-2026-03-31.csv')
        self.assertEqual(
            rows(path), [['EUR', '1'], ['USD', '1.25'], ['NOK', '11']])

    @with_transaction()
    def test_without_one_rate_there_is_no_file(self):
        eur, usd, nok = currencies(
            EUR=(TODAY, '1'), USD=None, NOK=(TODAY, '11'))
        outcome = run_batch('currency.rate.export', treatment_date=TODAY)
        self.assertEqual(outcome.done, [])
        self.assertEqual(list(outcome.failed), ids([eur, usd, nok]))
        self.assertIn('"USD" has no rate', str(outcome.failed[eur.id]))
        self.assertEqual(outcome.files, [])
        self.assertEqual(len(outcome.chunks), 1)

    # A file per chunk

    def subdivisions(self, *names):
        country, = countries('BE')
        return Pool().get('country.subdivision').create([{
                    'country': country.id, 'code': 'BE-%s' % i, 'name': name,
                    'type': 'province'} for i, name in enumerate(names)])

    @with_transaction()
    def test_each_chunk_has_its_file(self):
        self.subdivisions('Antwerp', 'Liège', 'Namur')
        outcome = run_batch(
            'country.subdivision.label', settings={'split_size': 2},
            deliveries=2)
        self.assertEqual(
            [p.name for p in outcome.files], ['1-labels.csv', '2-labels.csv'])
        self.assertEqual([row[1] for p in outcome.files for row in rows(p)],
            ['ANTWERP', 'LIÈGE', 'NAMUR'])
        self.assertEqual(outcome.numbers, {'labels': 3})

    @with_transaction()
    def test_a_label_that_does_not_fit_is_in_no_file(self):
        one, two, three = self.subdivisions('Antwerp', 'Brabant', 'Namur')
        outcome = run_batch('country.subdivision.label', width=6)
        self.assertEqual(list(outcome.failed), [one.id, two.id])
        self.assertEqual(
            [row[1] for p in outcome.files for row in rows(p)], ['NAMUR'])
        self.assertEqual([one.label, three.label], [None, 'NAMUR'])
        outcome = run_batch('country.subdivision.label')
        self.assertEqual(outcome.done, [one.id, two.id])

    # A file in

    def inbox(self, **files):
        "Return a directory with files of rows."
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        for name, lines in files.items():
            Path(directory.name, name + '.csv').write_text(
                ''.join(line + '\n' for line in lines), encoding='utf-8')
        return Path(directory.name)

    @with_transaction()
    def test_a_file_is_imported_once_and_archived(self):
        countries('BE', 'NL')
        inbox = self.inbox(
            a=['BE,4000,Liège', 'BE,5000,Namur'], b=['NL,1011,Amsterdam'])
        for done in [3, 0]:
            outcome = run_batch(
                'country.postal_code.import', directory=inbox, deliveries=2)
            self.assertTrue(outcome.succeeded)
            self.assertEqual(len(outcome.done), done)
        self.assertEqual(cities(), ['Amsterdam', 'Liège', 'Namur'])
        self.assertEqual(names(inbox), ['archive'])
        self.assertEqual(names(inbox / 'archive'), ['a.csv', 'b.csv'])

    @with_transaction()
    def test_a_file_with_a_bad_row_is_not_archived(self):
        countries('BE')
        inbox = self.inbox(
            a=['BE,4000,Liège', 'NO,5003,Bergen', 'BE,5000,Namur'],
            b=['BE,2000,Antwerp'])
        outcome = run_batch('country.postal_code.import', directory=inbox)
        (unit, error), = outcome.failed.items()
        self.assertEqual(unit[:2], ('a.csv', 2))
        self.assertIn('"NO", which does not exist', str(error))
        self.assertEqual(cities(), ['Antwerp', 'Liège', 'Namur'])
        self.assertEqual(names(inbox), ['a.csv', 'archive'])
        self.assertEqual(names(inbox / 'archive'), ['b.csv'])

        # Its rows are in the custody of the execution, to be retried
        countries('NO')
        outcome = run_batch('country.postal_code.import', directory=inbox)
        self.assertEqual(outcome.selected, 0)

    # Run once

    @with_transaction()
    def test_the_census_counts_once(self):
        be, nl = countries('BE', 'NL')
        for country in [be, nl, None]:
            party(country=country)
        party(country=be, addresses=2)
        outcome = run_batch(
            'party.census', treatment_date=TODAY, deliveries=3)
        path, = outcome.files
        self.assertEqual(rows(path), [['BE', '2'], ['NL', '1']])
        self.assertEqual(outcome.numbers, {'countries': 2})

    @with_transaction()
    def test_a_census_that_fails_leaves_no_file(self):
        outcome = run_batch('party.census', fail_on=[None])
        self.assertIsInstance(outcome.failed[None], FailOnError)
        self.assertEqual(outcome.files, [])

    # Payload

    @with_transaction()
    def test_the_last_rate_is_carried_on(self):
        before = TODAY - dt.timedelta(3)
        eur, usd, nok = currencies(
            EUR=(before, '1.5'), USD=(TODAY, '2'), NOK=None)
        Pool().get('currency.currency.rate').create([{
                    'currency': eur.id, 'date': dt.date(2026, 1, 1),
                    'rate': Decimal(1)}])
        outcome = run_batch(
            'currency.rate.carry', treatment_date=TODAY, deliveries=2)
        self.assertTrue(outcome.succeeded)
        self.assertEqual(
            outcome.done, [(eur.id, before, Decimal('1.5'))])
        self.assertEqual(eur.rates[0].date, TODAY)
        self.assertEqual(eur.rates[0].rate, Decimal('1.5'))
        self.assertEqual([len(c.rates) for c in [eur, usd, nok]], [3, 1, 0])

    @with_transaction()
    def test_a_rate_that_is_too_old_fails_alone(self):
        new, old = TODAY - dt.timedelta(3), TODAY - dt.timedelta(30)
        eur, usd, nok = currencies(
            EUR=(new, '1'), USD=(old, '2'), NOK=(new, '11'))
        outcome = run_batch('currency.rate.carry', treatment_date=TODAY)
        (unit, error), = outcome.failed.items()
        self.assertEqual(unit, (usd.id, old, Decimal('2')))
        self.assertIn('"USD" is too old', str(error))
        self.assertEqual([len(c.rates) for c in [eur, usd, nok]], [2, 1, 2])
        outcome = run_batch(
            'currency.rate.carry', treatment_date=TODAY, max_days=30)
        self.assertEqual(outcome.done, [unit])


# What there is to treat

def ids(records):
    return [record.id for record in records]


def party(name='party', country=None, addresses=1):
    Party = Pool().get('party.party')
    party, = Party.create([{
                'name': name, 'addresses': [('create', [{
                                'country': country and country.id}]
                        * addresses)] if addresses else None}])
    # What is inactive is seen too
    with inactive_records():
        return Party(party.id)


def parties(count, **values):
    return [party('party %s' % i, **values) for i in range(count)]


def countries(*codes):
    return Pool().get('country.country').create([
            {'name': code, 'code': code} for code in codes])


def currencies(**rates):
    "Make a currency for each code, with a rate (date, text) or None."
    return Pool().get('currency.currency').create([{
                'name': code, 'code': code, 'rates': rate and [('create', [{
                                'date': rate[0], 'rate': Decimal(rate[1])}])],
                } for code, rate in rates.items()])


def cities():
    return sorted(c.city for c in Pool().get('country.postal_code').search([]))


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def rows(path):
    with open(path, newline='', encoding='utf-8') as file:
        return list(csv.reader(file))


def test_the_readme_names_each_example():
    directory = Path(__file__).parent.parent / 'examples'
    readme = (directory / 'README.rst').read_text(encoding='utf-8')
    assert [path.name for path in sorted(directory.glob('*.py'))
        if path.name not in {'__init__.py', 'exceptions.py', 'setup.py'}
        and '``%s``' % path.name not in readme] == []


del ModuleTestCase

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Run once: nothing is selected, and one statement does it all."""
import csv
import io

from sql.aggregate import Count

from trytond.modules.batch import BatchRootNoSelect
from trytond.pool import Pool
from trytond.transaction import Transaction


class Census(BatchRootNoSelect):
    "Count the active parties of each country, all at one moment"
    __name__ = 'party.census'

    @classmethod
    def execute(cls, objects, ids, treatment_date):
        pool = Pool()
        party = pool.get('party.party').__table__()
        address = pool.get('party.address').__table__()
        country = pool.get('country.country').__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*party
            .join(address, condition=address.party == party.id)
            .join(country, condition=address.country == country.id)
            .select(country.code, Count(party.id, distinct=True),
                where=party.active & address.active,
                group_by=[country.code], order_by=[country.code]))
        rows = cursor.fetchall()
        lines = io.StringIO()
        csv.writer(lines).writerows(rows)
        cls.write_batch_output(
            lines.getvalue(), 'census-%s.csv' % treatment_date)
        return {'countries': len(rows)}

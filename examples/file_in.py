# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A file comes in, row by row, and is archived after success."""
import csv

from trytond.i18n import gettext
from trytond.modules.batch import BatchRootFiles
from trytond.pool import Pool

from .exceptions import PostalCodeError


class PostalCodeImport(BatchRootFiles):
    """Import the postal codes from the files in --directory.

    A row has the code of a country, the postal code and the city.  A file
    is archived once all of its rows are imported.
    """
    __name__ = 'country.postal_code.import'

    @classmethod
    def read_file(cls, path):
        with open(path, newline='', encoding='utf-8') as file:
            yield from csv.reader(file)

    @classmethod
    def execute(cls, objects, ids):
        pool = Pool()
        Country = pool.get('country.country')
        PostalCode = pool.get('country.postal_code')
        countries = {c.code: c for c in Country.search([])}
        postal_codes = []
        for code, postal_code, city in objects:
            if code not in countries:
                raise PostalCodeError(gettext(
                        'batch_examples.msg_postal_code_no_country',
                        country=code, postal_code=postal_code))
            postal_codes.append(PostalCode(
                    country=countries[code], postal_code=postal_code,
                    city=city))
        PostalCode.save(postal_codes)

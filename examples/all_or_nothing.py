# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""All or nothing: one file with everything, or none."""
import csv
import io

from trytond.i18n import gettext
from trytond.modules.batch import BatchRoot
from trytond.pool import Pool
from trytond.transaction import Transaction

from .exceptions import RateError


class RateExport(BatchRoot):
    """Write the rates of a day into one file for the tills.

    A till with half of the rates sells wrongly: if one currency has no rate
    there is no file.
    """
    __name__ = 'currency.rate.export'

    # One chunk of all units, which is never taken apart
    fixed_config_items = {'split_mode': 'divide', 'split_size': 1}

    @classmethod
    def get_batch_main_model_name(cls):
        return 'currency.currency'

    @classmethod
    def execute(cls, objects, ids, treatment_date):
        Currency = Pool().get('currency.currency')
        lines = io.StringIO()
        writer = csv.writer(lines)
        with Transaction().set_context(date=treatment_date):
            for currency in Currency.browse(objects):
                if not currency.rate:
                    raise RateError(gettext(
                            'batch_examples.msg_rate_missing',
                            currency=currency.code, date=treatment_date))
                writer.writerow([currency.code, currency.rate])
        cls.write_batch_output(
            lines.getvalue(), 'rates-%s.csv' % treatment_date)

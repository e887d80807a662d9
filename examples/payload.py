# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Payload: the selection hands on more than the id of a record."""
from sql.aggregate import Max

from trytond.i18n import gettext
from trytond.modules.batch import BatchRoot
from trytond.pool import Pool
from trytond.transaction import Transaction

from .exceptions import RateError


class RateCarry(BatchRoot):
    """Give each currency without a rate of the day its last one.

    A rate that is older than --max-days is refused.
    """
    __name__ = 'currency.rate.carry'

    @classmethod
    def get_batch_main_model_name(cls):
        return 'currency.currency'

    @classmethod
    def select_ids(cls, treatment_date):
        "Return the currencies, each with the date of its last rate, and it."
        rate = Pool().get('currency.currency.rate').__table__()
        last = rate.select(
            rate.currency, Max(rate.date).as_('date'),
            where=rate.date <= treatment_date, group_by=[rate.currency])
        cursor = Transaction().connection.cursor()
        cursor.execute(*rate
            .join(last, condition=(rate.currency == last.currency)
                & (rate.date == last.date))
            .select(rate.currency, rate.date, rate.rate,
                where=rate.date < treatment_date, order_by=rate.currency))
        return cursor

    @classmethod
    def execute(cls, objects, ids, treatment_date, max_days=7):
        Rate = Pool().get('currency.currency.rate')
        rates = []
        for currency, (_, date, rate) in zip(objects, ids):
            if (treatment_date - date).days > max_days:
                raise RateError(gettext(
                        'batch_examples.msg_rate_old',
                        currency=currency.code, date=date))
            rates.append(
                Rate(currency=currency, date=treatment_date, rate=rate))
        Rate.save(rates)

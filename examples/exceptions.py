# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.exceptions import UserError


class LabelError(UserError):
    "Raised when the label of a subdivision does not fit."


class PostalCodeError(UserError):
    "Raised when a postal code can not be imported."


class RateError(UserError):
    "Raised when a currency has no rate that can be used."


class RegisterError(UserError):
    "Raised when a party can not be registered."

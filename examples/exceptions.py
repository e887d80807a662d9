# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.exceptions import UserError


class LabelError(UserError):
    "Raised when the label of a subdivision does not fit."

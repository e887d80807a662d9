# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import warnings

with warnings.catch_warnings():
    # trytond 8.2 asks itself for trytond.config.config
    warnings.filterwarnings(
        'ignore', r"trytond\.config\.config is deprecated",
        DeprecationWarning)
    from trytond.tests.test_tryton import ModuleTestCase

from trytond.modules.batch.testing import BatchTestMixin


class BatchTestCase(BatchTestMixin, ModuleTestCase):
    "Test Batch module"
    module = 'batch'


del ModuleTestCase

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from setuptools import setup

PACKAGE = 'trytond.modules.batch_scenarios'

setup(
    name='trytond-batch-scenarios',
    version='8.2.0',
    description="A batch per behaviour, for the tests of trytond-batch",
    license='GPL-3.0-or-later',
    package_dir={PACKAGE: '.'},
    packages=[PACKAGE],
    package_data={PACKAGE: ['tryton.cfg', '*.xml', 'view/*.xml']},
    entry_points={
        'trytond.modules': ['batch_scenarios = %s' % PACKAGE],
        },
    install_requires=['trytond-batch'],
    zip_safe=False,
    )

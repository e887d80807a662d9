# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from setuptools import setup

PACKAGE = 'trytond.modules.batch_examples'

setup(
    name='trytond-batch-examples',
    version='8.2.0',
    description="A batch of each kind to start from, for trytond-batch",
    license='GPL-3.0-or-later',
    package_dir={PACKAGE: '.'},
    packages=[PACKAGE],
    package_data={PACKAGE: ['tryton.cfg', '*.xml']},
    entry_points={
        'trytond.modules': ['batch_examples = %s' % PACKAGE],
        },
    install_requires=[
        'trytond-batch',
        'trytond-country >=8.0,<8.3',
        'trytond-currency >=8.0,<8.3',
        'trytond-party >=8.0,<8.3',
        ],
    zip_safe=False,
    )

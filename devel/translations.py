# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Write the texts of the module, as Tryton extracts them, to batch/locale.

What was translated stays, what is new gets an empty translation.
"""
import sys
from pathlib import Path

from .site import Site

__all__ = ['LOCALE', 'export', 'main']

LOCALE = Path(__file__).parent.parent / 'batch' / 'locale'
EXPORT = '''\
import sys
import trytond.config as config
from trytond.pool import Pool
from trytond.transaction import Transaction

config.update_etc()
database, code = sys.argv[1:]
Pool.start()
pool = Pool(database)
pool.init()


def do(wizard, state, **values):
    Wizard = pool.get(wizard, type='wizard')
    session, _, _ = Wizard.create()
    Wizard.execute(session, {'start': values}, state)
    Wizard.delete(session)


with Transaction().start(database, 1):
    Lang = pool.get('ir.lang')
    lang, = Lang.search([('code', '=', code)])
    do('ir.translation.set', 'set_')
    do('ir.translation.clean', 'clean')
    # Without this, trytond 8.2.1 gives some texts no language
    with Transaction().set_context(default_lang=code):
        do('ir.translation.update', 'update', language=lang.id)
    text = pool.get('ir.translation').translation_export(code, 'batch')
    sys.stdout.buffer.write(text)
    Transaction().rollback()
'''


def export(code):
    "Return the text of the file of translations of a language."
    with Site(sqlite=True) as site:
        site.init('batch')
        site.update('-u', 'batch', '-l', code)
        return site.run(
            [sys.executable, '-c', EXPORT, site.database, code],
            check=True, timeout=300).stdout


def main(codes):
    "Write the files of some languages, or of those that there are."
    LOCALE.mkdir(exist_ok=True)
    for code in codes or sorted(path.stem for path in LOCALE.glob('*.po')):
        (LOCALE / (code + '.po')).write_text(export(code))


if __name__ == '__main__':
    main(sys.argv[1:])

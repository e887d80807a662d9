# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the client shows, in the languages of batch/locale."""
import re
import string

import polib
import pytest
from scene import Scene

from devel.translations import LOCALE, export

CODES = sorted(path.stem for path in LOCALE.glob('*.po'))
#: %(name)s of gettext
HOLE = re.compile(r'%\(\w+\)s')
SHOWN = '''\
from trytond.pool import Pool
from trytond.transaction import Transaction
from trytond.i18n import gettext
from trytond.modules.batch.transaction import load_pool
load_pool(database)
with Transaction().start(database, 1, context={'language': 'fr'}):
    Execution = Pool().get('batch.execution')
    fields = Execution.fields_get(['state', 'started'])
    menu, = Pool().get('ir.ui.menu').search([
            ('name', '=', 'Tableau de bord')])
    print(menu.parent.name, fields['started']['string'],
        dict(fields['state']['selection'])['failed'],
        gettext('batch.msg_told_failed', title='x'), sep='; ')
'''


def keys(file):
    return {(entry.msgctxt, entry.msgid) for entry in file}


@pytest.mark.parametrize('code', CODES)
def test_everything_is_translated(code):
    file = polib.pofile(str(LOCALE / (code + '.po')))
    found = polib.pofile(export(code))
    # make locale adds what is missing, and removes what is left over
    assert keys(file) == keys(found)
    for entry in file:
        assert entry.msgstr.strip() and not entry.fuzzy, entry.msgid
        assert sorted(HOLE.findall(entry.msgstr)) == sorted(
            HOLE.findall(entry.msgid))


@pytest.mark.parametrize('code', CODES)
def test_a_translation_ends_as_the_text_does(code):
    for entry in polib.pofile(str(LOCALE / (code + '.po'))):
        ends = [
            text.rstrip()[-1] if text.rstrip()[-1] in string.punctuation
            else '' for text in [entry.msgid, entry.msgstr]]
        assert ends[0] == ends[1], entry.msgid


def test_a_user_reads_their_language():
    with Scene() as scene:
        scene.update('-u', 'batch', '-l', 'fr')
        assert scene.script(SHOWN).strip() == \
            'Traitements; Commencée; Échouée; Échouée : x'

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the client shows, and what it does for whom, without a browser."""
import json

import pytest
from scene import Scene

#: the widgets that a list of sao and of the GTK client has
WIDGETS = {
    'binary', 'boolean', 'callto', 'char', 'date', 'dict', 'email', 'float',
    'image', 'integer', 'many2many', 'many2one', 'numeric', 'one2many',
    'one2one', 'progressbar', 'reference', 'selection', 'multiselection',
    'sip', 'text', 'time', 'timedelta', 'url'}
LISTS = '''\
from lxml import etree
from trytond.pool import Pool
from trytond.transaction import Transaction
from trytond.modules.batch.transaction import load_pool
load_pool(database)
found = []
with Transaction().start(database, 1, readonly=True):
    View = Pool().get('ir.ui.view')
    for view in View.search([
            ('module', '=', 'batch'), ('type', '=', 'tree')]):
        got = Pool().get(view.model).fields_view_get(view.id)
        for field in etree.fromstring(got['arch']).iter('field'):
            name = field.get('name')
            found.append([view.name, name, field.get('widget')
                    or got['fields'][name]['type']])
    buttons = Pool().get('ir.model.button').search([
            ('model', 'like', 'batch.%')])
    print(json.dumps([found, [
                    [b.name, [g.name for g in b.groups]] for b in buttons]]))
'''


@pytest.fixture(scope='module')
def still():
    "A scene whose records nobody changes."
    with Scene() as scene:
        yield scene


@pytest.fixture(scope='module')
def views(still):
    return json.loads(still.script(LISTS))


def test_each_field_of_a_list_has_a_widget_that_lists_have(views):
    lists, _ = views
    assert len(lists) > 20
    assert [row for row in lists if row[2] not in WIDGETS] == []


def test_each_button_has_a_group(views):
    _, buttons = views
    assert len(buttons) >= 3
    assert [name for name, groups in buttons if not groups] == []

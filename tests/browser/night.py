# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A night of batches, and the people who look at it in the morning."""
import json

from scene import Scene

from devel.browser import WebServer

__all__ = ['PASSWORD', 'USERS', 'Night']

PASSWORD = 'owl-and-lark-7'
#: the groups of each user, by the ends of their ids
USERS = {
    'reader': ['batch'], 'operator': ['batch_operator'],
    'starter': ['batch_starter'], 'nobody': []}
MAKE_USERS = '''\
from trytond.pool import Pool
from trytond.transaction import Transaction
from trytond.modules.batch.transaction import load_pool
load_pool(database)
password, users = json.loads(sys.argv[1])
with Transaction().start(database, 0) as transaction:
    User = Pool().get('res.user')
    Data = Pool().get('ir.model.data')
    Item = Pool().get('ir.module.config_wizard.item')
    # Its wizard would lie over everything
    Item.write(Item.search([]), {'state': 'done'})
    for login, groups in users.items():
        User.create([{
                    'login': login, 'name': login.title(),
                    'password': password,
                    'groups': [('add', [
                                Data.get_id('batch', 'group_' + group)
                                for group in groups])]}])
'''


class Night(Scene):
    "A scene with a worker, a server of the client and users."

    def __init__(self, postgresql, redis):
        port, sections = WebServer.sections()
        super().__init__(
            postgresql=postgresql, redis=redis, sections=sections)
        self.script(MAKE_USERS, json.dumps([PASSWORD, USERS]))
        self.worker(2)
        self.server = WebServer(self, port).start()

    def pass_by(self):
        "Run what runs in a night."
        self.records(1000, bad=range(3, 1000, 150))
        self.batch('ok', '--text', 'good morning', '--number', '7', status=0)
        self.batch('bad', status=1)
        self.batch('files', status=1)
        self.batch('bad_selection', status=1)

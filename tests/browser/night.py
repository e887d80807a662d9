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
#: executions of the last three weeks; the last one of each is a day old, so
#: that the batch for every three hours is overdue
HISTORY = '''\
INSERT INTO batch_execution (
    batch, given, parameters, settings, state, admission, dry_run, started_at,
    ended_at, selected, duplicates, done, failed, "left", exit_status)
SELECT 'batch.scenario.' || name, '{}', '{}', '{}',
    CASE WHEN failed > 0 THEN 'failed' ELSE 'succeeded' END, 'admitted', false,
    at, at + took, 1000, 0, 1000 - failed, failed, 0,
    CASE WHEN failed > 0 THEN 1 ELSE 0 END
FROM (
    SELECT name, at, took, CASE WHEN EXTRACT(DOY FROM at)::int % share = 0
        THEN share ELSE 0 END AS failed
    FROM (VALUES
        ('ok', interval '1 day', interval '40 minutes', 1000),
        ('bad', interval '1 day', interval '95 minutes', 3),
        ('files', interval '1 day', interval '12 minutes', 4),
        ('rows', interval '3 hours', interval '3 minutes', 5)
    ) AS batches (name, gap, took, share), generate_series(
        (now() AT TIME ZONE 'UTC') - interval '21 days',
        (now() AT TIME ZONE 'UTC') - interval '16 hours', gap) AS at
    ORDER BY at) AS nights
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
        "Run what runs in a night, after others."
        self.execute(HISTORY)
        self.records(1000, bad=range(3, 1000, 150))
        self.batch('ok', '--text', 'good morning', '--number', '7', status=0)
        self.batch('bad', status=1)
        self.batch('files', status=1)
        self.batch('bad_selection', status=1)

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Two databases with one root_dir, whose processes die around the commit."""
import sys
from contextlib import ExitStack

from scene import PREAMBLE

from benchmarks import sharing
from devel.site import Site

#: prints what tells the database from others, asked with a user's rights
FACTS = '''\
from trytond import backend
from trytond.modules.batch.engine.tags import database_facts
connection = backend.Database(database).connect().get_connection()
print(len(facts := database_facts(connection.cursor())), *facts)
'''


def test_no_committed_file_is_lost_to_another_database(postgresql, redis):
    # "make bench" plays 50 rounds
    counts = sharing.play(postgresql, redis, 3)
    assert (counts['lost'], counts['wrong'], counts['hidden']) == (0, 0, 0)
    assert counts['committed'] > 30
    assert counts['deaths'] > 3


def test_databases_are_told_apart_with_the_rights_of_any_user(postgresql):
    postgresql.execute('postgres', 'CREATE ROLE plain LOGIN')
    revoke = 'REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC'
    uri = postgresql.uri.replace('postgres@', 'plain@')

    def facts(site):
        count, *found = site.run(
            [sys.executable, '-c', PREAMBLE + FACTS], check=True
            ).stdout.split()
        assert int(count) == len(found)
        return found

    with ExitStack() as stack:
        sites = [
            stack.enter_context(Site(
                    postgresql=postgresql,
                    sections={'database': {'uri': uri}}))
            for _ in range(2)]
        for site in sites:
            postgresql.create(site.database)
        one, other = map(facts, sites)
        assert one != other and len(one) == len(other) == 2
        for site in sites:
            postgresql.execute(site.database, revoke)
        one, other = map(facts, sites)
        assert one != other and len(one) == len(other) == 1

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Two databases with one root_dir, whose processes die around the commit."""
from benchmarks import sharing


def test_no_committed_file_is_lost_to_another_database(postgresql, redis):
    # "make bench" plays 50 rounds
    counts = sharing.play(postgresql, redis, 3)
    assert (counts['lost'], counts['wrong'], counts['hidden']) == (0, 0, 0)
    assert counts['committed'] > 50
    assert counts['deaths'] > 5

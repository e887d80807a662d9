# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""How a hook waits for what a test, or another process, is to do."""
import time


def wait_until(condition, seconds=600):
    "Poll condition() until it is true, for so long at most."
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)

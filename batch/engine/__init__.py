# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What happens to an execution: nothing here knows Celery or a terminal.

The tasks, the keeper and the commands call it; it calls the contract and the
ledger.  How a chunk is sent is handed in.
"""

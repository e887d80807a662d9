# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The ledger: the only truth about an execution, as statements on its tables.

Statements and not models, because a worker must lock exactly one row, a
state and the work it stands for must be one commit, and the command has to
read the ledger without loading a pool.  ``execution.py`` declares the tables.

Whoever needs it imports the wing and names the room:
``ledger.chunks.claim(...)``.  Nothing here knows a batch, Celery or a
terminal.
"""
from . import (
    chunks, claimants, done, executions, failed_units, failures, figures,
    finishing, inputs, metrics, night, open_chunks, outputs, planning,
    retention, rows, screens, settling, states, subscribers, summaries, tables,
    units, upgrading)

__all__ = [
    'chunks', 'claimants', 'done', 'executions', 'failed_units', 'failures',
    'figures', 'finishing', 'inputs', 'metrics', 'night', 'open_chunks',
    'outputs', 'planning', 'retention', 'rows', 'screens', 'settling',
    'states', 'subscribers', 'summaries', 'tables', 'units', 'upgrading']

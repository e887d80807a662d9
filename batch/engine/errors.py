# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What is kept of an exception, in the ledger and in the logs."""
import os
import traceback

from trytond.exceptions import UserError

from .. import logging as batch_logging
from ..exceptions import (
    ConfigError, DefinitionError, OverlapError, UsageError, WorkerLostError)

__all__ = ['describe', 'one_line', 'trimmed']

#: files whose frames come before those of the batch in each traceback
OURS = {
    os.path.join(os.path.dirname(os.path.dirname(__file__)), name + '.py')
    for name in [
        'batch', 'engine/time_limit', 'input', 'parameters', 'plan',
        'testing', 'transaction', 'work']
    }
#: errors that say it all: a traceback would only show us
PLAIN = (
    ConfigError, DefinitionError, OverlapError, UsageError, WorkerLostError)


def describe(error):
    "Return what the ledger keeps of an error; no secret is in it."
    mask = batch_logging.mask_secrets
    if isinstance(error, UserError):
        text = ' '.join(filter(None, [error.message, error.description]))
    else:
        text = str(error)
    frames = traceback.extract_tb(trimmed(error).__traceback__)
    return {
        'error_type': type(error).__name__,
        'error': mask(' '.join(text.split())),
        'fingerprint': ' '.join([type(error).__name__, *(
                    '%s:%s' % (os.path.basename(f.filename), f.lineno)
                    for f in frames[-1:])]),
        'traceback': None if isinstance(error, PLAIN) else mask(
            ''.join(traceback.format_exception(trimmed(error)))),
        }


def one_line(error):
    details = describe(error)
    return ': '.join(filter(None, [details['error_type'], details['error']]))


def trimmed(error):
    "Return error, its traceback from the frames of the batch on."
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename in OURS:
        trace = trace.tb_next
    # One that we raised ourselves keeps what it has
    return error if trace is None else error.with_traceback(trace)

# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What is kept of an exception, in the ledger and in the logs."""
import os
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TypeAlias, TypeVar

from trytond.exceptions import UserError, UserWarning

from .. import texts
from ..exceptions import (
    ConfigError, DefinitionError, OverlapError, TransactionEndedError,
    UsageError, WorkerLostError)
from ..ledger.rows import Details
from ..transaction import is_outage

__all__ = [
    'describe', 'exc_info', 'is_refusal', 'message_of_error', 'one_line',
    'write_down']

Result = TypeVar('Result')
#: what a logger takes for exc_info
ExcInfo: TypeAlias = tuple[
    type[BaseException], BaseException, TracebackType | None]
#: errors whose traceback shows none of the author's code
PLAIN = (
    ConfigError, DefinitionError, OverlapError, UsageError, WorkerLostError)


def describe(error: BaseException) -> Details:
    """Return what the ledger keeps of an error: safe, short and masked texts.

    Raises nothing, whatever the error does.
    """
    type_ = texts.name_of(type(error))
    return {
        'error_type': type_,
        'error': message_of_error(error),
        'fingerprint': ' '.join([type_, *place_of(error)]),
        'traceback': None if is_refusal(error)
        else texts.traceback_of(error),
        }


def one_line(error: BaseException) -> str:
    "Return the class and the text of an error."
    return ': '.join(filter(None, [
                texts.name_of(type(error)), message_of_error(error)]))


def exc_info(error: BaseException) -> ExcInfo:
    "Return what a logger takes for exc_info, from the frame of the hook on."
    return type(error), error, texts.trace_of(error)


def is_refusal(error: BaseException) -> bool:
    "Return whether no traceback is kept of an error, as its text is enough."
    # By its class: an error may lie about itself
    return issubclass(type(error), PLAIN) \
        and not issubclass(type(error), TransactionEndedError)


def message_of_error(error: BaseException) -> str:
    "Return the text of an error on one line."
    text = None
    if issubclass(type(error), (UserError, UserWarning)):
        try:
            # Of any type, though they are meant to be texts
            text = ' '.join(map(texts.text_of, filter(None, [
                            getattr(error, 'message'),
                            getattr(error, 'description')])))
        except BaseException:
            pass
    if text is None:
        text = texts.text_of(error)
    return ' '.join(texts.clean(text, texts.TEXT, keep='\n\t').split())


def place_of(error: BaseException) -> Iterator[str]:
    "Yield the file and the line that raised the error, if there are any."
    trace = texts.trace_of(error)
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is not None:
        yield '%s:%s' % (
            texts.excerpt(os.path.basename(
                    trace.tb_frame.f_code.co_filename)), trace.tb_lineno)


def write_down(
        error: BaseException, write: Callable[[Details], Result]) -> Result:
    """Return write(details), with what the ledger is to keep of the error.

    If that raises and the database is there, write is called again with the
    class of the error only; the log has the rest.  Raises what write raises.

    :param write: writes into the ledger, and commits
    """
    try:
        return write(describe(error))
    except Exception as refused:
        if is_outage(refused):
            raise
        type_ = texts.name_of(type(error)).encode('ascii', 'replace').decode()
        return write({
                'error_type': type_,
                'error': 'the database refuses the text of this error (%s): '
                'see the log' % texts.name_of(type(refused)),
                'fingerprint': type_,
                'traceback': 'see the log' if not is_refusal(error) else None,
                })

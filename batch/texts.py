# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Makes foreign texts safe for a database, a log, a terminal and a mail.

The exceptions, units and parameters of a batch may have texts of any length,
with any characters and with secrets, and their methods may raise.  The
functions of this module never raise.

Imports nothing of Tryton or Celery.
"""
import builtins
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from types import CodeType, TracebackType
from typing import Any, TypeVar

from .masking import mask_secrets

__all__ = [
    'RECORD', 'TEXT', 'TRACEBACK', 'attribute_of', 'calls_hooks', 'causes',
    'clean', 'cut', 'escape', 'excerpt', 'name_of', 'text_of', 'trace_of',
    'traceback_of']

#: characters that are kept of the text of an error
TEXT = 2_000
#: characters that are kept of a traceback
TRACEBACK = 10_000
#: characters that are kept of a record in a log, and of its traceback
RECORD = 10_000
#: characters that are kept of a text inside of another one
EXCERPT = 200

#: how many errors of a chain of causes, frames of each, and errors of a group
#: are shown; of a chain and of frames, as many from the beginning as from the
#: end
CHAIN, FRAMES, GROUP = 4, 10, 3
#: characters of one line of code
CODE = 500
#: characters, more than a secret has: text around a cut is masked before it
#: is cut, so that no half of a secret is shown
MARGIN = 1_000

# Characters that move the cursor of a terminal, end a line or change its
# direction, and code points that are no character: C0, DEL, C1, bidirectional
# controls, line and paragraph separators, surrogates
_unsafe = re.compile(
    '[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069'
    '\ud800-\udfff]')
_callers: set[CodeType] = set()
Function = TypeVar('Function', bound=Callable[..., Any])


def calls_hooks(function: Function) -> Function:
    """Mark a function as one that calls hooks, or iterates their results.

    A traceback is shown from the frame after the last marked function on,
    which is the frame of the hook.
    """
    _callers.add(function.__code__)
    return function


def escape(text: object, keep: str = '') -> str:
    r"""Return text with ``\x1b`` for what is no plain character.

    :param text: a str, or an object with str(), such as a path
    :param keep: characters that are not escaped, such as line breaks
    """
    return _unsafe.sub(
        lambda found: found[0] if found[0] in keep
        else found[0].encode('unicode_escape').decode(), str(text))


def cut(text: str, limit: int) -> str:
    "Return text, without its middle if it is longer than limit."
    if len(text) <= limit:
        return text
    mark = ' ... ({:,} characters) ... '.format(len(text) - limit)
    kept = max(limit - len(mark), 0)
    return text[:kept - kept // 2] + mark + text[len(text) - kept // 2:]


def clean(text: str, limit: int, keep: str = '') -> str:
    """Return text without secrets, escaped and cut.

    :param limit: characters; the result may be slightly longer
    :param keep: see escape
    """
    # The method of str, as a subclass may override it
    size = str.__len__(text)
    half = limit + MARGIN
    if size <= 2 * half:
        return cut(escape(mask_secrets(_part(text, 0, size)), keep), limit)
    head, tail = (
        escape(mask_secrets(part), keep) for part in [
            _part(text, 0, half), _part(text, size - half, size)])
    mark = ' ... ({:,} characters) ... '.format(size - limit)
    kept = max(limit - len(mark), 0)
    return head[:kept - kept // 2] + mark + tail[len(tail) - kept // 2:]


def _part(text: str, start: int, end: int) -> str:
    return str.__getitem__(text, slice(start, end))


def excerpt(value: object, limit: int = EXCERPT) -> str:
    "Return the text of a value on one short line."
    return clean(text_of(value), limit)


def text_of(value: object) -> str:
    "Return str(value), or the reason why that raised."
    try:
        return str(value)
    except BaseException as error:
        return '<%s, of which there is no text: %s>' % (
            name_of(type(value)), name_of(type(error)))


def message_of(error: BaseException) -> str:
    "Return what an error of a service says, on one line."
    return clean(' '.join(text_of(error).split()), TEXT)


def name_of(cls: type) -> str:
    "Return the name of a class, whatever its metaclass says."
    return clean(type.__dict__['__name__'].__get__(cls), EXCERPT)


def attribute_of(
        error: BaseException, name: str,
        cls: type[BaseException] = BaseException) -> Any:
    """Return an attribute of an error as cls has it.

    A subclass may override it with code that does anything.
    """
    return vars(cls)[name].__get__(error)


def trace_of(error: BaseException) -> TracebackType | None:
    "Return the traceback of an error from the frame of the hook on."
    found = trace = attribute_of(error, '__traceback__')
    while trace is not None:
        # If the marked function itself raised, there is no later frame
        if trace.tb_frame.f_code in _callers and trace.tb_next is not None:
            found = trace.tb_next
        trace = trace.tb_next
    return found


def causes(error: BaseException | None) -> list[BaseException]:
    "Return the error, its cause, the cause of that, and so on."
    chain: list[BaseException] = []
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        chain.append(error)
        cause = attribute_of(error, '__cause__')
        if cause is None and not attribute_of(error, '__suppress_context__'):
            cause = attribute_of(error, '__context__')
        error = cause
    return chain


def traceback_of(
        error: BaseException, trace: TracebackType | None = None,
        limit: int = TRACEBACK) -> str:
    """Return the traceback of an error as Python writes it, clean.

    Only the parts that are shown are read.

    :param trace: first traceback object of the error, None for the hook's
    """
    try:
        text = ''.join(_chain(error, trace or trace_of(error)))
    except BaseException as problem:
        # Such as a lack of memory
        text = '(no traceback: %s)\n%s\n' % (
            name_of(type(problem)), _last_line(error))
    return clean(text, limit, keep='\n\t')


def _chain(error: BaseException, trace: TracebackType | None) -> Iterator[str]:
    "Yield the pieces of a traceback, the first cause at first."
    errors = causes(error)
    for index in reversed(range(len(errors))):
        if CHAIN <= index < len(errors) - CHAIN:
            if index == CHAIN:
                yield '({:,} more causes)\n\n'.format(len(errors) - 2 * CHAIN)
            continue
        error = errors[index]
        yield from _one(error, trace_of(error) if index else trace)
        if index:
            cause = attribute_of(errors[index - 1], '__cause__')
            yield '\n%s exception%s:\n\n' % (
                ('The above', ' was the direct cause of the following '
                    'exception') if cause is error
                else ('During handling of the above',
                    ', another exception occurred'))


def _one(
        error: BaseException, trace: TracebackType | None,
        depth: int = 0) -> Iterator[str]:
    if trace is not None:
        yield 'Traceback (most recent call last):\n'
        yield from _frames(trace)
    yield _last_line(error)
    for note in _notes(error)[:GROUP]:
        yield _indented(excerpt(note, TEXT))
    errors = _members(error) if depth < GROUP else ()
    for number, other in enumerate(errors[:GROUP], 1):
        yield '  + {:,} of {:,}\n'.format(number, len(errors))
        yield from map(_indented, _one(other, trace_of(other), depth + 1))
    if len(errors) > GROUP:
        yield '  + {:,} more\n'.format(len(errors) - GROUP)


def _frames(trace: TracebackType) -> list[str]:
    depth = sum(1 for _ in traceback.walk_tb(trace))
    if depth <= 2 * FRAMES:
        return _summary(trace)
    return [
        *_summary(trace, FRAMES),
        '  ({:,} more frames)\n'.format(depth - 2 * FRAMES),
        *_summary(trace, -FRAMES)]


def _summary(trace: TracebackType, limit: int | None = None) -> list[str]:
    try:
        frames = traceback.extract_tb(trace, limit)
        for frame in frames:
            frame.filename = escape(frame.filename)
            frame.name = escape(frame.name)
        return [cut(line, CODE) for line in frames.format()]
    except Exception:
        # The loader of the source may raise anything
        return ['  (no source)\n']


def _last_line(error: BaseException) -> str:
    "Return the last line of a traceback: the class and the text."
    cls = type(error)
    names = [
        type.__dict__[n].__get__(cls) for n in ['__module__', '__qualname__']]
    if names[0] in {'builtins', '__main__'} or not isinstance(names[0], str):
        del names[0]
    name = clean('.'.join(names), EXCERPT)
    text = clean(text_of(error), TEXT, keep='\n')
    # Its further lines must not look like lines of the log
    return ': '.join(filter(None, [name, text])).replace(
        '\n', '\n  | ') + '\n'


def _notes(error: BaseException) -> Sequence[object]:
    try:
        # From Python 3.11 on
        notes = getattr(error, '__notes__', ())
    except BaseException:
        return ()
    return notes if type(notes) in {list, tuple} else ()


def _members(error: BaseException) -> Sequence[BaseException]:
    "Return the errors of an exception group, else nothing."
    Group = getattr(builtins, 'BaseExceptionGroup', None)
    if Group is None or not issubclass(type(error), Group):
        return ()
    return Group.exceptions.__get__(error)


def _indented(piece: str) -> str:
    return '  | %s\n' % piece.rstrip('\n').replace('\n', '\n  | ')

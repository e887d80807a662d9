# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Spans of OpenTelemetry: an execution, its chunks, and their attempts.

Without the extra ``opentelemetry`` nothing happens here.  The processes of an
execution are on several machines, and a message may be lost: so the ids of its
trace follow from the execution itself, and no message carries them.

Imports nothing of Tryton or Celery.
"""
import datetime as dt
import hashlib
import importlib
from functools import lru_cache
from types import TracebackType
from typing import Any

from . import texts

__all__ = ['attempt', 'begin_chunk', 'end_chunk', 'is_on', 'trace_execution']

#: of the API of OpenTelemetry, which is no requirement
Span = Any
NAME = 'trytond-batch'


@lru_cache
def api() -> Any:
    "Return the API of OpenTelemetry, None where it is not installed."
    try:
        return importlib.import_module('opentelemetry.trace')
    except ImportError:
        return None


def is_on() -> bool:
    "Return whether a provider of OpenTelemetry takes spans."
    trace = api()
    # Without one the API makes spans that nobody reads
    return trace is not None and not isinstance(
        trace.get_tracer_provider(), trace.ProxyTracerProvider)


class _Ids:
    "Gives the root span of an execution the ids that its chunks expect."

    def __init__(self, database: str, execution: int,
            started_at: dt.datetime | None) -> None:
        digest = hashlib.blake2b(
            ('%s\n%s\n%s' % (database, execution, started_at)).encode(),
            digest_size=24).digest()
        self.trace = int.from_bytes(digest[:16], 'big') or 1
        self.span = int.from_bytes(digest[16:], 'big') or 1

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span

    def is_trace_id_random(self) -> bool:
        return True


def begin_chunk(
        database: str, batch: str, execution: int,
        started_at: dt.datetime | None, number: str, size: int) -> Span:
    """Return the span of a chunk that this process has claimed, or None.

    :param started_at: of the execution, as the ledger has it
    """
    if not is_on():
        return None
    trace = api()
    ids = _Ids(database, execution, started_at)
    tracer = trace.get_tracer(NAME)
    sampler = getattr(tracer, 'sampler', None)
    # As the sampler decides for the root, which is made in the end
    is_sampled = sampler is None or sampler.should_sample(
        None, ids.trace, batch).decision.is_sampled()
    parent = trace.set_span_in_context(trace.NonRecordingSpan(
            trace.SpanContext(
                ids.trace, ids.span, is_remote=True,
                trace_flags=trace.TraceFlags(int(is_sampled)))))
    return tracer.start_span('%s chunk' % batch, parent, attributes={
            **attributes(database, batch, execution),
            'batch.chunk': number, 'batch.units': size})


class attempt:
    """The span of an attempt to execute a chunk: one transaction.

    It is the current span, so those that hooks begin are below it.  A class:
    what contextlib and OpenTelemetry do with an error may call its code.

    :param chunk: its span, or None
    """

    def __init__(self, chunk: Span, number: int) -> None:
        self.chunk = chunk
        self.number = number

    def __enter__(self) -> None:
        if self.chunk is None:
            return
        trace = api()
        self.span = trace.get_tracer(NAME).start_span(
            self.chunk.name.replace(' chunk', ' attempt')
            if hasattr(self.chunk, 'name') else 'attempt',
            trace.set_span_in_context(self.chunk),
            attributes={'batch.attempt': self.number})
        self.token = trace.context_api.attach(
            trace.set_span_in_context(self.span))

    def __exit__(
            self, type_: type[BaseException] | None,
            error: BaseException | None, trace: TracebackType | None) -> None:
        if self.chunk is None:
            return
        api().context_api.detach(self.token)
        end_chunk(self.span, error)


def end_chunk(span: Span, error: BaseException | None = None) -> None:
    "End the span of a chunk, or of an attempt."
    if span is None:
        return
    if error is not None:
        fail(span, error)
    span.end()


def trace_execution(
        database: str, batch: str, execution: int, started_at: dt.datetime,
        ended_at: dt.datetime | None, figures: dict[str, Any]) -> None:
    """Make the span of an execution that has ended.

    :param started_at: as the ledger has it, in UTC; likewise ended_at
    :param figures: its state and counts
    """
    if not is_on():
        return
    trace = api()
    tracer = trace.get_tracer(NAME)
    if hasattr(tracer, 'id_generator'):
        # It is made for this call
        tracer.id_generator = _Ids(database, execution, started_at)
    span = tracer.start_span(
        batch, trace.set_span_in_context(trace.INVALID_SPAN),
        start_time=nanoseconds(started_at), attributes={
            **attributes(database, batch, execution),
            **{'batch.%s' % name: value for name, value in figures.items()}})
    if figures['state'] != 'succeeded':
        span.set_status(trace.Status(
                trace.StatusCode.ERROR, figures['state']))
    span.end(nanoseconds(ended_at) if ended_at else None)


def attributes(database: str, batch: str, execution: int) -> dict[str, Any]:
    return {
        'db.namespace': database, 'batch.name': batch,
        'batch.execution': execution}


def fail(span: Span, error: BaseException) -> None:
    "Write an error into a span, as texts without secrets."
    trace = api()
    name = texts.name_of(type(error))
    message = texts.excerpt(error, texts.TEXT)
    span.set_attribute('error.type', name)
    span.add_event('exception', {
            'exception.type': name, 'exception.message': message,
            'exception.stacktrace': texts.traceback_of(
                error, texts.attribute_of(error, '__traceback__'))})
    span.set_status(trace.Status(
            trace.StatusCode.ERROR, '%s: %s' % (name, message)))


def nanoseconds(timestamp: dt.datetime) -> int:
    "Return a timestamp of the ledger as OpenTelemetry counts."
    since = timestamp.replace(tzinfo=dt.timezone.utc) - dt.datetime(
        1970, 1, 1, tzinfo=dt.timezone.utc)
    return since // dt.timedelta(microseconds=1) * 1000

"""Tracing by OpenTelemetry, sent to a collector by OTLP over HTTP. Imported only where it is configured.

Spans are sent in batches by a thread of the library, which drops them while the collector is away: tracing holds up
nothing. At the end the library waits for the collector, without a limit that holds; so it has a thread for that too.
Of each batch that is not taken the library writes several lines; the log has one when that begins, and when it ends.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from urllib.parse import urlsplit

import structlog
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from notifier import __version__
from notifier.runtime.threads import beside
from notifier.runtime.tracing import Attribute, Span, Tracing

TIMEOUT = 10  # seconds of one request to the collector
LAST = 3.0  # seconds for the last batches at the end of the process
MAX_REASON = 300  # characters of the library's words
log = structlog.get_logger(__name__)
_CARRIER = TraceContextTextMapPropagator()


class OtelTracing(Tracing):
    """Makes spans and sends them."""

    def __init__(self, url: str, *, headers: Mapping[str, str], service: str) -> None:
        """Send to the collector at `url`, which ends with /v1/traces."""
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": service, "service.version": __version__}),
            shutdown_on_exit=False,  # `close` does it; the interpreter would wait for it
        )
        self._provider.add_span_processor(BatchSpanProcessor(_Exporter(url, headers)))
        self._tracer = self._provider.get_tracer("notifier", __version__)

    def span(
        self, name: str, parent: str | None, attributes: Mapping[str, Attribute], *, request: bool = False
    ) -> _Span:
        """Begin a span."""
        context = _CARRIER.extract({"traceparent": parent}) if parent is not None else None
        kind = SpanKind.CLIENT if request else SpanKind.INTERNAL
        return _Span(self._tracer.start_span(name, context=context, kind=kind, attributes=dict(attributes)))

    def flush(self) -> None:
        """Send the spans that have ended, in this thread."""
        self._provider.force_flush()

    async def close(self) -> None:
        """Send the last spans."""
        ended = beside(self._provider.shutdown, name="tracing")
        await asyncio.wait({ended}, timeout=LAST)
        fault = ended.exception() if ended.done() else None
        if not ended.done() or fault is not None:
            log.warning("tracing.unsent", error="the collector does not answer" if fault is None else str(fault))


class _Exporter(OTLPSpanExporter):
    """Sends spans, in a thread of the library; the log says when the collector takes none, and when it does again."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        super().__init__(endpoint=url, headers=dict(headers), timeout=TIMEOUT)
        self._words = _Words(url)
        self._taken = True
        logging.getLogger(trace_exporter.__name__).addFilter(self._words)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch."""
        self._words.begin()
        result = super().export(spans)
        taken = result is SpanExportResult.SUCCESS
        if self._taken and not taken:
            log.warning("tracing.unavailable", error=self._words.first)
        elif taken and not self._taken:
            log.info("tracing.recovered")
        self._taken = taken
        return result

    def shutdown(self) -> None:
        """Send no more."""
        super().shutdown()  # type: ignore[no-untyped-call]
        logging.getLogger(trace_exporter.__name__).removeFilter(self._words)


class _Words(logging.Filter):
    """Keeps the library's first words about a batch, and lets none into the log."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._path = urlsplit(url)._replace(scheme="", netloc="").geturl()  # which may hold a key
        self._thread: int | None = None
        self.first = ""

    def begin(self) -> None:
        """Listen to what is logged in this thread."""
        self._thread, self.first = threading.get_ident(), ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the words."""
        if record.thread != self._thread:
            return True
        self.first = self.first or record.getMessage().replace(self._path, "")[:MAX_REASON]
        return False


class _Span(Span):
    """One span of OpenTelemetry."""

    __slots__ = ("_span",)

    def __init__(self, span: OtelSpan) -> None:
        carrier: dict[str, str] = {}
        _CARRIER.inject(carrier, set_span_in_context(span))
        super().__init__(carrier.get("traceparent"))
        self._span = span

    def note(self, **attributes: Attribute) -> None:
        """Add facts."""
        self._span.set_attributes(attributes)

    def fail(self, reason: str) -> None:
        """Mark it as failed."""
        self._span.set_status(Status(StatusCode.ERROR, reason))

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self.fail(kind.__name__)  # not its text, which may hold anything
        self._span.end()

"""Tracing by OpenTelemetry, sent to a collector by OTLP over HTTP. Imported only where it is configured.

Spans are sent in batches by a thread of the library, which drops them while the collector is away: tracing holds up
nothing. At the end the library waits for the collector, without a limit that holds; so it has a thread for that too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from notifier import __version__
from notifier.runtime.threads import beside
from notifier.runtime.tracing import Attribute, Span, Tracing

TIMEOUT = 10  # seconds of one request to the collector
LAST = 3.0  # seconds for the last batches at the end of the process
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
        exporter = OTLPSpanExporter(endpoint=url, headers=dict(headers), timeout=TIMEOUT)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("notifier", __version__)

    def span(self, name: str, parent: str | None, attributes: Mapping[str, Attribute]) -> _Span:
        """Begin a span."""
        context = _CARRIER.extract({"traceparent": parent}) if parent is not None else None
        return _Span(self._tracer.start_span(name, context=context, attributes=dict(attributes)))

    async def close(self) -> None:
        """Send the last spans."""
        ended = beside(self._provider.shutdown, name="tracing")
        await asyncio.wait({ended}, timeout=LAST)
        fault = ended.exception() if ended.done() else None
        if not ended.done() or fault is not None:
            log.warning("tracing.unsent", error="the collector does not answer" if fault is None else str(fault))


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

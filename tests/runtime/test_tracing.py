"""Spans at a collector's stub: their trace, their parents, and what they say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from trace_collector import Collector

from notifier.core.trace import trace_id, traceparent_fault
from notifier.runtime.otel import OtelTracing
from notifier.runtime.tracing import UNTRACED

TRACE = f"00-{'a' * 32}-{'1' * 16}-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def test_spans_belong_to_the_trace_of_their_parent(collector: Collector) -> None:
    """What happens inside of one is its child; without a parent a trace begins."""
    tracing = OtelTracing(collector.url, headers={"x-key": "k"}, service="mine")
    with tracing.span("observe", TRACE, {"notifier.task": "1"}) as outer:
        with tracing.span("commit", outer.traceparent, {}) as inner:
            inner.note(events=2)
        with tracing.span("attempt", inner.traceparent, {}) as attempt:
            attempt.fail("http_500")
    with tracing.span("root", None, {}) as root:
        pass
    tracing.close()
    assert collector.services == {"mine"}
    assert collector.headers[0]["x-key"] == "k"
    spans = {span.name: span for span in collector.spans}
    assert {name: span.trace_id.hex() for name, span in spans.items() if name != "root"} == dict.fromkeys(
        ("observe", "commit", "attempt"), "a" * 32
    )
    assert spans["observe"].parent_span_id.hex() == "1" * 16
    assert spans["commit"].parent_span_id == spans["observe"].span_id
    assert spans["attempt"].parent_span_id == spans["commit"].span_id
    assert (spans["attempt"].status.code, spans["attempt"].status.message) == (2, "http_500")
    assert spans["root"].parent_span_id == b""
    assert root.traceparent is not None
    assert traceparent_fault(root.traceparent) is None
    assert trace_id(root.traceparent) != "a" * 32


def test_a_fault_ends_a_span_without_its_text(collector: Collector) -> None:
    """The text of an exception may hold anything."""
    tracing = OtelTracing(collector.url, headers={}, service="mine")
    with pytest.raises(ValueError, match="s3cret"), tracing.span("commit", TRACE, {}):
        raise ValueError("s3cret")
    tracing.close()
    [span] = collector.spans
    assert (span.status.code, span.status.message) == (2, "ValueError")
    assert b"s3cret" not in span.SerializeToString()


def test_without_tracing_the_trace_goes_on_as_it_came() -> None:
    for parent in (TRACE, None):
        with UNTRACED.span("attempt", parent, {}) as span:
            span.note(a=1)
            span.fail("x")
            assert span.traceparent == parent
    UNTRACED.close()


def test_only_who_traces_loads_the_library() -> None:
    """It takes a tenth of a second."""
    program = "import sys, notifier.daemon.app; assert 'opentelemetry' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)

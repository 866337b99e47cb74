"""Spans at a collector's stub: their trace, their parents, and what they say."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from ports import free_port
from structlog.testing import capture_logs
from trace_collector import Collector
from waits import PATIENCE, measured_lag

from notifier.core.trace import trace_id, traceparent_fault
from notifier.runtime import otel
from notifier.runtime.otel import OtelTracing
from notifier.runtime.tracing import UNTRACED

TRACE = f"00-{'a' * 32}-{'1' * 16}-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Wait for the library's threads: they draw from `random`, and Hypothesis bears that in no other test."""
    yield
    for thread in threading.enumerate():
        if thread.name.startswith(("Otel", "tracing")):
            thread.join(PATIENCE)
            assert not thread.is_alive()


async def test_spans_belong_to_the_trace_of_their_parent(collector: Collector) -> None:
    """What happens inside of one is its child; without a parent a trace begins."""
    tracing = OtelTracing(collector.url, headers={"x-key": "k"}, service="mine")
    with tracing.span("observe", TRACE, {"notifier.task": "1"}) as outer:
        with tracing.span("commit", outer.traceparent, {}) as inner:
            inner.note(events=2)
        with tracing.span("attempt", inner.traceparent, {}, request=True) as attempt:
            attempt.fail("http_500")
    with tracing.span("root", None, {}) as root:
        pass
    await tracing.close()
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
    assert {name: span.kind for name, span in spans.items()} == {"observe": 1, "commit": 1, "attempt": 3, "root": 1}
    assert spans["root"].parent_span_id == b""
    assert root.traceparent is not None
    assert traceparent_fault(root.traceparent) is None
    assert trace_id(root.traceparent) != "a" * 32


async def test_a_fault_ends_a_span_without_its_text(collector: Collector) -> None:
    """The text of an exception may hold anything."""
    tracing = OtelTracing(collector.url, headers={}, service="mine")
    with pytest.raises(ValueError, match="s3cret"), tracing.span("commit", TRACE, {}):
        raise ValueError("s3cret")
    await tracing.close()
    [span] = collector.spans
    assert (span.status.code, span.status.message) == (2, "ValueError")
    assert b"s3cret" not in span.SerializeToString()


async def test_without_tracing_the_trace_goes_on_as_it_came() -> None:
    for parent in (TRACE, None):
        with UNTRACED.span("attempt", parent, {}) as span:
            span.note(a=1)
            span.fail("x")
            assert span.traceparent == parent
    await UNTRACED.close()


async def test_a_collector_that_does_not_answer_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last spans are given up after a while, and the loop runs meanwhile."""
    monkeypatch.setattr(otel, "LAST", 0.2)
    monkeypatch.setattr(otel, "TIMEOUT", 3)
    with socket.create_server(("127.0.0.1", 0)) as silent, capture_logs() as lines:
        tracing = OtelTracing(f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces", headers={}, service="mine")
        with tracing.span("observe", None, {}):
            pass
        async with measured_lag() as lag:
            began = time.monotonic()
            await tracing.close()
            assert time.monotonic() - began < otel.TIMEOUT / 2 + lag()
    assert [line["event"] for line in lines] == ["tracing.unsent"]


async def test_a_collector_that_takes_nothing_is_told_once(collector: Collector) -> None:
    """With the reason, and without a key that is in the URL; and once when it takes spans again."""
    with capture_logs() as lines:
        tracing = OtelTracing(f"{collector.url}?key=s3cret", headers={}, service="mine")
        for status in (400, 401, 200, 200, 403):
            collector.status = status
            with tracing.span("observe", None, {}):
                pass
            await asyncio.to_thread(tracing.flush)
        await tracing.close()
    assert [line["event"] for line in lines] == ["tracing.unavailable", "tracing.recovered", "tracing.unavailable"]
    assert "400" in lines[0]["error"]
    assert "s3cret" not in str(lines)


async def test_a_collector_that_is_away_is_told_without_its_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library quotes it, with whatever key it holds."""
    monkeypatch.setattr(otel, "TIMEOUT", 3)
    with capture_logs() as lines:
        tracing = OtelTracing(f"http://127.0.0.1:{free_port()}/s3cret?key=s3cret", headers={}, service="mine")
        with tracing.span("observe", None, {}):
            pass
        await asyncio.to_thread(tracing.flush)
        await tracing.close()
    assert [line["event"] for line in lines] == ["tracing.unavailable"]
    assert "refused" in str(lines)
    assert "s3cret" not in str(lines)


def test_only_who_traces_loads_the_library() -> None:
    """It takes a tenth of a second."""
    program = "import sys, notifier.daemon.app; assert 'opentelemetry' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)

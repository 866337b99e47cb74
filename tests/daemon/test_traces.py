"""The trace of who submitted a task: from the configuration to the callback, and in the log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from daemon_rig import serving
from parts import SECRET, transcript
from structlog.testing import capture_logs
from trace_collector import Collector

from notifier.core.trace import trace_id
from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator

TRACE = f"00-{'a' * 32}-{'1' * 16}-01"
TEXT = """
sources: {{vidu: {{preset: vidu, base_url: "{upstream}", token: t}}}}
endpoints: {{app: {{type: webhook, url: "{app}", secrets: [{secret}], retry_schedule: [0s, 0s]}}}}
watches: [{{id: "1", traceparent: {trace}}}, "2"]
store: {{url: "sqlite:///{directory}/n.db"}}
http: {{listen: "127.0.0.1:0"}}
shutdown_timeout: 5s
"""


async def test_a_trace_reaches_the_callback_and_the_log(tmp_path: Path) -> None:
    """Each attempt carries it, retries too; log lines of the watch and of its deliveries name its id."""
    async with (
        Simulator(transcript=transcript("success")) as sim,
        Listener(secrets=[SECRET], respond="500,500,200") as app,
    ):
        path = tmp_path / "config.yaml"
        path.write_text(TEXT.format(directory=tmp_path, upstream=sim.base_url, app=app.url, secret=SECRET, trace=TRACE))
        with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
            async with serving(path):
                await app.wait(4)
    traces = {(callback.watch, callback.traceparent) for callback in app.callbacks}
    assert traces == {("1", TRACE), ("2", None)}
    named = [line.get("trace_id") for line in lines if line["event"] == "delivery.retrying"]
    assert sorted(named, key=str) == sorted([trace_id(TRACE), None], key=str)


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


async def test_a_daemon_tells_a_collector(tmp_path: Path, collector: Collector) -> None:
    """Observe, commit and attempt, in the trace of who submitted the task; the callback is a child of its attempt."""
    async with Simulator(transcript=transcript("success")) as sim, Listener(secrets=[SECRET]) as app:
        path = tmp_path / "config.yaml"
        text = TEXT.format(directory=tmp_path, upstream=sim.base_url, app=app.url, secret=SECRET, trace=TRACE)
        path.write_text(f'{text}tracing: {{url: "{collector.url}", service: mine}}\n')
        async with serving(path):
            await app.wait(2)
    mine = {span.name: span for span in collector.spans if span.trace_id.hex() == "a" * 32}
    assert mine.keys() == {"observe", "commit", "attempt"}
    assert mine["observe"].parent_span_id.hex() == "1" * 16
    assert mine["commit"].parent_span_id == mine["observe"].span_id
    assert mine["attempt"].parent_span_id == mine["commit"].span_id
    [callback] = [callback for callback in app.callbacks if callback.watch == "1"]
    assert callback.traceparent == f"00-{'a' * 32}-{mine['attempt'].span_id.hex()}-01"
    [other] = [callback for callback in app.callbacks if callback.watch == "2"]
    assert other.traceparent is not None

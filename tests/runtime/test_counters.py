"""Counters and histograms show the same text as those of prometheus_client."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from notifier.runtime.counters import CounterFamily, HistogramFamily
from notifier.runtime.metrics import COMMIT_BUCKETS, LATENCY_BUCKETS

CREATED = re.compile(rb"(?m)^(\w+_created.*) \d\.\d+e\+09$")
LABELS = ("endpoint", "outcome")
SERIES = (("app", "delivered"), ("chat", "failed"), ('a "quoted"\\ name\n', "ü"))
MEASURED = (0.0, 0.0005, 0.00050001, 0.001, 0.3, 1, 59.9, 60.0, 86400.0, 1e9)


def shown(registry: CollectorRegistry) -> bytes:
    """Return the text, without the moments at which the series began."""
    return CREATED.sub(rb"\1 then", generate_latest(registry))


def test_counters_show_what_those_of_the_library_do() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    family = CounterFamily("some_events", 'Words \\ with\nodd "signs".', LABELS, registry=ours)
    counter = prometheus_client.Counter("some_events", 'Words \\ with\nodd "signs".', LABELS, registry=theirs)
    assert shown(ours) == shown(theirs)
    for count, values in enumerate(SERIES):
        family.labels(*values).value += count
        counter.labels(*values).inc(count)
        assert shown(ours) == shown(theirs)
    family.labels(*SERIES[0]).value += 2_000_000
    counter.labels(*SERIES[0]).inc(2_000_000)
    assert shown(ours) == shown(theirs)
    assert shown(ours).count(b"_created{") == len(SERIES)


@pytest.mark.parametrize("labels", [(), LABELS])
@pytest.mark.parametrize("buckets", [COMMIT_BUCKETS, LATENCY_BUCKETS])
def test_histograms_show_what_those_of_the_library_do(labels: tuple[str, ...], buckets: tuple[float, ...]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    family = HistogramFamily("some_seconds", "Words.", labels, buckets=buckets, registry=ours)
    histogram = prometheus_client.Histogram("some_seconds", "Words.", labels, buckets=buckets, registry=theirs)
    for values in SERIES if labels else [()]:
        mine, other = family.labels(*values), histogram.labels(*values) if labels else histogram
        assert shown(ours) == shown(theirs)
        for amount in (*MEASURED, *buckets):
            mine.observe(amount)
            other.observe(amount)
        assert shown(ours) == shown(theirs)


def test_a_series_is_made_once() -> None:
    family = CounterFamily("some_events", "Words.", LABELS, registry=CollectorRegistry())
    assert family.labels("app", "failed") is family.labels("app", "failed")
    assert family.labels("app", "failed") is not family.labels("app", "delivered")


def test_each_label_has_a_value() -> None:
    family = CounterFamily("some_events", "Words.", LABELS, registry=CollectorRegistry())
    with pytest.raises(ValueError, match="some_events has the labels"):
        family.labels("app")


def test_series_tell_their_beginning_unless_the_environment_forbids_it() -> None:
    """The variable is prometheus_client's own."""
    code = (
        "from notifier.runtime.metrics import Metrics; metrics = Metrics(); "
        "metrics.events.labels('task.failed').value += 1; print(metrics.render().decode())"
    )
    for disabled in (False, True):
        told = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PROMETHEUS_DISABLE_CREATED_SERIES": str(disabled)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert 'notifier_events_total{type="task.failed"} 1.0' in told
        assert ("_created" in told) is not disabled

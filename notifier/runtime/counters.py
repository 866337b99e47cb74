"""Counters and histograms that the loop's thread alone changes; prometheus_client collects them when it is asked.

Its own take a lock and seven calls each time. Here a count is an addition, and a measurement one call.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client import metrics
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import CollectorRegistry


class Counter:
    """One series of a counter; its user adds to `value`."""

    __slots__ = ("created", "value")

    def __init__(self) -> None:
        self.value = 0
        self.created = time.time()


class Histogram:
    """The series of a histogram for one set of labels."""

    __slots__ = ("_bounds", "counts", "created", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)  # by bucket; the last one has no bound
        self.sum = 0.0
        self.created = time.time()

    def observe(self, amount: float) -> None:
        """Count a measurement."""
        self.counts[bisect_left(self._bounds, amount)] += 1
        self.sum += amount


T = TypeVar("T", Counter, Histogram)


class Family(ABC, Generic[T]):
    """A metric: a counter or histogram for each set of labels that was asked for."""

    def __init__(self, name: str, words: str, labelnames: Sequence[str] = (), *, registry: CollectorRegistry) -> None:
        self._name, self._words, self._labelnames = name, words, tuple(labelnames)
        self._made: dict[tuple[str, ...], T] = {}
        registry.register(self)

    def labels(self, *values: str) -> T:
        """Return the one with these values of the labels. It is shown from now on."""
        made = self._made.get(values)
        if made is None:
            if len(values) != len(self._labelnames):
                raise ValueError(f"{self._name} has the labels {self._labelnames}, not {values}")
            made = self._made[values] = self._make()
        return made

    @abstractmethod
    def collect(self) -> Iterator[Metric]:
        """Return the samples of all."""

    @abstractmethod
    def _make(self) -> T: ...


class CounterFamily(Family[Counter]):
    """A counter."""

    def collect(self) -> Iterator[Metric]:
        """Return the samples of all."""
        family = CounterMetricFamily(self._name, self._words, labels=self._labelnames)
        for values, counter in self._made.items():
            family.add_metric(values, counter.value, counter.created if _SHOWS_CREATED else None)
        yield family

    def _make(self) -> Counter:
        return Counter()


class HistogramFamily(Family[Histogram]):
    """A histogram. Its buckets are upper bounds, ascending; one more has none."""

    def __init__(
        self,
        name: str,
        words: str,
        labelnames: Sequence[str] = (),
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        super().__init__(name, words, labelnames, registry=registry)
        self._buckets = buckets
        self._bounds = [*map(str, buckets), "+Inf"]

    def collect(self) -> Iterator[Metric]:
        """Return the samples of all."""
        family = HistogramMetricFamily(self._name, self._words, labels=self._labelnames)
        for values, histogram in self._made.items():
            buckets = list(zip(self._bounds, accumulate(histogram.counts), strict=True))
            family.add_metric(values, buckets, histogram.sum)
            if _SHOWS_CREATED:
                labels = dict(zip(self._labelnames, values, strict=True))
                family.add_sample(f"{self._name}_created", labels, histogram.created)
        yield family

    def _make(self) -> Histogram:
        return Histogram(self._buckets)


def _shows_created() -> bool:
    """Return whether prometheus_client shows when a series began: an environment variable of its own forbids that."""
    [family] = metrics.Counter("any", "", registry=None).collect()
    return len(family.samples) > 1


_SHOWS_CREATED = _shows_created()

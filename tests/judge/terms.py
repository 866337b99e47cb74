"""What was agreed for a run: how endpoints are to be treated, and whether there was time to finish."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

SCHEDULE = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)  # seconds; the documented one


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointTerms:
    """How one endpoint is to be treated."""

    schedule: tuple[float, ...] = SCHEDULE  # seconds before each attempt
    ordering: Literal["strict", "latest"] = "strict"
    types: tuple[str, ...] = ("task.*", "watch.lost")  # of events that go to it, as globs
    gapless: bool = True  # False: it came or changed in the middle of the run, or hears of some tasks alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What was agreed."""

    endpoints: Mapping[str, EndpointTerms] = field(default_factory=dict)  # others are treated as documented
    slack: float = 0.02  # seconds that notes of the recorder may be late
    heard: float = 0.0  # seconds that an answer takes at most to whoever waits for it, where the network is slow
    gives_up: float = 0.0  # seconds after which a sender gives an attempt up
    patient: bool = True  # the run went on until all was quiet: nothing may be left over
    polled: frozenset[str] = frozenset()  # sources without streams
    pruned: bool = False  # rows of ended watches may have been deleted
    deadlines: Mapping[str, float] = field(default_factory=dict)  # seconds that a task may take, by source
    aside: frozenset[str] = frozenset()  # endpoints of which nothing is asked: not all that they got is in the record
    lost: frozenset[str] = frozenset()  # source/id of tasks that may be given up: unknown to the upstream, or endless

    def endpoint(self, name: str) -> EndpointTerms:
        """Return the terms of an endpoint."""
        return self.endpoints.get(name, _DOCUMENTED)


_DOCUMENTED = EndpointTerms()

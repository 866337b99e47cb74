"""Mutes: endpoints that people read are silenced for a while, wholly or for tasks with certain labels. Pure.

Events during a mute are never sent, not even later: a delivery that could not be sent until the mute was over is muted
all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from notifier.core.model import Micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Mute:
    """One mute."""

    id: str
    until: Micros
    created_at: Micros
    endpoint: str | None = None  # None: every endpoint that people read
    labels: Mapping[str, str] = field(default_factory=dict)  # of the watch, all of them; none: every event
    comment: str | None = None

    def covers(self, endpoint: str, labels: Mapping[str, str], *, at: Micros, now: Micros) -> bool:
        """Return whether a delivery is muted; `at` is when its event happened."""
        active = now < self.until or self.created_at <= at < self.until
        return (
            active and self.concerns(endpoint) and all(labels.get(key) == value for key, value in self.labels.items())
        )

    def concerns(self, endpoint: str) -> bool:
        """Return whether it may mute deliveries to an endpoint."""
        return self.endpoint is None or self.endpoint == endpoint


def covering(
    mutes: Iterable[Mute], endpoint: str, labels: Mapping[str, str], *, at: Micros, now: Micros
) -> Mute | None:
    """Return a mute that covers a delivery; arguments as for `Mute.covers`."""
    return next((mute for mute in mutes if mute.covers(endpoint, labels, at=at, now=now)), None)

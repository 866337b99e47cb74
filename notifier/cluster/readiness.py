"""The daemon's state as others see it: whether it has started, whether it stops, and where its listener is."""

from __future__ import annotations

from notifier.store import Store

STOPPING = "stopping"


class Readiness:
    """Set by the application; read by health checks and other nodes."""

    def __init__(self) -> None:
        self.started = False
        self.stopping = False
        self.address: str | None = None  # of the HTTP listener, once it is open

    def problem(self, store: Store | None) -> str | None:
        """Return the reason why the daemon is not ready; None if it is. `store` is None until it is open."""
        if not self.started or store is None:
            return "starting"
        if self.stopping:
            return STOPPING
        if not store.available:
            return "the store cannot be written"
        if not store.holds():
            return "no answer from the store for node.timeout: other nodes may have taken over"
        return None

"""Whether a delivery is still this node's to send, asked in the step that writes it."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

# Of the attempt that the current task makes: whether the delivery is surely still this node's to send.
claim_holds: ContextVar[Callable[[], bool]] = ContextVar("claim_holds", default=lambda: True)

"""What the daemon asks of an input."""

from __future__ import annotations

from typing import Protocol


class Input(Protocol):
    """Takes watches from outside and has them stored."""

    name: str  # for logs and metrics; holds nothing secret

    async def run(self) -> None:
        """Take until cancelled.

        What was taken is given up outside only after its commit. A fault of the outside is waited out, never raised.
        """
        ...

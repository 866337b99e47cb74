"""Whose files say what is wanted, where several nodes each have a copy of them. Pure.

The last that was applied holds. A node that starts with a copy that another had before does not undo what came since; a
node alone does, and so does whoever insists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """What a node has: the watches that its files list, as a digest."""

    node: str  # its name
    digest: str | None  # None: it has not read them yet


def newer(
    digest: str, *, before: str | None, current: str | None, superseded: bool, others: Sequence[Copy]
) -> Copy | None:
    """Return the copy that holds instead of this one, which nobody insists on; None: this one is to be applied.

    `before` is what this node had until now, `superseded` whether this one was in force once and is no more, `current`
    what is. That somebody alive has it is asked for, so that files that are rolled back everywhere hold again.
    """
    if not superseded or before not in (None, digest):
        return None
    return next((copy for copy in others if copy.digest == current), None)

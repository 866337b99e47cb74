"""The interfaces of sources: one opens a stream of observations for each task, one asks for a task's state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from notifier.core.errors import Unreadable
from notifier.core.model import NONE, Observation
from notifier.sources.plan import SourceSettings


class Stream(Protocol):
    """One open subscription to one task."""

    observations: int  # read so far on this connection, repeats included
    unread: Unreadable | None  # why the last snapshot was skipped; None if it could be read
    last_activity: float  # loop time of the last byte, comments included
    last_event_id: str  # of the events returned so far and of those skipped before them; empty: none had an ID
    retry: float | None  # seconds that the upstream asked us to wait before reconnecting (`retry:`)

    def __aiter__(self) -> Stream: ...

    async def __anext__(self) -> Observation:
        """Return the next snapshot whose bytes differ from the one before.

        Ends at the end of the stream. Raises SourceError when the connection broke or the upstream overstepped a limit.
        In both cases every snapshot received is returned first. A snapshot that cannot be read is skipped,
        unless it is the whole reply.
        """
        ...

    def close(self) -> None:
        """Close the connection at once; may be called twice. A reader that waits for a snapshot then sees the end."""
        ...


class Source(Protocol):
    """Follows tasks of one upstream. It does not know watches, retries or storage."""

    name: str

    async def open(self, task_id: str, *, last_event_id: str = "", variables: Mapping[str, str] = NONE) -> Stream:
        """Connect; return once the reply's head is in. Raises SourceError (see its subclasses for the kinds).

        `last_event_id` asks the upstream to go on behind that event; many ignore it. `variables` are the watch's own.
        """
        ...

    @property
    def settings(self) -> SourceSettings:
        """Return the settings of the next `open`."""
        ...

    def update(self, settings: SourceSettings) -> None:
        """Use these settings from the next `open` on; open streams stay as they are."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


@runtime_checkable
class PolledSource(Protocol):
    """Asks one upstream for the states of tasks. It does not know watches, retries or storage."""

    name: str

    async def look(self, task_id: str, *, variables: Mapping[str, str] = NONE) -> Observation:
        """Ask once, and return what the upstream says of the task. `variables` are the watch's own.

        Raises SourceError.
        """
        ...

    @property
    def settings(self) -> SourceSettings:
        """Return the settings of the next `look`."""
        ...

    def update(self, settings: SourceSettings) -> None:
        """Use these settings from the next `look` on."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...

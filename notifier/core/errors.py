"""Every error of the program. A class's docstring is its default message; details are attributes."""

from __future__ import annotations

from typing import ClassVar, Self


class NotifierError(Exception):
    """Something went wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class DecodeError(NotifierError):
    """The event stream broke a limit."""


class SourceError(NotifierError):
    """The upstream could not be read."""

    kind: ClassVar[str] = "failed"  # the name of the outcome in metrics and logs

    def __init__(self, message: str | None = None, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = b""  # how the reply begins, with the secrets that it may repeat: for rules, never to be shown

    def behind(self, note: str) -> Self:
        """Put a note behind the message; return the error."""
        self.args = (f"{self}{note}",)
        return self


class Refused(SourceError):
    """The upstream refuses the credentials or the request."""

    kind: ClassVar[str] = "refused"


class TaskNotFound(SourceError):
    """The upstream does not know the task."""

    kind: ClassVar[str] = "not_found"


class Unavailable(SourceError):
    """The upstream cannot be reached, or is not able to answer now."""

    kind: ClassVar[str] = "unavailable"

    def __init__(
        self, message: str | None = None, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, status=status)
        self.retry_after = retry_after  # seconds


class NoContent(SourceError):
    """The upstream answers 204: it has nothing to tell of the task."""

    kind: ClassVar[str] = "no_content"


class NoStream(SourceError):
    """The upstream has no stream for the task; it answers polls."""

    kind: ClassVar[str] = "no_stream"


class Unreadable(SourceError):
    """The upstream answered something that is no task state."""

    kind: ClassVar[str] = "unreadable"

    def __init__(self, message: str | None = None, *, status: int | None = None, excerpt: str = "") -> None:
        super().__init__(message, status=status)
        self.excerpt = excerpt  # the beginning of what could not be read, without credentials

    @property
    def in_full(self) -> str:
        """Return the message with the excerpt."""
        return f"{self}; it sent {self.excerpt}" if self.excerpt else str(self)


class StoreError(NotifierError):
    """The database cannot be used."""


class StoreUnavailable(StoreError):
    """The database cannot be reached or written; nothing was committed."""


class StoreTooNew(StoreError):
    """The database was written by a newer version."""


class StaleWrite(StoreError):
    """The watch or delivery was changed or taken by someone else; nothing was written."""


class NodeLost(StoreError):
    """Another node took over what this one owned; nothing was written."""


class StoreTooOld(StoreError):
    """The database was written by an older version."""

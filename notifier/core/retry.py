"""What an attempt meant, and when to try again. Pure: replies, `now` and randomness enter as arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from notifier.core.model import Micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """The endpoint accepted the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """It did not work this time; try again."""

    reason: str  # a short stable word for lists and metrics: `http_500`, `timeout`, `connect`, `dns`, `redirect` ...
    detail: str = ""  # for people; holds no URL and no secret
    retry_after: float | None = None  # seconds that the endpoint asked for
    throttle: bool = False  # hold the whole endpoint back, not only this message (429, 502, 503, 504)
    spend: bool = True  # False: costs neither an attempt of the schedule nor the endpoint's good name (429, own faults)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The endpoint is well but will never accept this message: it is dead at once."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """The endpoint is no more: disable it and keep its messages."""

    reason: str
    detail: str = ""


Outcome = Delivered | Failed | Rejected | Gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at a delivery, as kept in the attempt log."""

    at: Micros
    outcome: Outcome
    status: int | None = None  # of the reply; None when there was none
    seconds: float = 0.0  # in all
    phases: Mapping[str, float] = field(default_factory=dict)  # seconds by `dns`, `connect`, `first_byte`, `body`
    address: str | None = None  # the peer's IP address and port
    reply: str = ""  # the first KiB of the reply's text

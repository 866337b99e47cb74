"""What an attempt meant, and when to try again. Pure: replies, `now` and randomness enter as arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit

from notifier.core.model import Micros

LONGEST_HINT = 366 * 86_400.0  # seconds; keeps any `Retry-After` finite and representable as Micros
LONGEST_OBEYED = 86_400.0  # seconds of a hint that are obeyed: a slip of the endpoint must not silence it for a year
JITTER = 0.1  # of a wait, added to it at most: messages that failed together do not return together
UNSPENT_WAIT = 1.0  # seconds before a message is tried again whose attempt did not count
UNSPENT_SHARE = 0.1  # the same, as a share of the time for which it has waited
UNSPENT_LONGEST = 300.0  # the longest wait by that share, seconds
SCHEDULE = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)  # the usual waits, seconds
EXTRA_ABOVE = 60.0  # seconds of a wait, from which a message gets extra attempts before it
EXTRA_WAIT = 5.0  # seconds between them
EXTRA_ATTEMPTS = 16  # on average, where nothing else is refused
EXTRA_SHARE = 0.05  # of attempts that are refused, from which a refusal may be chance
THROTTLING = frozenset({429, 502, 503, 504})  # statuses that hold the whole endpoint back
_LONGEST_LOCATION = 200  # characters of a Location that are worth logging


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
    proves: bool = True  # False: a fault of this program came before an answer; it costs an attempt and proves nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The message must not be sent again: it is dead at once."""

    reason: str
    detail: str = ""
    well: bool | None = True  # it answered and is well; False: its silence counts as a failure; None: says nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """The endpoint is no more: disable it and keep its messages."""

    reason: str
    detail: str = ""


Outcome = Delivered | Failed | Rejected | Gone
DELIVERED = Delivered()


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


def next_attempt(
    *,
    attempts_made: int,
    schedule: tuple[float, ...],
    jitter: float,
    retry_after: float | None = None,
    longest_obeyed: float = LONGEST_OBEYED,
) -> float | None:
    """Return the seconds to wait before the next attempt; None when there is none left and the message is dead.

    `schedule` has one entry for each attempt: attempt k begins `schedule[k - 1]` after attempt k - 1 ended, the first
    one that long after the event. `attempts_made` counts the attempts spent, the one just made included; 0 asks for
    the first. `jitter`, from [0, 1), lengthens the wait by up to a tenth and never shortens it. A hint of the endpoint
    lengthens it too, as far as `longest_obeyed`.
    """
    if attempts_made >= len(schedule):
        return None
    stretch = 1 + JITTER * jitter
    return max(schedule[attempts_made] * stretch, min((retry_after or 0.0) * stretch, longest_obeyed))


def after_unspent(
    *, jitter: float, retry_after: float | None = None, age: float = 0.0, longest_obeyed: float = LONGEST_OBEYED
) -> float:
    """Return the seconds to wait after an attempt that did not count (`Failed.spend` is False); its number stays.

    Short, since the message did nothing wrong: the breaker holds the endpoint back, ever longer (`core/breaker.py`).
    `age` is for how many seconds the endpoint could have accepted the message; 0 where the fault is not its own. An
    endpoint that refuses this message for ever and accepts others is asked ever more rarely, unless it says when to:
    no number of attempts ends that.
    """
    wait = min(UNSPENT_SHARE * age, UNSPENT_LONGEST) if retry_after is None else retry_after
    return min(max(UNSPENT_WAIT, wait) * (1 + JITTER * jitter), longest_obeyed)


def extra_attempt(wait: float, *, refused_share: float, draw: float, jitter: float) -> float | None:
    """Return the seconds to an attempt beside the schedule, which costs nothing; None: there is none.

    An endpoint that refuses a share of everything and accepts the rest says little about a single message. So before a
    `wait` of minutes or hours the message gets more attempts: about EXTRA_ATTEMPTS, and more of them the more is
    refused. Chance limits them, since no number of them is stored: `draw` is from [0, 1).
    """
    if wait <= EXTRA_ABOVE or refused_share < EXTRA_SHARE or draw < (1 - refused_share) / EXTRA_ATTEMPTS:
        return None
    return EXTRA_WAIT * (1 + JITTER * jitter)


_PATIENT = frozenset({"http_408", "http_425", "http_429"})  # those of 4xx that say nothing of the message


def may_be_outage(reason: str | None) -> bool:
    """Return whether a failure of that reason may have been the endpoint's state, and not the message or the setup.

    A 4xx or a redirect, a refusal by this program and a fault of its own would come again now that the endpoint is
    well.
    """
    if reason is None or reason in ("redirect", "forbidden_address", "url", "internal"):
        return False
    return reason in _PATIENT or not reason.startswith("http_4")


def classify_http(status: int, headers: Mapping[str, str], *, now: Micros, hide: tuple[str, ...] = ()) -> Outcome:
    """Judge a reply by its status.

    `headers` ignores the case of names or has them in lower case; `hide` are texts that must not get into a detail.
    """
    if 200 <= status < 300:
        return DELIVERED
    if 300 <= status < 400:
        # Never followed: a 301, 302 or 303 would turn the POST into a GET without a body (RFC 9110 section 15.4).
        return Failed(reason="redirect", detail=f"{status} to {_harmless(headers.get('location', ''), hide)}")
    if status == 410:
        return Gone(reason="http_410", detail="the endpoint answered 410 Gone")
    hint = headers.get("retry-after")
    return Failed(
        reason=f"http_{status}",
        detail=f"the endpoint answered {status}",
        retry_after=None if hint is None else parse_retry_after(hint, now, headers.get("date", "")),
        throttle=status in THROTTLING,
        spend=status != 429,
    )


MAX_SKEW = 86_400_000_000  # microseconds; a Date that is off by more was not read from a clock
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")
_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_DATES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (  # RFC 9110 section 5.6.7; the name of the weekday is not checked
        rf"[a-z]{{3}}, (?P<day>[0-9]{{1,2}}) (?P<month>[a-z]{{3}}) (?P<year>[0-9]{{4}}) {_TIME} (?:GMT|UTC|\+0000)",
        rf"[a-z]{{6,9}}, (?P<day>[0-9]{{2}})-(?P<month>[a-z]{{3}})-(?P<year>[0-9]{{2}}) {_TIME} GMT",  # RFC 850
        rf"[a-z]{{3}} (?P<month>[a-z]{{3}}) (?P<day>[ 0-9][0-9]) {_TIME} (?P<year>[0-9]{{4}})",  # asctime
    )
)


def parse_retry_after(value: str, now: Micros, date: str = "") -> float | None:
    """Read a `Retry-After` (RFC 9110 section 10.2.3) as seconds from `now`, 0.0 to LONGEST_HINT.

    Decimals, which several services send, count as seconds. A past date is 0.0; anything else is None. Never raises.
    `date` is the reply's own Date: a clock there that is off, by MAX_SKEW at most, names the right pause all the same.
    """
    text = value.strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), LONGEST_HINT)
    at, theirs = _moment(text, now), _moment(date.strip(), now)
    if at is None:
        return None
    since = now if theirs is None or abs(theirs - now) > MAX_SKEW else theirs
    return min(max(0.0, (at - since) / 1_000_000), LONGEST_HINT)


def _moment(text: str, now: Micros) -> Micros | None:
    """Return the moment that an HTTP-date names; None if it is none."""
    for pattern in _DATES:
        if found := pattern.fullmatch(text):
            return _instant(found.groupdict(), now)
    return None


def _instant(parts: Mapping[str, str], now: Micros) -> Micros | None:
    """Return the moment that a matched HTTP-date names; None if there is no such date."""
    if parts["month"].lower() not in _MONTHS:
        return None
    year = int(parts["year"])
    if len(parts["year"]) == 2:
        # RFC 9110 section 5.6.7: a year that seems more than 50 years ahead is the latest past one with these digits.
        this = 1970 + now // 31_556_952_000_000
        year += this - this % 100
        year -= 100 if year > this + 50 else 0
    try:
        at = datetime(
            year,
            _MONTHS.index(parts["month"].lower()) + 1,
            int(parts["day"]),
            int(parts["hour"]),
            int(parts["minute"]),
            min(int(parts["second"]), 59),  # 60 is a leap second
            tzinfo=UTC,
        )
    except ValueError:
        return None
    return (at - _EPOCH) // timedelta(microseconds=1)


def _harmless(location: str, hide: tuple[str, ...]) -> str:
    """Return a `Location` without what may be secret: user, query, fragment and the endpoint's own path."""
    try:
        parts = urlsplit(location)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "an unreadable Location"
    text = (f"{parts.scheme}:" if parts.scheme else "") + (f"//{host}" if host else "") + parts.path
    for secret in hide:
        text = text.replace(secret, "***")
    text = quote(text, safe="/:%[]@!$&'()*+,;=~")[:_LONGEST_LOCATION]
    return (text + ("?***" if parts.query else "")) or "nowhere: no Location"

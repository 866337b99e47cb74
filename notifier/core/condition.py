"""An endpoint's state in words: ok, slowed, paused, failing, disabled, and why. Pure.

People, the API and the metrics get these words; no decision depends on them.
"""

from __future__ import annotations

import math
from enum import StrEnum

from notifier.core.breaker import Breaker, State
from notifier.core.model import Micros
from notifier.core.recent import Shares

SLOWED_SHARE = 0.01  # of attempts that are refused, from which an endpoint is called slowed
SLOWED_COUNT = 3  # refused attempts in a minute, from which an endpoint is called slowed


class Condition(StrEnum):
    """An endpoint's state as people, the API and metrics name it."""

    OK = "ok"  # it accepts what it gets
    SLOWED = "slowed"  # it refuses a share
    PAUSED = "paused"  # it gets nothing for a time that it asked for, or for a fault of this side
    FAILING = "failing"  # it accepts nothing, and gets probes only
    DISABLED = "disabled"  # it gets nothing until somebody enables it


_WORDS = {
    "timeout": "time out",
    "connect": "find no connection",
    "reset": "lose their connection",
    "tls": "fail at TLS",
    "dns": "find no address",
    "redirect": "are redirected",
    "rate_limited": "are answered that the rate is too high",
}
_BY_STATE = {
    State.CLOSED: Condition.OK,
    State.THROTTLED: Condition.PAUSED,
    State.OPEN: Condition.FAILING,
    State.HALF_OPEN: Condition.FAILING,
    State.DISABLED: Condition.DISABLED,
}


def condition(breaker: Breaker, shares: Shares, now: Micros) -> Condition:
    """Return an endpoint's state in the words that people read."""
    match breaker.state:
        case State.DISABLED:
            return Condition.DISABLED
        case State.OPEN | State.HALF_OPEN:
            return Condition.FAILING
        case State.THROTTLED if not breaker.ready(now):
            return Condition.PAUSED
        case State.CLOSED | State.THROTTLED:  # pragma: no branch  there is no other state
            slowed = shares.refused >= SLOWED_COUNT and shares.share >= SLOWED_SHARE
            return Condition.SLOWED if slowed else Condition.OK


def word(state: State) -> Condition:
    """Return the word for a breaker's state, as far as that alone tells."""
    return _BY_STATE[state]


def explain(breaker: Breaker, shares: Shares, now: Micros) -> str | None:
    """Return the reason for an endpoint's condition; None if it is ok, or disabled, for which others have a reason."""
    match condition(breaker, shares, now):
        case Condition.PAUSED:
            return f"nothing is sent for {max(1, math.ceil((breaker.not_before - now) / 1e6))} s"
        case Condition.SLOWED | Condition.FAILING if shares.refused:
            return describe(shares)
        case _:
            return None


def describe(shares: Shares) -> str:
    """Return what an endpoint does with attempts: `12 % of attempts are answered 503`."""
    reason = shares.reason or ""
    percent = 100 * shares.share
    number = f"{percent:.0f}" if percent >= 1 else f"{percent:.1f}"
    what = f"are answered {reason[5:]}" if reason.startswith("http_") else _WORDS.get(reason, f"fail as {reason}")
    return f"{number} % of attempts {what}"

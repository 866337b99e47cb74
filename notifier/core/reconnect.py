"""When to connect again after a stream ended, or to give up. Pure: `now` and `jitter` enter as arguments.

Delays are full-jitter exponential backoff. It starts afresh only once an observation has arrived: a peer that accepts
and drops at once would otherwise be called thousands of times a second.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from notifier.core.errors import NoContent, Refused, SourceError, TaskNotFound, Unavailable, Unreadable
from notifier.core.model import LostReason, Micros
from notifier.core.pace import backoff

MAX_HINT = 3600.0  # seconds; a Retry-After or `retry:` beyond an hour is taken as an hour
LAST_LOOK = 5.0  # seconds for which an upstream that cannot be reached is asked past a deadline, at least
LAST_LOOK_SHARE = 0.1  # of the deadline, for which it is asked at most


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectPolicy:
    """A source's patience; all in seconds. The defaults are the configuration's."""

    backoff_initial: float
    backoff_max: float
    not_found_grace: float
    give_up_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What a watch remembers of its connections that failed."""

    failures: int = 0  # in a row without an observation
    trouble: LostReason | None = None  # what it will be given up for
    since: Micros = 0  # when that began


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Connect again after `delay` seconds."""

    delay: float
    health: Health


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """Stop: the watch is lost."""

    reason: LostReason
    detail: str


WELL = Health()


def after(
    ending: SourceError | None,
    health: Health,
    policy: ReconnectPolicy,
    *,
    observed: bool,
    hint: float | None,
    now: Micros,
    jitter: float,
) -> Wait | GiveUp:
    """Decide what follows a connection.

    `ending`: why it ended, None for an orderly end. `observed`: whether it brought any observation. `hint`: the
    stream's own `retry:`, seconds. `jitter`: random in [0, 1).
    """
    if observed:
        health = WELL
    health = replace(health, failures=health.failures + 1)
    match ending:
        case None if observed:  # no trouble: soon, but never at once
            return Wait(delay=max(_hint(hint), policy.backoff_initial * (1 + jitter) / 2), health=health)
        case None | NoContent():
            delay = _backoff(health, policy, jitter) if ending is None else policy.backoff_max * (1 + jitter) / 2
            return Wait(delay=max(_hint(hint), delay), health=health)
        case TaskNotFound():
            return _bear(LostReason.NOT_FOUND, ending, health, policy.not_found_grace, policy, now, jitter)
        case Refused():
            return _bear(LostReason.REFUSED, ending, health, policy.give_up_after, policy, now, jitter)
        case Unreadable():
            return _bear(LostReason.UNREADABLE, ending, health, policy.give_up_after, policy, now, jitter)
        case Unavailable(retry_after=retry_after):
            wait = max(_hint(hint), _hint(retry_after), _backoff(health, policy, jitter))
            return Wait(delay=wait, health=health)
        case _:
            return Wait(delay=max(_hint(hint), _backoff(health, policy, jitter)), health=health)


def after_deadline(
    decision: Wait | GiveUp, policy: ReconnectPolicy, *, deadline: float, looked: bool, asking: float
) -> Wait | GiveUp:
    """Decide what follows a connection that ended after the watch's deadline, where `decision` would follow otherwise.

    The watch is lost once the upstream was asked (`looked`). An upstream that cannot be reached is asked again for
    a tenth of `deadline`, but no longer than `give_up_after`; `asking` is the time for which it has been asked. All
    are seconds.
    """
    if isinstance(decision, GiveUp):
        return decision
    left = max(LAST_LOOK, min(policy.give_up_after, LAST_LOOK_SHARE * deadline)) - asking
    if looked or left <= 0:
        return GiveUp(reason=LostReason.DEADLINE, detail=f"no terminal state within {deadline:g} s")
    return Wait(delay=min(decision.delay, left), health=decision.health)


def _backoff(health: Health, policy: ReconnectPolicy, jitter: float) -> float:
    return backoff(health.failures, initial=policy.backoff_initial, ceiling=policy.backoff_max, jitter=jitter)


def _hint(seconds: float | None) -> float:
    return 0.0 if seconds is None else min(max(0.0, seconds), MAX_HINT)


def _bear(
    trouble: LostReason,
    ending: SourceError,
    health: Health,
    patience: float,
    policy: ReconnectPolicy,
    now: Micros,
    jitter: float,
) -> Wait | GiveUp:
    """Bear with a trouble that may not pass by itself; the last try comes when patience ends, not before."""
    if health.trouble is not trouble:
        health = replace(health, trouble=trouble, since=now)
    left = patience - (now - health.since) / 1e6
    if left <= 0:
        return GiveUp(reason=trouble, detail=str(ending))
    slow = policy.backoff_max * (1 + jitter) / 2
    delay = slow if trouble is LostReason.REFUSED else _backoff(health, policy, jitter)
    return Wait(delay=min(delay, left), health=health)

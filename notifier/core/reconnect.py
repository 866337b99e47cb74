"""When to connect again after a stream ended, or to give up. Pure: `now` and `jitter` enter as arguments.

Delays are full-jitter exponential backoff. It starts afresh only after a change, or a stream that lasted: a peer that
accepts and drops at once, or shows the same snapshot each time, would otherwise be called without end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from notifier.core.errors import NoContent, Refused, SourceError, TaskNotFound, Unavailable, Unreadable
from notifier.core.model import LostReason, Micros
from notifier.core.pace import backoff

MAX_HINT = 3600.0  # seconds; a Retry-After or `retry:` beyond an hour is taken as an hour
LAST_LOOK = 5.0  # seconds for which an upstream that cannot be reached is asked past a deadline, at least
EARLY_ENDS = 3  # streams in a row without a change that end early, after which there is no use in another
LAST_LOOK_SHARE = 0.1  # of the deadline, for which it is asked at most


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectPolicy:
    """A source's patience; all in seconds. The defaults are the configuration's."""

    backoff_initial: float
    backoff_max: float
    not_found_grace: float
    give_up_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a connection ended."""

    error: SourceError | None = None  # None: in order
    opened: bool = False  # the stream was opened
    observed: bool = False  # it brought a snapshot, be it a repeat
    silent: bool = False  # it brought no event at all, though it was asked for the task's state
    news: bool = False  # it brought a change
    unread: Unreadable | None = None  # why its last snapshot was skipped
    lasted: float = 0.0  # seconds for which the stream was open
    unnamed: bool = False  # an answer about several tasks says nothing of this one
    hint: float | None = None  # seconds that this stream, or one before, asked us to wait (`retry:`)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What a watch remembers of its connections."""

    attempts: int = 0  # in a row that brought no change and did not last; the pauses grow with them
    failures: int = 0  # in a row that ended in an error or brought nothing
    trouble: LostReason | None = None  # the reason for which the watch will be given up
    since: Micros = 0  # when that began
    error: str | None = None  # the last connection's
    unchanged: int = 0  # polls in a row that brought no change; the interval grows with them


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
    ending: Ending, health: Health, policy: ReconnectPolicy, *, now: Micros, jitter: float, spacing: float = 0.0
) -> Wait | GiveUp:
    """Decide what follows a connection. `jitter`: random in [0, 1). `spacing`: the shortest delay, in seconds.

    A change proves health; a repeat does not, since a fault may come behind the same first snapshot on every
    connection. A repeat ends troubles of another kind, though, and a stream that lasted starts the pauses afresh.
    """
    if ending.error is None and not ending.news and ending.lasted < policy.backoff_max:
        ending = replace(ending, error=ending.unread)  # the end may stand in what cannot be read, each time
    error, hint = ending.error, _hint(ending.hint)
    health = _after(ending, health, policy)
    pause, hint = _pause(health, policy), max(hint, spacing)
    match error:
        case None if ending.observed:  # no trouble, but never at once
            return Wait(delay=max(hint, pause * (1 + jitter) / 2), health=health)
        case TaskNotFound():
            return _bear(LostReason.NOT_FOUND, error, health, policy.not_found_grace, policy, now, jitter, spacing)
        case Refused():
            return _bear(LostReason.REFUSED, error, health, policy.give_up_after, policy, now, jitter, spacing)
        case Unreadable():
            return _bear(LostReason.UNREADABLE, error, health, policy.give_up_after, policy, now, jitter, spacing)
        case NoContent():
            return Wait(delay=max(hint, policy.backoff_max * (1 + jitter) / 2), health=health)
        case Unavailable(retry_after=retry_after):
            return Wait(delay=max(hint, _hint(retry_after), pause * jitter), health=health)
        case _:
            return Wait(delay=max(hint, pause * jitter), health=health)


def ended_early_again(ending: Ending, health: Health, policy: ReconnectPolicy) -> bool:
    """Return whether a stream has ended early, or was none but a page for people, as those before it were."""
    error = ending.error
    answered = ending.opened or (error is not None and error.status is not None and error.status < 300)
    early = answered and not ending.news and ending.lasted < policy.backoff_max
    return early and health.attempts + 1 >= EARLY_ENDS


def after_poll(
    ending: Ending,
    health: Health,
    policy: ReconnectPolicy,
    *,
    pause: Callable[[int], float],
    now: Micros,
    jitter: float,
) -> Wait | GiveUp:
    """Decide what follows a poll. `pause`: the seconds to the next one after so many polls without a change.

    A poll that was answered is followed by the next after its interval, with a jitter of a tenth, so that polls do not
    gather in one instant. After a failed one the patience is that of streams, but the task is never asked for more
    often than by its shortest interval.
    """
    unchanged = 0 if ending.news else health.unchanged + ending.observed
    if ending.error is None and ending.observed:
        delay = pause(unchanged) * (0.9 + 0.2 * jitter)
        return Wait(delay=max(_hint(ending.hint), delay), health=Health(unchanged=unchanged))
    decision = after(ending, health, policy, now=now, jitter=jitter, spacing=pause(0))
    if isinstance(decision, GiveUp):
        return decision
    return Wait(delay=decision.delay, health=replace(decision.health, unchanged=unchanged))


def _after(ending: Ending, health: Health, policy: ReconnectPolicy) -> Health:
    """Return the health after a connection, before any patience is counted."""
    well = ending.error is None and ending.observed
    lasting = ending.news or ending.lasted >= policy.backoff_max
    over = ending.news or (ending.observed and not isinstance(ending.error, Unreadable))
    return Health(
        attempts=1 if lasting else health.attempts + 1,
        failures=0 if well else 1 if ending.news else health.failures + 1,
        trouble=None if over else health.trouble,
        since=0 if over else health.since,
        error=_told(ending),
    )


def _told(ending: Ending) -> str | None:
    """Say what was wrong with a connection. Silence after nothing but unreadable snapshots is not what ails it."""
    error = ending.error if ending.observed else ending.unread or ending.error
    error = error or ending.unread
    if isinstance(error, Unreadable):
        return error.in_full
    return None if error is None else str(error)


def after_deadline(
    decision: Wait | GiveUp, policy: ReconnectPolicy, *, deadline: float, looked: bool, asking: float
) -> Wait | GiveUp:
    """Decide what follows a connection that ended after the watch's deadline, where `decision` would follow otherwise.

    The watch is lost once the upstream was asked (`looked`). An upstream that cannot be reached is asked again for
    a tenth of `deadline`, but no longer than `give_up_after`; `asking` is the time for which it has been asked. All
    are seconds. The reason names the last error: it may be why no end was seen.
    """
    if isinstance(decision, GiveUp):
        return decision
    left = max(LAST_LOOK, min(policy.give_up_after, LAST_LOOK_SHARE * deadline)) - asking
    if looked or left <= 0:
        trouble = f"; at last: {decision.health.error}" if decision.health.error else ""
        return GiveUp(reason=LostReason.DEADLINE, detail=f"no terminal state within {deadline:g} s{trouble}")
    return Wait(delay=min(decision.delay, left), health=decision.health)


def _pause(health: Health, policy: ReconnectPolicy) -> float:
    """Return the longest pause that may follow."""
    return backoff(health.attempts, initial=policy.backoff_initial, ceiling=policy.backoff_max, jitter=1.0)


def _hint(seconds: float | None) -> float:
    return 0.0 if seconds is None else min(max(0.0, seconds), MAX_HINT)


def _bear(
    trouble: LostReason,
    error: SourceError,
    health: Health,
    patience: float,
    policy: ReconnectPolicy,
    now: Micros,
    jitter: float,
    spacing: float,
) -> Wait | GiveUp:
    """Bear with a trouble that may not pass by itself; the last try comes when patience ends, not before."""
    if health.trouble is not trouble:
        health = replace(health, trouble=trouble, since=now)
    left = patience - (now - health.since) / 1e6
    if left <= 0:
        return GiveUp(reason=trouble, detail=str(error))
    slow = policy.backoff_max * (1 + jitter) / 2
    delay = slow if trouble is LostReason.REFUSED else _pause(health, policy) * jitter
    return Wait(delay=min(max(delay, spacing), left), health=health)

"""What is kept of an endpoint's health, how it changes, and what a node makes of what another met there. Pure.

A change is a function of what is kept now, and returns what is to be kept instead, or None if there is nothing to
change: the store applies it in a transaction, so that of several nodes that want the same, one has done it, and knows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from notifier.core.breaker import TRIP_AFTER, Breaker, State
from notifier.core.model import EndpointState, Micros

EndpointUpdate = Callable[[EndpointState], EndpointState | None]

NEAR = 500_000  # microseconds by which a time has to be later to be worth telling others

_HELD = {State.THROTTLED: State.THROTTLED, State.OPEN: State.OPEN, State.HALF_OPEN: State.OPEN}


class News(Enum):
    """What is to be kept of what an attempt came to."""

    NONE = auto()  # nothing
    SICK = auto()  # that it fails, or is to be left alone for some time
    WELL = auto()  # that it fails no more, which operators hear of


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderRequest:
    """What a node asks for an endpoint of its configuration."""

    fingerprint: str
    limited: bool  # to a rate, which only one node can keep
    passing: bool = False  # a probe failed from here: another node may fare better


# -- changes


def disabling(at: Micros, reason: str, failing_since: Micros | None) -> EndpointUpdate:
    """Send no more to it, unless that is so already."""

    def make(kept: EndpointState) -> EndpointState | None:
        if kept.disabled_at is not None:
            return None
        return replace(kept, disabled_at=at, reason=reason, failing_since=failing_since or kept.failing_since)

    return make


def enabling(kept: EndpointState) -> EndpointState | None:
    """Send to it again, unless that is so already."""
    return None if kept.disabled_at is None else forgiving(kept)


def forgiving(kept: EndpointState) -> EndpointState | None:
    """Think well of it, whatever was."""
    blank = unknown(kept, kept.fingerprint)
    return None if kept == blank else blank


def failing(own: Breaker) -> EndpointUpdate:
    """Keep what a breaker says, unless the endpoint is disabled."""

    def make(kept: EndpointState) -> EndpointState | None:
        if kept.disabled_at is not None:
            return None
        probing = own.state is State.HALF_OPEN
        return replace(
            kept,
            failing_since=own.failing_since,
            held=_HELD.get(own.state, State.CLOSED).value,
            not_before=own.since if probing else own.not_before,
            rounds=own.rounds,
        )

    return make


def recovering(own: Breaker) -> EndpointUpdate:
    """Keep that it fails no more, unless that is known already, or it is disabled."""

    def make(kept: EndpointState) -> EndpointState | None:
        return None if kept.failing_since is None else failing(own)(kept)

    return make


def unknown(kept: EndpointState, fingerprint: str) -> EndpointState:
    """Return what is known of an endpoint whose URL is another now: whose it is, and nothing else."""
    return EndpointState(name=kept.name, fingerprint=fingerprint, leader=kept.leader, version=kept.version)


# -- what is told and heeded


def news(own: Breaker, kept: EndpointState, *, shared: bool) -> News:
    """Say what is to be kept of a breaker that is not disabled; `shared`: others are to hold back as well."""
    if own.failing_since is None and kept.failing_since is not None:
        return News.WELL
    if own.state in (State.OPEN, State.HALF_OPEN) and own.failing_since is not None and kept.failing_since is None:
        return News.SICK
    if not shared or own.state not in (State.THROTTLED, State.OPEN):
        return News.NONE
    worse = own.state is State.OPEN and kept.held != State.OPEN
    return News.SICK if worse or own.not_before > kept.not_before + NEAR else News.NONE


def adopt(own: Breaker, kept: EndpointState, now: Micros) -> Breaker:
    """Return the breaker as it follows from what another node has met."""
    if kept.disabled_at is not None:
        return replace(own.disable(), failing_since=kept.failing_since)
    if kept.held == State.CLOSED:
        return Breaker(failing_since=kept.failing_since)
    if kept.held == State.OPEN and own.state is State.HALF_OPEN:  # the probe is this node's, and still out
        return own
    return Breaker(
        state=State(kept.held),
        not_before=kept.not_before,
        since=now,
        failures=TRIP_AFTER if kept.held == State.OPEN else 0,
        failing_since=kept.failing_since,
        rounds=kept.rounds,
    )


# -- who serves it


def needs_leader(state: State, *, limited: bool) -> bool:
    """Say whether one node alone serves an endpoint: to keep a rate, or to probe it."""
    return limited or state in (State.OPEN, State.HALF_OPEN)


def leads(
    states: Sequence[EndpointState],
    wants: Mapping[str, LeaderRequest],
    me: int,
    present: Collection[int],
    fit: Collection[int],
) -> dict[str, int | None]:
    """Return which endpoints are to have another leader.

    `present` are the nodes that have not been declared dead, `fit` those of them that may take something on.
    """
    changes: dict[str, int | None] = {}
    for state in states:
        want = wants.get(state.name)
        if state.leader == me:
            after = _keeps(state, want, me, fit)
            if after != me:
                changes[state.name] = after
        elif me in fit and want is not None and _needs(want, state) and state.leader not in present:
            changes[state.name] = me
    return changes


def _keeps(state: EndpointState, want: LeaderRequest | None, me: int, fit: Collection[int]) -> int | None:
    """Return who is to lead what this node leads."""
    if want is None or (state.held == State.OPEN and not _needs(want, state)):  # those who know it are to have it
        return None
    others = sorted(node for node in fit if node != me)
    if not want.passing or not others:
        return me
    return next((node for node in others if node > me), others[0])


def _needs(want: LeaderRequest, state: EndpointState) -> bool:
    known = state.fingerprint == want.fingerprint and state.held == State.OPEN
    return want.limited or known

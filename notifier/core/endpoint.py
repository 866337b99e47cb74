"""An endpoint's saved health: how it changes, and what each node does after another node has changed it. Pure.

A change is a function. It takes the saved state and returns the new one, or None if there is nothing to change. The
store calls it in a transaction: if several nodes make the same change, one of them makes it, and knows that it did.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from notifier.core.breaker import FEW, Breaker, State
from notifier.core.model import EndpointState, Micros

EndpointUpdate = Callable[[EndpointState], EndpointState | None]

FAILING = "failing"  # the reason of an endpoint that is not disabled, once operators have heard that it fails
NEAR = 500_000  # microseconds; a time that moves by less is not saved for other nodes

_HELD = {State.THROTTLED: State.THROTTLED, State.OPEN: State.OPEN, State.HALF_OPEN: State.OPEN}


class News(Enum):
    """The change of an endpoint's health that an attempt has shown and the store does not have yet."""

    NONE = auto()  # there is none
    SICK = auto()  # it fails, or nothing may be sent for some time
    WELL = auto()  # it fails no more; operators hear of that


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderRequest:
    """A node's request to lead an endpoint of its configuration, if one node has to."""

    fingerprint: str  # of the endpoint's URL
    limited: bool  # the endpoint has a rate limit, which only one node can keep
    passing: bool = False  # a probe of this node failed, and another node may be able to reach the endpoint


# -- changes


def disabling(at: Micros, reason: str, failing_since: Micros | None) -> EndpointUpdate:
    """Return the change that disables an endpoint that is not disabled."""

    def update(kept: EndpointState) -> EndpointState | None:
        if kept.disabled_at is not None:
            return None
        return replace(kept, disabled_at=at, reason=reason, failing_since=failing_since or kept.failing_since)

    return update


def announcing(since: Micros) -> EndpointUpdate:
    """Return the change that records that operators know of a failing endpoint; none if they do, or it is disabled."""

    def update(kept: EndpointState) -> EndpointState | None:
        if kept.disabled_at is not None or kept.reason is not None:
            return None
        return replace(kept, reason=FAILING, failing_since=kept.failing_since or since)

    return update


def enabling(kept: EndpointState) -> EndpointState | None:
    """Enable an endpoint that is disabled."""
    return None if kept.disabled_at is None else forgiving(kept)


def forgiving(kept: EndpointState) -> EndpointState | None:
    """Forget all failures."""
    blank = unknown(kept, kept.fingerprint)
    return None if kept == blank else blank


def failing(own: Breaker) -> EndpointUpdate:
    """Return the change that saves a breaker's state, unless the endpoint is disabled."""

    def update(kept: EndpointState) -> EndpointState | None:
        if kept.disabled_at is not None:
            return None
        probing = own.state is State.HALF_OPEN
        return replace(
            kept,
            failing_since=own.failing_since or (kept.failing_since if own.refused else None),
            held=_HELD.get(own.state, State.CLOSED).value,
            not_before=own.since if probing else own.not_before,
            rounds=own.rounds,
        )

    return update


def recovering(own: Breaker) -> EndpointUpdate:
    """Return the change that ends a failure, if one is saved and the endpoint is not disabled."""

    def update(kept: EndpointState) -> EndpointState | None:
        recovered = None if kept.failing_since is None else failing(own)(kept)
        return None if recovered is None else replace(recovered, reason=None)

    return update


def unknown(kept: EndpointState, fingerprint: str) -> EndpointState:
    """Return the state of an endpoint under a new URL: only the leader is known."""
    return EndpointState(name=kept.name, fingerprint=fingerprint, leader=kept.leader, version=kept.version)


# -- news for other nodes, and from them


def news(own: Breaker, kept: EndpointState, *, shared: bool) -> News:
    """Compare a breaker that is not disabled with the saved state; `shared`: other nodes have to hold back as well."""
    if own.failing_since is None and not own.refused and kept.failing_since is not None:
        return News.WELL
    if own.state in (State.OPEN, State.HALF_OPEN) and own.failing_since is not None and kept.failing_since is None:
        return News.SICK
    if shared and own.state is State.CLOSED and kept.held == State.OPEN and kept.failing_since is None:
        return News.NONE if own.refused else News.SICK  # 429s alone opened it: others hold back until this is saved
    if not shared or not (own.state is State.OPEN or (own.state is State.THROTTLED and own.firm)):
        return News.NONE  # a pause that a success may end is each node's own
    worse = own.state is State.OPEN and kept.held != State.OPEN
    return News.SICK if worse or own.not_before > kept.not_before + NEAR else News.NONE


def adopt(own: Breaker, kept: EndpointState, now: Micros) -> Breaker:
    """Return this node's breaker after another node has saved a new state."""
    if kept.disabled_at is not None:
        return replace(own.disable(), failing_since=kept.failing_since)
    if kept.held == State.CLOSED:
        return Breaker(failing_since=kept.failing_since)
    if kept.held == State.OPEN and own.state is State.HALF_OPEN:  # this node's own probe is still out
        return own
    return Breaker(
        state=State(kept.held),
        not_before=kept.not_before,
        since=now,
        failures=FEW if kept.held == State.OPEN else 0,
        failing_since=kept.failing_since,
        rounds=kept.rounds,
        firm=True,
    )


# -- the leader


def needs_leader(state: State, *, limited: bool) -> bool:
    """Return whether only one node may send to an endpoint: to keep its rate limit, or to probe it."""
    return limited or state in (State.OPEN, State.HALF_OPEN)


def leads(
    states: Sequence[EndpointState],
    requests: Mapping[str, LeaderRequest],
    me: int,
    present: Collection[int],
    fit: Collection[int],
) -> dict[str, int | None]:
    """Return the new leader of each endpoint whose leader changes; None: nobody leads it.

    `present` are the nodes that were not declared dead; `fit` are those of them that may become leaders.
    """
    changes: dict[str, int | None] = {}
    for state in states:
        request = requests.get(state.name)
        if state.leader == me:
            after = _keeps(state, request, me, fit)
            if after != me:
                changes[state.name] = after
        elif me in fit and request is not None and _needs(request, state) and state.leader not in present:
            changes[state.name] = me
    return changes


def _keeps(state: EndpointState, request: LeaderRequest | None, me: int, fit: Collection[int]) -> int | None:
    """Return the new leader, or None, of an endpoint that this node leads."""
    knows = request is not None and (state.held != State.OPEN or _needs(request, state))
    if request is None or not knows:  # only a node that knows the URL can probe it
        return None
    others = sorted(node for node in fit if node != me)
    if not request.passing or not others:
        return me
    return next((node for node in others if node > me), others[0])


def _needs(request: LeaderRequest, state: EndpointState) -> bool:
    known = state.fingerprint == request.fingerprint and state.held == State.OPEN
    return request.limited or known

"""Values that the store takes and returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from notifier.core.callback import Callback
from notifier.core.endpoint import EndpointUpdate
from notifier.core.model import Delivery, EndpointState, Micros, Watch
from notifier.core.retry import Attempt
from notifier.core.share import Peer


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchChanges:
    """The watches that a list added or changed."""

    added: tuple[tuple[str, str], ...] = ()  # the source and id of each; whoever claims it learns the rest
    changed: tuple[Watch, ...] = ()  # their descriptions
    unchanged: int = 0
    keys: tuple[int, ...] = field(default=(), compare=False)  # of all watches of the list


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryClaim:
    """Deliveries that this node has claimed, and when the next one of each endpoint is due."""

    deliveries: tuple[Delivery, ...] = ()
    next_due: Mapping[str, Micros] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackHealth:
    """The health of a callback's destination when it was released; `CallbackHealth()` is well."""

    held_until: Micros | None = None  # nothing is to be sent before
    rounds: int = 0  # cool-downs in a row


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackClaim:
    """Destinations of callbacks that this node has claimed, and when the next one is due."""

    taken: tuple[tuple[Callback, CallbackHealth], ...] = ()
    next_due: Micros | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The delivery was accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """The delivery waits until `due`."""

    due: Micros
    attempt: int  # attempts that count, made so far
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """The delivery is given up, and stays in the store."""

    attempt: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Superseded:
    """A newer state of the same watch takes the delivery's place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Muted:
    """An operator has silenced the endpoint: the delivery is never sent."""

    mute: str  # its id


Verdict = Done | Later | Dead | Superseded | Muted


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The verdict on a delivery that this node had claimed."""

    delivery: Delivery
    verdict: Verdict
    at: Micros
    attempt: Attempt | None = None  # for the log; None where no attempt was made
    take: bool = True  # claim the next delivery of the lane at once
    latest: bool = False  # a delivery that is to be retried gives way to a newer state of its lane


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """The recovery of an endpoint."""

    endpoint: str
    at: Micros
    failing_since: Micros
    created_after: Micros  # older deliveries have had their whole schedule, and keep the rest of it


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointChange:
    """A change of an endpoint's stored health."""

    name: str
    fingerprint: str
    update: EndpointUpdate  # run in the store's thread, maybe more than once
    hold: bool = True  # it waits while the database is away, instead of failing


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedEndpoint:
    """The result of a change of an endpoint."""

    before: EndpointState
    after: EndpointState
    done: bool  # False: there was nothing to change, and no event was saved
    deliveries: tuple[Delivery, ...] = ()  # to send now


@dataclass(frozen=True, slots=True, kw_only=True)
class Leadership:
    """The stored health of every endpoint, and the number of the node that asked."""

    number: int
    states: tuple[EndpointState, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """Which deliveries to list or to retry; None means any."""

    id: int | None = None
    endpoint: str | None = None
    watch: tuple[str, str] | None = None  # source and id
    task: str | None = None  # id of a watch, of whatever source
    status: str | None = None
    since: Micros | None = None  # created at or after
    until: Micros | None = None  # created before


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchFilter:
    """Which watches to list; None means any."""

    source: str | None = None
    id: str | None = None
    phase: str | None = None  # or `new`: nothing observed yet; `lost`: given up, whatever its phase, and only there
    state: str | None = None
    labels: tuple[str, ...] = ()  # all of them, each as KEY:VALUE, where colons may be in both
    text: str | None = None  # a part of the id, in upper or lower case
    ended: bool | None = None
    removed: bool = False  # list those that were removed too


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events to list; None means any."""

    source: str | None = None
    task: str | None = None  # the watch's id
    type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeList:
    """The nodes that share a store, and the number of watches that wait for one."""

    number: int  # this node's
    peers: tuple[Peer, ...]  # this one among them
    free: Mapping[str, int]  # open watches that nobody follows, by source, of the sources that were asked about
    now: Micros  # the database's time

    @property
    def unclaimed(self) -> int:
        """Return the number of these watches."""
        return sum(self.free.values())


BEFORE_ALL = -1  # before every row's key


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Dates that a clock has shown between two of its settings."""

    first: Micros
    last: Micros
    by: Micros  # by how much they are to be moved


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockShift:
    """How dates are to follow a clock that was set, once or several times since they were last moved."""

    by: Micros  # forward; negative: back. Of dates from before the first of the settings
    written: tuple[Written, ...]  # after each of them, the latest first

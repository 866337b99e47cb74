"""The store does what a model of some hundred lines does, whatever is asked of it and in whatever order.

The same machine runs on both databases. `make machine STEPS=100000` runs it for long.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import databases
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from store_model import ENDPOINTS, Model
from store_rig import SECOND, move, settled, wanted

from notifier.core import endpoint as core
from notifier.core.errors import StaleWrite
from notifier.core.model import Address, Delivery, Watch
from notifier.store import Dead, DeliveryFilter, Done, EndpointChange, Later, Store, Verdict, WatchFilter, writer
from notifier.store.node import leave

T = TypeVar("T")
ASKED = int(os.environ.get("NOTIFIER_TEST_STEPS", "0"))  # steps of each database
USUAL = {"sqlite": 1000, "postgresql": 300}
LENGTH = 25  # steps with one database: hypothesis leaves some rules out of each, so many are better than long ones
TO = (Address(endpoint="app"), Address(endpoint="newest", latest=True))
TASKS = st.sampled_from("ab")
Key = tuple[str, str, int]  # endpoint, task, sequence


class StoreMachine(RuleBasedStateMachine):
    """A node that does anything at any time."""

    make: ClassVar[Callable[[], Any]]  # a context of a fresh database, whose value is its URL
    steps: ClassVar[int]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.watches: dict[str, Watch] = {}  # that it has claimed
        self.hand: dict[Key, Delivery] = {}  # that it is sending
        self.loop = asyncio.new_event_loop()
        self.context = type(self).make()
        self.url = self.context.__enter__()

    @initialize()
    def begin(self) -> None:
        """Open the database, and follow its tasks."""
        self.start()
        for task in "ab":
            self.add(task)
        self.claim_watches()

    def start(self) -> None:
        """Start on what there is."""
        self.store = Store.open(self.url, timeout=600.0)
        self.running = self.loop.create_task(self.store.run())

    def teardown(self) -> None:
        """Close it, and forget it."""
        self._stop()
        self.context.__exit__(None, None, None)
        self.loop.close()

    def _stop(self) -> None:
        self.do(self.store.close())
        self.do(asyncio.wait_for(self.running, 60))
        self.store.shutdown()

    def do(self, call: Awaitable[T]) -> T:
        """Run a call to its end."""

        async def run() -> T:
            return await call

        return self.loop.run_until_complete(run())

    # -- watches

    @rule(task=TASKS)
    def add(self, task: str) -> None:
        """Ask for a watch that may be there."""
        changes = self.do(self.store.watches.apply([wanted(task)], origin="api", now=self.model.tick()))
        assert bool(changes.added) == self.model.add(task)

    @rule()
    def claim_watches(self) -> None:
        """Take all that are free."""
        found = {watch.id: watch for watch in self.do(self.store.watches.claim(100))}
        assert found.keys() == self.model.claim()
        assert all(watch.sequence == self.model.tasks[name].sequence for name, watch in found.items())
        self.watches |= found

    @rule(task=TASKS)
    def remove(self, task: str) -> None:
        """Stop following one that may be there."""
        removed = self.do(self.store.watches.remove("vidu", task, now=self.model.tick()))
        known = self.model.tasks.get(task)
        assert (removed is not None) == (known is not None and not known.removed)
        if known is not None and removed is not None:
            known.removed, known.owned = True, False

    @precondition(lambda self: self.watches)
    @rule()
    def release(self) -> None:
        """Give all back, those that it has no more as well."""
        self.do(self.store.watches.release(list(self.watches.values())))
        for name in self.watches:
            if name in self.model.tasks and not self.model.tasks[name].ended:
                self.model.tasks[name].owned = False
        self.watches.clear()

    @precondition(lambda self: self.watches)
    @rule(data=st.data(), moves=st.integers(1, 4), end=st.sampled_from([False, False, False, True]))
    def commit(self, data: st.DataObject, moves: int, end: bool) -> None:
        """Move a watch, some times; one that was removed or is out of date is refused."""
        name = data.draw(st.sampled_from(sorted(self.watches)))
        for number in range(1, moves + 1):
            if name in self.watches:
                self._move(name, end=end and number == moves)

    def _move(self, name: str, *, end: bool) -> None:
        watch, task, now = self.watches[name], self.model.tasks.get(name), self.model.tick()
        state = "success" if end else f"state {watch.sequence}"
        if task is None or task.removed or not task.owned or watch.sequence != task.sequence:
            with pytest.raises(StaleWrite):
                self.do(move(self.store, watch, state, at=now, to=TO))
            del self.watches[name]
            return
        self.watches[name], deliveries = self.do(move(self.store, watch, state, at=now, to=TO))
        expected = self.model.commit(name, end=end)
        self._take(deliveries)
        assert {key(delivery)[0]: key(delivery)[2] for delivery in deliveries} == expected
        if end:
            del self.watches[name]

    # -- deliveries

    @rule(endpoint=st.sampled_from(ENDPOINTS), wait=st.sampled_from([0, 120 * SECOND]))
    def claim_deliveries(self, endpoint: str, wait: int) -> None:
        """Take what is due now, or in a while."""
        self.model.now += wait
        claim = self.do(self.store.outbox.claim({endpoint: 1000}, now=self.model.now))
        assert sorted(key(delivery)[1:] for delivery in claim.deliveries) == self.model.claim_due(endpoint)
        self._take(claim.deliveries)

    @precondition(lambda self: self.hand)
    @rule(data=st.data(), verdict=st.sampled_from(["delivered", "delivered", "later", "dead"]))
    def settle(self, data: st.DataObject, verdict: str) -> None:
        """Save a verdict."""
        name = data.draw(st.sampled_from(sorted(self.hand)))
        delivery, now = self.hand.pop(name), self.model.tick()
        verdicts: dict[str, Verdict] = {
            "delivered": Done(),
            "later": Later(due=now + 60 * SECOND, attempt=delivery.attempt + 1),
            "dead": Dead(attempt=delivery.attempt + 1, reason="http_500"),
        }
        settlement = settled(delivery, verdicts[verdict], at=now, latest=name[0] == "newest")
        released = self.do(self.store.outbox.settle(settlement, urgent=True))
        assert (key(released)[2] if released else None) == self.model.settle(name[:2], name[2], verdict)
        self._take([released] if released else [])
        with pytest.raises(StaleWrite):
            self.do(self.store.outbox.settle(settlement, urgent=True))

    @rule(endpoint=st.sampled_from(ENDPOINTS), task=TASKS)
    def retry(self, endpoint: str, task: str) -> None:
        """Retry the dead by hand."""
        which = DeliveryFilter(endpoint=endpoint, watch=("vidu", task), status="dead")
        assert self.do(self.store.outbox.retry(which, now=self.model.tick())) == self.model.revive((endpoint, task))

    # -- the whole

    @rule(what=st.sampled_from(["prune", "disable", "enable", "renew", "restart", "take over"]))
    def tend(self, what: str) -> None:
        """Do what comes more seldom: in one rule, so that the others come more often."""
        match what:
            case "prune":
                self.do(self.store.prune(self.model.tick() + 1))
                self.model.prune()
            case "disable" | "enable":
                self._change(disable=what == "disable")
            case "renew":
                self._renew()
            case "restart":
                self._stop()
                self.start()
                self._lose()
            case "take over" if self.store.nodes is not None:
                self._take_over()
                self._lose()

    def _change(self, *, disable: bool) -> None:
        update = core.disabling(self.model.tick(), "operator", None) if disable else core.enabling
        changed = self.do(self.store.endpoints.change(EndpointChange(name="app", fingerprint="f", update=update)))
        assert changed.done or disable == self.model.disabled
        self.model.disabled = disable
        (state,) = self.do(self.store.endpoints.states())
        assert (state.disabled_at is not None) == disable

    def _renew(self) -> None:
        """Give a sign of life; count what is free."""
        if self.store.nodes is None:
            self.do(self.store.probe())
            return
        free = [task for task in self.model.tasks.values() if not (task.ended or task.removed or task.owned)]
        assert self.do(self.store.nodes.beat(held=None, status={})).unclaimed == len(free)

    def _take_over(self) -> None:
        """Have another node declare this one dead; then this one joins anew."""
        other = Store.open(self.url, name="other", timeout=600.0)
        running = self.loop.create_task(other.run())
        assert self.do(other._writer.call(partial(leave, number=self.store.number)))
        self.do(self.store.probe())
        self.do(other.close())
        self.do(asyncio.wait_for(running, 60))
        other.shutdown()

    def _lose(self) -> None:
        self.model.restart()
        self.watches.clear()
        self.hand.clear()

    def _take(self, deliveries: Any) -> None:
        for delivery in deliveries:
            assert key(delivery) not in self.hand
            self.hand[key(delivery)] = delivery

    @invariant()
    def same(self) -> None:
        """Hold the store's lists against the model."""
        if not hasattr(self, "store"):
            return
        found = self.do(self.store.lists.deliveries(DeliveryFilter(), limit=1000))
        assert sorted((i["endpoint"], i["task"], i["sequence"], i["status"]) for i in found) == sorted(
            (endpoint, name, sent.sequence, sent.status)
            for (endpoint, name), lane in self.model.lanes.items()
            for sent in lane
        )
        listed = self.do(self.store.lists.watches(WatchFilter(), limit=100))
        assert {item["id"]: item["sequence"] for item in listed} == {
            name: task.sequence for name, task in self.model.tasks.items() if not task.removed
        }


def key(delivery: Delivery) -> Key:
    """Return endpoint, task and sequence."""
    data = json.loads(delivery.body)["data"]
    return delivery.endpoint, data["watch"]["id"], data["sequence"]


@pytest.fixture(params=["sqlite", "postgresql"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> type[StoreMachine]:
    """Return a machine of a kind of database."""
    number = count()

    class Fresh:
        """A file that is nobody else's."""

        def __enter__(self) -> str:
            self.path = tmp_path / f"{next(number)}.db"
            return f"sqlite:///{self.path}"

        def __exit__(self, *_: object) -> None:
            for side in ("", "-wal", "-shm", ".lock"):
                self.path.with_name(self.path.name + side).unlink(missing_ok=True)

    class Machine(StoreMachine):
        steps = ASKED or USUAL[request.param]
        make = Fresh if request.param == "sqlite" else staticmethod(databases.database)

    return Machine


@pytest.mark.slow
@pytest.mark.timeout(0 if ASKED else 600)
def test_the_store_does_what_the_model_does(machine: type[StoreMachine], monkeypatch: pytest.MonkeyPatch) -> None:
    """No order of calls tells the two apart."""
    monkeypatch.setattr(writer, "RHYTHM", 0.0)  # nobody else calls it
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=machine.steps // LENGTH,
            stateful_step_count=LENGTH,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

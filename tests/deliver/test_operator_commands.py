"""What an operator commands of an endpoint holds once it is saved, and is refused while the store is away."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

import pytest
from parts import ScriptedSender, clock, endpoint, locked, rig, route
from waits import PATIENCE, until

from notifier.core.breaker import State
from notifier.core.endpoint import disabling
from notifier.core.errors import StoreUnavailable
from notifier.core.retry import Gone
from notifier.deliver.endpoint import EndpointDestination
from notifier.store import EndpointChange, sqlite, writer

pytestmark = pytest.mark.usefixtures("hasty")

sending = partial(rig, run=("dispatcher",))
DISABLED = "SELECT disabled_at > 0, reason FROM endpoints WHERE name = 'app'"
TOLD = "SELECT type FROM events WHERE type LIKE 'endpoint.%' ORDER BY id"


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for locks and between tries as long as a test can."""
    monkeypatch.setattr(writer, "RETRY_DELAY", 0.02)
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 50)


async def disable(app: EndpointDestination) -> None:
    """Disable it by hand."""
    async with asyncio.timeout(PATIENCE):
        await app.disable("operator", "disabled by hand")


async def enable(app: EndpointDestination) -> None:
    """Enable it by hand."""
    async with asyncio.timeout(PATIENCE):
        await app.enable()


async def met_410(app: EndpointDestination) -> None:
    """Take in an answer 410, as after an attempt."""
    app._flow.set_breaker(app._flow.breaker.disable(), time.monotonic())
    await app._follow(Gone(reason="http_410"), clock())


@pytest.mark.parametrize("noticed", [False, True])
async def test_a_command_is_refused_while_the_store_is_away_and_changes_nothing(tmp_path: Path, noticed: bool) -> None:
    """Whether the outage is known or met by the command, however often it is tried, and it can be given later."""
    async with sending(tmp_path) as made:
        made.set_endpoints({"app": ScriptedSender(), "ops": ScriptedSender()})
        made.recorder.routes = [route("app"), route("ops", events=("endpoint.*",))]
        app = made.dispatcher.endpoints["app"]
        for command, state, told in (
            (disable, State.CLOSED, []),
            (enable, State.DISABLED, ["endpoint.disabled"]),
        ):
            assert app.state is state
            with locked(made):
                if noticed:
                    with pytest.raises(StoreUnavailable):
                        await made.store.probe()
                for _ in range(2):
                    with pytest.raises(StoreUnavailable):
                        await command(app)
                    assert (app.state, app.disabled_reason is None) == (state, state is State.CLOSED)
            await until(lambda: made.store.available)
            assert [name for (name,) in made.rows(TOLD)] == told, "what was refused is not made up for"
            await command(app)
            assert app.state is not state
        assert made.rows(DISABLED) == [(None, None)]
        assert [name for (name,) in made.rows(TOLD)] == ["endpoint.disabled", "endpoint.recovered"]


async def test_an_endpoint_that_is_disabled_in_memory_alone_is_not_said_to_be_disabled(tmp_path: Path) -> None:
    """What a 410 disables stops at once, and waits for the store; an operator's command does not."""
    async with sending(tmp_path) as made:
        made.set_endpoints({"app": ScriptedSender()})
        app = made.dispatcher.endpoints["app"]
        with locked(made):
            held = asyncio.create_task(met_410(app), name="held")
            await until(lambda: not made.store.available)
            assert app.state is State.DISABLED
            for command in (disable, enable):
                with pytest.raises(StoreUnavailable):
                    await command(app)
                assert app.state is State.DISABLED
            assert not held.done()
        await held
        assert made.rows(DISABLED) == [(1, "http_410")]
        await disable(app)
        assert made.rows(TOLD) == [("endpoint.disabled",)]
        assert app.disabled_reason == "http_410"
        await enable(app)
        assert made.rows(DISABLED) == [(None, None)]


async def test_commands_at_once_hold_in_their_order(tmp_path: Path) -> None:
    """The last of them counts, in memory as in the store; each that changes something is told."""
    async with sending(tmp_path) as made:
        made.set_endpoints({"app": ScriptedSender()})
        app = made.dispatcher.endpoints["app"]
        await asyncio.gather(disable(app), enable(app), disable(app), disable(app))
        assert app.disabled_reason == "operator"
        assert made.rows(DISABLED) == [(1, "operator")]
        await asyncio.gather(enable(app), disable(app), enable(app))
        assert app.state is State.CLOSED
        assert made.rows(DISABLED) == [(None, None)]
        assert [name for (name,) in made.rows(TOLD)] == ["endpoint.disabled", "endpoint.recovered"] * 3


async def test_what_disables_it_after_a_command_was_given_stands(tmp_path: Path) -> None:
    """An answer 410 that comes while `enable` is being saved is saved after it."""
    async with sending(tmp_path) as made:
        made.set_endpoints({"app": ScriptedSender()})
        app = made.dispatcher.endpoints["app"]
        await asyncio.gather(enable(app), met_410(app))
        assert (app.state, app.disabled_reason) == (State.DISABLED, "http_410")
        assert made.rows(DISABLED) == [(1, "http_410")]
        assert made.rows(TOLD) == [("endpoint.disabled",)]


async def test_a_command_for_what_the_store_has_already_holds_here(tmp_path: Path) -> None:
    """Another node has disabled it, and this one does not know yet: the command is done, and told by that node."""
    async with sending(tmp_path) as made:
        made.set_endpoints({"app": ScriptedSender()})
        app = made.dispatcher.endpoints["app"]
        update = disabling(clock(), "failing", None)
        await made.store.endpoints.change(EndpointChange(name="app", fingerprint=endpoint().fingerprint, update=update))
        await disable(app)
        assert (app.state, app.disabled_reason) == (State.DISABLED, "failing")
        assert made.rows(TOLD) == []


async def test_a_command_for_an_endpoint_that_a_reload_removes_meanwhile_leaves_no_metric(tmp_path: Path) -> None:
    """It holds if the endpoint comes back."""
    async with sending(tmp_path) as made:
        made.set_endpoints({"app": ScriptedSender()})
        command = asyncio.create_task(disable(made.dispatcher.endpoints["app"]), name="command")
        await asyncio.sleep(0)
        made.set_endpoints({})
        await command
        assert b'endpoint="app"' not in made.metrics.render()
        made.set_endpoints({"app": ScriptedSender()})
        assert made.dispatcher.endpoints["app"].state is State.DISABLED

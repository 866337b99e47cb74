"""Tasks that are polled, by configuration alone: a preset of the user's own, a built-in one, a reload, a restart."""

from __future__ import annotations

import json
from typing import Any

import pytest
from daemon_process import Start, config, webhook
from polled_upstream import PolledUpstream, state
from receiver import Receiver

MY_SERVICE: dict[str, Any] = {
    "url": "{base_url}/jobs/{id}",
    "transport": "poll",
    "paths": {"state": "status"},
    "states": {"running": ["busy"], "succeeded": ["ok"], "failed": ["bad"]},
}  # as the example configuration has it
QUICK = {"interval": "100ms", "max_interval": "100ms"}


def polled(upstream: PolledUpstream, ears: Receiver, *watches: str, **more: Any) -> dict[str, Any]:
    """Configure one polled source."""
    return config(
        upstream=upstream.url,
        endpoints={"app": webhook(ears.url)},
        watches=watches,
        presets={"my-service": MY_SERVICE},
        vidu={"preset": "my-service", "poll": QUICK} | more,
    )


def told(ears: Receiver) -> list[tuple[str, str, str | None]]:
    """Return the task, the type and the state of each callback."""
    bodies = [json.loads(arrival.body) for arrival in ears.arrivals]
    return [(body["data"]["watch"]["id"], body["type"], body["data"]["state"]) for body in bodies]


@pytest.mark.parametrize("preset", ["my-service", "generic"])
async def test_tasks_are_polled_by_a_preset_and_overrides(daemons: Start, preset: str) -> None:
    """The preset is defined under `presets:`, or is the generic one with all keys beside it."""
    own = {"preset": "generic", **MY_SERVICE} if preset == "generic" else {}
    async with PolledUpstream() as upstream, Receiver() as ears:
        upstream.script("2", state("busy"), state("bad"))
        daemon = daemons(polled(upstream, ears, "1", "2", **own))
        upstream.script("1", state("busy"), state("ok"))
        await daemon.start()
        await ears.wait(4)
        assert set(told(ears)) == {
            ("1", "task.state_changed", "busy"),
            ("1", "task.succeeded", "ok"),
            ("2", "task.state_changed", "busy"),
            ("2", "task.failed", "bad"),
        }
        assert upstream.requests[0].headers["Authorization"] == "Bearer t0p"
        assert upstream.requests[0].headers["Accept"] == "application/json"
        text = (await daemon.get("/metrics"))[1]
        assert 'notifier_polls_total{outcome="answered",source="vidu"}' in str(text)
        assert await daemon.stop() == 0


async def test_a_restart_goes_on_and_a_reload_changes_the_interval(daemons: Start) -> None:
    """No watch is lost, no state told twice."""
    async with PolledUpstream() as upstream, Receiver() as ears:
        slow = {"poll": {"interval": "1h", "max_interval": "2h"}}
        daemon = daemons(polled(upstream, ears, "1", **slow))
        await daemon.start()
        await ears.wait(1)
        assert await daemon.stop() == 0
        await daemon.start()
        await upstream.asked("1", 2)
        upstream.script("1", state("ok"))
        daemon.write(polled(upstream, ears, "1") | {"http": daemon.settings["http"]})
        assert (await daemon.post("/v1/reload"))[0] == 200
        await ears.wait(2)
        assert [kind for _, kind, _ in told(ears)] == ["task.state_changed", "task.succeeded"]
        assert await daemon.stop() == 0

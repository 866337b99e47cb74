"""Claims on the real store: those that are asked for together share a transaction, and each learns of an outage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from parts import Rig, clock, locked, rig, route
from waits import until

from notifier.core.errors import StoreUnavailable
from notifier.deliver.outbox import OutboxClient

NAMES = ("app", "ops")


@asynccontextmanager
async def stored(tmp_path: Path) -> AsyncIterator[tuple[Rig, OutboxClient]]:
    """Have three deliveries for each of two endpoints in the store, claimed by nobody."""
    async with rig(tmp_path, run=()) as made:
        made.recorder.routes = [route(name) for name in NAMES]
        for watch in await made.claim("1", "2", "3"):
            await made.tell(watch, "processing")
        yield made, OutboxClient(store=made.store, clock=clock)


async def test_claims_of_one_moment_share_a_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each gets its own deliveries, no more than it asked for."""
    async with stored(tmp_path) as (made, outbox):
        batches: list[Mapping[str, int]] = []
        claim = made.store.outbox.claim

        async def counted(room: Mapping[str, int], *, now: int) -> object:
            batches.append(room)
            return await claim(room, now=now)

        monkeypatch.setattr(made.store.outbox, "claim", counted)
        running = asyncio.create_task(outbox.run(), name="claims")
        app, ops, nobody = await asyncio.gather(
            outbox.claim("app", 2), outbox.claim("ops", 9), outbox.claim("nobody", 9)
        )
        assert batches == [{"app": 2, "ops": 9, "nobody": 9}]
        assert [delivery.endpoint for delivery in app.deliveries] == ["app"] * 2
        assert [delivery.endpoint for delivery in ops.deliveries] == ["ops"] * 3
        assert app.next_due is not None, "one is left"
        assert (nobody.deliveries, ops.next_due) == ([], None)
        running.cancel()


@pytest.mark.usefixtures("brief_locks")
async def test_an_outage_answers_every_claim(tmp_path: Path) -> None:
    """Those that ask again are answered once the store is back; a claim given up in between harms no other."""
    async with stored(tmp_path) as (made, outbox):
        running = asyncio.create_task(outbox.run(), name="claims")
        with locked(made):
            asked = [asyncio.create_task(outbox.claim(name, 9), name=name) for name in NAMES]
            given_up = asyncio.create_task(outbox.claim("given up", 9), name="given up")
            await until(lambda: not made.store.available)
            given_up.cancel()
            results = await asyncio.gather(*asked, return_exceptions=True)
            assert [type(result) for result in results] == [StoreUnavailable] * 2
            again = asyncio.create_task(outbox.claim("app", 9), name="again")
        assert len((await again).deliveries) == 3
        running.cancel()

"""Both databases store texts of strangers alike, as exactly as they can, and no event is lost because of one."""

from __future__ import annotations

import json
from dataclasses import replace

from store_rig import T0, claim, follow, move, settled, wanted

from notifier.core import endpoint
from notifier.core.retry import Attempt, Failed
from notifier.store import Dead, DeliveryFilter, EndpointChange, EventFilter, Store

HOSTILE = "a\0b\ud800c\udfffd\U0001f600"
STORED = "a\ufffdb\ufffdc\ufffdd\U0001f600"


async def test_a_state_that_is_no_text_is_an_event_all_the_same(store: Store) -> None:
    """The watch, the event, the delivery and the log of attempts: all are there, with U+FFFD for other characters."""
    (watch,) = await follow(store, "1")
    watch, (delivery,) = await move(store, watch, HOSTILE)
    assert json.loads(delivery.body)["data"]["state"] == "a\0b\ufffdc\ufffdd\U0001f600", "escaped in JSON, it may stay"
    attempt = Attempt(at=T0, outcome=Failed(reason=HOSTILE, detail=HOSTILE), status=500, address=HOSTILE, reply=HOSTILE)
    await store.outbox.settle(replace(settled(delivery, Dead(attempt=1, reason=HOSTILE)), attempt=attempt))
    await store.endpoints.change(
        EndpointChange(name="app", fingerprint="f", update=endpoint.disabling(T0, HOSTILE, None))
    )
    assert [item["phase"] for item in await store.lists.events(EventFilter(task="1"), limit=9)] == ["running"]
    told = await store.lists.watch("vidu", "1")
    assert isinstance(told, dict)
    assert told["state"] == STORED
    [listed] = await store.lists.deliveries(DeliveryFilter(), limit=9)
    assert (listed["status"], listed["reason"]) == ("dead", STORED)
    (kept,) = await store.endpoints.states()
    assert kept.reason == STORED
    await store.watches.release([watch])
    (again,) = await store.watches.claim(9)
    assert again.state == STORED


async def test_labels_and_metadata_are_kept_to_the_letter(store: Store) -> None:
    """They are kept as JSON, where everything that is no text is written otherwise."""
    given = {"a\0": "b\0", 'c"\\': "\u2028\U0001f600"}
    added = wanted("1", labels=given, metadata=[given, "\0"])
    await store.watches.apply([added], origin="api", now=T0)
    (watch,) = await store.watches.claim(9)
    assert (dict(watch.labels), watch.metadata) == (given, [given, "\0"])
    _, deliveries = await move(store, watch, "queueing")
    assert json.loads(deliveries[0].body)["data"]["watch"]["metadata"] == [given, "\0"]
    assert await claim(store) == []

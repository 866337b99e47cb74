"""A watch is followed promptly, however it was added, while thousands of streams are open.

`python -m bench --only add` measures the times on an idle machine; this is one round of it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from broker_servers import broker_url

from bench.adding import WAYS, measure
from bench.child import allow_descriptors

STREAMS = 5_000
BOUND = 20.0  # seconds, on whatever machine: the aim is one, on an idle one


@pytest.mark.slow
async def test_every_way_leads_to_a_subscription(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """By file and SIGHUP, by the file alone, by command, queue and API: the upstream sees it within the bound."""
    redis = broker_url("redis")
    allow_descriptors(STREAMS)
    results = await measure(streams=STREAMS, rounds=1, directory=tmp_path, redis=redis)
    for result in results:
        record_property(result.way, result.worst)
        print(f"{result.way}: {result.worst:.3f} s")
    assert [result.way for result in results] == list(WAYS)
    assert {result.way: result.worst for result in results if result.worst > BOUND} == {}

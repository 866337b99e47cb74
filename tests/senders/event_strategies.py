"""Events of every kind, and such as nobody sends who means well."""

from __future__ import annotations

import json

from hypothesis import strategies as st
from scripted_receiver import delivery

from notifier.core.model import EventType

NASTY = st.text(max_size=20) | st.sampled_from(
    ["&" * 20_000, '"\\' * 10_000, "🎬" * 9_000, "\n" * 5_000, "`*_<!channel>"]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | NASTY
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=12) | st.dictionaries(NASTY, inner, max_size=12), max_leaves=15
)
DATA = st.fixed_dictionaries(
    {},
    optional={
        "watch": st.fixed_dictionaries(
            {
                "source": SCALARS,
                "id": JSON,
                "labels": st.dictionaries(NASTY, JSON, max_size=14) | JSON,
                "metadata": st.fixed_dictionaries({}, optional={"a": JSON, "b": st.fixed_dictionaries({"c": JSON})}),
            }
        )
        | JSON,
        "state": SCALARS,
        "previous_state": SCALARS,
        "phase": st.sampled_from(["queued", "running", "succeeded", "failed", "canceled"]) | JSON,
        "error": st.fixed_dictionaries({"code": SCALARS, "message": SCALARS}) | JSON,
        "result": st.fixed_dictionaries(
            {"urls": st.lists(st.just("https://x/").flatmap(lambda u: NASTY.map(u.__add__)))}
        )
        | JSON,
        "watched_seconds": SCALARS,
        **dict.fromkeys(("endpoint", "reason", "detail"), SCALARS),
    },
)
BODIES = st.builds(
    lambda kind, data: json.dumps({"type": kind, "data": data}).encode(),
    st.sampled_from(list(EventType)) | st.text(max_size=300),
    DATA,
)
DELIVERIES = BODIES.map(delivery)

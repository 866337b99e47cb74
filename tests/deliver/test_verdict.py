"""The verdict on a delivery follows from the outcome of its attempt."""

from __future__ import annotations

import pytest

from notifier.core.model import Delivery
from notifier.core.retry import EXTRA_WAIT, Delivered, Failed, Gone, Outcome, Rejected
from notifier.deliver.verdict import verdict
from notifier.store import Dead, Done, Later, Verdict

NOW = 1_700_000_000_000_000
SCHEDULE = (0.0, 5.0, 300.0)
FAILED = Failed(reason="http_503", throttle=True)


def after(seconds: float, attempt: int, reason: str) -> Later:
    return Later(due=NOW + round(seconds * 1e6), attempt=attempt, reason=reason)


def decide(
    outcome: Outcome,
    attempt: int,
    *,
    refused_share: float = 0.0,
    draw: float = 0.5,
    age: float = 0.0,
    well_for: float = 1e6,
) -> Verdict:
    delivery = Delivery(
        id=1,
        endpoint="app",
        event_id="msg_1",
        event_type="task.succeeded",
        body=b"{}",
        lane=1,
        observed_at=NOW - round(age * 1e6),
        attempt=attempt,
    )
    return verdict(
        outcome,
        delivery,
        schedule=SCHEDULE,
        now=NOW,
        jitter=0.0,
        refused_share=refused_share,
        draw=draw,
        age=min(age, well_for),
    )


@pytest.mark.parametrize(
    ("outcome", "attempt", "result"),
    [
        (Delivered(), 0, Done()),
        (Rejected(reason="no_text"), 0, Dead(attempt=1, reason="no_text")),
        (Gone(reason="http_410"), 1, after(0.0, 1, "http_410")),
        (Failed(reason="dns", spend=False), 1, after(1.0, 1, "dns")),
        (FAILED, 0, after(5.0, 1, "http_503")),
        (FAILED, 1, after(300.0, 2, "http_503")),
        (FAILED, 2, Dead(attempt=3, reason="http_503")),
    ],
)
def test_an_outcome_decides(outcome: Outcome, attempt: int, result: Verdict) -> None:
    """Done, later by the schedule, or dead."""
    assert decide(outcome, attempt) == result


@pytest.mark.parametrize(
    ("outcome", "age", "wait"),
    [
        (Failed(reason="http_429", throttle=True, spend=False), 0.0, 1.0),
        (Failed(reason="http_429", throttle=True, spend=False), -50.0, 1.0),  # the clock was set
        (Failed(reason="http_429", throttle=True, spend=False), 600.0, 60.0),
        (Failed(reason="http_429", throttle=True, spend=False), 86_400.0, 300.0),
        (Failed(reason="http_429", throttle=True, spend=False, retry_after=2.0), 86_400.0, 2.0),  # it named a time
        (Failed(reason="dns", spend=False), 86_400.0, 1.0),  # a fault of ours, of which the message is innocent
    ],
)
def test_a_message_that_an_endpoint_refuses_for_ever_is_tried_ever_more_rarely(
    outcome: Failed, age: float, wait: float
) -> None:
    """A 429 spends no attempt, so the schedule never ends: the pauses grow with the time that it lasts."""
    assert decide(outcome, 0, age=age) == after(wait, 0, outcome.reason)


@pytest.mark.parametrize(("well_for", "wait"), [(2.0, 1.0), (100.0, 10.0), (-50.0, 1.0)])
def test_a_message_is_not_blamed_for_an_outage(well_for: float, wait: float) -> None:
    """Nothing was accepted before: a message that is refused once since then comes again soon."""
    limited = Failed(reason="http_429", throttle=True, spend=False)
    assert decide(limited, 0, age=86_400.0, well_for=well_for) == after(wait, 0, "http_429")


@pytest.mark.parametrize(
    ("outcome", "attempt", "extra"),
    [
        (FAILED, 1, True),
        (Failed(reason="timeout"), 1, True),
        (FAILED, 0, False),  # the schedule is quick enough
        (Failed(reason="http_503", throttle=True, retry_after=90.0), 1, False),  # it named a time
        (Failed(reason="http_404"), 1, False),  # the same at any time
    ],
)
def test_a_refusal_by_chance_costs_nothing_before_a_long_wait(outcome: Failed, attempt: int, extra: bool) -> None:
    """Where the endpoint refuses a share of everything, and accepts the rest."""
    result = decide(outcome, attempt, refused_share=0.33)
    assert (result == after(EXTRA_WAIT, attempt, outcome.reason)) is extra
    assert decide(outcome, attempt, refused_share=0.33, draw=0.0) == decide(outcome, attempt)

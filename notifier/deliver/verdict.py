"""What an attempt means for its delivery: done, later, or dead. Pure."""

from __future__ import annotations

from notifier.core import retry
from notifier.core.model import Delivery, Micros
from notifier.core.retry import Delivered, Failed, Gone, Outcome, Rejected
from notifier.store import Dead, Done, Later, Verdict


def verdict(
    outcome: Outcome,
    delivery: Delivery,
    *,
    schedule: tuple[float, ...],
    now: Micros,
    jitter: float,
    refused_share: float = 0.0,
    chance: float = 0.0,
    well_since: Micros = 0,
) -> Verdict:
    """Decide by the outcome of an attempt that has just ended.

    `schedule` as for retry.next_attempt, `refused_share` and `chance` as for retry.extra_attempt. `well_since` is the
    time since which the endpoint accepts messages: before that, none could have been accepted.
    """
    match outcome:
        case Delivered():
            return Done()
        case Rejected(reason=reason):
            return Dead(attempt=delivery.attempt + 1, reason=reason)
        case Gone(reason=reason):
            return Later(due=now, attempt=delivery.attempt, reason=reason)
        case Failed(reason=reason, retry_after=hint, spend=False, throttle=theirs):
            age = max(0, now - max(delivery.observed_at, well_since)) / 1e6 if theirs else 0.0
            wait = retry.after_unspent(jitter=jitter, retry_after=hint, age=age)
            return Later(due=now + round(wait * 1e6), attempt=delivery.attempt, reason=reason)
        case Failed(reason=reason, retry_after=hint):  # pragma: no branch  the union has no other member
            made = delivery.attempt + 1
            pause = retry.next_attempt(attempts_made=made, schedule=schedule, jitter=jitter, retry_after=hint)
            if pause is None:
                return Dead(attempt=made, reason=reason)
            if hint is None and retry.may_be_outage(reason):
                extra = retry.extra_attempt(pause, refused_share=refused_share, chance=chance, jitter=jitter)
                if extra is not None:
                    return Later(due=now + round(extra * 1e6), attempt=delivery.attempt, reason=reason)
            return Later(due=now + round(pause * 1e6), attempt=made, reason=reason)

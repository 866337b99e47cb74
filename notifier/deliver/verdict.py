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
    draw: float = 0.0,
    age: float = 0.0,
) -> Verdict:
    """Decide by the outcome of an attempt that has just ended.

    `schedule` as for retry.next_attempt, `refused_share` and `draw` as for retry.extra_attempt. `age` is for how many
    seconds the endpoint could have accepted the message.
    """
    match outcome:
        case Delivered():
            return Done()
        case Rejected(reason=reason):
            return Dead(attempt=delivery.attempt + 1, reason=reason)
        case Gone(reason=reason):
            return Later(due=now, attempt=delivery.attempt, reason=reason)
        case Failed(reason=reason, retry_after=hint, spend=False, throttle=theirs):
            wait = retry.after_unspent(jitter=jitter, retry_after=hint, age=age if theirs else 0.0)
            return Later(due=now + round(wait * 1e6), attempt=delivery.attempt, reason=reason)
        case Failed(reason=reason, retry_after=hint):  # pragma: no branch  the union has no other member
            made = delivery.attempt + 1
            pause = retry.next_attempt(attempts_made=made, schedule=schedule, jitter=jitter, retry_after=hint)
            if pause is None:
                return Dead(attempt=made, reason=reason)
            if hint is None and retry.may_be_outage(reason):
                extra = retry.extra_attempt(pause, refused_share=refused_share, draw=draw, jitter=jitter)
                if extra is not None:
                    return Later(due=now + round(extra * 1e6), attempt=delivery.attempt, reason=reason)
            return Later(due=now + round(pause * 1e6), attempt=made, reason=reason)

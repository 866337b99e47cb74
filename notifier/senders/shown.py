"""Messages for people that may have been shown although no answer came in time (`retry_on_timeout`). Pure."""

from __future__ import annotations

from dataclasses import replace

from notifier.core.retry import Attempt, Failed, Rejected


def unless_shown(attempt: Attempt, *, retry: bool) -> Attempt:
    """Return an attempt that is not made again, without `retry`, if its message was sent and no answer came in time."""
    outcome = attempt.outcome
    sent = attempt.address is not None
    if retry or not sent or not isinstance(outcome, Failed) or outcome.reason != "timeout":
        return attempt
    return replace(attempt, outcome=perhaps_shown(outcome.detail))


def perhaps_shown(detail: str) -> Rejected:
    """Return the outcome of a send after which a message would rather be lost than shown twice."""
    detail = f"{detail}; it may have been shown, and is not sent again (retry_on_timeout)"
    return Rejected(reason="timeout", detail=detail, well=False)

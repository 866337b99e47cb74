"""Bugs that runs have to find: exact words of the program, what takes their place, and the rule that is for it.

They are of kinds that the short real run of `judge/script.py` has no place for: a receiver or an upstream that asks to
be left alone, endpoints that are disabled or want the latest alone, tasks that are removed.
"""

from __future__ import annotations

from judge.bugs import Bug, bug

HIDDEN, ASKED = "a task that was removed is listened to until it tells something", "a receiver's Retry-After is ignored"
FIRST = {HIDDEN: 23, ASKED: 6}  # of bugs that few seeds show, one that does; another, where runs have changed

BUGS: tuple[Bug, ...] = (
    bug(
        "nothing lies between an upstream's refusal and the next request",
        "hasty",
        (
            "core/reconnect.py",
            "    return backoff(health.attempts, ",
            "    return 0 * backoff(health.attempts, ",
        ),
    ),
    bug(
        "an upstream's Retry-After is ignored",
        "hasty",
        (
            "core/reconnect.py",
            "delay=max(hint, _hint(retry_after), pause * jitter)",
            "delay=max(hint, pause * jitter)",
        ),
    ),
    bug(
        HIDDEN,
        "removed",
        ("follow/followed.py", "        subscription.drop()\n", ""),
    ),
    bug(
        ASKED,
        "early",
        (
            "core/retry.py",
            'retry_after=None if hint is None else parse_retry_after(hint, now, headers.get("date", "")),',
            "retry_after=None,",
        ),
    ),
    bug(
        "a message that is answered 404 is given up at once",
        "early",
        (
            "core/retry.py",
            "    if status == 410:\n",
            '    if status == 404:\n        return Rejected(reason="http_404")\n    if status == 410:\n',
        ),
    ),
    bug(
        "an endpoint that is gone is tried on",
        "disabled",
        ("core/retry.py", "    if status == 410:\n", "    if status is None:\n"),
    ),
    bug(
        "a newer event replaces those that wait, at every endpoint",
        "lost",
        (
            "store/transaction.py",
            "            if address.latest and watch is not None\n",
            "            if watch is not None\n",
        ),
    ),
    bug(
        "an event that is to be tried again gives way to itself",
        "lost",
        ("store/hot_sqlite.py", "newer.sequence > deliveries.sequence", "newer.sequence >= deliveries.sequence"),
    ),
    bug(
        "each attempt has the timestamp of its event",
        "stale",
        ("senders/webhook.py", "seconds = now // 1_000_000", "seconds = delivery.observed_at // 1_000_000"),
    ),
    bug(
        "a later event has nothing of what its task was added with",
        "misdirected",
        (
            "core/machine.py",
            "        metadata=watch.metadata,\n        endpoints=watch.endpoints,",
            "        metadata=watch.metadata if watch.state is None else {},\n        endpoints=watch.endpoints,",
        ),
    ),
    bug(
        "a task that was canceled is told as failed",
        "type",
        ("core/machine.py", "Phase.CANCELED: EventType.CANCELED", "Phase.CANCELED: EventType.FAILED"),
    ),
    bug(
        "of the tasks that are added together, the fourth is forgotten",
        "lost",
        (
            "store/watches.py",
            "    fresh = [watch for key, watch in asked.items() if key not in known]\n",
            "    fresh = [watch for key, watch in asked.items() if key not in known][:3]\n",
        ),
    ),
)

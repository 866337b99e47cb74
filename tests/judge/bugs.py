"""Bugs to plant: exact words of the program, what takes their place, and the rules by which the judge has to find it.

Each is of a kind that a careful author might have written. Where the program's words change, so do those here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A text of a file, and another one."""

    file: str  # in the package
    old: str  # stands there once
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """One bug."""

    name: str
    rules: frozenset[str]  # one of these finds it
    changes: tuple[Change, ...]


def bug(name: str, rules: str, *changes: tuple[str, str, str]) -> Bug:
    """Return a bug; `rules` are words of a text."""
    made = tuple(Change(file=file, old=old, new=new) for file, old, new in changes)
    return Bug(name=name, rules=frozenset(rules.split()), changes=made)


BUGS = (
    bug(
        "a commit forgets a row of the outbox",
        "lost gap",
        (
            "store/hot_sqlite.py",
            "iif(waits, NULL, owner)\nFROM placed\n",
            "iif(waits, NULL, owner)\nFROM placed WHERE sequence <> 3\n",
        ),
    ),
    bug(
        "a delivery is settled before it is sent",
        "lost",
        (
            "deliver/destination.py",
            "                attempt = await send(\n",
            "                await self._settle(delivery, Done(), ticket.began)\n"
            "                attempt = await send(\n",
        ),
    ),
    bug(
        "the sequence that is told skips a number",
        "gap misdirected",
        (
            "core/payload.py",
            'f\'"sequence":{watch.sequence},',
            'f\'"sequence":{watch.sequence + (watch.sequence > 2)},',
        ),
    ),
    bug(
        "an attempt has an id of its own",
        "id uncommitted",
        (
            "senders/webhook.py",
            "        seconds = now // 1_000_000\n",
            "        seconds = now // 1_000_000\n        if delivery.attempt:\n"
            "            from dataclasses import replace\n\n"
            '            delivery = replace(delivery, event_id=f"{delivery.event_id}{delivery.attempt}")\n',
        ),
    ),
    bug(
        "the body is made anew for each attempt",
        "body",
        (
            "senders/webhook.py",
            "        body = delivery.body if",
            '        body = delivery.body.replace(b"}}}", b\'},"attempt":%d}}\' % delivery.attempt) if',
        ),
    ),
    bug(
        "a delivery does not wait for the one before it",
        "order gap",
        (
            "store/hot_sqlite.py",
            "iif(waits, 'waiting', 'ready'), 0, due, due, 0, iif(waits, NULL, owner)",
            "'ready', 0, due, due, 0, owner",
        ),
    ),
    bug(
        "a watch goes on after its end",
        "after_the_end",
        ("core/machine.py", "ended=observation.phase in TERMINAL", "ended=False"),
        ("core/machine.py", "if watch.ended or watch.phase in TERMINAL:", "if watch.ended:"),
    ),
    bug(
        "the newest of the waiting overtakes the others",
        "order gap",
        ("store/hot_sqlite.py", "ORDER BY first.sequence LIMIT 1", "ORDER BY first.sequence DESC LIMIT 1"),
    ),
    bug(
        "an accepted message is sent once more",
        "repeat",
        (
            "deliver/destination.py",
            "                now = self._clock()\n                if (at :=",
            "                if isinstance(attempt.outcome, Delivered):\n"
            "                    attempt = await send(link.sender, delivery, ticket, lambda: True)\n"
            "                now = self._clock()\n                if (at :=",
        ),
    ),
    bug(
        "what a stream says first after a reconnection is dropped",
        "lost skipped",
        (
            "follow/connection.py",
            "for observation in replay.news(ended=ended):",
            "for observation in replay.news(ended=ended)[1:]:",
        ),
    ),
    bug(
        "the same state in another phase is taken for a repeat",
        "lost",
        (
            "core/machine.py",
            "if state == watch.state and observation.phase == watch.phase:",
            "if state == watch.state:",
        ),
        (
            "follow/observer.py",
            "(observation.state, observation.phase) == (before.state, before.phase)",
            "observation.state == before.state",
        ),
    ),
    bug(
        "the deadline ends a watch without one more look at the upstream",
        "given_up",
        (
            "follow/time_limits.py",
            "            subscription.overdue = tick\n",
            "            subscription.overdue = tick\n            subscription.looked = True\n"
            "            subscription.interrupt()\n",
        ),
    ),
    bug(
        "a look that found the upstream away counts as the last one",
        "given_up",
        ("follow/time_limits.py", "looked=subscription.looked or answered,", "looked=True,"),
    ),
    bug(
        "history is told as news",
        "invented",
        ("follow/connection.py", "        if subscription.watch.state is not None:\n", "        if False:\n"),
    ),
    bug(
        "a reload opens every stream anew",
        "reload",
        ("daemon/installation.py", "reopen=elsewhere, hurry=hurry", "reopen=True, hurry=hurry"),
    ),
    bug(
        "what a crashed process held is forgotten",
        "unsettled",
        ("store/node.py", "        connection.execute(sql.FREE_DELIVERIES)\n", ""),
    ),
    bug(
        "other bytes are signed than are sent",
        "signature",
        (
            "senders/webhook.py",
            "headers(delivery.event_id, seconds, body)",
            'headers(delivery.event_id, seconds, body + b"\\n")',
        ),
    ),
    bug(
        "the schedule is ignored",
        "early",
        (
            "deliver/verdict.py",
            "return Later(due=now + round(pause * 1e6), attempt=made",
            "return Later(due=now, attempt=made",
        ),
    ),
    bug(
        "a state that nobody knows counts as success",
        "invented lost",
        ("sources/snapshot.py", "        return Phase.RUNNING\n", "        return Phase.SUCCEEDED\n"),
    ),
    bug(
        "a body is kept and used for another watch",
        "misdirected invented",
        (
            "follow/recorder.py",
            "body=payload.body(event, watched=watched),",
            "body=vars(self._counters).setdefault(event.watch and event.watch.sequence, payload.body(event)),",
        ),
    ),
    bug(
        "any answer counts as accepted",
        "lost",
        ("core/retry.py", "    if 200 <= status < 300:\n", "    if 200 <= status < 600:\n"),
    ),
    bug(
        "no answer counts as accepted",
        "lost",
        (
            "senders/exchange.py",
            "            outcome = fault or Failed(",
            "            outcome = judge(200, text, {}, self._clock()) if fault else Failed(",
        ),
        (
            "senders/exchange.py",
            "                if exc.begun or not connection.used:\n",
            "                if connection:\n",  # else another connection is tried at once, and nearly always answered
        ),
    ),
    bug(
        "a message is given up before its schedule ends",
        "early",
        ("deliver/verdict.py", "            if pause is None:\n", "            if pause is None or made > 1:\n"),
    ),
    bug(
        "an event names its own state as the one before",
        "previous",
        (
            "core/machine.py",
            "        previous_state=watch.state,\n        previous_phase=watch.phase,\n        observation",
            "        previous_state=after.state,\n        previous_phase=after.phase,\n        observation",
        ),
    ),
    bug(
        "a delivery that waits is forgotten",
        "unsettled",
        (
            "store/hot_sqlite.py",
            "WHERE deliveries.id = next.id AND deliveries.status = 'waiting'\n",
            "WHERE deliveries.id = next.id AND deliveries.status = 'waiting' AND deliveries.sequence <> 4\n",
        ),
    ),
)

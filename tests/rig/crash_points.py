"""Named points of a daemon at which a test ends it by SIGKILL. The program knows nothing of them.

A process whose environment names a point (`KILL_AT`) or a file (`PASSED`) is changed before it runs: functions of the
program are replaced by ones that call `passing` before and after. A point is a step and a moment:

    saved        all statements of a transaction were run, and it is not committed
    committed    it is committed, and nobody knows
    before, after    of a step that is no transaction

The steps that are transactions have the names in OPERATIONS; a group of several passes the points of each.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

KILL_AT = "NOTIFIER_TEST_KILL_AT"  # a point
PASSED = "NOTIFIER_TEST_PASSED"  # a file that gets the name of each point that is passed, once

# The function that a transaction calls, without its class and module, by the name of its step.
OPERATIONS = {
    "Watches.apply.<locals>.apply": "add watches",
    "Watches.remove_others.<locals>.remove": "remove other watches",
    "Watches.remove.<locals>.remove": "remove a watch",
    "Watches.claim.<locals>.claim": "claim watches",
    "Watches.release.<locals>.release": "release watches",
    "Outbox.claim.<locals>.claim": "claim deliveries",
    "Outbox._revive": "retry the dead",
    "bring_forward": "hasten",
    "Endpoints.change.<locals>.save": "change an endpoint",
    "Endpoints.take_callbacks.<locals>.take": "take callbacks",
    "Endpoints.leave_callbacks.<locals>.leave": "leave callbacks",
    "Mutes.add.<locals>.<lambda>": "mute",
    "Mutes.remove.<locals>.remove": "unmute",
    "Messages.keep.<locals>.keep": "keep a message",
    "Nodes.beat.<locals>.beat": "renew",
    "Nodes.bury.<locals>.bury": "bury a node",
    "Nodes.release_all.<locals>.release": "hand over",
    "Nodes.lead.<locals>.lead": "lead endpoints",
    "Nodes.look.<locals>.<lambda>": "read changed watches",
    "Nodes.mine.<locals>.<lambda>": "read own watches",
    "Store._leave": "leave",
    "_prune_events": "prune events",
    "_prune_watches": "prune watches",
    "prune": "prune the rest",
    "_probe": "probe",
    "watches_begun": "begin watches",
    "deliveries_due": "pull deliveries",
    "ClockMemory.keep.<locals>.<lambda>": "keep the clock",
    "ClockMemory.move.<locals>.move": "move dates",
    "_kept_clock": "read the kept clock",
}

_passed: set[str] = set()


def passing(point: str) -> None:
    """Note that a point is passed; end the process, if it is the one."""
    if point not in _passed:
        _passed.add(point)
        if (path := os.environ.get(PASSED)) is not None:
            with open(path, "a") as file:
                file.write(f"{point}\n")
    if point == os.environ.get(KILL_AT):
        os.kill(os.getpid(), signal.SIGKILL)


def install() -> None:
    """Replace the functions, if the environment asks for it."""
    if KILL_AT in os.environ or PASSED in os.environ:
        _transactions()
        _starts()
        _sending()
        _reloading()
        _stopping()
        _migrating()


def _transactions() -> None:
    from notifier.store.transaction import Transaction
    from notifier.store.writer import Writer

    run, once = Transaction.__call__, Writer._once

    def call(self: Transaction, connection: Any, operations: Sequence[Any]) -> list[object]:
        results = run(self, connection, operations)
        _pass(operations, "saved")
        return results

    def commit(self: Writer, operations: Sequence[Any]) -> Any:
        outcomes = once(self, operations)
        _pass(operations, "committed")
        return outcomes

    _replace(Transaction, "__call__", call)
    _replace(Writer, "_once", commit)


def _pass(operations: Iterable[Any], moment: str) -> None:
    for step in sorted({_step(operation) for operation in operations}):
        passing(f"{step}: {moment}")


def _step(operation: Any) -> str:
    from notifier.store.operations import CommitOp, SettleOp

    match operation:
        case CommitOp():
            return "commit" if operation.watch is not None else "announce"
        case SettleOp():
            return "settle"
    call = operation.call
    while isinstance(call, partial):
        call = call.func
    return OPERATIONS.get(call.__qualname__, f"unnamed {call.__qualname__}")


def _starts() -> None:
    from notifier.store import database
    from notifier.store.node import Member, Solo

    for kind in (Solo, Member):
        _around(kind, "join", "join", after="saved")
    _around(database, "_join", "join", after="committed")


def _sending() -> None:
    from notifier.runtime.http1.connection import Connection
    from notifier.senders.callback import CallbackSender
    from notifier.senders.webhook import WebhookSender

    for kind, step in ((WebhookSender, "send"), (CallbackSender, "send to a callback")):
        _around(kind, "send", step, before="before", after="after")
    ask = Connection.ask

    def written(self: Connection, request: bytes) -> None:
        ask(self, request)
        if request.startswith(b"POST "):
            passing("send: written")

    _replace(Connection, "ask", written)


def _reloading() -> None:
    from notifier.daemon import reload

    kind = reload.Reloader
    _around(kind, "_take", "reload", before="read")
    replace, known = kind._replace, set()

    async def replaced(self: Any, config: Any) -> Sequence[Any]:
        if id(self) not in known:
            known.add(id(self))
            for name, moment in (("prepare", "prepared"), ("install", "installed")):
                _around(self.installation, name, "reload", after=moment)  # only now: a start has used it before
        return await replace(self, config)

    _replace(kind, "_replace", replaced)
    _around(reload, "apply_files", "reload", after="applied")
    _around(kind, "attempt", "reload", after="after")


def _stopping() -> None:
    from notifier.cluster.membership import Membership
    from notifier.daemon.app import Application
    from notifier.deliver.dispatcher import Dispatcher

    _around(Application, "_drain", "stop", before="before", after="drained")
    _around(Membership, "leave", "stop", after="handed over")
    _around(Dispatcher, "close", "stop", after="after")


def _migrating() -> None:
    from notifier.store import migrations, postgres, sqlite

    _around(migrations, "_create", "make tables", after="saved")
    for module, name in ((sqlite, "prepare"), (postgres, "migrate")):
        _around(module, name, "migrate", before="before", after="committed")
    upgrade = migrations._migrate

    def migrate(connection: Any) -> None:
        from alembic.runtime.migration import HeadMaintainer

        update = HeadMaintainer.update_to_step

        def updated(self: Any, step: Any) -> Any:
            passing(f"migrate to {step.to_revisions[0]}: before it is noted")
            update(self, step)
            passing(f"migrate to {step.to_revisions[0]}: noted")

        HeadMaintainer.update_to_step = updated  # type: ignore[method-assign]
        upgrade(connection)

    _replace(migrations, "_migrate", migrate)


def _around(owner: Any, name: str, step: str, *, before: str | None = None, after: str | None = None) -> None:
    """Pass a point before and after a function, or a coroutine function."""
    import inspect

    function = getattr(owner, name)

    def enter() -> None:
        if before is not None:
            passing(f"{step}: {before}")

    def leave() -> None:
        if after is not None:
            passing(f"{step}: {after}")

    @functools.wraps(function)
    def called(*args: Any, **given: Any) -> Any:
        enter()
        result = function(*args, **given)
        leave()
        return result

    @functools.wraps(function)
    async def awaited(*args: Any, **given: Any) -> Any:
        enter()
        result = await function(*args, **given)
        leave()
        return result

    _replace(owner, name, awaited if inspect.iscoroutinefunction(function) else called)


def _replace(owner: Any, name: str, function: Callable[..., Any]) -> None:
    setattr(owner, name, function)

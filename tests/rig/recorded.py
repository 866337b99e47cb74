"""The record of a run with the parts of `notifier.tools`, for the judge: what was said, and what arrived.

A test whose upstream is a `RecordedSimulator` and whose listener or receiver notes its arrivals here has the whole run
judged by `judge`, in place of an account of its own.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import time
from typing import Any

from chaos.scribe import Scribe
from chaos.upstream import PHASES
from daemon_process import SECRET
from judge import EndpointTerms, Received, Said
from receiver import Arrival

from notifier.tools.callback import ReceivedCallback
from notifier.tools.faults import FaultPlan
from notifier.tools.simulated import SimulatedStream, SimulatedTask
from notifier.tools.simulator import Simulator
from notifier.tools.wire import HttpConnection

SOURCE = "vidu"
ON_THE_WAY = 1.0  # seconds in which what a process has sent before its end may arrive
QUICK = EndpointTerms(schedule=(0.0, *[0.1] * 200))  # of daemon_process.webhook


class RecordedStream(SimulatedStream):
    """A stream whose snapshots are noted."""

    scribe: Scribe
    number: int
    closed: float | None = None  # when it ended, in seconds of time.monotonic; None: it is open

    def _ended(self) -> None:
        self.closed = time.monotonic()
        super()._ended()

    def send(self, payload: bytes) -> None:
        """Write a snapshot and note whether all of it went out; a silent stream says nothing."""
        live = self.live
        super().send(payload)
        transport = self._connection.transport
        handed = live and not transport.is_closing() and transport.get_write_buffer_size() == 0
        self.scribe.note(_said(self.scribe, self.task, payload, self.number, complete=handed))


class RecordedSimulator(Simulator):
    """A simulator that notes every snapshot that it sends, and those that it would have sent to nobody."""

    def __init__(self, scribe: Scribe, **options: Any) -> None:
        super().__init__(**options)
        self.scribe = scribe
        self._numbers = itertools.count(1)

    def _new_stream(
        self, connection: HttpConnection, task: SimulatedTask, plan: FaultPlan, after: int | None
    ) -> RecordedStream:
        made = RecordedStream(connection, task, plan, self.framing, among=self._streams, after=after)
        made.scribe, made.number = self.scribe, next(self._numbers)
        return made

    def push(self, id_: str, payload: Any, *, last: bool | None = None) -> None:
        """Make this the task's current snapshot."""
        unheard = not self._task(id_).streams
        super().push(id_, payload, last=last)
        task = self._task(id_)
        if unheard and task.current is not None:
            self.scribe.note(_said(self.scribe, task, task.current, 0, complete=False))


def _said(scribe: Scribe, task: SimulatedTask, payload: bytes, number: int, *, complete: bool) -> Said:
    body = json.loads(payload)
    state = body["state"]
    return Said(
        at=scribe.now(), source=SOURCE, task=task.id, connection=number, state=state,
        phase=PHASES.get(state, "running"), body=body, complete=complete,
    )  # fmt: skip


def note_kill(scribe: Scribe, node: str | None = None) -> None:
    """Note that a process was killed, and has ended."""
    scribe.did("kill", node, until=scribe.now() + ON_THE_WAY)


def heard(callback: ReceivedCallback, endpoint: str, *, ahead: int = 0) -> Received:
    """Return what the judge has to know of a callback that a `Listener` received.

    `ahead`: the seconds by which its clock and the daemon's dates are ahead of the record (clocks.py).
    """
    assert callback.id is not None
    assert callback.sent_at is not None
    return Received(
        at=callback.at - ahead, endpoint=endpoint, webhook_id=callback.id, timestamp=int(callback.sent_at) - ahead,
        body=callback.body.decode(), verified=callback.verified is not False,
        answer=int(callback.answer) if callback.answer.isdigit() else None,
    )  # fmt: skip


def arrived(arrival: Arrival, endpoint: str, *, node: str | None, ahead: int = 0) -> Received:
    """Return what the judge has to know of what a `Receiver` received, which answers 200 and does not verify.

    `ahead`: the seconds by which the daemon's dates are ahead of the record (clocks.py).
    """
    id_, at = arrival.id, arrival.headers["webhook-timestamp"]
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{id_}.{at}.".encode() + arrival.body, hashlib.sha256)
    right = f"v1,{base64.b64encode(digest).decode()}" in arrival.headers["webhook-signature"].split()
    return Received(
        at=arrival.at, endpoint=endpoint, webhook_id=id_, timestamp=int(at) - ahead, body=arrival.body.decode(),
        verified=right, answer=200, node=node,
    )  # fmt: skip

"""The receivers of a run. In a storm they refuse, hang, break off in the middle of an answer, or are down for minutes.

Each callback that was read whole is recorded, with the answer that reached the daemon. The signature is checked as
Standard Webhooks says, with nothing of the daemon's.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable
from random import Random

from judge import Received

from simulation.http import Asked, head, whole
from simulation.scene import Scene
from simulation.wires import FAR, Line

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HINTS = {"0": 0.0, "1": 1.0, "2.5": 2.5, "7": 7.0, "later": None, "-3": None}  # and the seconds that they mean
DATED = 9.0 - 1.0 - FAR  # seconds that are left of a date in nine, which has whole seconds, when it has arrived

# Told the status that reached the daemon, None if none did, and for how long it asked to be left alone.
Answered = Callable[[int | None, float | None], None]


class Receiver:
    """Receives what is sent to one endpoint."""

    def __init__(self, name: str, scene: Scene, rng: Random, *, gone: float = 0.0) -> None:
        """Create a receiver; `gone` is the share of what it answers 410 in a storm, which disables an endpoint."""
        self.name = name
        self._gone = gone
        self._scene = scene
        self._rng = rng
        self._down = 0.0  # until when nothing is accepted

    def go_down(self, seconds: float) -> None:
        """Accept nothing for so long."""
        self._down = self._scene.agenda.now + seconds

    def asked(self, request: Asked, line: Line) -> None:
        """Read a callback, and answer after a while."""
        at, rng = self._scene.agenda.now, self._rng
        settled = False

        def answered(status: int | None, hint: float | None) -> None:
            nonlocal settled
            if not settled:
                settled = True
                self._scene.record(self._received(request, at, status, hint))

        line.on_lost = lambda: answered(None, None)
        pause = rng.expovariate(20.0)
        if self._scene.stormy and rng.random() < self._scene.trouble / 4:
            pause = rng.uniform(1.0, 20.0)
        self._scene.agenda.after(pause, lambda: self._answer(line, answered))

    def _answer(self, line: Line, answered: Answered) -> None:
        scene, rng = self._scene, self._rng
        if scene.stormy and rng.random() < self._gone:
            self._send(line, 410, {}, answered)
            return
        down = scene.stormy and scene.agenda.now < self._down
        if not down and not (scene.stormy and rng.random() < scene.trouble):
            self._send(line, rng.choice([200, 200, 204, 202]), {}, answered)
            return
        match rng.randrange(8):
            case 0:
                line.reset()
                answered(None, None)
            case 1:
                line.close()
                answered(None, None)
            case 2:
                pass  # for ever: the daemon gives up, and its end closes
            case 3:
                status, hint = rng.choice([429, 503]), rng.choice((*HINTS, date := scene.date_in(9.0)))
                seconds = DATED if hint is date else HINTS[hint]
                self._send(line, status, {"retry-after": hint}, answered, seconds)
            case 4:
                self._send(line, rng.choice([400, 404, 418, 301]), {"location": "http://elsewhere.example/"}, answered)
            case 5:  # accepted, but the answer breaks off
                reply = head(200, {"content-length": "10"}) + b"ok"
                line.send(reply[: rng.randrange(len(reply))])
                line.reset()
                answered(None, None)
            case _:
                self._send(line, rng.choice([500, 502, 503, 504]), {}, answered)

    def _send(
        self, line: Line, status: int, headers: dict[str, str], answered: Answered, hint: float | None = None
    ) -> None:
        body = b"" if status == 204 else b"<p>thanks</p>"
        reply = head(204, headers) if status == 204 else whole(status, body, headers)
        line.send(reply, lambda arrived: answered(status, hint) if arrived else answered(None, None))

    def _received(self, request: Asked, at: float, status: int | None, hint: float | None) -> Received:
        headers = request.headers
        id_, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "0")
        signed = f"{id_}.{timestamp}.".encode() + request.body
        mac = hmac.digest(base64.b64decode(SECRET.removeprefix("whsec_")), signed, "sha256")
        return Received(
            at=at,
            endpoint=self.name,
            webhook_id=id_,
            timestamp=int(timestamp),
            body=request.body.decode(),
            verified=f"v1,{base64.b64encode(mac).decode()}" in headers.get("webhook-signature", "").split(),
            answer=status,
            answered=self._scene.agenda.now,
            retry_after=hint,
        )

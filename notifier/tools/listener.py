"""A receiver of callbacks: it verifies them, remembers them, and answers by a script. `/slack` answers as Slack does.

A callback with a wrong signature gets 401 where the script says 2xx, as from a careful receiver.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from random import Random
from typing import Any, Self, assert_never

from aiohttp import web
from rich.console import Console
from rich.text import Text

from notifier.core.model import Json
from notifier.core.signing import TOLERANCE, SignatureError, decode_verifier, verify
from notifier.tools.callback import ReceivedCallback, fields_of, format_callback, json_line
from notifier.tools.responses import ANY_PATH, Blackhole, Drip, Drop, Reset, Response, Script, Status, parse_path_script
from notifier.tools.waiting import PATIENCE, Waiters, raise_descriptor_limit, until_stopped
from notifier.tools.wire import reset

MAX_BODY = 256 << 20  # bytes of a callback: it quotes a snapshot of up to 64 MiB, and may hold its result twice
KEPT = 10_000  # callbacks, the newest
MAX_REMEMBERED = 100_000  # message ids, and watches; some tens of MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSummary:
    """The counts of what a listener has received."""

    received: int
    verified: int
    rejected: int  # signature wrong
    duplicates: int
    out_of_order: int
    types: Mapping[str, int]

    def __str__(self) -> str:
        """Return one line."""
        types = ", ".join(f"{name} {count}" for name, count in sorted(self.types.items())) or "nothing"
        return (
            f"{self.received} callbacks ({types}), {self.verified} verified, {self.rejected} rejected, "
            f"{self.duplicates} duplicates, {self.out_of_order} out of order"
        )


class _Memory:
    """Message ids and sequences, which tell repeats and wrong order; beyond `limit`, the oldest is forgotten.

    They are kept by path: two endpoints of one daemon receive the same event under one id.
    """

    def __init__(self, limit: int = MAX_REMEMBERED) -> None:
        self._limit = limit
        self._arrivals: OrderedDict[tuple[str, str], tuple[int, bool]] = OrderedDict()  # how many, and one answered 2xx
        self._sequences: OrderedDict[tuple[str, str | None, str], int] = OrderedDict()  # highest so far

    def record(self, callback: ReceivedCallback, *, accepted: bool) -> ReceivedCallback:
        """Record a callback; return it with its attempt and order. `accepted`: it will be answered 2xx."""
        if callback.id is not None:
            key = (callback.path, callback.id)
            arrivals, accepted_before = self._arrivals.pop(key, (0, False))
            self._arrivals[key] = (arrivals + 1, accepted_before or accepted)
            callback = replace(callback, attempt=arrivals + 1, accepted_before=accepted_before)
            if len(self._arrivals) > self._limit:
                self._arrivals.popitem(last=False)
        if callback.watch is not None and callback.sequence is not None and not callback.duplicate:
            watch = (callback.path, callback.source, callback.watch)
            highest = self._sequences.pop(watch, 0)
            self._sequences[watch] = max(highest, callback.sequence)
            callback = replace(callback, out_of_order=callback.sequence <= highest)
            if len(self._sequences) > self._limit:
                self._sequences.popitem(last=False)
        return callback


class Listener:
    """The receiver; usable as `async with Listener(...) as listener`, or by `await serve(listener, ...)`."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,  # 0: any free one
        secrets: Iterable[str] = (),  # any of them may sign; none: nothing is checked
        respond: str | Iterable[str] = "200",  # scripts, the first with a matching path; see `responses`
        tolerance: float = TOLERANCE,  # seconds that `webhook-timestamp` may be off
        keep: int = KEPT,  # callbacks
        on_callback: Callable[[ReceivedCallback], None] | None = None,
        seed: int | None = None,  # of random responses
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.host, self.port, self.on_callback = host, port, on_callback
        self.callbacks: deque[ReceivedCallback] = deque(maxlen=keep)
        self.counts: Counter[str] = Counter()
        self.types: Counter[str] = Counter()
        self._keys = [decode_verifier(secret) for secret in secrets]
        scripts = [parse_path_script(text) for text in ([respond] if isinstance(respond, str) else respond)]
        scripts.sort(key=lambda script: script[0] == ANY_PATH)  # one without a path is for the others
        random = Random(seed)
        self._scripts = [(path, Script(steps, random)) for path, steps in scripts]
        self._tolerance = tolerance
        self._clock = clock
        self._memory = _Memory()
        self._waiters = Waiters()
        self._stopping = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        """Listen. Raises OSError if the address is not available."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._receive)
        # A handler that never answers is cancelled when its client has gone.
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host, self.port, backlog=1024).start()
        except OSError:
            await runner.cleanup()
            raise
        self.port = runner.addresses[0][1]
        self._runner = runner
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening; requests without an answer get none."""
        if self._runner is not None:
            self._stopping.set()
            await self._runner.cleanup()
            self._runner = None

    @property
    def base_url(self) -> str:
        """Return its URL, without a path."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Return a URL for a webhook endpoint."""
        return f"{self.base_url}/hooks"

    @property
    def slack_url(self) -> str:
        """Return a URL for a Slack endpoint."""
        return f"{self.base_url}/slack"

    def summary(self) -> ListenerSummary:
        """Return the counts so far."""
        names = ("received", "verified", "rejected", "duplicates", "out_of_order")
        return ListenerSummary(**{name: self.counts[name] for name in names}, types=dict(self.types))

    async def wait_for(self, holds: Callable[[Listener], bool], *, timeout: float | None = PATIENCE) -> None:
        """Return when `holds(self)`; looked at after each callback. Raises TimeoutError."""
        await self._waiters.wait(lambda: holds(self), timeout=timeout)

    async def wait(self, n: int, *, timeout: float | None = PATIENCE) -> list[ReceivedCallback]:
        """Return the callbacks kept, once at least `n` were received in all. Raises TimeoutError."""
        await self.wait_for(lambda listener: listener.counts["received"] >= n, timeout=timeout)
        return list(self.callbacks)

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        if request.method != "POST":
            return web.Response(status=405, text="callbacks are POSTed", headers={"Allow": "POST"})
        body = await request.read()
        response = self._response(request.path)
        callback = self._read(request, body)
        if callback.verified is False and isinstance(response, Status) and 200 <= response.status < 300:
            response = Status(status=401, body=callback.reason)
        self._record(replace(callback, answer=_name(response)), response)
        return await self._answer(request, response)

    def _response(self, path: str) -> Response:
        script = next((script for glob, script in self._scripts if fnmatchcase(path, glob)), None)
        return script.next() if script else Status(status=200)

    def _read(self, request: web.Request, body: bytes) -> ReceivedCallback:
        at = self._clock()
        try:
            payload: Json = json.loads(body)
        except ValueError:  # also UnicodeDecodeError
            payload = None
        slack = request.path == "/slack" or request.path.startswith("/slack/")
        verified, reason = (None, "Slack does not sign") if slack else self._verify(request.headers, body, at)
        known: dict[str, Any] = {"text": _slack_text(payload)} if slack else fields_of(payload, at=at)
        return ReceivedCallback(
            number=self.counts["received"] + 1,
            at=at,
            path=request.path,
            id=request.headers.get("webhook-id"),
            sent_at=request.headers.get("webhook-timestamp"),
            traceparent=request.headers.get("traceparent"),
            verified=verified,
            reason=reason,
            payload=payload,
            body=body,
            **known,
        )

    def _verify(self, headers: Mapping[str, str], body: bytes, at: float) -> tuple[bool | None, str]:
        if not self._keys:
            return None, "no secret to verify with"
        try:
            verify(self._keys, headers, body, now=round(at * 1_000_000), tolerance=self._tolerance)
        except SignatureError as exc:
            return False, str(exc)
        return True, ""

    def _record(self, callback: ReceivedCallback, response: Response) -> None:
        if callback.verified is not False:  # a forger must not make true callbacks look like repeats
            accepted = isinstance(response, Status) and 200 <= response.status < 300
            callback = self._memory.record(callback, accepted=accepted)
        self.callbacks.append(callback)
        self.types["slack" if callback.text is not None else callback.type or "unknown"] += 1
        self.counts["received"] += 1
        self.counts["verified"] += callback.verified is True
        self.counts["rejected"] += callback.verified is False
        self.counts["duplicates"] += callback.duplicate
        self.counts["out_of_order"] += callback.out_of_order
        if self.on_callback is not None:
            self.on_callback(callback)
        self._waiters.changed()

    async def _answer(self, request: web.Request, response: Response) -> web.StreamResponse:
        match response:
            case Status(status=status, headers=headers, body=text, delay=delay):
                if delay:
                    await asyncio.sleep(delay)
                text = "" if status == 204 else text or ("ok" if status == 200 else "")
                return web.Response(status=status, headers=headers, text=text)
            case Drip(every=every):
                return await self._drip(request, every)
            case Blackhole():
                await self._stopping.wait()  # cancelled when the client has gone
                return _silence(request, rst=False)
            case Drop():
                return _silence(request, rst=False)
            case Reset():
                return _silence(request, rst=True)
            case _:
                assert_never(response)

    async def _drip(self, request: web.Request, every: float) -> web.StreamResponse:
        reply = web.StreamResponse()
        await reply.prepare(request)
        while not self._stopping.is_set():
            await reply.write(b".")
            await asyncio.sleep(every)
        return reply


def _silence(request: web.Request, *, rst: bool) -> web.Response:
    """End the connection; return a response, which is never sent."""
    if request.transport is not None:
        if rst:
            reset(request.transport)
        else:
            request.transport.close()
    return web.Response(status=503)


def _name(response: Response) -> str:
    return str(response.status) if isinstance(response, Status) else type(response).__name__.lower()


def _slack_text(payload: Json) -> str:
    text = payload.get("text") if isinstance(payload, dict) else None
    return text if isinstance(text, str) else ""


def introduction(listener: Listener, *, secret: str | None = None) -> str:
    """Return how to reach it: a configuration to copy, and a request. The secret is shown only if it is passed."""
    shown = "${WEBHOOK_SECRET}" if secret is None else secret
    return f"""listening on {listener.base_url}

  endpoints:
    local: {{type: webhook, url: "{listener.url}", secrets: ["{shown}"]}}
    chat: {{type: slack, url: "{listener.slack_url}"}}

  curl -H 'content-type: application/json' -d '{{"text": "hello"}}' {listener.slack_url}
"""


async def serve(
    listener: Listener, *, console: Console, secret: str | None = None, as_json: bool = False
) -> ListenerSummary:
    """Run it as a command until SIGINT or SIGTERM, printing each callback; return what it did.

    `secret` is shown in the introduction: one made for this run, not one that is in use. With `as_json` the console
    gets callbacks only, and the introduction goes to stderr. Raises OSError if the address is taken, or if a
    callback cannot be printed.
    """

    unprintable: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def show(callback: ReceivedCallback) -> None:
        line = Text(json_line(callback)) if as_json else format_callback(callback)
        try:
            console.print(line, soft_wrap=True)
        except OSError as exc:  # ends the command, not only the request whose callback is shown
            if not unprintable.done():
                unprintable.set_exception(exc)

    raise_descriptor_limit()
    listener.on_callback = show
    async with listener:
        people = Console(stderr=True) if as_json else console
        people.print(Text(introduction(listener, secret=secret)), soft_wrap=True)
        stopped = asyncio.create_task(until_stopped(), name="until stopped")
        await asyncio.wait({stopped, unprintable}, return_when=asyncio.FIRST_COMPLETED)
        if not stopped.done():
            stopped.cancel()
            await asyncio.wait({stopped})
            unprintable.result()
        return listener.summary()

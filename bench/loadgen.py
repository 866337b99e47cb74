"""The load: an upstream that plays the timeline and a receiver of callbacks, in one lean process of its own.

It speaks just enough HTTP for the programs measured, on raw protocols, so that it takes little of a small machine.
It is led over its pipes: lines of JSON out (`ready`, `first`, `open`, `done`), the line `go` in; end of input ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import ssl
import sys
import time
from dataclasses import asdict, dataclass

import uvloop

from bench.tally import Callback, judge, percentile
from bench.timeline import CHANGES, Write, snapshot, stream_of, timeline

TICK_SECONDS = 0.001  # the finest that uvloop's timers can do
QUIET_SECONDS = 0.5  # silence after the last callback that ends a run: time for a duplicate to show itself
PATIENCE_SECONDS = 30.0  # without any callback, after the last write, before the missing are given up
BACKLOG = 4096  # connections that arrive in one instant; Linux caps it at net.core.somaxconn

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
LENGTH_REQUIRED = b"HTTP/1.1 411 Length Required\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
EVENTS = [b"%x\r\n%b\r\n" % (len(snapshot(change)), snapshot(change)) for change in range(len(CHANGES))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The load to generate."""

    streams: int
    rate: float
    active: int  # of the streams, those that play; the others are open and say nothing
    secret: str
    idle: bool  # every stream says `queueing` when it opens, and no more
    certificate: str | None  # PEM of key and chain: serve TLS upstream


class Load:
    """The state of one run."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.plan: list[Write] = [] if options.idle else timeline(streams=options.active, rate=options.rate)
        self.expected = options.streams if options.idle else options.active * len(CHANGES)
        self.streams: dict[int, asyncio.Transport] = {}
        self.said: dict[int, int] = {}  # the last change told to a stream
        self.written: dict[tuple[int, int], float] = {}
        self.callbacks: list[Callback] = []
        self.lags: list[float] = []  # seconds that changes were written late
        self.reconnects = 0
        self.started = 0.0
        self.position = 0  # in the plan
        self.cpu_at_start = 0.0

    def opened(self, stream: int, transport: asyncio.Transport) -> None:
        """Take a subscriber; one that comes again is told at once where its task stands."""
        self.reconnects += stream in self.said or stream in self.streams
        self.streams[stream] = transport
        transport.write(STREAM_HEAD)
        if self.options.idle and stream not in self.said:
            self.say(stream, 0)
        elif stream in self.said:
            transport.write(EVENTS[self.said[stream]])
        if len(self.streams) == 1:
            tell("first")
        elif len(self.streams) == self.options.streams and not self.started:
            tell("open")

    def closed(self, stream: int, transport: asyncio.Transport) -> None:
        """Forget a subscriber, unless a newer connection took its place."""
        if self.streams.get(stream) is transport:
            del self.streams[stream]

    def say(self, stream: int, change: int) -> None:
        """Write a change, stamped just before it goes; a subscriber who is away hears it when it is back."""
        self.said[stream] = change
        self.written[stream, change] = time.monotonic()
        if stream in self.streams:
            self.streams[stream].write(EVENTS[change])

    def start(self) -> None:
        """Start the plan."""
        self.started = time.monotonic()
        self.cpu_at_start = cpu_seconds()
        self.tick()

    def tick(self) -> None:
        """Write all that is due, then come back; at the plan's end wait for the callbacks."""
        elapsed = time.monotonic() - self.started
        while self.position < len(self.plan) and self.plan[self.position].at <= elapsed:
            write = self.plan[self.position]
            self.position += 1
            if not write.repeat:
                self.lags.append(elapsed - write.at)
                self.say(write.stream, write.change)
            elif write.stream in self.streams:
                self.streams[write.stream].write(EVENTS[write.change])
        loop = asyncio.get_running_loop()
        if self.position < len(self.plan):
            loop.call_later(TICK_SECONDS, self.tick)
        else:
            loop.call_later(QUIET_SECONDS, self.finish, time.monotonic())

    def finish(self, ended: float) -> None:
        """Report once every callback is in and the line has been quiet, or patience is over."""
        last = max(ended, self.callbacks[-1].at if self.callbacks else 0.0)
        silence = time.monotonic() - last
        complete = len(self.callbacks) >= self.expected
        if silence < (QUIET_SECONDS if complete else PATIENCE_SECONDS):
            asyncio.get_running_loop().call_later(QUIET_SECONDS / 10, self.finish, ended)
            return
        cpu = cpu_seconds() - self.cpu_at_start  # before the tally below, which is no part of the load
        tell("quiet")
        tally = judge(self.callbacks, self.written, self.options.secret)
        lags = sorted(self.lags)
        tell(
            "done",
            tally=asdict(tally),
            seconds=last - self.started,
            reconnects=self.reconnects,
            loadgen_cpu=cpu,
            lag_p99_ms=(percentile(lags, 0.99) or 0.0) * 1000,
            lag_max_ms=(percentile(lags, 1.0) or 0.0) * 1000,
        )


class Upstream(asyncio.Protocol):
    """One subscriber of the documented `GET .../tasks/state?id=`."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.buffer = b""
        self.stream: int | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports only look like asyncio's

    def data_received(self, data: bytes) -> None:
        """Read the request; anything after it is ignored."""
        self.buffer += data
        if self.stream is None and b"\r\n\r\n" in self.buffer and self.transport is not None:
            target = self.buffer.split(b" ", 2)[1]
            self.stream = stream_of(target.partition(b"id=")[2].decode())
            self.load.opened(self.stream, self.transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # the protocol's signature
        """Report the subscriber gone."""
        if self.stream is not None and self.transport is not None:
            self.load.closed(self.stream, self.transport)


class Receiver(asyncio.Protocol):
    """One keep-alive connection of callbacks; each is answered 200 at once."""

    def __init__(self, callbacks: list[Callback]) -> None:
        self.callbacks = callbacks
        self.buffer = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports only look like asyncio's

    def data_received(self, data: bytes) -> None:
        """Take every request that is complete."""
        now = time.monotonic()
        assert self.transport is not None
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end]
            _, found, rest = head.lower().partition(b"\r\ncontent-length:")
            if not found:
                self.transport.write(LENGTH_REQUIRED)
                self.transport.close()
                return
            stop = end + 4 + int(rest.partition(b"\r\n")[0])
            if len(self.buffer) < stop:
                return
            self.callbacks.append(Callback(at=now, head=head, body=self.buffer[end + 4 : stop]))
            self.buffer = self.buffer[stop:]
            self.transport.write(OK)


def cpu_seconds() -> float:
    """Return user and system time of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def tell(event: str, **fields: object) -> None:
    """Write one line to the parent process."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


async def serve(options: Options) -> None:
    """Listen, obey, and end with the input."""
    loop = asyncio.get_running_loop()
    load = Load(options)
    tls = None
    if options.certificate is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(options.certificate)
    upstream = await loop.create_server(lambda: Upstream(load), "127.0.0.1", 0, ssl=tls, backlog=BACKLOG)
    receiver = await loop.create_server(lambda: Receiver(load.callbacks), "127.0.0.1", 0, backlog=BACKLOG)
    ended = loop.create_future()

    def obey() -> None:
        command = os.read(sys.stdin.fileno(), 64)
        if b"go" in command:
            load.start()
        elif not command:
            loop.remove_reader(sys.stdin.fileno())
            ended.set_result(None)

    loop.add_reader(sys.stdin.fileno(), obey)
    ports = [server.sockets[0].getsockname()[1] for server in (upstream, receiver)]
    tell("ready", upstream=ports[0], receiver=ports[1])
    await ended


def main() -> None:
    """Run the load generator."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--active", type=int, help="of the streams; all of them")
    parser.add_argument("--secret", required=True)
    parser.add_argument("--idle", action="store_true")
    parser.add_argument("--certificate")
    args = parser.parse_args()
    args.active = args.streams if args.active is None else args.active
    options = Options(**vars(args))
    gc.disable()  # a pause of ours would be counted against the program measured; the run is bounded
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(options))


if __name__ == "__main__":
    main()

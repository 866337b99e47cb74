"""The network of a run: names, dialling, and wires that carry bytes with the delays and breaks that a seed draws.

The daemon's own HTTP client holds one end of a wire, as an asyncio transport. The other end is a `Line`, which a place
of the world holds: it outlives the daemon's process. Bytes keep their order. They arrive in pieces of any size, and a
break may come behind any byte.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from simulation.loop import Agenda, VirtualLoop

NEAR, FAR = 0.02, 2.0  # seconds that bytes travel at most, on a good wire and on a bad one
FAR_SHARE = 0.03
ON_THE_WAY = 0.05  # seconds for which bytes of a process that has ended may still arrive; none starts so soon


class Place(Protocol):
    """A server of the world."""

    def opened(self, line: Line) -> None:
        """Take a connection."""
        ...


@dataclass(slots=True)
class Weather:
    """How bad the network is: shares of dials and lookups that go wrong."""

    refused: float = 0.0
    hanging: float = 0.0
    nameless: float = 0.0


class Network:
    """Every place by its address, and every name."""

    def __init__(self, agenda: Agenda, rng: Random) -> None:
        self.agenda = agenda
        self.rng = rng
        self.weather = Weather()
        self.on_no_name: Callable[[], None] = lambda: None
        self._places: dict[str, Place] = {}
        self._names: dict[str, str] = {}
        self._down = False  # no process runs
        self._wires: list[Wire] = []  # of the process that runs, as long as anything is on them

    def add(self, name: str, address: str, place: Place) -> None:
        """Let a name lead to a place."""
        self._names[name], self._places[address] = address, place

    def look_up(self, host: str, port: int) -> list[Any]:
        """Stand for `runtime.http1.names.look_up`."""
        if self.rng.random() < self.weather.nameless:
            self.on_no_name()
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (self._names[host], port))]

    async def start_connection(self, infos: list[Any], **_: Any) -> Plug:
        """Stand for `aiohappyeyeballs.start_connection`."""
        address, port = infos[0][4][:2]
        if self._down:
            raise OSError(errno.ENETDOWN, "Network is down")
        await asyncio.sleep(self.delay())
        fate = self.rng.random()
        if fate < self.weather.refused:
            raise OSError(errno.ECONNREFUSED, "Connection refused")
        if fate < self.weather.refused + self.weather.hanging:
            await asyncio.get_running_loop().create_future()
        return Plug(address, port)

    def remove_addr_infos(self, infos: list[Any], peer: Any) -> None:
        """Stand for `aiohappyeyeballs.remove_addr_infos`."""
        infos[:] = [info for info in infos if info[4][:2] != peer]

    def plug_in(self, loop: VirtualLoop) -> Callable[[Plug], Wire]:
        """Return how a loop makes a transport of a plug."""

        self._down = False

        def dial(plug: Plug) -> Wire:
            assert not self._down
            wire = Wire(loop, self, self._places[plug.address], plug)
            self._wires = [*(each for each in self._wires if each.carries), wire]
            return wire

        return dial

    def process_died(self) -> None:
        """Break every wire, as the kernel does when a process ends: what was written may still arrive.

        What is left of the process reaches nothing until another one starts.
        """
        self._down = True
        for wire in self._wires:
            wire.die()
        self._wires.clear()

    def delay(self) -> float:
        """Draw how long something travels."""
        return self.rng.random() * (FAR if self.rng.random() < FAR_SHARE else NEAR)


@dataclass(frozen=True, slots=True)
class Plug:
    """A connected socket that no transport has taken yet."""

    address: str
    port: int

    def getpeername(self) -> tuple[str, int]:
        """Return the other end."""
        return self.address, self.port

    def close(self) -> None:
        """Close nothing: nothing is open before a transport takes it."""


class Wire(asyncio.Transport):
    """The daemon's end of a connection."""

    def __init__(self, loop: VirtualLoop, network: Network, place: Place, plug: Plug) -> None:
        super().__init__({"peername": plug.getpeername()})
        self._loop = loop
        self._network = network
        self._protocol: Any = None
        self._line = Line(self, network)
        self._place = place
        self._closing = False
        self._dead = False  # its process has ended
        self._lost_after = float("inf")  # what arrives later was lost on the way
        self._paused = False
        self._held: list[Callable[[], None]] = []  # what came while reading was paused
        self._arrival = 0.0  # when the last bytes that were written arrive

    async def begin(self, protocol: Any) -> None:
        """Open both ends."""
        self._protocol = protocol
        protocol.connection_made(self)
        self._network.agenda.at(self._next_arrival(), lambda: self._place.opened(self._line))
        await asyncio.sleep(0)

    # -- the transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes to the place."""
        if not self._closing:
            sent = bytes(data)
            self._network.agenda.at(self._next_arrival(), lambda: self._hear(sent))

    def _hear(self, sent: bytes) -> None:
        if self._network.agenda.now < self._lost_after:
            self._line.hear(sent)

    def close(self) -> None:
        """Close."""
        self.abort()

    def abort(self) -> None:
        """Close at once."""
        if not self._closing:
            self._closing = True
            self._network.agenda.at(self._next_arrival(), self._line.lose)
            if not self._dead:
                self._loop.call_soon(self._protocol.connection_lost, None)

    def is_closing(self) -> bool:
        """Return whether it is closed or about to be."""
        return self._closing

    def pause_reading(self) -> None:
        """Hold what comes."""
        self._paused = True

    def resume_reading(self) -> None:
        """Hand out what was held."""
        self._paused = False
        held, self._held = self._held, []
        for call in held:
            self._loop.call_soon(self._arrive, call)

    def get_write_buffer_size(self) -> int:
        """Return 0: the kernel takes everything."""
        return 0

    # -- from the place

    @property
    def carries(self) -> bool:
        """Return whether it is open, or still carries what was written before it was closed."""
        return not self._closing or self._arrival > self._network.agenda.now

    @property
    def listens(self) -> bool:
        """Return whether what arrives now is read."""
        return not (self._closing or self._dead)

    def deliver(self, data: bytes) -> None:
        """Hand bytes to the protocol."""
        self._arrive(lambda: self._protocol.data_received(data))

    def end(self, fault: OSError | None) -> None:
        """Learn that the place has closed the connection, or reset it."""
        self._arrive(lambda: self._lost(fault))

    def die(self) -> None:
        """End with the process."""
        self._dead = True
        self._lost_after = self._network.agenda.now + ON_THE_WAY
        self.abort()

    def _arrive(self, call: Callable[[], None]) -> None:
        if not self.listens:
            return
        if self._paused:
            self._held.append(call)
        else:
            call()

    def _lost(self, fault: OSError | None) -> None:
        self._closing = True
        if fault is None:
            self._protocol.eof_received()
        self._loop.call_soon(self._protocol.connection_lost, fault)

    def _next_arrival(self) -> float:
        self._arrival = max(self._arrival + 1e-6, self._network.agenda.now + self._network.delay())
        return self._arrival


class Line:
    """A place's end of a connection."""

    def __init__(self, wire: Wire, network: Network) -> None:
        self._wire = wire
        self._network = network
        self._arrival = 0.0
        self._closed = False
        self.heard = b""  # and not yet taken by the place
        self.on_bytes: Callable[[], None] = lambda: None
        self.on_lost: Callable[[], None] = lambda: None

    @property
    def closed(self) -> bool:
        """Return whether nothing can be sent any more."""
        return self._closed

    def hear(self, data: bytes) -> None:
        """Take bytes that the daemon sent."""
        if not self._closed:
            self.heard += data
            self.on_bytes()

    def lose(self) -> None:
        """Take that the daemon closed, or its process ended."""
        if not self._closed:
            self._closed = True
            self.on_lost()

    def send(self, data: bytes, told: Callable[[bool], None] = lambda _: None) -> None:
        """Send bytes, in pieces of any size; `told` is called when they have arrived, or when they would have."""
        if self._closed:
            told(False)
            return
        rng, wire = self._network.rng, self._wire
        while data:
            size = len(data) if rng.random() < 0.7 else rng.randint(1, len(data))
            piece, data = data[:size], data[size:]
            last = not data

            def arrive(piece: bytes = piece, last: bool = last) -> None:
                listens = wire.listens
                wire.deliver(piece)
                if last:
                    told(listens)

            self._network.agenda.at(self._next_arrival(), arrive)

    def close(self) -> None:
        """Close in order, behind what was sent."""
        self._end(None)

    def reset(self) -> None:
        """Break the connection, behind what was sent."""
        self._end(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))

    def _end(self, fault: OSError | None) -> None:
        if not self._closed:
            self._closed = True
            self._network.agenda.at(self._next_arrival(), lambda: self._wire.end(fault))

    def _next_arrival(self) -> float:
        self._arrival = max(self._arrival + 1e-6, self._network.agenda.now + self._network.delay())
        return self._arrival

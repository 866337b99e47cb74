"""The source that follows tasks over Server-Sent Events, with one connection for each task.

It connects, reads, and reports errors. Callers decide which tasks to follow, when to connect again and what an
observation means. Neither the log nor an error ever holds the token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import chain

from notifier.core.errors import NoContent, NoStream, Refused, SourceError, TaskNotFound, Unreadable
from notifier.core.eventstream import StreamEvent
from notifier.core.model import NONE, Observation, Phase
from notifier.runtime.metrics import Metrics
from notifier.sources.apart import AT_ONCE, Apart
from notifier.sources.body import Turns
from notifier.sources.connection import Connection
from notifier.sources.http import new_pool
from notifier.sources.plan import EXCERPT, Plan, SourceSettings
from notifier.sources.poll import PollSource
from notifier.sources.preset import Preset
from notifier.sources.result import fetch_result
from notifier.sources.snapshot import Aside

MAX_SKIPPED = 100  # snapshots that cannot be read, after which others have their turn


class SseSource:
    """Follows tasks of one upstream. It is created inside the running loop, and closed in the end."""

    def __init__(
        self,
        *,
        name: str,
        settings: SourceSettings,
        max_streams: int,
        user_agent: str,
        metrics: Metrics,
    ) -> None:
        """Create a source. Raises ValueError for a preset that lacks its `base_url`."""
        self.name = name
        self.max_streams = max_streams  # for the caller that lets streams in; nothing is limited here
        self.observations = metrics.observations.labels(name)  # snapshots read, repeats included
        self.unreadable = metrics.unreadable.labels(name)
        self._metrics = metrics
        self._turns = Turns()
        self.apart = Apart()
        self._plan = Plan.create(name, settings, user_agent=user_agent)
        self._pool = new_pool()
        self._twin = None if settings.twin is None else self._new_twin(settings.twin)

    def _new_twin(self, settings: SourceSettings) -> PollSource:
        return PollSource(
            name=self.name,
            settings=settings,
            user_agent=self._plan.user_agent,
            metrics=self._metrics,
        )

    @property
    def twin(self) -> PollSource | None:
        """Return the source that is polled for tasks without a stream; None: there is none."""
        return self._twin

    @property
    def unknown_states(self) -> Collection[str]:
        """Return the states that were read and that the preset does not list; they count as running."""
        return self._plan.reader.unknown_states

    @property
    def settings(self) -> SourceSettings:
        """Return the settings of the next `open`."""
        return self._plan.settings

    def update(self, settings: SourceSettings) -> None:
        """Use these from the next `open` on; open streams go on as they are. A twin cannot come or go."""
        self._plan = self._plan.with_settings(settings)
        if self._twin is not None and settings.twin is not None:
            self._twin.update(settings.twin)

    async def open(self, task_id: str, *, last_event_id: str = "", variables: Mapping[str, str] = NONE) -> SseStream:
        """Connect; return once the reply's head is in, and a body that is one JSON snapshot. Raises SourceError."""
        plan, settings = self._plan, self._plan.settings
        connection = Connection(
            plan.template.fill(task_id, last_event_id, variables),
            pool=self._pool,
            framing=settings.preset.framing,
            way=plan.way,
            max_event=settings.max_event,
            turns=self._turns,
        )
        try:
            await connection.connect(settings.connect_timeout)
        except SourceError as exc:
            plan.redacted(exc)
            if self._twin is not None and _has_no_stream(exc, settings.preset):
                raise NoStream(str(exc), status=exc.status) from exc
            raise
        return SseStream(self, plan, connection, task_id, asyncio.get_running_loop())

    async def result(self, task_id: str, success: Observation, *, variables: Mapping[str, str] = NONE) -> Observation:
        """Ask once for the result of a task; return its success with the result. Raises SourceError."""
        return await fetch_result(self._pool, self._plan, task_id, success, variables, self.apart)

    async def close(self) -> None:
        """Close every connection."""
        self._pool.close()
        if self._twin is not None:
            await self._twin.close()


def _has_no_stream(error: SourceError, preset: Preset) -> bool:
    """Return whether a refusal means that the task has no stream, though it may answer polls."""
    if isinstance(error, NoContent | Refused | TaskNotFound) or error.status == 501:
        return True
    return any(rule.status == error.status and rule.text.encode() in error.body for rule in preset.no_stream)


Told = Observation | Aside | Unreadable | None  # None: it carries no state
Looked = tuple[Told, str | None]  # an event as it was read, and its place in the stream; None: it was not looked for


class SseStream:
    """One open subscription to one task."""

    __slots__ = (
        "_batch",
        "_connection",
        "_counts",
        "_large",
        "_last",
        "_last_type",
        "_looked",
        "_loop",
        "_more",
        "_place",
        "_placed",
        "_plan",
        "_progress",
        "_source",
        "_task_id",
        "heard",
        "last_activity",
        "observations",
        "unread",
    )

    def __init__(
        self, source: SseSource, plan: Plan, connection: Connection, task_id: str, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._source = source
        self._task_id = task_id
        self._plan = plan
        self._connection = connection
        self._loop = loop
        self._batch: Iterator[StreamEvent] = iter(())  # received and not yet looked at
        self._large: StreamEvent | None = None  # to be read before the rest of the batch
        self._looked: Looked | None = None  # what it was read to be
        self._last = b""  # the snapshot before, as received
        self._more = False  # the batch may hold more events
        self._last_type = "message"  # the name of its event
        self._counts = False  # it could be read, so that its repeats count as observations
        self.last_activity = loop.time()  # of the last byte, comments included
        self._place: str | None = None
        self._progress: float | None = None  # that an event without a state has told
        self._placed: StreamEvent | None = None  # tells the place, which has not been asked for yet
        self.heard = False  # an event has come, whatever it holds
        self.observations = 0  # read so far, repeats included
        self.unread: Unreadable | None = None  # why the last snapshot was skipped; None: it could be read

    def __aiter__(self) -> SseStream:
        return self

    async def __anext__(self) -> Observation:
        """Return the next snapshot whose bytes differ from the one before.

        Ends at the end of the stream. Raises SourceError when the connection broke or the upstream overstepped a limit.
        In both cases every snapshot received is returned first. A snapshot that cannot be read is skipped,
        unless it is the whole reply.
        """
        while (observation := self._next_of_batch()) is None:
            if self._large is not None:
                await self.settle()
                continue
            if self._more:
                await asyncio.sleep(0)
                continue
            decoder = self._connection.decoder
            if decoder.last_event_id or decoder.cleared:
                self._take_bare_id(decoder.last_event_id)
            events = await self._connection.receive()
            if events is None:
                raise StopAsyncIteration
            self.last_activity = self._loop.time()
            self.heard = self.heard or bool(events)
            self._batch = iter(events)
        return observation

    @property
    def last_event_id(self) -> str | None:
        """Return the place in the stream behind which another may go on; empty: there is none; None: unknown."""
        if self._placed is not None:
            self._place = self._plan.reader.place(self._placed) or self._place
            self._placed = None
        return self._place

    @property
    def retry(self) -> float | None:
        """Return the seconds that the upstream asked us to wait before connecting again (`retry:`)."""
        asked = self._connection.decoder.retry
        return None if asked is None else asked / 1000

    @property
    def reading(self) -> bool:
        """Return whether a large snapshot has come that was not read yet."""
        return self._large is not None

    async def settle(self) -> None:
        """Read the large snapshot that has come; the next one asked for is here then. Raises SourceError.

        A snapshot that was being read when the caller was cancelled is read again.
        """
        event = self._large
        if event is None:
            return
        looked = await self._source.apart.read(len(event.data), lambda: self._look(event, placed=True))
        if self._large is event:  # nobody has closed the stream meanwhile
            self._looked, self._large = looked, None
            self._batch = chain((event,), self._batch)

    def close(self) -> None:
        """Close the connection at once; may be called twice. A reader that waits for a snapshot then sees the end."""
        self._batch, self._large, self._looked = iter(()), None, None
        self._connection.close()

    def _take_bare_id(self, bare: str) -> None:
        """Take in the ID behind the last event of the batch, which may be that of a block without data.

        Such a block is no event, and yet it moves the place at which to go on (WHATWG HTML section 9.2.6). An empty ID
        says that there is no such place.
        """
        if self.unread is not None:
            return
        if bare:
            place = self._plan.reader.place(StreamEvent(b"", "message", bare)) or self.last_event_id
            self._place, self._placed = place, None
        elif self._plan.settings.preset.cursor is None:
            self._place, self._placed = "", None

    def _next_of_batch(self) -> Observation | None:
        """Return the next observation that is new. A repeat is recognised by its bytes, and only counted."""
        before, skipped, self._more = self.observations, 0, False
        try:
            for event in self._batch:
                observation, ends, place = None, False, None
                if event.data == self._last and event.type == self._last_type:
                    self.observations += self._counts
                elif event.data or self._plan.reader.counts_without_data(event):  # others keep the connection alive
                    if len(event.data) > AT_ONCE and self._looked is None:
                        self._large = event
                        return None
                    (told, place), self._looked = self._looked or self._look(event), None
                    self._last, self._last_type = event.data, event.type
                    observation = self._take(told)
                    self._counts = observation is not None
                    ends = event.type == self._plan.reader.end_event
                    if observation is not None and not ends:
                        place = observation.event_id  # was read with it
                if self.unread is None and place is not None:
                    self._place, self._placed = place or self._place, None
                elif self.unread is None:
                    self._placed = event
                if ends:
                    self.close()
                if observation is not None:
                    self.observations += 1
                if ends or observation is not None:
                    return observation
                skipped += not self._counts
                if skipped >= MAX_SKIPPED:
                    self._more = True
                    return None
        finally:
            self._source.observations.value += self.observations - before
        return None

    def _look(self, event: StreamEvent, *, placed: bool = False) -> Looked:
        """Read an event, and its place if asked to; changes nothing here, so that a thread may do it."""
        try:
            told = self._plan.reader.read_event(event, self._task_id)
        except Unreadable as exc:
            excerpt = self._plan.template.redact(event.data[: 1 << 16].decode("utf-8", "replace"))[:EXCERPT]
            return Unreadable(self._plan.template.redact(str(exc)), excerpt=excerpt), None
        return told, self._plan.reader.place(event) if placed else None

    def _take(self, told: Told) -> Observation | None:
        match told:
            case Unreadable() if self._connection.partial:  # the connection broke within it
                return None
            case Unreadable():
                self._source.unreadable.value += 1
                self.unread = told
                if self._connection.single:
                    raise told.behind(self._connection.redirected)
                return None
            case Aside(progress=progress):
                self._progress, self.unread = progress, None
                return None
        self.unread = None
        if told is None or self._progress is None or told.progress is not None or told.phase is Phase.SUCCEEDED:
            return told
        return replace(told, progress=self._progress)  # events before it have told that

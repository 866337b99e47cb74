"""The configuration in force and the objects made from it. A new one replaces only the objects that differ."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import structlog

from notifier.config import Config, ConfigInForce, QueueConfig, SourceConfig
from notifier.core.errors import NotifierError
from notifier.daemon import adapters
from notifier.daemon.adapters import Means, Trust
from notifier.deliver import Dispatcher, EndpointSetup
from notifier.follow import Feed, FeedPolicy, Recorder, Slots, Source, Watcher
from notifier.inputs import Inputs, Intake, QueueInput
from notifier.runtime.clock import Clock
from notifier.runtime.metrics import Metrics
from notifier.senders.callback import CallbackCourier

if TYPE_CHECKING:
    from notifier.senders.slack_bot import EditedMessages
    from notifier.sources.archive import Archive

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedConfig:
    """The new objects that a configuration needs; not yet in force."""

    setups: dict[str, EndpointSetup]
    sources: dict[str, Source]
    trust: dict[str, Trust]  # authorities of sources that stay, for their next connections
    inputs: dict[QueueConfig, QueueInput[Any]]
    courier: CallbackCourier | None  # for the callbacks of watches; used if `callbacks` has changed
    archive: Archive | None = None  # of results; used if `archive` has changed


class Installation:
    """The configuration in force, with the senders, sources, feeds and inputs that it was made into."""

    def __init__(
        self,
        in_force: ConfigInForce,
        *,
        dispatcher: Dispatcher,
        recorder: Recorder,
        watcher: Watcher,
        inputs: Inputs[QueueConfig],
        intake: Intake,
        metrics: Metrics,
        clock: Clock,
        slots: Slots,
        messages: EditedMessages,
    ) -> None:
        self._in_force = in_force
        self._dispatcher = dispatcher
        self._recorder = recorder
        self._watcher = watcher
        self._inputs = inputs
        self._intake = intake
        self._metrics = metrics
        self._clock = clock
        self._slots = slots
        self._means = Means(messages=messages)
        self._sources: dict[str, Source] = {}
        self._installed = False  # whether a configuration is in force

    @property
    def config(self) -> Config:
        """Return the configuration in force; at the start, the one that comes into force."""
        return self._in_force.config

    async def prepare(self, config: Config) -> PreparedConfig:
        """Create the objects that a configuration needs; nothing changes yet.

        Raises OSError when a certificate file cannot be read, NotifierError when a queue cannot be used at all, or when
        a library is missing.
        """
        setups = self._setups(config)
        courier = adapters.courier(config.callbacks, self._clock) if self._needs_courier(config) else None
        sources: dict[str, Source] = {}
        trust: dict[str, Trust] = {}
        try:
            for name, source in config.sources.items():
                if name not in self._sources or self._moved(name, source):
                    sources[name] = adapters.source(name, source, self._metrics)
                elif source.authorities != self.config.sources[name].authorities:
                    trust[name] = adapters.trust(source)
            inputs = {queue: self._input(queue) for queue in config.queues}
            archive = adapters.archive(config.archive) if self._needs_archive(config) else None
        except (OSError, NotifierError):
            await self.discard(PreparedConfig(setups=setups, sources=sources, trust={}, inputs={}, courier=courier))
            raise
        return PreparedConfig(
            setups=setups, sources=sources, trust=trust, inputs=inputs, courier=courier, archive=archive
        )

    async def discard(self, prepared: PreparedConfig) -> None:
        """Close the objects of a configuration that does not come into force."""
        used = {endpoint.sender for endpoint in self._dispatcher.endpoints.values()}
        for sender in {setup.sender for setup in prepared.setups.values()} - used:
            await sender.close()
        for source in prepared.sources.values():
            await source.close()
        if prepared.courier is not None:
            await prepared.courier.close()
        if prepared.archive is not None:
            prepared.archive.retire()

    def install(self, config: Config, prepared: PreparedConfig, tasks: asyncio.TaskGroup) -> list[str]:
        """Put a configuration in force, without an await in between; return those of its warnings that are new."""
        if self._needs_courier(config):
            self._dispatcher.callbacks.set_courier(prepared.courier)
        if self._needs_archive(config):
            if self._recorder.archive is not None:
                self._recorder.archive.retire()
            self._recorder.archive = prepared.archive
        before, self._in_force.config = self.config, config
        known = {(each.file, each.key, each.message) for each in before.warnings} if self._installed else set()
        new = [str(each) for each in config.warnings if (each.file, each.key, each.message) not in known]
        for warning in new:
            log.warning("config.warning", warning=warning)
        self._recorder.routes = config.routes
        self._dispatcher.set_endpoints(prepared.setups, self._recorder.announce_or_log)
        feeds: dict[str, Feed] = {}
        for name, source in config.sources.items():
            if name in prepared.sources:
                feeds[name] = self._feed(prepared.sources[name], adapters.feed_policy(source))
            else:
                feeds[name] = self._watcher.feeds[name]
                self._update(name, before, config, prepared.trust.get(name))
        self._watcher.set_feeds(feeds)
        for name in [name for name in self._sources if name in prepared.sources or name not in config.sources]:
            tasks.create_task(self._sources.pop(name).close(), name=f"close source {name}")
        self._sources |= prepared.sources
        self._installed = True
        self._inputs.set(prepared.inputs)
        return new

    async def close(self) -> None:
        """Close the sources; the dispatcher owns the senders."""
        for source in self._sources.values():
            await source.close()
        if self._recorder.archive is not None:
            self._recorder.archive.retire()

    def _moved(self, name: str, source: SourceConfig) -> bool:
        """Return whether a source that stays reports its tasks in another way."""
        old, new = self.config.sources[name].description, source.description
        return (old.transport, old.twin is None) != (new.transport, new.twin is None)

    def _needs_courier(self, config: Config) -> bool:
        """Return whether the configuration changes how callbacks are sent."""
        return not self._installed or config.callbacks != self.config.callbacks

    def _needs_archive(self, config: Config) -> bool:
        """Return whether the configuration changes where results are kept."""
        return not self._installed or config.archive != self.config.archive

    def _setups(self, config: Config) -> dict[str, EndpointSetup]:
        """Create a sender for each endpoint; one whose configuration is the same keeps its connections."""
        setups: dict[str, EndpointSetup] = {}
        means = replace(self._means, public_url=config.http.public_url)
        moved = config.http.public_url != self.config.http.public_url  # messages link to it
        for name, endpoint in config.endpoints.items():
            current = self._dispatcher.endpoints.get(name)
            same = self.config.endpoints.get(name) == endpoint and not (moved and endpoint.type != "webhook")
            sender = current.sender if current is not None and same else adapters.sender(endpoint, self._clock, means)
            setups[name] = EndpointSetup(sender=sender, policy=adapters.endpoint_policy(endpoint))
        return setups

    def _input(self, queue: QueueConfig) -> QueueInput[Any]:
        """Create an input; a queue with the same configuration keeps its input."""
        if queue in self._inputs:
            return self._inputs[queue]
        return adapters.queue_input(queue, intake=self._intake, metrics=self._metrics)

    def _update(self, name: str, before: Config, after: Config, trust: Trust | None) -> None:
        """Give a source that stays its new settings; its streams stay open unless its description has changed."""
        old, new = before.sources[name], after.sources[name]
        if old == new:
            return
        adapters.update_source(self._sources[name], new, trust)
        polls = old.description.poll != new.description.poll
        elsewhere = not old.description.asks_like(new.description)
        hurry = elsewhere or polls or old.token != new.token or trust is not None
        self._watcher.feeds[name].update(adapters.feed_policy(new), reopen=elsewhere, hurry=hurry)

    def _feed(self, source: Source, policy: FeedPolicy) -> Feed:
        return Feed(
            source=source,
            policy=policy,
            recorder=self._recorder,
            metrics=self._metrics,
            slots=self._slots,
            clock=self._clock,
            unsure=self._watcher.unsure,
        )

"""What a configuration is made into, and the exchange of one for the next without touching what stays the same."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from notifier.config import Config, QueueConfig, parse_watch
from notifier.core.errors import NotifierError
from notifier.core.model import Json, NewWatch
from notifier.daemon import build
from notifier.daemon.build import Trust
from notifier.deliver.dispatcher import Dispatcher, EndpointSetup
from notifier.follow.admission import Slots
from notifier.follow.feed import Feed, FeedPolicy
from notifier.follow.recorder import Recorder
from notifier.follow.watcher import Watcher
from notifier.inputs.input import Input
from notifier.inputs.intake import Intake
from notifier.inputs.running import Inputs
from notifier.runtime.metrics import Metrics
from notifier.senders.callback import CallbackCourier
from notifier.sources.sse import SseSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a configuration needs and the one before did not have; not yet in force."""

    setups: dict[str, EndpointSetup]
    sources: dict[str, SseSource]
    trust: dict[str, Trust]  # of sources that stay, for their next connections
    inputs: dict[QueueConfig, Input]
    courier: CallbackCourier | None  # for the callbacks of watches, unless the one before goes on


class Installation:
    """The configuration in force, with the senders, sources, feeds and inputs that it was made into."""

    def __init__(
        self,
        config: Config,
        *,
        dispatcher: Dispatcher,
        recorder: Recorder,
        watcher: Watcher,
        inputs: Inputs[QueueConfig],
        intake: Intake,
        metrics: Metrics,
        slots: Slots,
    ) -> None:
        self.config = config
        self._dispatcher = dispatcher
        self._recorder = recorder
        self._watcher = watcher
        self._inputs = inputs
        self._intake = intake
        self._metrics = metrics
        self._slots = slots
        self._sources: dict[str, SseSource] = {}
        self._installed = False  # anything

    async def make(self, config: Config) -> Made:
        """Make what is needed; nothing changes yet.

        Raises OSError when a certificate file cannot be read, NotifierError when a queue cannot be used at all.
        """
        setups = self._setups(config)
        courier = build.courier(config.callbacks) if self._needs_courier(config) else None
        sources: dict[str, SseSource] = {}
        trust: dict[str, Trust] = {}
        try:
            for name, source in config.sources.items():
                if name not in self._sources:
                    sources[name] = build.source(name, source, self._metrics)
                elif source.authorities != self.config.sources[name].authorities:
                    trust[name] = build.trust(source)
            inputs = {queue: self._input(queue) for queue in config.queues}
        except (OSError, NotifierError):
            await self.discard(Made(setups=setups, sources=sources, trust={}, inputs={}, courier=courier))
            raise
        return Made(setups=setups, sources=sources, trust=trust, inputs=inputs, courier=courier)

    async def discard(self, made: Made) -> None:
        """Let go of what was made for a configuration that does not come into force."""
        used = {queue.link.sender for queue in self._dispatcher.queues.values()}
        for sender in {setup.sender for setup in made.setups.values()} - used:
            await sender.close()
        for source in made.sources.values():
            await source.close()
        if made.courier is not None:
            await made.courier.close()

    def install(self, config: Config, made: Made, tasks: asyncio.TaskGroup) -> None:
        """Put a configuration in force, all at once."""
        if self._needs_courier(config):
            self._dispatcher.set_courier(made.courier)
        before, self.config = self.config, config
        self._recorder.routes = build.routes(config)
        self._dispatcher.set_endpoints(made.setups)
        feeds: dict[str, Feed] = {}
        for name, source in config.sources.items():
            if name in made.sources:
                feeds[name] = self._feed(made.sources[name], build.feed_policy(source))
            else:
                feeds[name] = self._watcher.feeds[name]
                self._update(name, before, config, made.trust.get(name))
        self._watcher.set_feeds(feeds)
        for name in [name for name in self._sources if name in made.sources or name not in config.sources]:
            tasks.create_task(self._sources.pop(name).close(), name=f"close source {name}")
        self._sources |= made.sources
        self._installed = True
        self._inputs.set(made.inputs)

    async def close(self) -> None:
        """Let the sources go; the senders are the dispatcher's."""
        for source in self._sources.values():
            await source.close()

    def _needs_courier(self, config: Config) -> bool:
        """Say whether callbacks are to be sent otherwise than now."""
        return not self._installed or config.callbacks != self.config.callbacks

    def _setups(self, config: Config) -> dict[str, EndpointSetup]:
        """Make a sender for each endpoint; one whose configuration is the same keeps its connections."""
        setups: dict[str, EndpointSetup] = {}
        for name, endpoint in config.endpoints.items():
            queue = self._dispatcher.queues.get(name)
            same = queue is not None and self.config.endpoints.get(name) == endpoint
            sender = queue.link.sender if queue is not None and same else build.sender(endpoint)
            setups[name] = EndpointSetup(sender=sender, policy=build.endpoint_policy(endpoint))
        return setups

    def _input(self, queue: QueueConfig) -> Input:
        """Make an input; of a queue that stays as it is, the input stays."""
        if queue in self._inputs:
            return self._inputs[queue]
        return build.queue_input(queue, parse_watch=self._parse_watch, intake=self._intake, metrics=self._metrics)

    def _parse_watch(self, value: Json) -> NewWatch:
        return parse_watch(value, self.config)

    def _update(self, name: str, before: Config, after: Config, trust: Trust | None) -> None:
        """Tell a source that stays what is new; its streams stay open unless they lead elsewhere now."""
        old, new = before.sources[name], after.sources[name]
        if old == new:
            return
        token = new.token.reveal() if new.token else None
        self._sources[name].update(token=token, preset=new.description, connect_timeout=new.connect_timeout, ssl=trust)
        elsewhere = old.description != new.description
        hurry = elsewhere or old.token != new.token or trust is not None
        self._watcher.feeds[name].update(build.feed_policy(new), reopen=elsewhere, hurry=hurry)

    def _feed(self, source: SseSource, policy: FeedPolicy) -> Feed:
        return Feed(
            source=source,
            policy=policy,
            recorder=self._recorder,
            metrics=self._metrics,
            slots=self._slots,
            clock=build.clock,
            lost_hold=self._watcher.lost_hold,
        )

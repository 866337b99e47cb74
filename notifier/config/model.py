"""The whole configuration, as the rest of the program sees it. It is frozen; only `loader.load` creates it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr

from notifier.config.archive import ArchiveConfig
from notifier.config.description import Description
from notifier.config.endpoint import EndpointConfig
from notifier.config.problems import Problem, Remarks
from notifier.config.queue import QueueConfig
from notifier.config.reading import Reading
from notifier.config.section import Section, WatchVariables
from notifier.config.settings import (
    CallbacksConfig,
    HeartbeatConfig,
    HttpConfig,
    LogConfig,
    NodeConfig,
    StoreConfig,
    TracingConfig,
)
from notifier.config.source import SourceConfig, default_source
from notifier.config.types import Boolean, Duration, Name, Printable
from notifier.config.watch import WatchConfig
from notifier.config.watch_list import WatchList
from notifier.core.model import NewWatch
from notifier.core.routing import Route


def variables_of(sources: Mapping[str, SourceConfig | None]) -> dict[str, WatchVariables]:
    """Return the variables of watches, by source; a source that could not be read is left out."""
    return {
        name: WatchVariables(allowed=source.description.own, required=source.description.required)
        for name, source in sources.items()
        if source is not None
    }


class Config(Section):
    """Configuration of notifier."""

    sources: dict[Name, SourceConfig] = Field(default={}, description="upstreams that report task states, by name")
    presets: dict[Name, Description] = Field(
        default={}, description="descriptions of providers, by name; a source names one as its preset"
    )
    endpoints: dict[Name, EndpointConfig] = Field(default={}, description="where events are sent, by name")
    watches: Sequence[WatchConfig] = Field(default=(), description="tasks to follow: ids or mappings")
    watch_files: tuple[Printable, ...] = Field(
        default=(), description="globs of further files, each a list of watches; relative to this file"
    )
    queues: tuple[QueueConfig, ...] = Field(default=(), description="queues that watches are read from")
    store: StoreConfig = Field(default=StoreConfig(), description="the database")
    http: HttpConfig = Field(default=HttpConfig(), description="API, status page and metrics")
    callbacks: CallbacksConfig = Field(default=CallbacksConfig(), description="callback URLs that come with a watch")
    heartbeat: HeartbeatConfig = Field(default=HeartbeatConfig(), description="sign of life for a monitor")
    archive: ArchiveConfig = Field(default=ArchiveConfig(), description="copies of results")
    tracing: TracingConfig = Field(default=TracingConfig(), description="spans for a collector of OpenTelemetry")
    log: LogConfig = Field(default=LogConfig(), description="the log, on standard error")
    shutdown_timeout: Duration = Field(default=30.0, description="for deliveries that are under way at a stop")
    node: NodeConfig = Field(default=NodeConfig(), description="this process among the nodes that share the database")
    loop: Literal["auto", "uvloop", "asyncio"] = Field(default="auto", description="auto: uvloop if it is installed")
    reload_on_change: Boolean = Field(
        default=False, description="reload when this file or a file that it names (also a secret) changes"
    )

    _reading: Reading = PrivateAttr(default=Reading(path=Path()))
    _remarks: Remarks = PrivateAttr(default=Remarks())

    @property
    def reading(self) -> Reading:
        """Return the files that the configuration was read from."""
        return self._reading

    @cached_property
    def watch_variables(self) -> Mapping[str, WatchVariables]:
        """Return the variables of watches, by source."""
        return variables_of(self.sources)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """Return valid settings that are probably mistakes, each with its place."""
        return self._remarks.warnings

    def requests(self) -> Iterator[Sequence[NewWatch]]:
        """Yield the watches in the store's form, some hundred at a time."""
        if isinstance(self.watches, WatchList):
            yield from self.watches.requests()
        else:
            yield [watch.to_new_watch() for watch in self.watches]

    def without_watches(self) -> Config:
        """Return the configuration without its watches, which may be many, and which the store keeps."""
        return self.model_copy(update={"watches": ()})

    @property
    def files(self) -> tuple[Path, ...]:
        """List every file that was read: the configuration, then watch files, secrets and certificates."""
        return tuple(self._reading.files)

    @property
    def default_source(self) -> str | None:
        """Return the source of watches that name none; None if there is no default."""
        return default_source(self.sources, [name for name, source in self.sources.items() if source.default])

    @property
    def routes(self) -> tuple[Route, ...]:
        """Return the events that each endpoint receives."""
        return tuple(
            Route(
                endpoint=name,
                events=endpoint.events,
                source=endpoint.match.source if endpoint.match else None,
                labels=endpoint.match.labels if endpoint.match else {},
                latest=endpoint.ordering == "latest",
            )
            for name, endpoint in self.endpoints.items()
        )

    @classmethod
    def misplaced(cls, value: Mapping[str, Any]) -> Mapping[str, str]:
        """Return a message for each unknown key that holds a source or an endpoint."""
        unknown = {key: item for key, item in value.items() if key not in cls.model_fields and isinstance(item, dict)}
        kinds = {"sources": {"preset", "base_url", "token"}, "endpoints": {"type", "url", "secrets"}}
        return {
            str(key): f"unknown key; indent it under {section}?"
            for key, item in unknown.items()
            for section, marks in kinds.items()
            if len(marks & item.keys()) > 1 or ("preset" in item if section == "sources" else "type" in item)
        }

    @classmethod
    def arrange(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Drop sections that hold only comments."""
        return {key: item for key, item in value.items() if item is not None}

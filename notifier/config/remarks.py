"""The remarks of `check` on a valid configuration: missing libraries, and warnings of probable mistakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from notifier.config.archive import Bucket
from notifier.config.chat import AppriseEndpoint
from notifier.config.document import Document
from notifier.config.endpoint import EndpointConfig
from notifier.config.model import Config
from notifier.config.problems import Location, Problem
from notifier.config.queue import AmqpQueue, NatsQueue, RedisQueue
from notifier.config.reading import awaits, matching
from notifier.config.scalars import Interpolated
from notifier.config.template import bare_samples
from notifier.config.types import write_duration
from notifier.config.watch import WatchRow
from notifier.core.model import Phase
from notifier.core.routing import receivers

_EXTRAS = {RedisQueue: ("redis", "redis"), NatsQueue: ("nats", "nats"), AmqpQueue: ("aio_pika", "amqp")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A valid configuration and the remarks on it."""

    config: Config
    missing: tuple[Problem, ...]  # libraries, without which the daemon cannot run
    warnings: tuple[Problem, ...]


Placed = tuple[WatchRow, Document, Location]


def look(config: Config, document: Document, watches: Iterable[Placed]) -> Review:
    """Look at a configuration, its document, and its watches with their places."""
    return Review(
        config=config,
        missing=_problems(document, _missing(config)),
        warnings=(*_problems(document, _warnings(config, document)), *_unheard(config, watches)),
    )


def _problems(document: Document, remarks: Iterable[tuple[Location, str]]) -> tuple[Problem, ...]:
    problems = (document.problem(location, message) for location, message in remarks)
    return tuple(problem for problem in problems if problem is not None)


def _missing(config: Config) -> Iterator[tuple[Location, str]]:
    for index, queue in enumerate(config.queues):
        library, extra = _EXTRAS[type(queue)]
        if find_spec(library) is None:
            yield ("queues", index, "url"), f"needs a client library: install notifier's extra `{extra}`"
    for name, endpoint in config.endpoints.items():
        if isinstance(endpoint, AppriseEndpoint) and find_spec("apprise") is None:
            yield ("endpoints", name, "url"), "needs a library: install notifier's extra `apprise`"
    if config.store.url.shared and find_spec("psycopg") is None:
        yield ("store", "url"), "needs a client library: install notifier's extra `postgresql`"
    if isinstance(config.archive.to, Bucket) and find_spec("minio") is None:
        yield ("archive", "to"), "needs a library: install notifier's extra `s3`"
    if config.tracing.url is not None and find_spec("opentelemetry") is None:
        yield ("tracing", "url"), "needs a library: install notifier's extra `opentelemetry`"
    if config.loop == "uvloop" and find_spec("uvloop") is None:
        yield ("loop",), "uvloop is not installed; install it, or write auto"


def _warnings(config: Config, document: Document) -> Iterator[tuple[Location, str]]:
    if not config.endpoints and not config.callbacks.enabled:
        yield ("endpoints",), "there is no endpoint: nobody receives any event"
    for index, pattern in enumerate(config.watch_files):
        if not matching(config.reading.path, pattern) and not awaits(config.reading.path, pattern):
            yield ("watch_files", index), "matches no file"
    for name, source in config.sources.items():
        description = source.description
        if description.experimental:
            yield ("sources", name), f"the preset {source.preset} is experimental: it rests on weak sources"
        if description.transport == "poll" and description.poll.interval < (description.poll.floor or 0):
            floor = write_duration(description.poll.floor or 0)
            yield ("sources", name, "poll"), f"the interval is below {floor}: the provider has no news more often"
        if description.batch is not None and description.paths.task_id is None:
            yield ("sources", name, "batch"), "without `paths.task_id`, nothing is read from a reply that is a list"
        if not description.states.get(Phase.SUCCEEDED):
            yield ("sources", name), "its `states` list none as succeeded: a task that succeeds is lost at the deadline"
    for name, endpoint in config.endpoints.items():
        if (fault := _template_fault(endpoint)) is not None:
            written = document.data["endpoints"][name]["template"]
            reason = "it holds a variable, so no more is said" if isinstance(written, Interpolated) else fault
            yield ("endpoints", name, "template"), f"fails for a watch without metadata and further labels: {reason}"


def _template_fault(endpoint: EndpointConfig) -> str | None:
    if endpoint.template is None:
        return None
    from notifier.senders.template import Template, TemplateFault  # lazily: see `template`

    template = Template(endpoint.template)
    for kind, sample in bare_samples(endpoint.events, endpoint.match.labels if endpoint.match else {}):
        try:
            template.render(sample)
        except TemplateFault as exc:
            return f"{exc} (with a sample of {kind})"
    return None


def _unheard(config: Config, watches: Iterable[Placed]) -> Iterator[Problem]:
    """Warn of watches whose events no endpoint receives: once a file, at the first of them."""
    if not config.endpoints:
        return
    routes = config.routes
    everything = {name for name in config.sources if any(receivers(routes, name, {}, None))}  # of it somebody hears
    counts: Counter[int] = Counter()
    first: dict[int, tuple[Document, Location]] = {}
    for (_, source, endpoints, labels, *_), document, location in watches:
        if endpoints is None and source in everything:
            continue
        if not any(receivers(routes, source, labels, endpoints)):
            counts[id(document)] += 1
            first.setdefault(id(document), (document, location))
    for key, (document, location) in first.items():
        more = f" (and {counts[key] - 1} more in this file)" if counts[key] > 1 else ""
        problem = document.problem(location, f"no endpoint receives the events of this watch{more}")
        if problem is not None:
            yield problem

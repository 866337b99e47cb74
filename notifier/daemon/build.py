"""Builds the daemon's parts, each from those before it. Nothing runs yet, and nothing is changed afterwards."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog

from notifier.cluster import Membership, NodeReport, Peers, Readiness, RowCounts, SharedEndpoints, ThisNode
from notifier.config import Config, ConfigInForce, QueueConfig
from notifier.daemon import adapters
from notifier.daemon.file_follower import FileFollower
from notifier.daemon.installation import Installation
from notifier.daemon.reload import Reloader
from notifier.deliver import LOOK_AGAIN, Dispatcher
from notifier.follow import Recorder, Slots, Watcher
from notifier.inputs import Inputs, Intake
from notifier.runtime.clock import Clock
from notifier.runtime.loops import raise_file_limit
from notifier.runtime.metrics import Metrics
from notifier.runtime.systemd import SystemdNotifier
from notifier.runtime.tracing import Tracing
from notifier.runtime.wake import Wake
from notifier.store import Store
from notifier.web import Api, HttpListener, Hub, StatusReport, application, split, unix_path

log = structlog.get_logger(__name__)

LOOK_SHARED = 1.0  # seconds between looks for work that other nodes left in the store
RESERVED_FILES = 256  # descriptors kept for everything except streams and HTTP connections, at most
MIN_HTTP, MAX_HTTP = 32, 2048  # descriptors kept for HTTP connections


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The arguments of a start."""

    path: Path  # of the configuration
    config: Config
    migrate: bool
    systemd: SystemdNotifier
    readiness: Readiness
    tasks: asyncio.TaskGroup  # owns every loop


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The parts that share the work with other nodes."""

    membership: Membership
    shared_endpoints: SharedEndpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that the application runs."""

    clock: Clock
    metrics: Metrics
    store: Store
    dispatcher: Dispatcher
    watcher: Watcher
    inputs: Inputs[QueueConfig]
    this: ThisNode
    hub: Hub
    report: StatusReport
    in_force: ConfigInForce
    installation: Installation
    reloader: Reloader
    follower: FileFollower
    listener: HttpListener | None  # None where `http.listen` is null
    cluster: Cluster | None  # None where no other node can share the store


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """The parts that everything else stands on."""

    clock: Clock
    metrics: Metrics
    name: str  # of this node
    store: Store
    descriptors: _Descriptors
    tracing: Tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flow:
    """The way from a watch to its endpoints."""

    dispatcher: Dispatcher
    watcher: Watcher
    recorder: Recorder
    committed: Wake  # set when events were committed
    endpoint_saved: Wake  # set when this node has saved an endpoint's state for the others
    over_share: Wake  # set when this node may follow more than its share


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reports:
    """The parts that tell of the flow: of this node's, and of the others'."""

    peers: Peers
    this: ThisNode
    report: StatusReport
    hub: Hub


async def build(start: Start, stack: AsyncExitStack) -> Parts:
    """Build the parts; `stack` closes them. Raises StoreError when the store cannot be opened."""
    ground = await _ground(start, stack)
    inputs: Inputs[QueueConfig] = Inputs()
    flow = _flow(ground)
    reports = _reports(start, ground, flow, inputs)
    stack.push_async_callback(flow.dispatcher.close)
    in_force = ConfigInForce(start.config)
    installation = _installation(ground, flow, inputs, in_force)
    stack.push_async_callback(installation.close)
    files_read = Wake()
    reloader = Reloader(
        path=start.path,
        installation=installation,
        in_force=in_force,
        store=ground.store,
        watcher=flow.watcher,
        recorder=flow.recorder,
        metrics=ground.metrics,
        clock=ground.clock,
        systemd=start.systemd,
        files_read=files_read,
        left_over=reports.report.left_over,
        tasks=start.tasks,
    )
    return Parts(
        clock=ground.clock,
        metrics=ground.metrics,
        store=ground.store,
        dispatcher=flow.dispatcher,
        watcher=flow.watcher,
        inputs=inputs,
        this=reports.this,
        hub=reports.hub,
        report=reports.report,
        in_force=in_force,
        installation=installation,
        reloader=reloader,
        follower=FileFollower(reloader=reloader, wake=files_read, store=ground.store),
        listener=_listener(start, ground, flow, reports, reloader),
        cluster=_cluster(start, ground, flow, reports),
    )


async def _ground(start: Start, stack: AsyncExitStack) -> _Ground:
    clock, metrics, config = Clock(), Metrics(), start.config
    descriptors = _Descriptors.share(config)
    name = config.node.name or socket.gethostname()
    store = await asyncio.to_thread(
        Store.open,
        config.store.url.reveal(),
        name=name,
        timeout=config.node.timeout,
        migrate=start.migrate,
    )
    stack.callback(store.shutdown)
    traces = adapters.tracing(config.tracing)
    stack.push_async_callback(traces.close)
    return _Ground(clock=clock, metrics=metrics, name=name, store=store, descriptors=descriptors, tracing=traces)


def _flow(ground: _Ground) -> _Flow:
    clock, metrics, store = ground.clock, ground.metrics, ground.store
    shared = store.nodes is not None
    committed, endpoint_saved, over_share = Wake(), Wake(), Wake()
    dispatcher = Dispatcher(
        store=store,
        metrics=metrics,
        clock=clock,
        saved=endpoint_saved,
        look_again=LOOK_SHARED if shared else LOOK_AGAIN,
        shared=shared,
        tracing=ground.tracing,
    )
    watcher = Watcher(store=store, nodes=store.nodes, over_share=over_share)
    recorder = Recorder(
        store=store, outbox=dispatcher, metrics=metrics, clock=clock, committed=committed, tracing=ground.tracing
    )
    return _Flow(
        dispatcher=dispatcher,
        watcher=watcher,
        recorder=recorder,
        committed=committed,
        endpoint_saved=endpoint_saved,
        over_share=over_share,
    )


def _reports(start: Start, ground: _Ground, flow: _Flow, inputs: Inputs[QueueConfig]) -> _Reports:
    clock, metrics, store = ground.clock, ground.metrics, ground.store
    peers, row_counts = Peers(), RowCounts(store.lists, clock=clock)
    this = ThisNode(
        name=ground.name,
        timeout=start.config.node.timeout,
        started_at=clock(),
        store=store,
        readiness=start.readiness,
        dispatcher=flow.dispatcher,
        watcher=flow.watcher,
        metrics=metrics,
        row_counts=row_counts,
        recorder=flow.recorder,
    )
    report = StatusReport(
        store=store,
        metrics=metrics,
        dispatcher=flow.dispatcher,
        watcher=flow.watcher,
        inputs=inputs,
        this=this,
        nodes=NodeReport(this, clock=clock, peers=peers),
        row_counts=row_counts,
        clock=clock,
        config=str(start.path),
    )
    look_again = None if store.nodes is None else LOOK_SHARED
    hub = Hub(store=store, report=report, committed=flow.committed, look_again=look_again)
    return _Reports(peers=peers, this=this, report=report, hub=hub)


def _installation(ground: _Ground, flow: _Flow, inputs: Inputs[QueueConfig], in_force: ConfigInForce) -> Installation:
    return Installation(
        in_force,
        dispatcher=flow.dispatcher,
        recorder=flow.recorder,
        watcher=flow.watcher,
        inputs=inputs,
        intake=Intake(in_force=in_force, store=ground.store, watcher=flow.watcher, clock=ground.clock),
        metrics=ground.metrics,
        clock=ground.clock,
        slots=Slots(ground.descriptors.streams),
        messages=ground.store.messages,
    )


def _cluster(start: Start, ground: _Ground, flow: _Flow, reports: _Reports) -> Cluster | None:
    store = ground.store
    if store.nodes is None:
        return None
    shared_endpoints = SharedEndpoints(nodes=store.nodes, dispatcher=flow.dispatcher, wake=flow.endpoint_saved)
    membership = Membership(
        nodes=store.nodes,
        timeout=start.config.node.timeout,
        clock=ground.clock,
        watcher=flow.watcher,
        dispatcher=flow.dispatcher,
        endpoints=shared_endpoints,
        wake=flow.over_share,
        peers=reports.peers,
        this=reports.this,
    )
    return Cluster(membership=membership, shared_endpoints=shared_endpoints)


def _listener(start: Start, ground: _Ground, flow: _Flow, reports: _Reports, reloader: Reloader) -> HttpListener | None:
    listen, in_force = start.config.http.listen, reloader.in_force
    if listen is None:
        return None
    api = Api(
        store=ground.store,
        status=reports.report,
        hub=reports.hub,
        dispatcher=flow.dispatcher,
        watcher=flow.watcher,
        clock=ground.clock,
        in_force=in_force,
        reload=reloader.reload,
    )
    host = None if unix_path(listen) is not None else split(listen)[0]
    return HttpListener(application(api, in_force, host=host), listen, connections=ground.descriptors.http)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Descriptors:
    """The shares of the process's file descriptors."""

    http: int  # connections of the HTTP listener
    streams: int

    @classmethod
    def share(cls, config: Config) -> _Descriptors:
        """Raise the limit of descriptors as far as the system allows, and divide them."""
        files = raise_file_limit()
        if files <= 0:  # there is no limit
            return cls(http=MAX_HTTP, streams=1 << 30)
        http = min(MAX_HTTP, max(MIN_HTTP, files // 8))
        reserved = min(RESERVED_FILES, files // 2)
        descriptors = cls(http=http, streams=max(1, files - reserved - http))
        wanted = sum(source.max_streams for source in config.sources.values())
        if descriptors.streams < wanted:
            log.warning(
                "daemon.few_descriptors",
                limit=files,
                streams=descriptors.streams,
                max_streams=wanted,
                hint="the limit of open files allows fewer streams than the sources may open; watches beyond it wait "
                "for their turn; raise LimitNOFILE= of the unit, or `ulimit -Hn`",
            )
        return descriptors

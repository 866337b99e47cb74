"""What so many watches cost, what breaks first on one node and one database, and how many of each are wanted. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from bench.cells.figures import CONNECT_RATE, Figures, Ground


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """One resource: how many nodes, or databases, of it are wanted."""

    what: str
    units: float  # 1.0 is exactly what one has
    assumed: bool  # it rests on a number that nobody has measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A size, in numbers. Rates are by second."""

    watches: int
    changes: float
    arrivals: float  # and so streams opened, at rest
    node_demands: tuple[Demand, ...]  # greatest first
    database_demands: tuple[Demand, ...]  # greatest first
    cells: int
    nodes: int  # of a cell
    streams: float  # of a node
    memory: float  # bytes of a node
    connects: float  # of a node: streams opened, at rest
    commits: float  # of a cell
    heartbeats: float  # of a cell, if nothing else is written
    rows: float  # of a cell
    wal: float  # bytes, of a cell
    dead_rows: float  # of a cell
    disk: float  # bytes kept for `store.retention`, of a cell
    keeps: float  # seconds of retention that fit on a cell's disk
    connections: float  # of a cell
    notifies: float  # of a cell, if each group that stores new watches told of it
    takeover_rows: float  # watches that a dead node leaves
    takeover_seconds: float  # until the others have opened their streams, at connect_rate
    takeover_rate: float  # connect_rate that would do it within `REOPEN`
    storm: float  # connections a second that all upstreams see after a cut, at connect_rate


REOPEN = 30.0  # seconds within which a dead node's streams should be open again


def node_demands(watches: float, figures: Figures) -> tuple[Demand, ...]:
    """Say how many nodes each resource wants."""
    f = figures
    arrivals = watches / f.watch_seconds.value
    cpu = arrivals * (f.changes.value * f.change_cpu.value + f.connect_cpu.value)
    wanted = [
        _demand("CPU", cpu / f.load_at_most.value, f.watch_seconds, f.changes),
        _demand("memory", watches * f.stream_memory.value / (f.node_memory.value - f.base_memory.value)),
        _demand("open files", watches / f.node_files.value),
        _demand(
            "ports to an upstream", watches / (f.node_ports.value * f.upstream_addresses.value), f.upstream_addresses
        ),
        _demand("connect_rate", arrivals / (CONNECT_RATE * f.load_at_most.value), f.watch_seconds),
    ]
    return tuple(sorted(wanted, key=lambda demand: -demand.units))


def database_demands(watches: float, figures: Figures) -> tuple[Demand, ...]:
    """Say how many databases, and so cells, each resource wants."""
    f = figures
    changes = watches * f.changes.value / f.watch_seconds.value
    wanted = [
        _demand(
            "changes",
            changes / (f.postgres_changes.value * f.load_at_most.value),
            *(f.postgres_changes, f.watch_seconds, f.changes),
        ),
        _demand("watches at stake", watches / f.cell_watches.value),
    ]
    return tuple(sorted(wanted, key=lambda demand: -demand.units))


def plan(watches: int, figures: Figures) -> Budget:
    """Plan cells and nodes, and say what each has to bear."""
    f = figures
    arrivals = watches / f.watch_seconds.value
    changes = arrivals * f.changes.value
    database = database_demands(watches, f)
    cells = max(1, ceil(database[0].units))
    # connect_rate is a setting and grows with the need: it decides nothing here, and is told beside.
    node = node_demands(watches, f)
    needed = max(demand.units for demand in node if demand.what != "connect_rate")
    # Where one is enough, one it is; where several are, one may die and the rest bear it.
    nodes = max(1, ceil(needed / cells))
    nodes += nodes > 1
    streams = watches / cells / nodes
    own = changes / cells
    commits = nodes * min(1 / f.group_seconds.value, 2 * own / nodes)
    return Budget(
        watches=watches,
        changes=changes,
        arrivals=arrivals,
        node_demands=node,
        database_demands=database,
        cells=cells,
        nodes=nodes,
        streams=streams,
        memory=f.base_memory.value + streams * f.stream_memory.value,
        connects=arrivals / cells / nodes,
        commits=commits,
        heartbeats=nodes / f.beat_seconds.value,
        rows=own * f.change_rows.value + arrivals / cells + commits,
        wal=own * f.change_wal.value,
        dead_rows=own * f.dead_rows.value,
        disk=own * f.change_disk.value * f.retention.value,
        keeps=f.cell_disk.value / (own * f.change_disk.value),
        connections=nodes * f.connections.value,
        notifies=min(arrivals / cells, nodes / f.group_seconds.value),
        takeover_rows=streams,
        takeover_seconds=streams / (max(1, nodes - 1) * CONNECT_RATE),
        takeover_rate=streams / (max(1, nodes - 1) * REOPEN),
        storm=cells * nodes * CONNECT_RATE,
    )


def _demand(what: str, units: float, *rests_on: object) -> Demand:
    assumed = any(getattr(figure, "ground", None) is Ground.ASSUMED for figure in rests_on)
    return Demand(what=what, units=units, assumed=assumed)


def grounds(figures: Figures) -> Mapping[str, str]:
    """Name every figure with its value and ground, for people."""
    return {
        name: f"{figure.value:,.10g} {figure.unit}".strip() + f" ({figure.ground.value}): {figure.note}"
        for name in figures.__dataclass_fields__
        for figure in [getattr(figures, name)]
    }

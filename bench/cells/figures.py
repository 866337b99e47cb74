"""Every number that the simulation rests on, with its ground. To fill in a measured one, change it here and its ground.

A *cell* is one PostgreSQL server and the nodes that share it. Cells know nothing of each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


class Ground(Enum):
    """Why a number is what it is."""

    MEASURED = "measured"  # by a run of the program or of the database; the note says which
    PROGRAM = "program"  # a default or constant of the daemon, or of its unit
    CHOSEN = "chosen"  # ours to choose when a cell is planned
    ASSUMED = "assumed"  # nobody has measured it yet: results that rest on it are marked


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number, its unit and where it comes from."""

    value: float
    unit: str
    ground: Ground
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the budget multiplies. Values of the simulations follow as plain constants."""

    # What is followed
    watch_seconds: Figure = Figure(value=300, unit="s", ground=Ground.ASSUMED, note="how long a task runs, on average")
    changes: Figure = Figure(value=3, unit="", ground=Ground.ASSUMED, note="changes of state of one task, as in bench")

    # What a node spends
    base_memory: Figure = Figure(
        value=90 * MIB, unit="B", ground=Ground.MEASURED, note="docs/operations.md: the daemon without a stream"
    )
    stream_memory: Figure = Figure(
        value=57.2 * KIB, unit="B", ground=Ground.MEASURED, note="bench, idle, TLS and uvloop; 17.3 KiB without TLS"
    )
    change_cpu: Figure = Figure(
        value=600e-6,
        unit="s",
        ground=Ground.MEASURED,
        note="bench, job: a change with its signed POST, on SQLite; on PostgreSQL 1.0 to 1.3 of it",
    )
    connect_cpu: Figure = Figure(
        value=900e-6, unit="s", ground=Ground.MEASURED, note="1,500 streams opened over TLS; 280 us without TLS"
    )
    # What a node has
    node_memory: Figure = Figure(value=8 * GIB, unit="B", ground=Ground.CHOSEN, note="of a node's machine or its share")
    node_files: Figure = Figure(value=524_288 - 256, unit="", ground=Ground.PROGRAM, note="LimitNOFILE less a reserve")
    node_ports: Figure = Figure(
        value=28_000, unit="", ground=Ground.MEASURED, note="ip_local_port_range: to one upstream address"
    )
    upstream_addresses: Figure = Figure(
        value=4, unit="", ground=Ground.ASSUMED, note="that the upstreams' names resolve to, used alike"
    )
    load_at_most: Figure = Figure(
        value=0.6,
        unit="",
        ground=Ground.CHOSEN,
        note="of a core, or of a database: the rest is for a neighbour's death",
    )

    # What a cell's PostgreSQL spends
    change_rows: Figure = Figure(
        value=5, unit="", ground=Ground.PROGRAM, note="watch, event, delivery, its settling, attempt; one endpoint"
    )
    change_wal: Figure = Figure(
        value=2.8 * KIB,
        unit="B",
        ground=Ground.MEASURED,
        note="PostgreSQL 15, this schema, groups of 10 and 50 changes",
    )
    change_disk: Figure = Figure(
        value=1.3 * KIB, unit="B", ground=Ground.MEASURED, note="the same run: tables and indexes, for one endpoint"
    )
    dead_rows: Figure = Figure(
        value=2, unit="", ground=Ground.MEASURED, note="the same run: row versions that vacuum has to collect"
    )
    postgres_changes: Figure = Figure(
        value=5_000, unit="/s", ground=Ground.ASSUMED, note="at its limit; 100 to 150 us of a backend were measured"
    )
    connections: Figure = Figure(value=3, unit="", ground=Ground.PROGRAM, note="of a node: writer, reader, listener")
    group_seconds: Figure = Figure(value=0.004, unit="s", ground=Ground.PROGRAM, note="RHYTHM of the group commit")
    beat_seconds: Figure = Figure(value=1.0, unit="s", ground=Ground.PROGRAM, note="with node.timeout from 4 s on")
    cell_watches: Figure = Figure(
        value=300_000, unit="", ground=Ground.CHOSEN, note="at most in a cell: its death must be bearable"
    )
    cell_disk: Figure = Figure(value=1e12, unit="B", ground=Ground.CHOSEN, note="of a cell's PostgreSQL")
    retention: Figure = Figure(value=7 * 86_400, unit="s", ground=Ground.PROGRAM, note="store.retention")


# The rules of several nodes, as the store and the watcher have them
NODE_TIMEOUT = 10.0  # seconds, node.timeout
BEAT = 1.0  # seconds between heartbeats, at most; a quarter of a shorter node.timeout
LOOK_AGAIN = 5.0  # seconds between looks for watches that nobody announced (watcher.py)
CLAIM = 1_000  # watches claimed at once (watcher.py)
CLAIM_SECONDS = 0.05  # assumed: of such a claim
CONNECT_RATE = 200.0  # new streams a second of one source and node (connect_rate)
BACKOFF_INITIAL, BACKOFF_MAX = 1.0, 60.0  # seconds (backoff of a source)

"""The benchmark measures what it says: its timeline, its verdicts, and every program doing the whole job. No figure of
time is judged here."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import databases
import psycopg
import pytest
from helper_programs import require

from bench import floods, reloading, sending, soak
from bench.child import ROOT
from bench.programs import SECRET
from bench.tally import Callback, judge, percentile
from bench.timeline import CHANGES, REPEATS, snapshot, stream_of, task_id, timeline

STREAMS = 50


def test_every_stream_plays_the_same_states_in_order() -> None:
    """Queueing, processing four times over, success."""
    plan = timeline(streams=7, rate=10)
    for stream in range(7):
        played = [CHANGES[write.change] for write in plan if write.stream == stream]
        assert played == ["queueing", *["processing"] * (1 + REPEATS), "success"]


def test_changes_come_at_a_steady_rate() -> None:
    """From the first change to the last there is one each 1/rate seconds, whatever the repeats do."""
    changes = [write.at for write in timeline(streams=7, rate=10) if not write.repeat]
    assert changes == pytest.approx([number / 10 for number in range(21)])


def test_a_snapshot_is_readable_event_by_event_and_line_by_line() -> None:
    """One `data:` line that is whole, and the blank line that ends the event."""
    line, rest = snapshot(1).split(b"\n", 1)
    assert json.loads(line.removeprefix(b"data: "))["state"] == "processing"
    assert rest == b"\n"


def test_ids_are_names_of_streams() -> None:
    """`stream_of` reverses `task_id`."""
    assert [stream_of(task_id(stream)) for stream in (0, 1, 9_999)] == [0, 1, 9_999]


@pytest.mark.parametrize(("fraction", "value"), [(0.0, 1.0), (0.5, 2.0), (1.0, 3.0)])
def test_percentile_is_a_value_that_occurred(fraction: float, value: float) -> None:
    """The nearest rank, never an average."""
    assert percentile([1.0, 2.0, 3.0], fraction) == value


def test_percentile_of_nothing_is_none() -> None:
    """No latency is not a latency of zero."""
    assert percentile([], 0.99) is None


def callback(stream: int, change: int, *, at: float = 1.0, secret: str = SECRET) -> Callback:
    """Return a signed callback."""
    body = json.dumps({"data": {"watch": {"id": task_id(stream)}, "state": CHANGES[change]}}).encode()
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = base64.b64encode(hmac.new(key, b"msg_1.1." + body, hashlib.sha256).digest())
    head = b"POST / HTTP/1.1\r\nWebhook-Id: msg_1\r\nWebhook-Timestamp: 1\r\nWebhook-Signature: v1,%b" % signature
    return Callback(at=at, head=head, body=body)


def test_a_faultless_run_has_no_fault() -> None:
    """Every change once, in order, signed: only its latency is told."""
    written = {(0, change): float(change) for change in range(3)}
    tally = judge([callback(0, change, at=change + 0.002) for change in range(3)], written, SECRET)
    assert (tally.duplicates, tally.missing, tally.early, tally.out_of_order, tally.unsigned) == (0, 0, 0, 0, 0)
    assert tally.max_ms == pytest.approx(2.0)


def test_every_fault_is_counted() -> None:
    """A repeat, a gap, a thing never said, an overtaking and a wrong secret are five different faults."""
    written = {(0, 0): 0.0, (0, 1): 0.0, (1, 0): 0.0}
    other = "whsec_" + base64.b64encode(b"x" * 24).decode()
    told = [callback(0, 1), callback(0, 1), callback(0, 0), callback(0, 2, secret=other)]
    tally = judge(told, written, SECRET)
    assert (tally.duplicates, tally.missing, tally.early, tally.out_of_order, tally.unsigned) == (1, 1, 1, 1, 1)


async def bench(*arguments: str, directory: Path, path: str | None = None) -> dict[str, Any]:
    """Run the command, with another PATH if need be, and return its figures."""
    figures = directory / "figures.json"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench", "--directory", str(directory), "--json", str(figures), *arguments),
        cwd=ROOT,
        env=os.environ | ({} if path is None else {"PATH": path}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    read: dict[str, Any] = json.loads(figures.read_text(encoding="utf-8"))
    return read


@pytest.mark.slow
@pytest.mark.parametrize("program", ["script", "go", "floor-uvloop", "floor-asyncio", "daemon"])
async def test_a_program_does_the_whole_job(program: str, tmp_path: Path) -> None:
    """Three signed callbacks for each stream, in order, none twice, none missing."""
    if program == "go":
        require("go")
    figures = await bench(
        *("--only", "job", "--streams", str(STREAMS), "--rate", "300", "--overload", "0", "--programs", program),
        directory=tmp_path,
    )
    (result,) = figures["job"]["results"]
    tally = result["tally"]
    counts = {fault: tally[fault] for fault in ("duplicates", "missing", "early", "out_of_order", "unsigned")}
    assert counts == dict.fromkeys(counts, 0)
    assert tally["callbacks"] == 3 * STREAMS


@pytest.mark.slow
async def test_a_program_that_is_asked_for_more_than_it_can_do_does_all_of_it(tmp_path: Path) -> None:
    """So many callbacks per second are its saturation. Without Go its column stands empty, and says why."""
    given = ("--only", "job", "--streams", "5", "--overload", str(STREAMS), "--programs", "floor-uvloop,go")
    figures = (await bench(*given, directory=tmp_path, path=str(tmp_path)))["job"]
    (overload,) = figures["overloads"]
    assert overload["tally"]["callbacks"] == 3 * STREAMS
    assert overload["pace"] > 0
    assert "no `go` on the PATH" in figures["absent"]["go"]


@pytest.mark.slow
async def test_every_watch_that_is_added_at_once_is_subscribed_once(tmp_path: Path) -> None:
    """The run is a failure if one is connected twice; what was asked meanwhile was answered."""
    figures = await bench("--only", "many", "--many", "100", "--connect-rate", "50", directory=tmp_path)
    (result,) = figures["many"]["results"]
    assert (result["watches"], result["connects"], result["flowing"]) == (100, 100, 10)
    assert all(result["asked"].values())


@pytest.mark.slow
@pytest.mark.parametrize("program", ["floor-asyncio", "daemon"])
async def test_idle_streams_are_weighed_plain_and_over_tls(program: str, tmp_path: Path) -> None:
    """Every stream opens, over TLS against an authority of our own as well, and its one state is told."""
    figures = await bench("--only", "idle", "--idle-streams", str(STREAMS), "--programs", program, directory=tmp_path)
    assert [result["tls"] for result in figures["idle"]["results"]] == [False, True]
    assert all(result["missing"] == 0 for result in figures["idle"]["results"])


@pytest.mark.slow
async def test_a_watch_is_added_by_each_way(tmp_path: Path) -> None:
    """Each is timed as often as asked for; a queue is left out where nobody answers."""
    given = ("--only", "add", "--streams", str(STREAMS), "--rounds", "2", "--redis", "redis://127.0.0.1:1")
    figures = await bench(*given, directory=tmp_path)
    assert [(result["way"], len(result["seconds"])) for result in figures["add"]["results"]] == [
        ("SIGHUP", 2),
        ("reload_on_change", 2),
        ("notifier reload", 2),
        ("POST /v1/watches", 2),
        ("notifier watch add", 2),
    ]


@pytest.mark.slow
async def test_sending_is_measured_beside_its_floors(tmp_path: Path) -> None:
    """Each program's callbacks have all come; the daemon's are signed and in order."""
    costs = await asyncio.to_thread(sending.measure, tmp_path, 3000, 1)
    assert [cost.name for cost in costs] == ["aiohttp", "raw", "daemon"]
    assert all(cost.rate > 0 and cost.per_core > 0 for cost in costs)


@pytest.mark.slow
async def test_a_flood_is_measured_beside_none(tmp_path: Path) -> None:
    """Its requests are answered, and every callback has come."""
    made = await asyncio.to_thread(floods.measure, "waits", streams=STREAMS, rate=100.0, directory=tmp_path)
    assert made.answered > 0
    assert made.tally["callbacks"] == 3 * STREAMS


def made(server: str) -> set[str]:
    """Return the databases that measurements have there now."""
    with psycopg.connect(server) as connection:
        names = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'notifier_bench_%'")
        return {name for (name,) in names}


@pytest.mark.slow
async def test_nodes_that_share_a_database_do_the_job_once(tmp_path: Path) -> None:
    """By every way the same callbacks; what PostgreSQL did for them is counted, and its database is gone afterwards."""
    server = f"{databases.require_server()}/postgres"
    before = made(server)
    given = ("--only", "nodes", "--streams", str(STREAMS), "--rate", "100", "--postgres", server)
    figures = (await bench(*given, directory=tmp_path))["nodes"]
    assert [result["name"] for result in figures["results"]] == ["1 on SQLite", "1 on PostgreSQL", "2 on PostgreSQL"]
    assert all(result["tally"]["callbacks"] == 3 * STREAMS for result in figures["results"])
    shared = [result["used"] for result in figures["results"][1:]]
    assert all(used["changed"] >= 5 * 3 * STREAMS for used in shared)  # a row for each write of a change
    assert [used["connections"] for used in shared] == [3, 6]
    assert figures["trips"]["trips"] >= 2 * figures["trips"]["groups"] > 0
    assert not made(server) - before or os.environ.get("PYTEST_XDIST_WORKER")  # other workers measure, too


@pytest.mark.slow
async def test_a_backlog_is_claimed_by_its_index_and_sent_in_order(tmp_path: Path) -> None:
    """In both databases: claims take what was asked for, all is sent, and neither database is left."""
    server = f"{databases.require_server()}/postgres"
    before = made(server)
    figures = await bench("--only", "backlog", "--pending", "6000", "--postgres", server, directory=tmp_path)
    results = figures["backlog"]["results"]
    assert [result["name"] for result in results] == ["SQLite", "PostgreSQL"]
    for result in results:
        assert [(claims["pending"], claims["taken"]) for claims in result["claims"]] == [(3_000, 256), (6_000, 256)]
        assert any("deliveries_due" in line for line in result["plan"])
        assert not any("TEMP B-TREE" in line or "Seq Scan" in line for line in result["plan"])
        assert 0 < result["full"]["sent"] < 6_000  # the first do not count
    assert not made(server) - before or os.environ.get("PYTEST_XDIST_WORKER")  # other workers measure, too
    assert os.listdir(tmp_path) == ["figures.json"]


def test_the_slope_is_of_the_samples_after_the_first_quarter() -> None:
    """Memory that rises while caches fill is no leak."""
    rss = [9_000, 10_000, *(20_000 + 30 * number for number in range(2, 8))]
    samples = [
        soak.Sample(seconds=float(n), ended=10 * n, rss=size, descriptors=9, threads=3, tasks=20)
        for n, size in enumerate(rss)
    ]
    result = soak.Result(rate=10.0, minutes=1.0, added=80, completed=80, samples=tuple(samples))
    assert result.slope == pytest.approx(3.0)


async def test_watches_that_end_are_counted_while_the_daemon_is_weighed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every one of them completes, and each sample has the daemon's tasks."""
    monkeypatch.setattr(soak, "SAMPLE_SECONDS", 1.0)
    result = await asyncio.to_thread(soak.measure, rate=20.0, minutes=0.05, directory=tmp_path)
    assert result.completed == result.added > 0
    assert result.samples
    assert all(sample.tasks > 5 and sample.rss > 0 and sample.descriptors > 5 for sample in result.samples)


def test_every_waiter_is_answered_in_the_measurement_of_waiting() -> None:
    """It fails if one is not; here its figures say nothing."""
    command = [sys.executable, "-m", "bench.waits", "--waiters", "5", "--seconds", "0.2", "--rate", "20"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "5 waiters answered within" in done.stdout


async def test_reloads_are_measured_while_streams_flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are added, found unchanged, changed and removed, and every reload is answered."""
    monkeypatch.setattr(reloading, "USUAL_SECONDS", 1.0)
    monkeypatch.setattr(reloading, "AFTER_SECONDS", 0.2)
    rows = await reloading.measure(30, tmp_path)
    said = ["30 added", "reloaded; nothing has changed", "30 changed", "30 removed"]
    assert [row.said.removeprefix("watches of the files: ") for row in rows] == said
    assert all(row.peak_rss >= row.before_rss // 2 > 0 and row.gap > 0 for row in rows)

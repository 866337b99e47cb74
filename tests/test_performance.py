"""docs/performance.md says what was measured, and a sweep measures what it says. No figure of time is judged here."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from bench import aims, figures, page, sweep, where
from bench.figures import Figures, Row
from bench.sweep import Plan, Sweep

ROOT = Path(__file__).parent.parent
FLOOR = "floor-uvloop"
ROW = Row(
    part=figures.RATES,
    program="daemon",
    streams=5_000,
    rate=100.0,
    changes=800,
    cpu_us=900.0,
    loop_us=600.0,
    cpu_s=3.0,
    start_cpu_s=1.0,
    open_s=2.0,
    rest_cores=None,
    p50_ms=4.0,
    p99_ms=8.0,
    pace=99.0,
    open_mib=100.0,
    peak_mib=120.0,
    late_ms=0.5,
    others_cores=0.02,
)
TINY = Plan(
    streams=20,
    overload=20,
    rates=(200.0,),
    seconds=0.2,
    sizes=(10, 20),
    size_rate=100.0,
    rest_seconds=0.1,
    compared=(FLOOR,),
    job=(FLOOR,),
)


def test_the_page_says_what_the_file_of_figures_says() -> None:
    """`python -m bench.page` writes it."""
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.render(text, figures.load()) == text
    assert all(f"<!-- figures: {name} -->" in text for name in page.PARTS)


def test_each_plot_was_drawn_from_the_file_of_figures() -> None:
    """`make plots` draws them; each picture bears the file's digest, and the page shows each."""
    digest = hashlib.sha256(figures.FILE.read_bytes()).hexdigest()
    text = page.PAGE.read_text(encoding="utf-8")
    plots = sorted((ROOT / "docs" / "img").glob("performance-*.png"))
    assert len(plots) == 4
    for plot in plots:
        assert digest.encode() in plot.read_bytes(), plot
        assert f"(img/{plot.name})" in text


def test_figures_are_read_as_they_were_written(tmp_path: Path) -> None:
    """A row takes one line, so that a change of the file can be read."""
    told = Figures(machine={"cores": 2}, empty_mib=80.1, calls={"core": 1.5}, rows=(ROW, ROW), left_out=("go: none",))
    figures.save(told, tmp_path / "figures.json")
    assert figures.load(tmp_path / "figures.json") == told
    lines = (tmp_path / "figures.json").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if '"part"' in line]) == 2


def test_a_sweep_measures_every_part(tmp_path: Path) -> None:
    """One row for each point, in the file as well."""
    file = tmp_path / "figures.json"
    sweeping = Sweep(file=file, seconds=600.0, directory=tmp_path, console=Console(quiet=True))
    sweeping.run(TINY)
    assert not sweeping.failures
    told = figures.load(file)
    assert told == sweeping.figures
    parts = [figures.START, figures.JOB, figures.OVERLOAD, figures.RATES, figures.STREAMS, figures.STREAMS]
    assert [row.part for row in told.rows] == parts
    assert [row.changes for row in told.rows] == [60, 60, 60, 60, 21, 21]
    assert all(row.cpu_us >= 0 and row.pace > 0 and row.open_mib > 1 for row in told.rows)
    assert [row.rest_cores is None for row in told.rows] == [True, True, True, True, False, False]


def test_of_a_points_rounds_the_middle_one_counts() -> None:
    """By its CPU; another program, rate or number of streams is another point."""
    rounds = [replace(ROW, cpu_us=cpu, p99_ms=cpu / 10) for cpu in (900.0, 1_300.0, 800.0)]
    told = Figures(rows=(*rounds, replace(ROW, rate=200.0, cpu_us=1.0), replace(ROW, program="go", cpu_us=2.0)))
    assert [row.cpu_us for row in told.of(figures.RATES)] == [900.0, 1.0, 2.0]
    assert told.at(figures.RATES, "daemon", rate=100.0) == rounds[0]


def test_the_points_that_aims_compare_are_measured_in_rounds() -> None:
    """Each rate with an aim, by every program; the daemon alone with the fewest and the most streams."""
    again = [point for point in sweep.points(sweep.FULL) if sweep.is_aimed(point, sweep.FULL)]
    rates = {(point.program, point.work.rate) for point in again if point.part == figures.RATES}
    assert rates == {(program, rate) for program in sweep.COMPARED for rate in sweep.AIMED_RATES}
    sizes = [(point.program, point.work.streams) for point in again if point.part == figures.STREAMS]
    assert sizes == [("daemon", 1_000), ("daemon", 20_000)]


def test_a_sweep_whose_time_is_over_says_what_it_left_out(tmp_path: Path) -> None:
    """It begins no point after that."""
    sweeping = Sweep(file=tmp_path / "figures.json", seconds=0.0, directory=tmp_path, console=Console(quiet=True))
    sweeping.run(TINY)
    assert figures.load(tmp_path / "figures.json").rows == ()
    assert len(sweeping.figures.left_out) == len(list(sweep.points(TINY)))


@pytest.mark.parametrize(
    ("row", "due"),
    [
        (ROW, True),
        (replace(ROW, p99_ms=1_001.0), False),
        (replace(ROW, pace=94.0), False),
        (replace(ROW, program="go", pace=94.0), True),
        (replace(ROW, rate=200.0, pace=180.0), True),  # in the round before
        (replace(ROW, rate=400.0, pace=300.0), True),
    ],
)
def test_a_program_that_is_saturated_is_offered_no_more(row: Row, due: bool) -> None:
    """It is if it is a second late, or tells fewer than came."""
    point = next(point for point in sweep.points(sweep.FULL) if point.part == figures.RATES and point.work.rate == 200)
    assert point.program == "daemon"
    assert sweep.is_due(point, Figures(rows=(row,))) is due


def test_as_many_streams_play_as_the_time_of_the_load_needs() -> None:
    """Every point of the whole sweep takes at most twice its seconds of load, and asks for no more than is open."""
    for point in sweep.points(sweep.FULL):
        if point.part in (figures.RATES, figures.STREAMS):
            assert point.work.changes / point.work.rate <= 2 * sweep.FULL.seconds
            assert point.work.changes <= 3 * point.work.streams


def test_aims_are_found_among_the_figures() -> None:
    """Met, missed, and not measured; the p99 is that of the highest rate up to half of saturation."""
    rows = [
        replace(ROW, program=program, rate=rate, cpu_us=cpu, p99_ms=p99)
        for program, rate, cpu, p99 in [
            ("daemon", 100.0, 900.0, 8.0),
            ("daemon", 400.0, 600.0, 9.0),
            ("daemon", 700.0, 500.0, 30.0),
            ("script", 100.0, 800.0, 8.0),
            ("script", 400.0, 700.0, 9.0),
        ]
    ]
    rows.append(replace(ROW, part=figures.OVERLOAD, rate=10_000.0, pace=1_000.0))
    goals = {goal.figure: goal for goal in aims.goals(Figures(rows=tuple(rows)))}
    assert goals["CPU of a change at 100/s / script"].met is False
    assert goals["CPU of a change at 400/s / script"].met is True
    assert goals["CPU of a change at 400/s / go"].met is None
    assert goals["saturation, changes/s"].met is False
    assert goals["p99 at 400/s, at most half of saturation"].met is True


def test_a_busy_machine_is_named_in_the_page() -> None:
    """By the cores that others used, of the points the middle one."""
    about = {"at": "2026-11-28T20:00+00:00", "cores": 2, "python": "3.11", "filesystem": "ext4", "sync_p50_ms": 1.0}
    rows = tuple(replace(ROW, others_cores=cores) for cores in (0.01, 0.05, 1.9))
    assert "busy" not in page.machine(Figures(machine=about, rows=rows))
    assert "busy" in page.machine(Figures(machine=about, rows=rows[1:]))


@pytest.mark.parametrize(
    ("file", "room"),
    [
        (str(ROOT / "notifier" / "core" / "machine.py"), "core"),
        (str(ROOT / "notifier" / "__main__.py"), "__main__.py"),
        ("/usr/lib/python3.11/asyncio/locks.py", "asyncio"),
        ("/x/.venv/lib/python3.11/site-packages/prometheus_client/metrics.py", "prometheus_client"),
        ("<string>", where.GENERATED),
    ],
)
def test_calls_count_for_the_room_or_the_library_that_they_are_in(file: str, room: str) -> None:
    """A clone's own folder may bear any name."""
    assert where.room_of(file) == room


@pytest.mark.slow
def test_the_calls_of_a_change_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every room on the way takes part, and a start's imports, some millions of calls, are not among them."""
    monkeypatch.setattr(where, "STREAMS", 60)
    monkeypatch.setattr(where, "FEW", 10)
    monkeypatch.setattr(where, "MANY", 60)
    calls = where.count(tmp_path)
    assert {"core", "sources", "follow", "store", "deliver", "senders", "runtime"} <= set(calls)
    assert 100 < sum(calls.values()) < 2_000

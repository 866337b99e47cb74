"""The demo: ends by itself and tells the truth, or says what is wrong, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from rich.console import Console
from waits import PATIENCE, slowness

from notifier.tools.callback import ReceivedCallback
from notifier.tools.demo import daemon as daemons
from notifier.tools.demo import run, stage
from notifier.tools.demo.daemon import Daemon, DaemonFailed
from notifier.tools.demo.score import Progress, Score
from notifier.tools.demo.script import Role, cast
from notifier.tools.simulated import Move
from notifier.tools.transcript import documented

# 0.1 s between snapshots: the demo is fast, and a callback on a busy machine still arrives within its state's time.
FAST = """
import asyncio, sys
from rich.console import Console
from notifier.core.errors import NotifierError
from notifier.tools.demo import run
try:
    good = asyncio.run(run(tasks=2, keep="keep" in sys.argv, console=Console(), interval=0.1))
except NotifierError as exc:
    sys.exit(str(exc))
sys.exit(not good)
"""
PROGRAM = (sys.executable, "-c", FAST)
COMMAND = (sys.executable, "-m", "notifier", "demo")


@asynccontextmanager
async def running(directory: Path, *program: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program whose temporary files go to `directory`; whatever is left of it at the end is a failure."""
    process = await asyncio.create_subprocess_exec(
        *program,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(directory), "COLUMNS": "60"},
    )
    try:
        yield process
        assert process.returncode is not None
        assert os.listdir(directory) == []
        assert processes_of(directory) == []
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        for left in processes_of(directory):
            left.kill()


def processes_of(directory: Path) -> list[psutil.Process]:
    """List the daemons whose configuration is in a directory."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(directory) in argument for argument in process.info["cmdline"] or ())
    ]


async def read_until(process: asyncio.subprocess.Process, pattern: str) -> re.Match[str]:
    """Read what it prints up to a line that matches."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        while line := await process.stdout.readline():
            if match := re.search(pattern, line.decode()):
                return match
    raise AssertionError(f"it never printed {pattern}")


async def test_command_shows_streams_and_polls_and_ends_by_itself(tmp_path: Path) -> None:
    """Exit code 0 within 20 s; three callbacks a task, all verified; recovery from both faults."""
    began = time.monotonic()
    async with running(tmp_path, *COMMAND) as process:
        output, errors = await process.communicate()
    text = output.decode()
    assert (process.returncode, errors.decode()) == (0, ""), text
    assert time.monotonic() - began < 20 * slowness()
    rows = re.findall(r"^clip-(\d\d) +(line|event|poll) +(\w+) +(\w+) +(\d)$", text, re.MULTILINE)
    assert [row[1] for row in rows] == ["line", "event", "poll"] * 4
    usual = ["success", "success", "SUCCEEDED"]
    assert [row[3] for row in rows] == [*usual, "success", "failed", "CANCELLED", *usual, *usual]
    assert all(row[2] == row[3] for row in rows)
    [changes] = map(int, re.findall(r"changes  (\d+) of state, at the upstreams", text))
    assert changes <= 36, "a state may pass between two polls"
    assert sum(int(row[4]) for row in rows) == changes + 1, "one was sent again"
    [(polled, polls)] = re.findall(r"polled  (\d+) of the watches, by (\d+) requests", text)
    assert (polled, int(polls) > 12) == ("4", True)
    for line in (
        "watches  12: 10 succeeded, 1 failed, 1 canceled",
        f"callbacks  {changes + 1} received, {changes + 1} verified",
        "0 duplicates, 0 out of order",
        "clip-01: its stream was reset, and is open again",
    ):
        assert line in text
    assert re.search(
        r"(clip-\d\d): the receiver answered 500 to '(\w+)'[^~]*\1: '\2' was sent again, and accepted", text
    )
    assert re.search(r"latency  p50 [\d.]+ ms, p99 [\d.]+ ms", text)
    fitting = [line for line in text.splitlines() if "notifier" not in line]  # the path of a command may be long
    assert [line for line in fitting if len(line) > 60] == []
    assert "\x1b" not in text, "colours are for terminals"


async def test_its_summary_is_json_for_programs(tmp_path: Path) -> None:
    """And nothing else is; what people see goes to standard error."""
    async with running(tmp_path, *COMMAND, "-n", "3", "--json") as process:
        output, errors = await process.communicate()
    told = json.loads(output)
    assert (process.returncode, told["wrong"]) == (0, []), errors.decode()
    assert (told["watches"], told["ended"], told["polled"]) == (3, {"succeeded": 3}, 1)
    assert told["callbacks"] == told["verified"] == told["changes"] + 1, "one was sent again"
    assert (told["duplicates"], told["out_of_order"], told["refused_with"]) == (0, 0, "500")
    assert told["retried_after_seconds"] > 0
    assert "receiver" in errors.decode()


async def test_its_last_lines_are_commands_that_work(tmp_path: Path) -> None:
    """They work where the demo was started: by make, by the name of the program, or by its path."""
    call = [shlex.quote(sys.executable), "-m", "notifier", "demo", "-n", "1"]
    async with running(tmp_path, "sh", "-c", " ".join(call)) as process:
        steps = dict(re.findall(r"^ *(stay up|configure|run)  (.*)$", (await process.communicate())[0].decode(), re.M))
    assert list(steps) == ["stay up", "configure", "run"]
    for command in steps.values():
        shell = await asyncio.create_subprocess_shell(f"{command} --help", stdout=asyncio.subprocess.PIPE)
        assert b"Usage:" in (await shell.communicate())[0]
        assert shell.returncode == 0


async def test_make_tells_how_it_was_called(tmp_path: Path) -> None:
    """Who typed `make demo` has no command `notifier`."""
    call = f"NOTIFIER_DEMO='make demo' {shlex.quote(sys.executable)} -m notifier demo -n 1"
    async with running(tmp_path, "sh", "-c", call) as process:
        assert "make demo ARGS=--keep" in (await process.communicate())[0].decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_signal_ends_it_at_once_and_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    async with running(tmp_path, *COMMAND) as process:
        pid = int((await read_until(process, r"daemon +pid (\d+)"))[1])
        assert psutil.pid_exists(pid)
        process.send_signal(number)
        process.send_signal(number)  # who presses twice does not stop the stopping
        _, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == (0 if number == signal.SIGINT else 1), "Ctrl-C is not an error"
    assert errors.decode() == "notifier: Interrupted; everything that was started is stopped again.\n"
    assert not psutil.pid_exists(pid)


async def test_signal_before_the_daemon_is_ready_leaves_nothing_behind(tmp_path: Path) -> None:
    async with running(tmp_path, *COMMAND) as process:
        await read_until(process, "on purpose")
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 0


async def test_reader_that_goes_away_ends_it(tmp_path: Path) -> None:
    """As with `notifier demo | head -1`: neither a traceback nor a daemon is left."""
    script = '"$0" -m notifier demo -n 1 | head -1; test "${PIPESTATUS[0]}" != 0'
    async with running(tmp_path, "bash", "-c", script, sys.executable) as process:
        output, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert (process.returncode, errors.decode()) == (0, "")
    assert len(output.splitlines()) == 1


async def test_daemon_that_dies_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    async with running(tmp_path, *COMMAND) as process:
        os.kill(int((await read_until(process, r"daemon +pid (\d+)"))[1]), signal.SIGKILL)
        _, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 1
    assert "notifier: the daemon was killed by signal 9; the end of its log:" in errors.decode()
    assert '"event":"daemon.ready"' in errors.decode()


async def test_keep_stays_up_takes_another_task_and_ends_well(tmp_path: Path) -> None:
    """What it says can be tried works, and Ctrl-C is then the way to end it."""
    async with running(tmp_path, *PROGRAM, "keep") as process:
        page = (await read_until(process, r"^  (http://\S+/)$"))[1]
        async with aiohttp.ClientSession() as session, session.get(page) as reply:
            assert (reply.status, reply.content_type) == (200, "text/html")
        listing = (await read_until(process, r"^  (.* watch list --url .*)$"))[1]
        shell = await asyncio.create_subprocess_shell(listing, stdout=asyncio.subprocess.PIPE)
        assert b"documented/clip-01" in (await shell.communicate())[0]
        url = (await read_until(process, r"curl (http://\S+)/v1/status"))[1]
        append = (await read_until(process, r"^  (echo .*)$"))[1]
        reload = (await read_until(process, r"^  (.* reload --url .*)$"))[1]
        async with aiohttp.ClientSession() as session, session.get(f"{url}/v1/status") as reply:
            assert (await reply.json())["ready"] is True
        shell = await asyncio.create_subprocess_shell(f"{append} && {reload}", stdout=asyncio.subprocess.PIPE)
        assert (await shell.communicate())[0] == b"reloaded\n  watches of the files: 1 added\n"
        await read_until(process, r"✓ .*one-more.* success")
        process.send_signal(signal.SIGINT)
        _, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert (process.returncode, errors.decode()) == (0, "")


async def test_terminal_gets_a_live_table_that_fits() -> None:
    """Drawn again and again; what the height has no room for is counted in one row."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=60, height=20)
    assert await run(tasks=8, keep=False, console=console, interval=0.1)
    text = screen.getvalue()
    assert text.count("last callback") > 5
    assert "clip-04" in text
    assert not re.search(r"clip-08 +(line|event|poll)", text)
    assert "4 more" in text


async def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that refuses for good makes the demo fail, in bounded time and with the reason."""
    monkeypatch.setattr(stage, "PATIENCE", 0.5)
    monkeypatch.setattr(stage, "receiver_script", lambda _roles: "200,404")
    screen = io.StringIO()
    assert not await run(tasks=1, keep=False, console=Console(file=screen, width=200), interval=0.02)
    assert "wrong: clip-01 (line): reported queueing in place of queueing, processing, success" in screen.getvalue()
    assert "next" not in screen.getvalue()


async def test_daemon_that_does_not_start_is_told_with_its_log(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("sorces: {}\n")
    with pytest.raises(DaemonFailed, match=r"(?s)ended with exit code 78; the end of its log:.*sources"):
        async with Daemon(config, tmp_path / "log"):
            pass


async def test_daemon_that_does_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemons, "STOP_WITHIN", 0.2)
    config = tmp_path / "config.yaml"
    config.write_text(f'store: {{url: "sqlite:///{tmp_path}/n.db"}}\nhttp: {{listen: "127.0.0.1:0"}}\n')
    async with Daemon(config, tmp_path / "log") as daemon:
        os.kill(daemon.pid, signal.SIGSTOP)  # it cannot heed SIGTERM
        assert await daemon.stop() == -signal.SIGKILL


# -- the verdict

ROLE = cast(1)[0]
WRITTEN = [Move(at=float(at), state=state) for at, state in enumerate(ROLE.states, start=10)]


def arrival(sequence: int, *, at: float | None = None, answer: str = "200", **more: Any) -> ReceivedCallback:
    fields: dict[str, Any] = {
        "number": sequence, "at": 9.5 + sequence if at is None else at, "path": "/hooks", "id": f"msg_{sequence}",
        "sent_at": "1", "verified": True, "type": "task.state_changed", "latency": 0.002, "watch": ROLE.id,
        "state": ROLE.states[sequence - 1], "sequence": sequence, "answer": answer,
    }  # fmt: skip
    return ReceivedCallback(**{**fields, **more})


def verdict(*callbacks: ReceivedCallback) -> list[str]:
    score = Score([ROLE])
    for callback in callbacks:
        score.take(callback)
    return score.missing(lambda _role: WRITTEN)


def good() -> list[ReceivedCallback]:
    return [arrival(1), arrival(2, answer="500"), arrival(2, attempt=2, at=11.9), arrival(3)]


def test_all_is_well_when_each_state_came_once_and_the_refused_one_again() -> None:
    assert verdict(*good()) == []


def test_lost_callback_is_noticed() -> None:
    assert verdict(*good()[:-1]) == [
        "clip-01 (line): reported queueing, processing in place of queueing, processing, success"
    ]


def test_processing_that_is_reported_at_the_end_only_is_noticed() -> None:
    """What a parser that waits for a blank line does with the documented framing: 32 lines are one event."""
    late = [arrival(1), arrival(2, at=12.1), *good()[1:3], arrival(3)]
    late[1:3] = [arrival(2, at=12.1, answer="500")]
    assert verdict(*late) == ["clip-01 (line): `processing` was reported only when the upstream had gone on"]


@pytest.mark.parametrize(
    ("extra", "complaint"),
    [
        (arrival(3, attempt=2, accepted_before=True), "1 callbacks repeated"),
        (arrival(3, attempt=2, accepted_before=True, verified=False), "1 callbacks not verified"),
        (arrival(3, attempt=2, accepted_before=True, out_of_order=True), "1 callbacks out of order"),
        (arrival(3, watch=None, type="endpoint.disabled"), "1 callbacks endpoint.disabled, which belong to no task"),
        (
            arrival(3, type="watch.lost"),
            "clip-01 (line): reported queueing, processing, success, watch.lost in place of",
        ),
    ],
)
def test_callback_too_many_is_noticed(extra: ReceivedCallback, complaint: str) -> None:
    assert any(complaint in reason for reason in verdict(*good(), extra))


def test_fault_that_did_not_happen_is_noticed() -> None:
    """The demo says that it recovers; then there has to be something that it recovered from."""
    assert verdict(arrival(1), arrival(2), arrival(3)) == ["the receiver never came to answer 500"]
    assert verdict(arrival(1), arrival(2), arrival(3, answer="500"))[-1] == (
        "the callback that was answered 500 was not sent again"
    )


def test_thousands_that_miss_the_same_are_not_all_named() -> None:
    score = Score(cast(5000))
    reasons = score.missing(lambda _role: [])
    assert len(reasons) < 10
    assert "... and 4995 more" in reasons


def test_the_tasks_are_divided_among_the_sources_and_most_take_their_usual_course() -> None:
    roles: tuple[Role, ...] = cast(12)
    assert [role.kind for role in roles] == ["line", "event", "poll"] * 4
    usual = {"line": documented(), "event": documented(), "poll": cast(3)[2].transcript}
    assert [role.id for role in roles if role.transcript != usual[role.kind]] == ["clip-05", "clip-06"]
    assert roles[0].states == ("queueing", "processing", "success")
    assert roles[2].states == ("PENDING", "RUNNING", "SUCCEEDED")
    assert roles[5].states == ("PENDING", "RUNNING", "CANCELLED")


def test_a_state_may_pass_between_two_polls_but_no_end() -> None:
    """A stream has to tell each state."""
    polled, streamed = cast(3)[2], cast(3)[0]
    for role, states, right in (
        (polled, ["RUNNING", "SUCCEEDED"], True),
        (polled, ["PENDING", "RUNNING"], False),
        (polled, ["RUNNING", "PENDING", "SUCCEEDED"], False),
        (polled, ["SUCCEEDED", "watch.lost"], False),
        (streamed, ["processing", "success"], False),
    ):
        assert Progress(role=role, states=states).right is right

"""Commands as processes: the place that they print to, and signals that come before the command is loaded."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unmeasured  # it is about processes; commands are measured where they do more

NOTIFIER = (sys.executable, "-m", "notifier")
PATIENCE = 180.0  # seconds; the machine may be busy
CONFIG = """
sources: {"作品": {preset: vidu, token: t}}
endpoints: {ops: {type: slack, url: "https://hooks.example.com/x"}}
watches: ["1"]
"""
ASCII = {"PYTHONIOENCODING": "ascii"}
POSIX = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "body").write_text("x")
    (tmp_path / "broken.yaml").write_text("stroe: {}\n")
    return tmp_path


COMMANDS = {
    "check": (("check",), 0),
    "refused": (("check", "-c", "broken.yaml"), 78),
    "schema": (("schema",), 0),
    "help": (("--help",), 0),
    "version": (("--version",), 0),
    "sign": (("sign", "--secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "body"), 0),
    "unreachable": (("status", "--url", "http://127.0.0.1:9"), 1),
    "usage": (("delivery", "retry"), 2),
}


def run(site: Path, command: tuple[str, ...], shell: str = "", env: dict[str, str] | None = None) -> tuple[int, str]:
    """Run a command with redirections; return its exit code and standard error."""
    done = subprocess.run(
        ["sh", "-c", f'"$@" {shell}', "sh", *NOTIFIER, *command],
        cwd=site, env={**os.environ, **(env or {})}, timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL,
        capture_output=True,
    )  # fmt: skip
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize("name", ["check", "schema", "help", "version", "sign"])
def test_a_full_disk_is_one_line(site: Path, name: str) -> None:
    """Whatever a command prints with: it says why it failed, and exits 1."""
    assert run(site, COMMANDS[name][0], ">/dev/full") == (
        1,
        "notifier: cannot write the output: No space left on device\n",
    )


@pytest.mark.parametrize("name", ["refused", "unreachable", "usage"])
def test_a_failure_without_output_stays_what_it_is(site: Path, name: str) -> None:
    """A full standard output that nothing is written to changes nothing."""
    command, code = COMMANDS[name]
    assert run(site, command, ">/dev/full") == run(site, command)
    assert run(site, command)[0] == code


@pytest.mark.parametrize("shell", ["2>/dev/full", ">&- 2>&-"])
@pytest.mark.parametrize("name", COMMANDS)
def test_the_exit_code_does_not_depend_on_descriptors(site: Path, name: str, shell: str) -> None:
    """Without a place for messages, and with closed descriptors, the exit code alone tells what happened."""
    command, code = COMMANDS[name]
    assert run(site, command, shell)[0] == code


def test_no_file_of_the_daemon_gets_a_standard_descriptor(site: Path) -> None:
    """Started with all three closed it runs and stops: what is printed cannot go into the database or a connection."""
    (site / "run.yaml").write_text('http: {listen: "127.0.0.1:0"}\nsources: {}\n')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("")  # the kernel chooses an abstract name
        systemd.settimeout(PATIENCE)
        env = {**os.environ, "NOTIFY_SOCKET": "@" + os.fsdecode(systemd.getsockname()[1:])}
        line = f"exec {shlex.join([*NOTIFIER, 'run', '-c', 'run.yaml'])} <&- >&- 2>&-"
        with subprocess.Popen(["sh", "-c", line], cwd=site, env=env) as process:
            try:
                while b"READY=1" not in systemd.recv(1 << 16).split(b"\n"):
                    pass
                targets = {os.readlink(f"/proc/{process.pid}/fd/{number}") for number in range(3)}
                # faketime (`make test CLOCK=...`) opens a file of its own before the program begins.
                assert {target for target in targets if "/faketime_" not in target} == {"/dev/null"}
                process.send_signal(signal.SIGTERM)
                assert process.wait(PATIENCE) == 0
            finally:
                process.kill()


@pytest.mark.parametrize("name", ["schema", "check", "help"])
def test_a_reader_that_leaves_gets_no_traceback(site: Path, name: str) -> None:
    """As with `| head -1`."""
    _, errors = run(site, COMMANDS[name][0], "| true")
    assert errors == ""


@pytest.mark.parametrize("env", [ASCII, POSIX, {"PYTHONIOENCODING": "latin-1"}], ids=["ascii", "posix", "latin-1"])
def test_characters_that_cannot_be_encoded_are_replaced(site: Path, env: dict[str, str]) -> None:
    """The line, and all that follows, is printed."""
    code, errors = run(site, ("check",), env=env)
    assert (code, errors) == (0, "")
    done = subprocess.run(
        [*NOTIFIER, "check"], cwd=site, env={**os.environ, **env}, timeout=PATIENCE, check=True, capture_output=True
    )
    lines = done.stdout.splitlines()
    assert b"source ??: preset vidu" in lines[1]
    assert lines[-1].startswith(b"http: ")


def _as_from_a_terminal() -> None:
    """Take signals by default: what runs in the background, or under nohup, may have been told to ignore them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def loading(site: Path, command: tuple[str, ...]) -> subprocess.Popen[str]:
    """Start a command; return while it loads, which it reports by a line for each module (-X importtime)."""
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "notifier", *command],
        cwd=site, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=_as_from_a_terminal,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if line.split("|")[-1].strip().startswith("notifier.cli"):
            return process
    raise AssertionError(f"ended while it was loading: {process.wait()}")


def test_signals_are_prepared_before_anything_is_imported() -> None:
    """An import takes time, in which Ctrl-C would be a traceback; even `signal` has some."""
    script = "import sys; had = set(sys.modules); import notifier.__main__; print(*sorted(set(sys.modules) - had))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    new = set(done.stdout.split()) - {"__future__"}  # which may be there already, as in `make test CLOCK=...`
    assert new == {"notifier", "notifier.__main__"}


@pytest.mark.parametrize("command", [("run",), ("check",), ("status",), ("watch", "list")], ids=" ".join)
def test_ctrl_c_while_a_command_loads_prints_no_traceback(site: Path, command: tuple[str, ...]) -> None:
    """It ends by the signal, as a shell expects."""
    process = loading(site, command)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in errors
    assert "KeyboardInterrupt" not in errors


def test_a_hangup_while_the_daemon_loads_does_not_kill_it(site: Path) -> None:
    """It is a reload, later: here the daemon goes on to refuse its configuration."""
    process = loading(site, ("run", "-c", "broken.yaml"))
    process.send_signal(signal.SIGHUP)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 78
    assert "broken.yaml:1:1: stroe: unknown key" in errors


@pytest.mark.parametrize("command", [("check",), ("status", "--url", "http://127.0.0.1:9")], ids=" ".join)
def test_a_hangup_still_ends_other_commands(site: Path, command: tuple[str, ...]) -> None:
    """When their terminal closes they end, as soon as the command is known."""
    process = loading(site, command)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGHUP

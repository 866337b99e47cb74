"""A command loads what it uses, by name: times depend on the machine, lists of modules do not."""

from __future__ import annotations

import ast
import asyncio
import os
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer
from daemon_rig import serving
from typer.main import get_group
from waits import PATIENCE

import notifier.cli
from notifier.cli.on_demand import MODULES

pytestmark = pytest.mark.unmeasured  # a measurement loads modules as well

# What no command needs that prints something, or that asks a daemon. Loading any of it takes longer than they may.
HEAVY = {
    "aio_pika", "aiohttp", "alembic", "asyncio", "cryptography", "jinja2", "jmespath", "nats", "notifier.config",
    "notifier.core.model", "notifier.store", "notifier.web", "prometheus_client", "psycopg", "pydantic", "redis",
    "rich.live", "slack_sdk", "sqlalchemy", "structlog", "uvloop", "watchfiles", "yaml", "yarl",
}  # fmt: skip
# What a daemon on SQLite with webhooks has no use for.
UNUSED = {
    "aio_pika", "aiohttp.client", "aiohttp_sse_client", "alembic", "apprise", "cryptography", "difflib",
    "frozenlist._frozenlist", "greenlet", "http.server", "jinja2", "minio", "nats", "notifier.inputs.amqp",
    "notifier.inputs.nats", "notifier.inputs.redis", "notifier.runtime.otel", "notifier.senders.apprise_service",
    "notifier.senders.chat", "notifier.senders.services.slack", "notifier.senders.slack_bot",
    "notifier.senders.template", "notifier.sources.archive", "notifier.sources.kept_object",
    "notifier.store.listening", "notifier.tools", "opentelemetry", "prometheus_client.exposition", "psycopg",
    "pygments", "redis", "rich", "slack_sdk", "sqlalchemy", "typer", "urllib3", "watchfiles", "wsgiref",
}  # fmt: skip
PROGRAM = """
import sys
from notifier.cli import main
sys.argv = ["notifier", *sys.argv[1:]]
try:
    main()
finally:
    print("loaded:", *sys.modules, file=sys.stderr)
"""
CONFIG = """
sources: {{vidu: {{preset: vidu, base_url: "http://127.0.0.1:9", token: t}}}}
store: {{url: "sqlite:///{directory}/n.db"}}
http: {{listen: "127.0.0.1:0"}}
"""
ENDPOINT = """
endpoints: {app: {type: webhook, url: "http://127.0.0.1:9", secrets: [whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw]}}
"""


async def loaded(*words: str, **env: str) -> tuple[int, str, set[str]]:
    """Run a command in a process of its own; return its exit code, its output, and the modules that it loaded."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, *words),
        env={**os.environ, **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), set(err.decode().rpartition("loaded: ")[2].split())


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--help",), 0),
        (("--version",), 0),
        (("secret", "new"), 0),
        (("watch", "--help"), 0),
        (("listen", "--help"), 0),
        (("source", "test", "--help"), 0),
        (("delivery", "list", "--limit", "5", "--url", "http://127.0.0.1:9"), 1),
        (("watch", "list", "--label", "a=b", "--follow", "--url", "http://127.0.0.1:9"), 1),
        (("watch", "add", "1", "--url", "http://127.0.0.1:9"), 1),
        (("watch", "wait", "1", "--timeout", "1.5", "--url", "http://127.0.0.1:9"), 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
async def test_a_command_loads_what_it_uses(words: tuple[str, ...], code: int) -> None:
    """Neither help nor a request to a daemon needs an event loop, the configuration, or the daemon's own parts."""
    ended, _, modules = await loaded(*words)
    assert ended == code
    assert modules & HEAVY == set()


async def test_what_a_daemon_answers_is_shown_without_them(tmp_path: Path) -> None:
    """Not only the refusal of a connection, but tables too."""
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(directory=tmp_path))
    async with serving(path) as app:
        for words in (("status",), ("watch", "list"), ("endpoint", "list")):
            ended, out, modules = await loaded(*words, "--url", f"http://{app.address}")
            assert ended == 0
            assert out
            assert modules & HEAVY == set()


async def test_an_idle_daemon_loads_what_it_uses(tmp_path: Path) -> None:
    """Each library takes memory for as long as the daemon runs; extras are for those who configure them."""
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(directory=tmp_path) + ENDPOINT)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, "run", "-c", str(path)), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    log = []
    async with asyncio.timeout(PATIENCE):
        async for line in process.stderr:
            log.append(line.decode())
            if "daemon.ready" in log[-1]:
                process.terminate()
        assert await process.wait() == 0, log
    modules = set(log[-1].removeprefix("loaded: ").split())
    assert "notifier.daemon.app" in modules
    assert modules & UNUSED == set()


async def test_help_and_secrets_need_no_http() -> None:
    """A module of the standard library may take long as well; and a plain line needs no library to be printed."""
    for words in (("--help",), ("secret", "new"), ("status", "--help")):
        _, _, modules = await loaded(*words)
        assert modules & {"http.client", "socket", "ssl"} == set()
    _, _, modules = await loaded("secret", "new")
    assert "rich" not in modules


def test_each_command_is_found_in_its_module() -> None:
    """The table names all commands and no others, and each module that has commands."""
    modules = {path.stem for path in Path(notifier.cli.__file__).parent.glob("*.py") if _registers(path)}
    assert set(MODULES.values()) == modules
    for module in modules:
        app = typer.Typer()
        app.callback()(lambda: None)
        import_module(f"notifier.cli.{module}").register(app)
        assert set(get_group(app).commands) == {name for name, place in MODULES.items() if place == module}


def _registers(path: Path) -> bool:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(isinstance(node, ast.FunctionDef) and node.name == "register" for node in body)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("notifier ", set(MODULES)),
        ("notifier s", {name for name in MODULES if name.startswith("s")}),
        ("notifier watch ", {"add", "list", "show", "wait", "remove"}),
        ("notifier check --st", {"--strict"}),
    ],
)
async def test_completion_offers_every_command(line: str, offered: set[str]) -> None:
    """Also those that are not loaded yet."""
    words = line.split()
    number = len(words) - (not line.endswith(" "))
    code, out, _ = await loaded(_NOTIFIER_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(number))
    assert code == 0
    assert set(out.split()) == offered

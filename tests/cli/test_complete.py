"""Completion offers names: from the daemon, from a configuration, and from the program itself."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from daemon_rig import serving
from typer.main import get_group
from waits import until

import notifier.cli
from notifier.sources.preset import names
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript

PROGRAM = "import sys; from notifier.cli import main; sys.argv = ['notifier']; main()"
CLOSED = "http://127.0.0.1:9/hooks"  # the port discard, where nothing listens


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon with its configuration, and its address in the environment of the commands."""

    directory: Path
    address: str
    simulator: Simulator

    async def offered(self, line: str) -> set[str]:
        """Return what a shell would offer at the end of a command line."""
        words = line.split()
        number = len(words) - (not line.endswith(" "))
        env = {"_NOTIFIER_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(number)}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM),
            cwd=self.directory,
            env={**os.environ, **env, "NOTIFIER_URL": self.address},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert err == b""  # it would appear in the middle of the command line
        return set(out.decode().split())

    async def offers(self, line: str, *expected: str) -> None:
        """Return once a shell would offer that; the daemon may answer too late for who is typing."""

        async def there() -> bool:
            return await self.offered(line) == set(expected)

        await until(there, f"{line}<Tab> offers {expected}")


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Daemon]:
    """Run a daemon with two sources and two endpoints, of which one refuses everything."""
    dead = {"type": "webhook", "url": CLOSED, "signature": "none", "retry_schedule": ["0s"]}
    async with Simulator(transcripts={"*": Transcript(snapshots=())}, keep_open=True) as simulator:
        given = {
            "sources": {
                name: {"preset": "vidu", "base_url": simulator.base_url, "token": "t"} for name in ("vidu", "acme")
            },
            "endpoints": {"app": dead, "ops": {"type": "slack", "url": CLOSED, "match": {"labels": {"no": "one"}}}},
            "store": {"url": f"sqlite:///{directory}/n.db"},
            "http": {"listen": "127.0.0.1:0"},
        }
        path = directory / "config.yaml"
        path.write_text(yaml.safe_dump(given))
        async with serving(path) as app:
            yield Daemon(directory, f"http://{app.address}", simulator)


NEW = {  # names that do not exist yet, or that nothing here knows
    ("watch", "add", "ids"), ("node", "list", "names"), ("sign", "message"), ("verify", "message"), ("sign", "id_"),
    ("simulate", "ids"), ("simulate", "framing"), ("watch", "add", "variable"), ("source", "test", "variable"),
}  # fmt: skip
NAMES = {"NAME", "ID", "[SOURCE/]ID", "PHASE", "STATUS", "ENDPOINT", "NAME=VALUE"}


def test_every_command_that_takes_a_name_offers_names() -> None:
    """Arguments and options alike, by what their help calls them."""
    without = []

    def look(command: Any, path: tuple[str, ...]) -> None:
        for name in getattr(command, "commands", {}) or (command.list_commands(None) if not path else ()):
            look(command.get_command(None, name), (*path, name))
        for parameter in command.params:
            offers = getattr(parameter, "_custom_shell_complete", None)
            if parameter.metavar in NAMES and offers is None and (*path, parameter.name) not in NEW:
                without.append((*path, parameter.name))

    look(get_group(notifier.cli.app), ())
    assert without == []


async def test_names_of_the_daemon_are_offered(tmp_path: Path) -> None:
    """Each command that takes a name offers those that exist."""
    async with running(tmp_path) as daemon, aiohttp.ClientSession(daemon.address) as http:
        for watch in (
            {"id": "clip-1", "source": "vidu", "labels": {"team": "video"}},
            {"id": "clip-2", "source": "acme"},
        ):
            async with http.post("/v1/watches", json=watch) as reply:
                assert reply.status == 201
        async with http.post("/v1/mutes", json={"endpoint": "ops", "for": "1h"}) as reply:
            mute = (await reply.json())["id"]
        daemon.simulator.push("clip-1", "success")

        async def died() -> bool:
            async with http.get("/v1/deliveries", params={"status": "dead"}) as reply:
                return len((await reply.json())["items"]) == 1

        await until(died)
        await daemon.offers("notifier watch show ", "vidu/clip-1", "acme/clip-2")
        await daemon.offers("notifier watch show clip-2", "clip-2")
        await daemon.offers("notifier watch list -s ", "vidu", "acme")
        await daemon.offers("notifier watch list --phase su", "succeeded")
        await daemon.offers("notifier source test acme ", "clip-2")
        await daemon.offers("notifier endpoint test a", "app")
        await daemon.offers("notifier mute remove ", mute)
        await daemon.offers("notifier watch list --label te", "team=video")
        await daemon.offers("notifier watch add 7 -l team=v", "team=video")
        await daemon.offers("notifier export -l x")
        await daemon.offers("notifier watch list -l team = v", "video")  # as bash splits it, and replaces the last word
        await daemon.offers("notifier watch list -l team =", "video")
        await daemon.offers("notifier watch list -l team = video --phase = su", "succeeded")
        await daemon.offers("notifier watch list -l team = video -s ", "vidu", "acme")
        await daemon.offers("notifier delivery list --status de", "delivered", "dead")
        await daemon.offers("notifier delivery show ", "1")
        await daemon.offers("notifier delivery retry ", "1")


async def test_names_are_offered_without_a_daemon(tmp_path: Path) -> None:
    """Those of the configuration and of the program; a name that only a daemon knows is not missed aloud."""
    (tmp_path / "config.yaml").write_text("sources: {vidu: {preset: vidu, token: t}, kling: {preset: kling}}\n")
    (tmp_path / "other.yaml").write_text("sources: {acme: {preset: generic}}\n")
    here = Daemon(tmp_path, CLOSED, Simulator())
    assert await here.offered("notifier source test ") == {"vidu", "kling"}
    assert await here.offered("notifier source test -c other.yaml ") == {"acme"}
    assert await here.offered("notifier source test -c none.yaml ") == set()
    assert await here.offered("notifier preset show run") == {name for name in names() if name.startswith("run")}
    assert await here.offered("notifier endpoint test ") == set()

"""With `reload_on_change`, changed files are soon in force; no stream that stays is touched."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import standardwebhooks
from daemon_process import SECRET, SECRET_2, Daemon, Start, config, webhook
from receiver import Receiver
from waits import PATIENCE

from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript

pytestmark = pytest.mark.unmeasured

BY_HAND = Transcript(snapshots=())
NOTHING = 1.5  # seconds in which nothing happens: several times what a change takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A daemon that follows its files, with one watch of the configuration itself, "1"."""

    daemon: Daemon
    sim: Simulator
    ears: Receiver

    @property
    def directory(self) -> Path:
        """Return where the files are."""
        return self.daemon.directory

    def put(self, name: str, text: str) -> None:
        """Replace a file as a whole."""
        path = self.directory / name
        new = path.with_name(f".{path.name}.new")
        new.write_text(text)
        new.replace(path)

    async def followed(self, *ids: str) -> None:
        """Return once these tasks and no others have a stream."""
        await self.sim.wait_for(
            lambda s: {n for n, task in s.tasks.items() if task.streams} == {"1", *ids}, timeout=120
        )

    async def nothing(self) -> None:
        """Give whatever should not happen its time."""
        before = len(self.daemon.log.lines)
        await asyncio.sleep(NOTHING)
        assert self.daemon.log.lines[before:] == []


@asynccontextmanager
async def site(daemons: Start, **more: object) -> AsyncIterator[Site]:
    """Run one; at its end it is told to stop, and "1" has never been reconnected."""
    async with Simulator(transcript=BY_HAND) as sim, Receiver() as ears:
        endpoints = {"app": webhook(ears.url, events=["task.*", "notifier.reload_failed"])}
        given = {"watch_files": ["watches.d/*.yaml"], "reload_on_change": True} | more
        daemon = daemons(config(upstream=sim.base_url, endpoints=endpoints, watches=["1"], **given))
        await daemon.start()
        await sim.wait_open(1)
        yield Site(daemon=daemon, sim=sim, ears=ears)
        assert sim.tasks["1"].connections == 1
        assert await daemon.stop() == 0
        assert not any("Traceback" in line for line in daemon.log.lines)


async def test_files_come_change_and_go(daemons: Start) -> None:
    """A new directory, a file in it, another one, one rewritten, one removed, and the directory added again."""
    async with site(daemons) as here:
        (here.directory / "watches.d").mkdir()
        here.put("watches.d/a.yaml", "[a]")
        await here.followed("a")
        here.put("watches.d/b.yaml", "[b]")
        await here.followed("a", "b")
        (here.directory / "watches.d/a.yaml").write_text("[c]")
        await here.followed("b", "c")
        (here.directory / "watches.d/b.yaml").unlink()
        await here.followed("c")
        (here.directory / "watches.d").rename(here.directory / "away")
        await here.followed()
        (here.directory / "away").rename(here.directory / "watches.d")
        await here.followed("c")
        here.put("watches.d/a.yaml", "[d]")
        await here.followed("d")
        assert not here.daemon.log.events("reload.refused")


async def test_the_configuration_itself(daemons: Start) -> None:
    """Other globs are followed from then on, the old ones no longer; switched off, nothing is; and on again."""
    async with site(daemons) as here:
        settings = here.daemon.settings
        here.daemon.write(settings := settings | {"watch_files": ["deep/**/*.yaml"]})
        await here.daemon.log.wait("reload.done")
        (here.directory / "deep/x/y").mkdir(parents=True)
        here.put("deep/x/y/z.yaml", "[a]")
        await here.followed("a")
        (here.directory / "watches.d").mkdir()
        here.put("watches.d/b.yaml", "[b]")
        here.daemon.write(settings := settings | {"reload_on_change": False})
        await here.daemon.log.wait("reload.done", 3)
        here.put("deep/c.yaml", "[c]")
        here.daemon.write(settings := settings | {"reload_on_change": True})
        await here.nothing()
        assert (await here.daemon.post("/v1/reload"))[0] == 200
        await here.followed("a", "c")
        here.put("deep/c.yaml", "[d]")
        await here.followed("a", "d")


async def test_a_touch_is_no_change(daemons: Start) -> None:
    """The same contents, written or replaced or touched, and files that nobody asked for, reload nothing."""
    async with site(daemons) as here:
        (here.directory / "watches.d").mkdir()
        here.put("watches.d/a.yaml", "[a]")
        await here.followed("a")
        await here.daemon.log.wait("reload.done")
        here.put("watches.d/a.yaml", "[a]")
        here.daemon.file.touch()
        for number in range(3000):
            (here.directory / f"watches.d/{number}.txt").write_text("nothing of ours")
        here.daemon.write(here.daemon.settings)
        await here.nothing()
        here.put("watches.d/a.yaml", "[b]")
        await here.followed("b")


async def test_half_a_file_is_not_announced(daemons: Start) -> None:
    """A file that is completed within two seconds is never announced as wrong."""
    async with site(daemons) as here:
        (here.directory / "watches.d").mkdir()
        with (here.directory / "watches.d/a.yaml").open("w") as writing:
            writing.write('["a", "b')
            writing.flush()
            await here.daemon.log.wait("files.changed")
            writing.write('", "c"]')
        await here.followed("a", "b", "c")
        assert not here.daemon.log.events("reload.refused")
        assert await here.daemon.metric("notifier_reload_success") == 1


async def test_a_broken_file_is_announced_once(daemons: Start) -> None:
    """It is said once, however often it is touched; the running configuration stays until it is mended."""
    async with site(daemons) as here:
        (here.directory / "watches.d").mkdir()
        here.put("watches.d/a.yaml", "[a]")
        await here.followed("a")
        here.put("watches.d/a.yaml", "[a, b")
        refused = await here.daemon.log.wait("reload.refused")
        assert "a.yaml:" in refused["problems"][0]
        assert await here.daemon.metric("notifier_reload_success") == 0
        await here.ears.wait(1)
        (here.directory / "watches.d/a.yaml").touch()
        await here.nothing()
        await here.followed("a")
        here.put("watches.d/a.yaml", "[a]")
        await here.daemon.log.wait("reload.done", 2)
        assert await here.daemon.metric("notifier_reload_success") == 1
        assert len(here.ears.arrivals) == 1, "one event for operators"


async def test_a_refused_configuration_is_mended_in_a_file_that_it_names(daemons: Start) -> None:
    """The files of a refused configuration are followed too: it is accepted once a secret's file has come."""
    async with site(daemons) as here:
        later = here.directory / "secrets/app"
        endpoints = {"app": webhook(here.ears.url) | {"secrets": [{"file": "secrets/app"}]}}
        here.daemon.write(here.daemon.settings | {"endpoints": endpoints})
        await here.daemon.log.wait("reload.refused")
        later.parent.mkdir()
        later.write_text(SECRET_2)
        await here.daemon.log.wait("reload.done")
        here.sim.push("1", "queueing")
        arrival = (await here.ears.wait(2))[1]  # the first told of the refusal
        standardwebhooks.Webhook(SECRET_2).verify(arrival.body, arrival.headers)


async def test_links_are_turned(daemons: Start) -> None:
    """Kubernetes exchanges all files of a volume at once, by a link on the way to them."""
    async with site(daemons, watch_files=["volume/*.yaml"]) as here:
        volume = here.directory / "volume"
        for name in ("..1", "..2", "..3"):
            (volume / name).mkdir(parents=True)
            (volume / name / "w.yaml").write_text(f"[w{name[2:]}]")
        (volume / "..data").symlink_to("..1")
        (volume / "w.yaml").symlink_to("..data/w.yaml")
        await here.followed("w1")
        for name in ("..2", "..3"):
            (volume / "..data_tmp").symlink_to(name)
            (volume / "..data_tmp").replace(volume / "..data")
            await here.followed(f"w{name[2:]}")


@pytest.mark.parametrize("way", ["file", "token"])
async def test_secrets_are_followed(daemons: Start, way: str) -> None:
    """A secret that is exchanged in its file signs the next callback; a token opens the next stream."""
    async with site(daemons) as here:
        secret, token = here.directory / "secret", here.directory / "token"
        secret.write_text(SECRET)
        token.write_text("t0p")
        endpoints = {"app": webhook(here.ears.url) | {"secrets": [{"file": "secret"}]}}
        source = here.daemon.settings["sources"]["vidu"] | {"token": {"file": "token"}}
        here.daemon.write(here.daemon.settings | {"endpoints": endpoints, "sources": {"vidu": source}})
        await here.daemon.log.wait("reload.done")
        if way == "file":
            secret.write_text(SECRET_2 + "\n")
        else:
            here.sim.token = "another"
            token.write_text("another")
        await here.daemon.log.wait("reload.done", 2)
        if way == "token":
            (here.directory / "watches.d").mkdir()
            here.put("watches.d/a.yaml", "[a]")
            await here.followed("a")
            return
        here.sim.push("1", "queueing")
        [arrival] = await here.ears.wait(1)
        standardwebhooks.Webhook(SECRET_2).verify(arrival.body, arrival.headers)


async def test_changes_during_a_reload(daemons: Start) -> None:
    """Every change during a reload is in force in the end, after as few reloads as possible."""
    async with site(daemons) as here:
        (here.directory / "watches.d").mkdir()
        for number in range(40):
            here.put("watches.d/a.yaml", f"[{', '.join(f'a{number}-{n}' for n in range(200))}]")
            if number % 10 == 0:
                assert (await here.daemon.post("/v1/reload"))[0] == 200
            await asyncio.sleep(0.02)
        here.put("watches.d/a.yaml", "[last]")
        await here.followed("last")
        assert len(here.daemon.log.events("reload.done")) < 15


async def test_where_the_kernel_tells_nothing(daemons: Start, tmp_path: Path) -> None:
    """Without notices, as on a network file system, changes are found all the same."""
    (tmp_path / "watchfiles.py").write_text(
        "class Change: pass\ndef watch(*a, **k):\n    raise OSError('no inotify here')\n    yield\n"
    )
    async with Simulator(transcript=BY_HAND) as sim:
        settings = config(upstream=sim.base_url, endpoints={}, watches=["1"], reload_on_change=True)
        daemon = daemons(
            settings, env={"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
        )
        await daemon.start()
        told = await daemon.log.wait("files.no_notices")
        assert told["error"] == "no inotify here"
        daemon.write(settings | {"watches": ["1", "2"]})
        await sim.wait_open(2, timeout=PATIENCE)
        assert len(daemon.log.events("files.no_notices")) == 1
        assert await daemon.stop() == 0

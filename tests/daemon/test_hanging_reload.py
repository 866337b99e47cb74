"""A reload whose files do not answer holds up nothing: no later reload, no stop, no command that waits for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from daemon_rig import serving
from refused_threads import no_thread
from waits import PATIENCE, until

from notifier import config as configuration
from notifier.cli import session
from notifier.cli.client import Client
from notifier.config import Config, Problem, Reading
from notifier.core.errors import NotifierError
from notifier.daemon import config_reader
from notifier.daemon.app import Application
from notifier.daemon.reload import Reloader

TEXT = """
sources:
  vidu: {{preset: vidu, base_url: "http://127.0.0.1:9", token: tok, max_streams: {streams}}}
store: {{url: "sqlite:///{directory}/n.db"}}
http: {{listen: "127.0.0.1:0"}}
shutdown_timeout: 1s
"""


class FileServer:
    """Stands for a file server that can be gone: a reading blocks in the kernel, in a FIFO that nobody writes to."""

    def __init__(self, directory: Path) -> None:
        self.fifo = directory / "gone"
        self.gone = False
        os.mkfifo(self.fifo)

    def load(self, path: Path, *, before: Reading) -> Config:
        if self.gone:
            self.fifo.read_bytes()
        return configuration.load(path, before=before)

    def come_back(self) -> None:
        """Let every reading that is blocked go on: a FIFO ends for all its readers."""
        self.gone = False
        os.close(os.open(self.fifo, os.O_WRONLY | os.O_NONBLOCK))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileServer:
    server = FileServer(tmp_path)
    monkeypatch.setattr(config_reader, "load", server.load)
    monkeypatch.setattr(config_reader, "PATIENCE", 0.2)
    return server


def write(path: Path, *, streams: int | str) -> Path:
    path.write_text(TEXT.format(streams=streams, directory=path.parent))
    return path


def reloader(app: Application) -> Reloader:
    assert app.parts is not None
    return app.parts.reloader


async def hang(app: Application, files: FileServer, count: int = 1) -> list[asyncio.Task[Sequence[Problem]]]:
    """Begin reloads that hang; return them once they read."""
    files.gone = True
    before = len(reloader(app)._reader._reads)
    tasks: list[asyncio.Task[Sequence[Problem]]] = []
    for number in range(1, count + 1):
        tasks.append(asyncio.create_task(reloader(app).reload(), name="reload"))
        wanted = before + number
        await until(lambda: len(reloader(app)._reader._reads) >= wanted, "the reload reads")  # noqa: B023  # awaited here
    files.gone = False
    return tasks


async def test_a_later_reload_takes_the_place_of_one_that_hangs(tmp_path: Path, files: FileServer) -> None:
    """It is in force at once; the one that hangs ends with the same answer, and changes nothing when it goes on."""
    path = write(tmp_path / "config.yaml", streams=5)
    async with serving(path) as app:
        [hanging] = await hang(app, files)
        write(path, streams=7)
        async with asyncio.timeout(PATIENCE):
            assert await reloader(app).reload() == []
            assert await hanging == []
        assert reloader(app).config.sources["vidu"].max_streams == 7
        files.come_back()
        await until(lambda: not reloader(app)._reader._reads, "the reading ends")
        assert reloader(app).config.sources["vidu"].max_streams == 7


async def test_two_later_reloads_in_a_row_answer_one_that_hangs_once(tmp_path: Path, files: FileServer) -> None:
    """The first of them has answered it in the very moment in which the second is taken."""
    path = write(tmp_path / "config.yaml", streams=5)
    async with serving(path) as app:
        [hanging] = await hang(app, files)
        later: list[asyncio.Task[Sequence[Problem]]] = []
        valid_then_broken: tuple[int | str, ...] = (7, "many")
        async with reloader(app)._lock:
            for number, streams in enumerate(valid_then_broken, 1):
                write(path, streams=streams)
                later.append(asyncio.create_task(reloader(app).reload(), name="reload"))
                wanted = number
                await until(lambda: len(reloader(app)._lock._waiters or ()) == wanted, "the reload has read")  # noqa: B023  # awaited here
        async with asyncio.timeout(PATIENCE):
            taken, refused = await asyncio.gather(*later)
            assert (taken, len(refused)) == ([], 1)
            await hanging
        assert reloader(app).config.sources["vidu"].max_streams == 7
        files.come_back()


async def test_one_that_hangs_has_the_problems_of_the_later_one(tmp_path: Path, files: FileServer) -> None:
    """The files that it would have read are wrong."""
    path = write(tmp_path / "config.yaml", streams=5)
    async with serving(path) as app:
        [hanging] = await hang(app, files)
        write(path, streams="many")
        async with asyncio.timeout(PATIENCE):
            [problem] = await reloader(app).reload()
            assert "max_streams" in str(problem)
            assert await hanging == [problem]
        files.come_back()


async def test_as_many_may_hang_as_there_are_threads_for(
    tmp_path: Path, files: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one is refused in words, and all is well once the files answer."""
    path = write(tmp_path / "config.yaml", streams=5)
    async with serving(path) as app:
        tasks = await hang(app, files, config_reader.MAX_READS)
        monkeypatch.setattr(config_reader, "LIMIT", 0.3)
        async with asyncio.timeout(PATIENCE):
            [problem] = await reloader(app).reload()
        assert "FIFO" in str(problem)
        files.come_back()
        await until(lambda: not reloader(app)._reader._reads, "the readings end")
        assert await reloader(app).reload() == []
        await asyncio.gather(*tasks)


async def test_nobody_waits_for_ever(tmp_path: Path, files: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The follower of files could not look at them again otherwise."""
    monkeypatch.setattr(config_reader, "LIMIT", 0.3)
    path = write(tmp_path / "config.yaml", streams=5)
    async with serving(path) as app:
        [hanging] = await hang(app, files)
        async with asyncio.timeout(PATIENCE):
            problems = list(map(str, await hanging))
        assert problems == [f"{path}: not read within 0.3 s; is a file of it on a file server that is gone?"]
        files.come_back()


async def test_a_stop_does_not_wait_for_it(tmp_path: Path, files: FileServer) -> None:
    """Its thread is left behind."""
    path = write(tmp_path / "config.yaml", streams=5)
    async with serving(path) as app:
        [hanging] = await hang(app, files)
        app.stop()
        async with asyncio.timeout(PATIENCE):
            assert list(map(str, await hanging)) == ["the daemon is stopping"]
    files.come_back()


async def test_the_command_waits_as_long_as_the_daemon_is_alive(
    tmp_path: Path, files: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks meanwhile whether the daemon is, and gives up once it is not."""
    monkeypatch.setattr(session, "ALIVE_EVERY", 0.05)
    monkeypatch.setattr(session, "TIMEOUT", 0.2)
    path = write(tmp_path / "config.yaml", streams=5)
    async with serving(path) as app:
        files.gone = True
        daemon = session.DaemonSession(client=Client(url=f"http://{app.address}"))

        async def reload() -> object:
            return await asyncio.to_thread(daemon.ask_patiently, "POST", "/v1/reload")

        waiting = asyncio.create_task(reload(), name="notifier reload")
        await until(lambda: bool(reloader(app)._reader._reads), "the reload reads")
        await asyncio.sleep(0.5)  # longer than any answer may take
        assert not waiting.done()
        files.come_back()
        async with asyncio.timeout(PATIENCE):
            answer = await waiting
        assert isinstance(answer, dict)
        assert answer["reloaded"] is True
        files.gone = True
        waiting = asyncio.create_task(reload(), name="notifier reload")
        await until(lambda: bool(reloader(app)._reader._reads), "the reload reads")
    with pytest.raises(NotifierError):
        await waiting
    files.come_back()


async def test_a_reload_that_gets_no_thread_is_refused(tmp_path: Path) -> None:
    """In words; the daemon goes on, and the next reload is read."""
    path = write(tmp_path / "config.yaml", streams=10)
    async with serving(path) as app:
        with no_thread():
            [problem] = await reloader(app).reload()
        assert str(problem) == f"{path}: not read, since the system has no thread for it"
        assert await reloader(app).reload() == []

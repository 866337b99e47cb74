"""The commands for watches, against a running daemon: adding, listing, following, showing, removing."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import signal
import struct
import termios
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import psutil
from daemon_process import PYTHON, SECRET, Daemon, Start, command, config, webhook
from waits import PATIENCE, until

from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import parse_spec

GOES_ON = parse_spec("queueing,processing")
ENDS = parse_spec("queueing,success")
HELD = 0.5  # seconds; the short requests of a command take some milliseconds


async def with_two_sources(daemons: Start, sim: Simulator) -> Daemon:
    settings = config(upstream=sim.base_url, endpoints={})
    settings["sources"]["other"] = settings["sources"]["vidu"]
    daemon = daemons(settings)
    await daemon.start()
    return daemon


async def test_watches_are_added_listed_and_removed(daemons: Start) -> None:
    """By arguments and by a file, with what the options say; adding again changes nothing."""
    async with Simulator(transcript=GOES_ON, keep_open=True) as sim:
        daemon = daemons(config(upstream=sim.base_url, endpoints={}))
        await daemon.start()
        use = ("-c", str(daemon.file))
        done = await daemon.run("watch", "add", "1", "2", "--label", "team=a", "--metadata", '{"n": 1}', *use)
        assert (done.code, done.out) == (0, "added  vidu/1\nadded  vidu/2\n2 added\n")
        again = await daemon.run("watch", "add", "2", "3", "--json", *use)
        told = json.loads(again.out)
        assert (told["created"], told["existing"]) == (1, 1)
        assert [(item["id"], item["created"]) for item in told["items"]] == [("2", False), ("3", True)]
        ids = "\n".join(f"t{n}" for n in range(30)).encode()
        piped = await command("watch", "add", "-f", "-", *use, cwd=daemon.directory, stdin=ids)
        assert (piped.code, piped.out) == (0, "30 added\n")

        found = json.loads((await daemon.run("watch", "list", "--label", "team=a", "--json", *use)).out)
        assert [(item["id"], item["metadata"]) for item in found["items"]] == [("2", {"n": 1}), ("1", {"n": 1})]
        every = json.loads((await daemon.run("watch", "list", "--all", "--json", *use)).out)
        assert (len(every["items"]), every["next"]) == (33, None)
        await daemon.run("watch", "add", "colon", "--label", "urn:team=a:b", "--label", "at=12:30=x", *use)
        for pairs in (("urn:team=a:b",), ("at=12:30=x",), ("urn:team=a:b", "at=12:30=x")):
            labels = [word for pair in pairs for word in ("--label", pair)]
            found = json.loads((await daemon.run("watch", "list", *labels, "--json", *use)).out)
            assert [item["id"] for item in found["items"]] == ["colon"], pairs
            exported = await daemon.run("export", *labels, "--json", *use)
            assert [item["id"] for item in json.loads(exported.out)["items"]] == ["colon"], pairs
        few = await daemon.run("watch", "list", "-n", "2", *use)
        assert "vidu/t29" in few.out
        assert "--all" in few.out.splitlines()[-1]
        assert (await daemon.run("watch", "list", "--ended", *use)).out == "no watches\n"
        one = await daemon.run("watch", "list", "--search", "t17", "--open", *use)
        assert [line.split()[0] for line in one.out.splitlines()] == ["watch", "vidu/t17"]

        gone = await daemon.run("watch", "remove", "1", "vidu/2", "nobody", *use)
        assert (gone.code, gone.out) == (1, "vidu/1 is no longer followed\nvidu/2 is no longer followed\n")
        assert gone.lines == ["notifier: there is no watch nobody"]
        wrong = await daemon.run("watch", "list", "--source", "vdu", *use)
        assert (wrong.code, wrong.lines) == (1, ["notifier: there is no source vdu; there is only vidu"])
        nothing = daemon.directory / "nothing.txt"
        nothing.write_text("# 8\n")
        empty = await daemon.run("watch", "add", "--file", str(nothing), *use)
        assert (empty.code, empty.lines) == (0, [f"warning: {nothing} holds no watches"])
        wrong = await daemon.run("watch", "list", "--source", "vdu", "--follow", *use)
        assert (wrong.code, wrong.lines) == (1, ["notifier: there is no source vdu; there is only vidu"])
        gone = await daemon.run("watch", "remove", "3", "--json", *use)
        removed = {"name": "3", "removed": True, "source": "vidu", "id": "3", "listed": False}
        assert json.loads(gone.out) == {"items": [removed]}
        assert (await daemon.run("watch", "list", "--label", "team=a", *use)).out == "no watches\n"
        assert await daemon.stop() == 0


async def test_a_removed_task_that_a_file_lists_is_said_to_come_back(daemons: Start) -> None:
    """Otherwise its return at the next reload is a surprise."""
    async with Simulator(transcript=GOES_ON, keep_open=True) as sim:
        daemon = daemons(config(upstream=sim.base_url, endpoints={}, watches=["1"]))
        await daemon.start()
        gone = await daemon.run("watch", "remove", "1", "-c", str(daemon.file))
        assert (gone.code, gone.out) == (0, "vidu/1 is no longer followed\n")
        assert gone.lines == ["warning: a file lists vidu/1: it comes back at the next reload"]
        assert await daemon.stop() == 0


async def test_a_task_that_is_added_again_has_a_timeline_in_order(daemons: Start) -> None:
    """It is told anew, also if it had ended; what came before stands above."""
    async with Simulator(transcript=ENDS, restart_on_reconnect=True) as sim, Listener(secrets=[SECRET]) as listener:
        daemon = daemons(config(upstream=sim.base_url, endpoints={"app": webhook(listener.url)}, watches=[]))
        await daemon.start()
        use = ("-c", str(daemon.file))
        assert (await daemon.run("watch", "add", "1", *use)).out == "added  vidu/1\n1 added\n"
        await listener.wait(2)
        assert (await daemon.run("watch", "remove", "1", *use)).code == 0
        assert (await daemon.run("watch", "add", "1", *use)).out == "added  vidu/1\n1 added\n"
        callbacks = await listener.wait(4)
        assert [callback.sequence for callback in callbacks] == [1, 2, 3, 4]
        shown = (await daemon.run("watch", "show", "1", *use)).out.splitlines()
        changes = [re.sub(r"^\S+ +(\+\S+ +)?", "", line) for line in shown if re.match(r"\d{4}-", line)]
        life = ["queueing  queued", "queueing -> success  succeeded"]
        assert changes == [*life, "followed again, added by the API", *life]
        times = [line.split()[0] for line in shown if re.match(r"\d{4}-", line)]
        assert times == sorted(times)
        assert await daemon.stop() == 0


async def test_the_configuration_of_the_directory_says_where_the_daemon_is(daemons: Start) -> None:
    """Every command reads ./config.yaml as `run` does, unless an option names another daemon."""
    async with Simulator(transcript=GOES_ON, keep_open=True) as sim:
        daemon = daemons(config(upstream=sim.base_url, endpoints={}, watches=["1"]))
        await daemon.start()
        assert daemon.file.name == "config.yaml"
        assert "vidu/1" in (await command("watch", "list", cwd=daemon.directory)).out
        elsewhere = await command("watch", "list", "--url", "http://127.0.0.1:1", cwd=daemon.directory)
        assert (elsewhere.code, len(elsewhere.lines)) == (1, 1)
        assert "http://127.0.0.1:1" in elsewhere.err
        assert await daemon.stop() == 0


async def test_a_refused_file_adds_nothing(daemons: Start) -> None:
    """Problems that only the daemon can know are printed with the file's line as well."""
    async with Simulator(transcript=GOES_ON, keep_open=True) as sim:
        daemon = daemons(config(upstream=sim.base_url, endpoints={}))
        await daemon.start()
        path = daemon.directory / "w.yaml"
        path.write_text('- "1"\n- {id: "2", source: vidi}\n- {id: "3", endpoints: [app]}\n- id: "4"\n  lables: {}\n')
        done = await daemon.run("watch", "add", "--file", "w.yaml", "-c", str(daemon.file))
        assert (done.code, done.out, len(done.lines)) == (1, "", 4), done.err
        assert done.lines[0].startswith("w.yaml:2: source: ")
        assert done.lines[1].startswith("w.yaml:3: endpoints")
        assert done.lines[2] == 'w.yaml:5: lables: unknown key; did you mean "labels"?'
        assert (await daemon.run("watch", "list", "-c", str(daemon.file))).out == "no watches\n"
        assert await daemon.stop() == 0


async def test_an_id_of_two_sources_has_to_be_said_in_full(daemons: Start) -> None:
    """The daemon knows no default for a new one; of those that are there, the message names them."""
    async with Simulator(transcript=GOES_ON, keep_open=True) as sim:
        daemon = await with_two_sources(daemons, sim)
        use = ("-c", str(daemon.file))
        unclear = await daemon.run("watch", "add", "1", *use)
        assert (unclear.code, len(unclear.lines)) == (1, 2), unclear.err
        assert re.match("1: source: .*vidu, other", unclear.lines[0])
        for source in ("vidu", "other"):
            assert (await daemon.run("watch", "add", "1", "a/b", "--source", source, *use)).code == 0
        assert (await daemon.run("watch", "add", "2", "--source", "other", *use)).code == 0
        assert (await daemon.run("watch", "show", "2", *use)).out.startswith("other/2 ")
        unclear = await daemon.run("watch", "show", "1", *use)
        assert (unclear.code, unclear.lines) == (1, ["notifier: say which: other/1, vidu/1"])
        assert (await daemon.run("watch", "show", "vidu/1", *use)).out.startswith("vidu/1 ")
        assert (await daemon.run("watch", "show", "vidu/a/b", *use)).out.startswith("vidu/a/b ")
        assert (await daemon.run("watch", "remove", "other/a/b", *use)).code == 0
        assert (await daemon.run("watch", "show", "a/b", *use)).out.startswith("vidu/a/b ")
        assert await daemon.stop() == 0


async def test_a_timeline_tells_changes_and_deliveries(daemons: Start) -> None:
    """Each state with its deliveries; tries that failed with their reasons; the command for a dead one."""
    async with (
        Simulator(transcript=ENDS) as sim,
        Listener(secrets=[SECRET], respond="500x2,200") as ears,
        Listener(secrets=[SECRET], respond="400") as deaf,
    ):
        endpoints = {"app": webhook(ears.url), "deaf": webhook(deaf.url, retry_schedule=["0s"])}
        daemon = daemons(config(upstream=sim.base_url, endpoints=endpoints, watches=["7"]))
        await daemon.start()
        settled = "SELECT count(*) FROM deliveries WHERE settled_at IS NOT NULL"
        await until(lambda: daemon.rows(settled) == [(4,)], what="all are settled")
        use = ("-c", str(daemon.file))
        shown = await daemon.run("watch", "show", "7", *use)
        lines = [line.strip() for line in shown.out.splitlines()]
        assert lines[0] == "vidu/7  succeeded (success)"
        changes = [re.sub(r"^\S+ +\S+ +", "", line) for line in lines if re.match(r"\d{4}-", line)]
        assert changes == ["followed, added from a file", "queueing  queued", "queueing -> success  succeeded"]
        told = [line for line in lines if line.startswith(("app", "deaf"))]
        assert re.fullmatch(r"app +delivered after \S+, 3 tries: the endpoint answered 500 \(2 times\)", told[0])
        assert re.fullmatch(r"deaf +dead: the endpoint answered 400; notifier delivery retry \d+", told[1])
        assert re.fullmatch(r"app +delivered after \S+", told[2])
        assert [
            event["sequence"]
            for event in json.loads((await daemon.run("watch", "show", "7", "--json", *use)).out)["events"]
        ] == [1, 2]

        status = await daemon.run("status", *use)
        assert status.out.startswith("ready, but 1 thing needs attention\n")
        assert f"    notifier delivery retry -e deaf -c {daemon.file}\n" in status.out
        assert await daemon.stop() == 0


def held(daemon: Daemon) -> Callable[[], bool]:
    """Return what tells whether a client holds a connection for a while, as a long poll does and no short request."""
    port, began = int(daemon.url.rpartition(":")[2]), dict[object, float]()

    def look() -> bool:
        now = time.monotonic()
        connections = psutil.Process(daemon.pid).net_connections("tcp")
        clients = [each.raddr for each in connections if each.laddr.port == port and each.raddr]
        return any(now - began.setdefault(client, now) > HELD for client in clients)

    return look


async def test_the_end_of_a_task_is_waited_for(daemons: Start) -> None:
    """The exit code says how it ended, or that it did not; a daemon that restarts meanwhile is waited for."""
    tasks = {"good": ENDS, "bad": parse_spec("queueing,failed"), "on": GOES_ON, "on\u202e": GOES_ON, "late": GOES_ON}
    async with Simulator(transcripts=tasks, ids=[*tasks], keep_open=True) as sim:
        settings = config(upstream=sim.base_url, endpoints={})
        settings["sources"]["vidu"]["not_found_grace"] = "100ms"
        daemon = daemons(settings)
        await daemon.start()
        use = ("-c", str(daemon.file))
        await daemon.run("watch", "add", *tasks, "gone", *use)
        for task, code, out in [
            ("good", 0, "vidu/good succeeded\n"),
            ("bad", 3, "vidu/bad failed\n"),
            ("gone", 5, "vidu/gone lost\n"),
        ]:
            done = await daemon.run("watch", "wait", task, *use)
            assert (done.code, done.out) == (code, out)
        done = await daemon.run("watch", "wait", "vidu/on", "--timeout", "0.5", *use)
        assert (done.code, done.out) == (124, "")
        assert "vidu/on has not ended after 0.5 s: running" in done.err
        done = await daemon.run("watch", "wait", "on\u202e", "--timeout", "0.5", *use)
        assert "vidu/on\\u202e has not ended after 0.5 s: running" in done.err
        done = await daemon.run("watch", "wait", "nobody", *use)
        assert (done.code, done.out) == (1, "")
        item = json.loads((await daemon.run("watch", "wait", "good", "--json", *use)).out)
        assert (item["id"], item["ended"]) == ("good", True)

        waiting = asyncio.create_task(command("watch", "wait", "late", *use, cwd=daemon.directory))
        await until(held(daemon), "the command holds a connection to the daemon")
        await daemon.stop()
        await daemon.start()
        sim.push("late", "success")
        done = await waiting
        assert (done.code, done.out) == (0, "vidu/late succeeded\n")


async def test_an_endpoint_is_tested(daemons: Start) -> None:
    """One signed event, at once; the exit code says whether it was accepted."""
    async with (
        Simulator(transcript=ENDS) as sim,
        Listener(secrets=[SECRET]) as ears,
        Listener(secrets=[SECRET], respond="503:9") as deaf,
    ):
        daemon = daemons(config(upstream=sim.base_url, endpoints={"app": webhook(ears.url), "deaf": webhook(deaf.url)}))
        await daemon.start()
        use = ("-c", str(daemon.file))
        done = await daemon.run("endpoint", "test", "app", *use)
        assert done.code == 0
        assert re.fullmatch(r"app: delivered, HTTP 200 in \S+\n", done.out)
        [received] = await ears.wait(1)
        assert (received.verified, received.type) == (True, "notifier.test")
        refused = await daemon.run("endpoint", "test", "deaf", *use)
        assert refused.code == 1
        assert re.match(r"deaf: failed, HTTP 503 in \S+: the endpoint answered 503\n", refused.out)
        assert json.loads((await daemon.run("endpoint", "test", "deaf", "--json", *use)).out)["status"] == 503
        assert await daemon.stop() == 0


class Following:
    """A `watch list --follow`, and what it wrote so far."""

    def __init__(self, process: Process, reader: asyncio.StreamReader) -> None:
        self.process = process
        self.text = ""
        self._reader = reader

    async def until(self, holds: Callable[[str], bool]) -> None:
        """Read on until what was written holds."""
        async with asyncio.timeout(PATIENCE):
            while not holds(self.text):
                chunk = await self._reader.read(65536)
                assert chunk, f"it ended: {self.text}"
                self.text += chunk.decode()

    async def interrupt(self) -> int:
        """Press Ctrl-C; return the exit code."""
        self.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()


@asynccontextmanager
async def following(daemon: Daemon, *args: str) -> AsyncIterator[Following]:
    """Run it with a pipe."""
    use = ("watch", "list", "--follow", *args, "-c", str(daemon.file))
    process = await asyncio.create_subprocess_exec(*PYTHON, *use, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    try:
        assert process.stdout is not None
        yield Following(process, process.stdout)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def on_a_terminal(daemon: Daemon, *args: str, columns: int = 80, lines: int = 24) -> AsyncIterator[Following]:
    """Run it on a pseudo-terminal (pty(7))."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    use = ("watch", "list", "--follow", *args, "-c", str(daemon.file))
    process = await asyncio.create_subprocess_exec(
        *PYTHON, *use, stdin=theirs, stdout=theirs, stderr=theirs, env=env | {"TERM": "xterm-256color"}
    )
    os.close(theirs)
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb", buffering=0)
    )
    try:
        yield Following(process, reader)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        transport.close()


async def test_changes_are_followed_line_by_line(daemons: Start) -> None:
    """The list first, then each change once, only of what is wanted; Ctrl-C is no failure."""
    async with Simulator(transcript=parse_spec("queueing"), keep_open=True) as sim:
        watches = ["old", {"id": "first", "labels": {"team": "a"}}]
        daemon = daemons(config(upstream=sim.base_url, endpoints={}, watches=watches))
        await daemon.start()
        await until(lambda: daemon.rows("SELECT count(*) FROM events") == [(2,)], what="observed")
        async with following(daemon) as every, following(daemon, "--json", "--label", "team=a") as some:
            await every.until(lambda text: "vidu/old" in text)
            await some.until(lambda text: "first" in text)
            await daemon.post("/v1/watches", [{"id": "b"}, {"id": "a", "labels": {"team": "a"}}])
            await every.until(lambda text: "vidu/a" in text and "vidu/b" in text)
            sim.push("b", "processing")
            sim.push("old", "success")
            await every.until(lambda text: "queueing -> success  succeeded" in text and "running" in text)
            sim.push("a", "failed")
            await every.until(lambda text: "queueing -> failed" in text)
            await some.until(lambda text: "task.failed" in text)
            assert (await every.interrupt(), await some.interrupt()) == (0, 0)
        changes = [line.split(maxsplit=1)[1] for line in every.text.splitlines()[3:]]
        assert sorted(changes) == [
            "vidu/a  queueing  queued",
            "vidu/a  queueing -> failed",
            "vidu/b  queueing  queued",
            "vidu/b  queueing -> processing  running",
            "vidu/old  queueing -> success  succeeded",
        ]
        told = [json.loads(line) for line in some.text.splitlines()]
        assert [(event["task"], event["type"]) for event in told if "type" in event] == [
            ("a", "task.state_changed"),
            ("a", "task.failed"),
        ]
        assert await daemon.stop() == 0


async def test_following_outlives_the_daemon(daemons: Start) -> None:
    """It says once that the daemon is away, and goes on from where it was: what happened meanwhile is told."""
    async with Simulator(transcript=parse_spec("queueing"), keep_open=True) as sim:
        daemon = daemons(config(upstream=sim.base_url, endpoints={}, watches=["1"]))
        await daemon.start()
        async with following(daemon) as every:
            await every.until(lambda text: "vidu/1" in text)
            sim.push("1", "processing")
            await every.until(lambda text: "processing" in text)
            assert await daemon.stop() == 0
            sim.push("1", "success")
            await daemon.start()
            await every.until(lambda text: "processing -> success" in text)
            assert await every.interrupt() == 0
            assert every.process.stderr is not None
            assert (await every.process.stderr.read()).decode().count("trying again") == 1
        assert every.text.count("-> success") == 1
        assert await daemon.stop() == 0


async def test_a_terminal_shows_the_list_live(daemons: Start) -> None:
    """It is drawn again as it changes, fits the screen, and stays as it was last when it ends."""
    async with Simulator(transcript=parse_spec("queueing"), keep_open=True) as sim:
        daemon = daemons(config(upstream=sim.base_url, endpoints={}, watches=[f"t{n:03}" for n in range(40)]))
        await daemon.start()
        await until(lambda: daemon.rows("SELECT count(*) FROM events") == [(40,)], what="observed")
        async with on_a_terminal(daemon, "--source", "vidu") as screen:
            await screen.until(lambda text: "and 21 more" in text and "live; Ctrl-C ends" in text)
            sim.push("t039", "success")
            await screen.until(lambda text: "queueing -> success" in text)
            screen.text += "\n"
            assert await screen.interrupt() == 0
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.text)
        assert max(map(len, shown.splitlines())) <= 80
        assert await daemon.stop() == 0

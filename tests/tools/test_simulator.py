"""The simulator on the wire: the documented API, and each fault as claimed."""

from __future__ import annotations

import asyncio
import json
from importlib.resources import files
from typing import Any

import aiohttp
import pytest
from raw_client import connect, get, request

from notifier.tools.faults import How
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript, parse_spec

STATE = "/vidu/v1/tasks/state?id="
TEXT = files("notifier.tools").joinpath("data", "vidu-state-transcript.sse").read_bytes()
LINES = TEXT.splitlines(keepends=True)
EMPTY = Transcript(snapshots=())  # of a task that moves only when it is pushed


class TestDocumentedApi:
    async def test_line_framing_is_the_documentation_byte_for_byte(self) -> None:
        async with Simulator() as sim:
            reply = await get(sim.base_url, STATE + "1")
        assert (reply.status, reply.headers["content-type"], reply.complete) == (200, "text/event-stream", True)
        assert reply.body == TEXT

    async def test_event_framing_adds_a_blank_line_after_each(self) -> None:
        async with Simulator(framing="event") as sim:
            reply = await get(sim.base_url, STATE + "1")
        assert reply.body == TEXT.replace(b"\n", b"\n\n")

    async def test_generic_path_streams_the_same(self) -> None:
        async with Simulator() as sim:
            assert (await get(sim.base_url, "/tasks/a%2Fb/events")).status == 404
            assert (await get(sim.base_url, "/tasks/a/events")).body == TEXT

    @pytest.mark.parametrize(
        ("target", "token", "status", "message"),
        [
            (STATE + "1", "wrong", 401, "invalid token"),
            ("/vidu/v1/tasks/state", "wrong", 401, "invalid token"),
            ("/vidu/v1/tasks/state", "right", 422, "id is required"),
            (STATE, "right", 422, "id is required"),
            (STATE + "unknown-1", "right", 404, "server_id not found"),
            ("/elsewhere", "right", 404, "no such path"),
        ],
    )
    async def test_refusals(self, target: str, token: str, status: int, message: str) -> None:
        async with Simulator(token="right") as sim:
            reply = await get(sim.base_url, target, token=token)
        assert (reply.status, reply.headers["content-type"]) == (status, "application/json")
        assert json.loads(reply.body) == {"error": {"message": message}}
        assert sim.outcomes == {str(status): 1}

    async def test_right_token_is_let_in(self) -> None:
        async with Simulator(token="right") as sim:
            assert (await get(sim.base_url, STATE + "1", token="right")).status == 200

    async def test_only_listed_ids_are_known(self) -> None:
        async with Simulator(ids=["7", "video-*"]) as sim:
            found = [(await get(sim.base_url, STATE + id_)).status for id_ in ("7", "video-1", "8", "xvideo-1")]
        assert found == [200, 200, 404, 404]

    async def test_other_methods_are_refused(self) -> None:
        async with Simulator() as sim, aiohttp.ClientSession() as session, session.post(sim.base_url + STATE) as reply:
            assert reply.status == 405

    async def test_connection_is_used_again(self) -> None:
        """A stream's clean end, and an error, leave the connection usable."""
        async with Simulator() as sim, connect(sim.base_url) as (reader, writer):
            for _ in range(2):
                writer.write(request(STATE + "1") + request(STATE + "unknown"))
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
                await reader.readuntil(b"0\r\n\r\n")
                assert (await reader.readuntil(b"}}")).startswith(b"HTTP/1.1 404 Not Found\r\n")

    @pytest.mark.parametrize(
        ("raw", "status"),
        [
            (b"nonsense\r\n\r\n", 400),
            (b"GET / HTTP/1.0\r\n\r\n", 505),
            (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", 400),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
            (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
            (b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
            (b"GET /" + b"x" * 40_000, 431),
        ],
    )
    async def test_unreadable_requests_are_refused(self, raw: bytes, status: int) -> None:
        async with Simulator() as sim, connect(sim.base_url) as (reader, writer):
            writer.write(raw)
            assert (await reader.read()).startswith(f"HTTP/1.1 {status} ".encode())


class TestProgress:
    async def test_task_goes_on_while_nobody_listens(self) -> None:
        """On reconnect the stream continues with the current snapshot, not from the start."""
        async with Simulator(interval=0.01, transcript=parse_spec("queueing,processing*3,success")) as sim:
            sim.fault("1", "drop@1x1")
            assert (await get(sim.base_url, STATE + "1")).body == LINES[0]
            await sim.wait_for(lambda _: sim.tasks["1"].ended)
            assert (await get(sim.base_url, STATE + "1")).body == LINES[31]
        assert [move.state for move in sim.written("1")] == ["queueing", "success"]

    async def test_without_an_interval_a_task_waits_for_its_listener(self) -> None:
        """At speed 0 progress is exact: what was not taken comes after the reconnect, the current one first."""
        async with Simulator() as sim:
            sim.fault("*", "drop@5x2")
            bodies = [(await get(sim.base_url, STATE + "1")).body for _ in range(4)]
        assert bodies == [
            b"".join(LINES[0:5]),
            b"".join(LINES[4:9]),
            b"".join(LINES[8:]),
            LINES[31],
        ]

    async def test_restart_on_reconnect_begins_anew(self) -> None:
        async with Simulator(restart_on_reconnect=True) as sim:
            assert [(await get(sim.base_url, STATE + "1")).body for _ in range(2)] == [TEXT, TEXT]

    async def test_lines_come_one_by_one_at_their_pace(self) -> None:
        async with Simulator(interval=0.3, jitter=0.5, seed=1, transcript=parse_spec("a,b,c")) as sim:
            assert (await get(sim.base_url, STATE + "1")).body.count(b"data: ") == 3
        a, b, c = sim.written("1")
        assert 0.03 < b.at - a.at < 5
        assert 0.03 < c.at - b.at < 5

    async def test_two_streams_of_a_task_see_the_same(self) -> None:
        async with Simulator(interval=0.01, transcript=parse_spec("a,b,c,d")) as sim:
            first, second = await asyncio.gather(*(get(sim.base_url, STATE + "1") for _ in range(2)))
        assert first.body.splitlines()[-1] == second.body.splitlines()[-1]
        assert [move.state for move in sim.written("1")] == ["a", "b", "c", "d"]

    async def test_keep_open_leaves_the_stream_open_after_the_last(self) -> None:
        async with Simulator(keep_open=True) as sim, connect(sim.base_url) as (reader, writer):
            writer.write(request(STATE + "1"))
            await reader.readuntil(b'"success","estimated_time_left":0,"err_code":""}\n\r\n')
            assert (sim.open_streams, reader.at_eof()) == (1, False)
        async with Simulator() as sim:
            await get(sim.base_url, STATE + "1")
            assert sim.open_streams == 0

    async def test_transcripts_by_id(self) -> None:
        async with Simulator(transcripts={"bad-*": parse_spec("failed:Oops")}) as sim:
            assert b"Oops" in (await get(sim.base_url, STATE + "bad-1")).body
            assert (await get(sim.base_url, STATE + "good")).body == TEXT

    async def test_push_moves_a_task_by_hand(self) -> None:
        async with Simulator(transcript=EMPTY) as sim, connect(sim.base_url) as (reader, writer):
            writer.write(request(STATE + "1", close=True))
            await sim.wait_open(1)
            sim.push("1", "processing")
            await reader.readuntil(b"processing")
            sim.push("1", {"state": "odd"})
            await reader.readuntil(b'data: {"state":"odd"}\n')
            sim.push("1", b"raw")
            await reader.readuntil(b"data: raw\n")
            sim.push("1", "success")
            assert (await reader.read()).endswith(b"\r\n0\r\n\r\n")
            assert [move.state for move in sim.written("1")] == ["processing", "odd", "?", "success"]

    async def test_polling_moves_on_with_each_question(self) -> None:
        """At speed 0 a task that is asked instead of followed moves one snapshot a request, and stays at its last."""
        async with Simulator(transcript=parse_spec("a,b,c")) as sim:
            bodies = [(await get(sim.base_url, "/tasks/1")).body for _ in range(4)]
        assert [json.loads(body)["state"] for body in bodies] == ["a", "b", "c", "c"]


class TestFaults:
    async def first(self, fault: str) -> tuple[Simulator, bytes]:
        """Return the body of a first, faulty connection; the second must be as documented in full."""
        async with Simulator(restart_on_reconnect=True) as sim:
            sim.fault("*", fault + "x1")
            body = (await get(sim.base_url, STATE + "1")).body
            assert (await get(sim.base_url, STATE + "1")).body == TEXT
        return sim, body

    @pytest.mark.parametrize(
        ("fault", "complete", "reset"),
        [("drop@3", True, False), ("truncate@3", False, False), ("reset@3", False, True)],
    )
    async def test_cuts(self, fault: str, complete: bool, reset: bool) -> None:
        """Three lines; then a proper end, none, or RST."""
        async with Simulator() as sim:
            sim.fault("*", fault)
            reply = await get(sim.base_url, STATE + "1")
        assert (reply.body, reply.complete, reply.reset) == (b"".join(LINES[:3]), complete, reset)
        assert sim.outcomes == {fault.partition("@")[0]: 1, "stream": 1}

    async def test_cut_before_the_first_line(self) -> None:
        async with Simulator() as sim:
            sim.fault("*", "drop@0")
            reply = await get(sim.base_url, STATE + "1")
        assert (reply.status, reply.body, reply.complete) == (200, b"", True)

    async def test_stall_is_silence_on_an_open_connection(self) -> None:
        """A stalled stream gets nothing, not even its task's end; others get everything."""
        async with Simulator() as sim, connect(sim.base_url) as (reader, writer):
            sim.fault("*", "stall@2x1")
            writer.write(request(STATE + "1"))
            await reader.readuntil(LINES[1] + b"\r\n" + b"%x\r\n" % len(LINES[1]) + LINES[1] + b"\r\n")
            assert (await get(sim.base_url, STATE + "1")).body == b"".join(LINES[1:])
            assert sim.open_streams == 1
            assert not reader.at_eof()
            assert sim.cut() == 1
            with pytest.raises(ConnectionResetError):
                await reader.read(1)

    async def test_hangup_closes_without_a_byte(self) -> None:
        async with Simulator() as sim:
            sim.fault("*", "hangup")
            assert (await get(sim.base_url, STATE + "1")).status == 0

    @pytest.mark.parametrize(
        ("fault", "status", "header", "body"),
        [
            ("404x1", 404, ("content-type", "application/json"), b'{"error":{"message":"server_id not found"}}'),
            ("429:7x1", 429, ("retry-after", "7"), b'{"error":{"message":"too many requests"}}'),
            ("500x1", 500, ("content-type", "application/json"), b'{"error":{"message":"internal server error"}}'),
            ("503x1", 503, ("content-type", "application/json"), b'{"error":{"message":"service unavailable"}}'),
            ("redirect:/ax1", 302, ("location", "/a"), b""),
            ("jsonx1", 200, ("content-type", "application/json"), LINES[0].removeprefix(b"data: ").rstrip()),
        ],
    )
    async def test_other_answers_give_way(self, fault: str, status: int, header: tuple[str, str], body: bytes) -> None:
        """The first connection gets the answer, the next the documented stream."""
        async with Simulator() as sim:
            sim.fault("*", fault)
            first, second = [await get(sim.base_url, STATE + "1") for _ in range(2)]
        assert (first.status, first.headers[header[0]], first.body, first.complete) == (status, header[1], body, True)
        assert (second.status, second.body) == (200, TEXT)

    async def test_html_and_no_content(self) -> None:
        async with Simulator() as sim:
            sim.fault("html", "html")
            sim.fault("none", "204")
            html, none = await get(sim.base_url, STATE + "html"), await get(sim.base_url, STATE + "none")
        assert (html.status, html.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert html.body.startswith(b"<!doctype html>")
        assert (none.status, none.body) == (204, b"")
        assert not {"content-length", "transfer-encoding"} & set(none.headers)

    async def test_garbage_stands_among_whole_lines(self) -> None:
        _, body = await self.first("garbage@2")
        assert body.startswith(b"".join(LINES[:2]) + b"data: {not json\n")
        assert body.endswith(b"".join(LINES[2:]))
        with pytest.raises(UnicodeDecodeError):
            body.decode()

    async def test_huge_line(self) -> None:
        _, body = await self.first("huge@1")
        assert body == LINES[0] + b"data: " + b"x" * (4 << 20) + b"\n" + b"".join(LINES[1:])

    async def test_line_ends_and_byte_order_mark(self) -> None:
        assert (await self.first("crlf"))[1] == TEXT.replace(b"\n", b"\r\n")
        assert (await self.first("cr"))[1] == TEXT.replace(b"\n", b"\r")
        assert (await self.first("bom"))[1] == b"\xef\xbb\xbf" + TEXT

    async def test_comments_and_no_snapshot(self) -> None:
        async with Simulator() as sim, connect(sim.base_url) as (reader, writer):
            sim.fault("*", "comments:0.01")
            writer.write(request(STATE + "1"))
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"text/event-stream" in head
            assert await reader.readexactly(39) == b"8\r\n: ping\n\n\r\n" * 3
        await sim.wait_open(0)

    async def test_slow_head_comes_late_but_comes(self) -> None:
        async with Simulator() as sim:
            sim.fault("*", "slowhead:0.05")
            loop = asyncio.get_running_loop()
            before = loop.time()
            assert (await get(sim.base_url, STATE + "1")).body == TEXT
            assert loop.time() - before >= 0.05

    async def test_client_gone_before_a_slow_head(self) -> None:
        """Nothing is left of a client that went away while it waited."""
        async with Simulator() as sim:
            sim.fault("*", "slowhead:60")
            async with connect(sim.base_url) as (_, writer):
                writer.write(request(STATE + "1"))
                await sim.wait_for(lambda _: "slowhead" in sim.outcomes)
            await sim.wait_for(lambda _: sim.open_connections == 0)
        assert sim.connects == 0

    async def test_rule_counts_from_when_it_was_added_and_only_its_ids(self) -> None:
        async with Simulator(restart_on_reconnect=True) as sim:
            await get(sim.base_url, STATE + "1")
            sim.fault("1", "drop@1#2")
            bodies = [(await get(sim.base_url, STATE + "1")).body for _ in range(3)]
            other = [(await get(sim.base_url, STATE + "2")).body for _ in range(2)]
            sim.fault("*", "404")
            sim.clear_faults()
            assert (await get(sim.base_url, STATE + "1")).body == TEXT
        assert bodies == [TEXT, LINES[0], TEXT]
        assert other == [TEXT, TEXT]

    async def test_percentage_with_a_seed_repeats_itself(self) -> None:
        async def statuses() -> list[int]:
            async with Simulator(seed=7) as sim:
                sim.fault("*", "500%50")
                return [(await get(sim.base_url, STATE + str(n))).status for n in range(20)]

        first = await statuses()
        assert set(first) == {200, 500}
        assert await statuses() == first

    @pytest.mark.parametrize(("how", "reset"), [(How.RESET, True), (How.TRUNCATE, False), (How.DROP, False)])
    async def test_open_streams_are_cut_on_command(self, how: How, reset: bool) -> None:
        async with Simulator(transcript=EMPTY) as sim:
            waiting = [asyncio.ensure_future(get(sim.base_url, STATE + id_)) for id_ in ("a1", "a2", "b")]
            await sim.wait_open(3)
            assert sim.cut("a*", how) == 2
            replies = await asyncio.gather(*waiting[:2])
            assert [(reply.reset, reply.complete) for reply in replies] == [(reset, how is How.DROP)] * 2
            assert sim.open_streams == 1
            assert sim.drop_all() == 1
            assert (await waiting[2]).reset

    async def test_client_that_leaves_is_no_longer_open(self) -> None:
        async with Simulator(transcript=EMPTY) as sim:
            async with connect(sim.base_url) as (_, writer):
                writer.write(request(STATE + "1"))
                await sim.wait_open(1)
            await sim.wait_open(0)
            assert (sim.connects, sim.peak_streams) == (1, 1)


class TestControl:
    async def test_faults_cuts_and_pushes_from_another_process(self) -> None:
        async with Simulator(transcript=EMPTY) as sim, aiohttp.ClientSession(sim.base_url) as session:

            async def control(name: str, **fields: object) -> tuple[int, dict[str, object]]:
                async with session.post(f"/_control/{name}", json=fields) as reply:
                    return reply.status, await reply.json()

            assert await control("fault", id="1", fault="404x1") == (200, {"ok": True})
            assert (await get(sim.base_url, STATE + "1")).status == 404
            waiting = asyncio.ensure_future(get(sim.base_url, STATE + "1"))
            await sim.wait_open(1)
            assert await control("push", id="1", snapshot={"state": "processing"}) == (200, {"ok": True})
            assert await control("cut", id="*", how="truncate") == (200, {"cut": 1})
            assert (await waiting).body == b'data: {"state":"processing"}\n'
            async with session.get("/_control/stats") as reply:
                stats = await reply.json()
            async with session.get("/_control/task", params={"id": "1"}) as reply:
                task = await reply.json()
        assert stats["outcomes"] == {"404": 1, "stream": 1}
        assert (stats["connects"], stats["open_streams"], stats["peak_streams"], stats["requests"]) == (1, 0, 1, 2)
        assert (task["connections"], task["moves"][0]["state"]) == (2, "processing")

    @pytest.mark.parametrize(
        ("name", "body", "status", "says"),
        [
            ("fault", b'{"fault":"explode"}', 422, "no kind 'explode'"),
            ("fault", b"{}", 422, "'fault' is missing"),
            ("fault", b"[", 422, "no JSON"),
            ("fault", b"[]", 422, "no JSON object"),
            ("cut", b'{"how":"gently"}', 422, "'gently' is not a valid How"),
            ("push", b'{"id":"1"}', 422, "'snapshot' is missing"),
            ("nothing", b"{}", 404, "no control POST nothing"),
        ],
    )
    async def test_bad_control_says_why(self, name: str, body: bytes, status: int, says: str) -> None:
        async with (
            Simulator() as sim,
            aiohttp.ClientSession(sim.base_url) as session,
            session.post(f"/_control/{name}", data=body) as reply,
        ):
            assert reply.status == status
            assert says in (await reply.json())["error"]["message"]


@pytest.mark.parametrize("arguments", [{"interval": -1.0}, {"interval": float("nan")}, {"jitter": 2.0}])
def test_impossible_pace_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="interval is at least 0"):
        Simulator(**arguments)


async def test_hundreds_of_streams_at_once_lose_nothing() -> None:
    """Every one of them gets the whole transcript, and none is left open."""
    async with Simulator(interval=0.005) as sim:
        replies = await asyncio.gather(*(get(sim.base_url, STATE + str(n)) for n in range(300)))
        assert all(reply.body == TEXT for reply in replies)
        assert (sim.open_streams, sim.connects) == (0, 300)

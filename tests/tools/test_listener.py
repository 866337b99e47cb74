"""The listener on the wire: what it verifies, tells apart and answers."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
import pytest
from raw_client import connect
from standardwebhooks import Webhook
from waits import PATIENCE

from notifier.tools.callback import ReceivedCallback, format_callback, json_line
from notifier.tools.listener import Listener

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # from the Standard Webhooks test vectors
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


def payload(sequence: int = 1, *, state: str = "success", at: float | None = None) -> bytes:
    """Write a callback's body as DESIGN describes it."""
    when = datetime.fromtimestamp(time.time() if at is None else at, UTC).isoformat().replace("+00:00", "Z")
    data = {
        "watch": {"source": "vidu", "id": "237", "labels": {}, "metadata": {}},
        "sequence": sequence,
        "state": state,
        "phase": "succeeded",
        "previous_state": "processing",
        "previous_phase": "running",
    }
    return json.dumps({"type": "task.succeeded", "timestamp": when, "data": data}).encode()


def signed(body: bytes, *, id_: str = "msg_1", secret: str = SECRET, at: float | None = None) -> dict[str, str]:
    """Sign with an implementation that is not ours."""
    when = datetime.fromtimestamp(int(time.time() if at is None else at), UTC)
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(int(when.timestamp())),
        "webhook-signature": Webhook(secret).sign(id_, when, body.decode()),
    }


async def post(url: str, body: bytes | io.BytesIO, headers: dict[str, str] | None = None) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE)) as session,
        session.post(url, data=body, headers=headers, allow_redirects=False) as reply,
    ):
        return reply.status, await reply.text()


@asynccontextmanager
async def listening(*scripts: str, secrets: tuple[str, ...] = ()) -> AsyncIterator[Listener]:
    async with Listener(secrets=secrets, respond=scripts) as listener:
        yield listener


class TestVerification:
    async def test_good_signature_is_verified_and_told_apart(self) -> None:
        body = payload(3, at=time.time() - 1)
        async with listening(secrets=(SECRET,)) as listener:
            assert await post(listener.url, body, signed(body)) == (200, "ok")
            (callback,) = await listener.wait(1)
        assert (callback.verified, callback.reason, callback.answer) == (True, "", "200")
        assert (callback.id, callback.path, callback.type) == ("msg_1", "/hooks", "task.succeeded")
        assert (callback.source, callback.watch, callback.sequence) == ("vidu", "237", 3)
        assert (callback.previous_state, callback.state, callback.phase) == ("processing", "success", "succeeded")
        assert callback.body == body
        assert callback.payload == json.loads(body)
        assert callback.latency is not None
        assert 1 <= callback.latency < 30

    async def test_any_of_several_secrets_will_do(self) -> None:
        body = payload()
        async with listening(secrets=(OTHER, SECRET)) as listener:
            assert (await post(listener.url, body, signed(body)))[0] == 200
            assert (await post(listener.url, body, signed(body, secret=OTHER)))[0] == 200
            assert listener.summary().verified == 2

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"webhook-signature": "v1,AAAA"}, "no signature was made by any of the keys"),
            ({"webhook-id": "msg_2"}, "no signature was made by any of the keys"),
            ({"webhook-timestamp": "1"}, "old"),
            ({"webhook-timestamp": "soon"}, "not a whole number"),
            ({"webhook-signature": ""}, "webhook-signature is missing"),
        ],
    )
    async def test_bad_signature_gets_401_and_why(self, change: dict[str, str], says: str) -> None:
        body = payload()
        async with listening(secrets=(SECRET,)) as listener:
            status, text = await post(listener.url, body, {**signed(body), **change})
            (callback,) = await listener.wait(1)
        assert status == 401
        assert says in text
        assert (callback.verified, callback.reason, callback.answer) == (False, text, "401")

    async def test_changed_body_is_rejected(self) -> None:
        async with listening(secrets=(SECRET,)) as listener:
            assert (await post(listener.url, payload() + b" ", signed(payload())))[0] == 401

    async def test_old_message_is_rejected_though_well_signed(self) -> None:
        body = payload()
        async with listening(secrets=(SECRET,)) as listener:
            status, text = await post(listener.url, body, signed(body, at=time.time() - 301))
        assert (status, "old" in text) == (401, True)

    async def test_scripted_failure_stands_for_a_bad_signature_too(self) -> None:
        async with listening("500", secrets=(SECRET,)) as listener:
            assert (await post(listener.url, b"{}"))[0] == 500

    async def test_without_a_secret_nothing_is_checked(self) -> None:
        async with listening() as listener:
            assert (await post(listener.url, b"not json"))[0] == 200
            (callback,) = await listener.wait(1)
        assert (callback.verified, callback.reason, callback.payload) == (None, "no secret to verify with", None)

    def test_unusable_secret_is_refused(self) -> None:
        with pytest.raises(ValueError, match="24 to 64 bytes"):
            Listener(secrets=["whsec_AAAA"])


class TestBooks:
    async def test_repeats_are_told_from_retries(self) -> None:
        """The same id again: a retry while it was refused, a duplicate once it was accepted."""
        async with listening("500x2,200") as listener:
            for _ in range(4):
                await post(listener.url, payload(), {"webhook-id": "msg_1"})
            found = [(c.attempt, c.duplicate, c.accepted_before) for c in listener.callbacks]
        assert found == [(1, False, False), (2, True, False), (3, True, False), (4, True, True)]
        assert listener.summary().duplicates == 3

    async def test_order_is_by_watch_and_path_and_repeats_do_not_count(self) -> None:
        async with listening() as listener:
            for number, (path, sequence, id_) in enumerate(
                [("/a", 1, "x"), ("/a", 3, "y"), ("/a", 2, "z"), ("/a", 1, "x"), ("/a", 4, "v"), ("/b", 1, "x")]
            ):
                await post(listener.base_url + path, payload(sequence), {"webhook-id": id_})
                await listener.wait(number + 1)
            assert [c.out_of_order for c in listener.callbacks] == [False, False, True, False, False, False]
            assert [c.duplicate for c in listener.callbacks] == [False, False, False, True, False, False]

    async def test_forged_callbacks_do_not_enter_the_books(self) -> None:
        body = payload(1)
        async with listening(secrets=(SECRET,)) as listener:
            await post(listener.url, payload(9), signed(body))
            await post(listener.url, body, signed(body))
            forged, true = listener.callbacks
        assert (forged.verified, true.verified) == (False, True)
        assert (true.duplicate, true.out_of_order) == (False, False)

    async def test_only_the_newest_are_kept_but_all_are_counted(self) -> None:
        async with Listener(keep=2) as listener:
            for sequence in (1, 2, 3):
                await post(listener.url, payload(sequence))
            assert [c.sequence for c in await listener.wait(3)] == [2, 3]
            assert str(listener.summary()).startswith("3 callbacks (task.succeeded 3), 0 verified")

    async def test_hook_is_told_and_wait_gives_up(self) -> None:
        told: list[ReceivedCallback] = []
        async with Listener(on_callback=told.append) as listener:
            await post(listener.url, payload())
            assert told == list(listener.callbacks)
            with pytest.raises(TimeoutError):
                await listener.wait(2, timeout=0.01)


class TestResponses:
    async def test_statuses_in_turn_with_their_headers(self) -> None:
        async with listening("429:5,302:/elsewhere,410,404:no_service,204,200") as listener:
            found = []
            async with aiohttp.ClientSession() as session:
                for _ in range(6):
                    async with session.post(listener.url, data=b"{}", allow_redirects=False) as reply:
                        extra = reply.headers.get("Retry-After") or reply.headers.get("Location")
                        found.append((reply.status, extra, await reply.text()))
        assert found == [
            (429, "5", ""),
            (302, "/elsewhere", ""),
            (410, None, ""),
            (404, None, "no_service"),
            (204, None, ""),
            (200, None, "ok"),
        ]

    async def test_each_path_has_its_script(self) -> None:
        async with listening("/a=500x1", "/b*=410") as listener:
            found = [(await post(listener.base_url + path, b"{}"))[0] for path in ("/a", "/b1", "/a", "/c", "/b2")]
        assert found == [500, 410, 200, 200, 410]

    @pytest.mark.parametrize(("script", "reset"), [("drop", False), ("reset", True)])
    async def test_connection_ends_without_an_answer(
        self, script: str, reset: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nothing but the end of the connection is seen by the client, and nothing is logged."""
        with caplog.at_level(logging.DEBUG, "aiohttp"):
            async with listening(script) as listener, connect(listener.base_url) as (reader, writer):
                writer.write(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
                if reset:
                    with pytest.raises(ConnectionResetError):
                        await reader.read()
                else:
                    assert await reader.read() == b""
                (callback,) = await listener.wait(1)
        assert callback.answer == script
        assert not caplog.records

    async def test_blackhole_never_answers_and_forgets_a_client_that_left(self) -> None:
        async with listening("blackholex1,200") as listener:
            async with connect(listener.base_url) as (reader, writer):
                writer.write(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
                await listener.wait(1)
                assert (await post(listener.url, b"{}"))[0] == 200
                assert not reader._buffer  # type: ignore[attr-defined]  # to read would be to wait for ever
            assert [c.answer for c in listener.callbacks] == ["blackhole", "200"]

    async def test_blackhole_says_nothing_even_at_the_end(self) -> None:
        async with listening("blackhole") as listener, connect(listener.base_url) as (reader, writer):
            writer.write(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
            await listener.wait(1)
            await listener.__aexit__()
            assert await reader.read() == b""

    async def test_drip_has_no_end(self) -> None:
        async with listening("drip:0.01") as listener, connect(listener.base_url) as (reader, writer):
            writer.write(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
            assert await reader.readexactly(18) == b"1\r\n.\r\n" * 3

    async def test_slow_answers_late(self) -> None:
        async with listening("slow:0.05") as listener:
            before = asyncio.get_running_loop().time()
            assert (await post(listener.url, b"{}"))[0] == 200
            assert asyncio.get_running_loop().time() - before >= 0.05

    async def test_slack_path_answers_as_slack_does(self) -> None:
        """No signature is asked for, and the answer is the text `ok`."""
        async with listening(secrets=(SECRET,)) as listener:
            assert await post(listener.slack_url, b'{"text":"done"}') == (200, "ok")
            (callback,) = await listener.wait(1)
        assert (callback.text, callback.verified, callback.reason) == ("done", None, "Slack does not sign")
        assert listener.summary().types == {"slack": 1}

    async def test_only_post_is_a_callback(self) -> None:
        async with listening() as listener, aiohttp.ClientSession() as session, session.get(listener.url) as reply:
            assert (reply.status, reply.headers["Allow"]) == (405, "POST")
            assert not listener.callbacks


class TestShown:
    callback = ReceivedCallback(
        number=1,
        at=0,
        path="/hooks",
        id="msg_1",
        sent_at="0",
        verified=True,
        type="task.succeeded",
        latency=0.0123,
        source="vidu",
        watch="237",
        state="success",
        previous_state="processing",
        phase="succeeded",
        sequence=3,
        attempt=2,
        accepted_before=True,
        answer="200",
        payload={"type": "task.succeeded"},
        body=b"{}",
    )

    def test_line_says_what_happened(self) -> None:
        line = format_callback(self.callback).plain
        assert line.endswith(" ✓ vidu/237 processing → success #3 task.succeeded 12 ms duplicate")

    def test_line_of_what_could_not_be_verified(self) -> None:
        forged = ReceivedCallback(
            number=1, at=0, path="/x", id=None, sent_at=None, verified=False, reason="forged", answer="401"
        )
        assert format_callback(forged).plain.endswith(" ✗ /x forged ← 401")

    def test_terminal_is_not_obeyed(self) -> None:
        """Text from the wire cannot move the cursor, colour the screen or flood it."""
        slack = ReceivedCallback(
            number=1, at=0, path="/slack", id=None, sent_at=None, verified=None, text="\x1b[2Jhi\n" + "x" * 999
        )
        line = format_callback(slack).plain
        assert "�[2Jhi�xxx" in line
        assert line.isprintable()
        assert len(line) < 300

    def test_json_line_holds_every_field(self) -> None:
        fields = json.loads(json_line(self.callback))
        assert (fields["id"], fields["sequence"], fields["duplicate"]) == ("msg_1", 3, True)
        assert fields["payload"] == {"type": "task.succeeded"}
        assert "body" not in fields


async def test_a_script_without_a_path_is_for_the_other_paths() -> None:
    """In whatever order they are given."""
    async with listening("200", "/bill=500") as listener:
        assert (await post(f"{listener.base_url}/bill", b"{}"))[0] == 500
        assert (await post(f"{listener.base_url}/hooks", b"{}"))[0] == 200


async def test_a_callback_may_be_as_large_as_the_daemon_sends_them() -> None:
    """It quotes a snapshot, of which a source may read 64 MiB."""
    async with listening("200") as listener:
        body = json.dumps({"type": "task.succeeded", "data": {"task": {"image": "A" * (65 << 20)}}}).encode()
        assert (await post(listener.url, io.BytesIO(body)))[0] == 200
        assert listener.counts["received"] == 1

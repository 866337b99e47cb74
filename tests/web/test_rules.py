"""The rules of every route of the API: access, unknown parameters, methods, bodies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from site_running import SECRET, Site, running

from notifier.web.operations import OPERATIONS, Operation

TOKEN = "s3cret"
API = [each for each in OPERATIONS if not each.open]
READS = [each for each in OPERATIONS if each.method == "get"]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    endpoints = f'{{app: {{type: webhook, url: "http://127.0.0.1:9/", secrets: ["{SECRET}"]}}}}'
    async with running(tmp_path, endpoints=endpoints, watches='["1"]') as made:
        yield made


def target(operation: Operation) -> str:
    own = {"source": "vidu", "name": "app", "id": "1"}
    return operation.path.format(**own)


async def test_a_token_is_asked_for(tmp_path: Path) -> None:
    """By every route of the API, also if the request has other faults."""
    async with running(tmp_path, http=f'{{listen: "127.0.0.1:0", token: "{TOKEN}"}}') as site:
        for operation in API:
            refused = await site.ask(operation.method.upper(), f"{target(operation)}?x=1", body=b"{")
            assert "http.token" in refused.problem(401), operation.name
        assert (await site.get("/v1/watches", authorization=f"Bearer {TOKEN}")).status == 200


async def test_strangers_are_not_answered(site: Site) -> None:
    """Pages of other origins, and names that are made to point here."""
    for operation in API:
        method, path = operation.method.upper(), target(operation)
        (await site.ask(method, path, origin="https://evil.example")).problem(403)
        (await site.ask(method, path, origin="null")).problem(403)
        (await site.ask(method, path, host="evil.example")).problem(403)
    assert len((await site.get("/v1/watches")).json["items"]) == 1
    own = f"http://{site.app.address}"
    assert (await site.get("/v1/watches", origin=own)).status == 200


@pytest.mark.parametrize("operation", API, ids=lambda each: each.name)
async def test_an_unknown_parameter_is_refused(site: Site, operation: Operation) -> None:
    """With the list of known ones; nothing was done."""
    detail = (await site.ask(operation.method.upper(), f"{target(operation)}?nonsense=1")).problem(400)
    assert "nonsense" in detail
    for name in operation.in_query:
        assert name in detail


@pytest.mark.parametrize("operation", READS, ids=lambda each: each.name)
async def test_head_is_get_without_the_body(site: Site, operation: Operation) -> None:
    """Same status, same type."""
    head = await site.ask("HEAD", target(operation))
    assert head.body == b""
    if operation.name != "stream":
        at_once = "?timeout=0" if operation.name == "waitForWatch" else ""
        whole = await site.get(target(operation) + at_once)
        assert (head.status, head.headers["content-type"]) == (whole.status, whole.headers["content-type"])


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
async def test_another_method_is_a_problem(site: Site, operation: Operation) -> None:
    """405, with the allowed methods."""
    refused = await site.ask("PATCH", target(operation))
    refused.problem(405)
    assert operation.method.upper() in refused.headers["allow"]


@pytest.mark.parametrize("operation", [each for each in API if each.body is not None], ids=lambda each: each.name)
async def test_a_body_is_json_of_bounded_size(site: Site, operation: Operation) -> None:
    """Whatever else it may be, it is refused before much is spent on it."""
    path = operation.path
    for body, headers, status in [
        (b"{}", {"content_type": "text/plain"}, 415),
        (b"{}", {"content_type": "application/json", "content_encoding": "gzip"}, 415),
        (b"\xff", {"content_type": "application/json"}, 400),
        (b"[" * 200_000, {}, 400),
        (b'{"a": ' * 100_000, {}, 400),
        (b'{"endpoint": "a", "endpoint": "b"}', {}, 400),
        (b"[" + b"0," * 1_000_000 + b",0]", {}, 413),
    ]:
        assert (await site.post(path, body, **headers)).problem(status)
    assert (await site.post(path, b"{}", content_length=str(100 << 20))).problem(413)
    assert (await site.get("/healthz")).status == 200

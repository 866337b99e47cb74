"""The API agrees with its document: every route, every reply, every problem."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import jsonschema  # type: ignore[import-untyped]  # it has no types
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks
from site_running import SECRET, Site, running
from waits import until

from notifier.config import Config, ConfigInForce
from notifier.core.model import EventType, LostReason, Phase
from notifier.store import EventTypeName, LostName, PhaseName
from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.web import openapi, requests, values
from notifier.web.operations import OPERATIONS
from notifier.web.server import application

EXAMPLES = 12  # requests of each kind to each operation
ENDLESS = "stream"
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.unsupported_method,
]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Run a daemon to which something has happened, a delivery that failed included."""
    async with Simulator() as sim, Listener(respond=["/dead=500", "200"], secrets=[SECRET]) as listener:
        app, dead = (
            f'type: webhook, url: "{listener.url.rstrip("/")}/{name}", secrets: ["{SECRET}"], retry_schedule: [0s]'
            for name in ("app", "dead")
        )
        endpoints = f"{{app: {{{app}}}, dead: {{{dead}}}}}"
        async with running(tmp_path, source=sim.base_url, endpoints=endpoints, watches='["1"]') as made:

            async def settled() -> bool:
                pending = (await made.get("/v1/deliveries?status=pending")).json["items"]
                return not pending and len((await made.get("/v1/deliveries")).json["items"]) == 6

            await until(settled)
            yield made


def test_every_route_is_in_the_document_and_nothing_else() -> None:
    """Except the parts of the status page."""
    app = application(None, ConfigInForce(Config()), host=None)  # type: ignore[arg-type]  # no request is made
    routes = {
        (route.method.lower(), route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    described = {(each.method, each.path) for each in OPERATIONS}
    assert routes - {("get", "/static/{name}")} == described
    document = openapi.document()
    assert {(method, path) for path, item in document["paths"].items() for method in item} == described


def test_the_words_are_those_of_the_program() -> None:
    """The types list the values of the enumerations."""
    assert set(get_args(EventTypeName)) == {kind.value for kind in EventType}
    assert set(get_args(PhaseName)) == {phase.value for phase in Phase}
    assert set(get_args(LostName)) == {reason.value for reason in LostReason}
    assert get_args(values.PhaseFilter) == (*(phase.value for phase in Phase), "new", "lost")
    assert get_args(values.StatusFilter) == (
        "pending",
        "ready",
        "waiting",
        "delivered",
        "dead",
        "superseded",
        "muted",
    )
    assert tuple(requests.RetryRequest.model_fields) == ("endpoint", "since", "until")


def test_every_reference_leads_somewhere() -> None:
    """And every schema is one."""
    document = openapi.document()

    def references(value: Any) -> set[str]:
        if isinstance(value, list):
            return {found for item in value for found in references(item)}
        if not isinstance(value, dict):
            return set()
        own = {value["$ref"]} if "$ref" in value else set()
        return own | {found for item in value.values() for found in references(item)}

    for reference in references(document):
        place: Any = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


async def test_the_document_is_served(site: Site) -> None:
    """As JSON, under the version that it is of."""
    reply = await site.get("/v1/openapi.json")
    assert reply.headers["content-type"] == "application/json"
    assert reply.json == openapi.document()
    assert reply.json["openapi"] == "3.1.0"


async def test_making_the_document_leaves_the_loop_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """They have a turn after each operation; once it is made, it takes none."""
    monkeypatch.setattr(openapi, "_made", [])
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(take_turns())
    first = await openapi.encoded()
    assert turns >= len(OPERATIONS) - 1
    before = turns
    assert await openapi.encoded() is first
    assert turns == before
    task.cancel()
    await asyncio.wait({task})


async def test_replies_hold_what_is_described_and_no_more(site: Site) -> None:
    """With keys that the document does not name forbidden, each reply still fits its schema."""
    document = strict(openapi.document())
    number = (await site.get("/v1/deliveries?endpoint=app")).json["items"][0]["id"]
    for method, path, target, body in [
        ("get", "/v1/status", "/v1/status", None),
        ("post", "/v1/reload", "/v1/reload", None),
        ("post", "/v1/watches", "/v1/watches", "2"),
        ("post", "/v1/watches", "/v1/watches", ["2", "1"]),
        ("get", "/v1/watches", "/v1/watches", None),
        ("get", "/v1/watches/{source}/{id}", "/v1/watches/vidu/1", None),
        ("get", "/v1/watches/{source}/{id}/wait", "/v1/watches/vidu/1/wait", None),
        ("get", "/v1/events", "/v1/events", None),
        ("get", "/v1/deliveries", "/v1/deliveries", None),
        ("get", "/v1/deliveries/{id}", f"/v1/deliveries/{number}", None),
        ("post", "/v1/deliveries/retry", "/v1/deliveries/retry", {"endpoint": "dead"}),
        ("get", "/v1/endpoints", "/v1/endpoints", None),
        ("post", "/v1/endpoints/{name}/test", "/v1/endpoints/app/test", None),
        ("post", "/v1/endpoints/{name}/test", "/v1/endpoints/dead/test", None),
        ("post", "/v1/endpoints/{name}/disable", "/v1/endpoints/app/disable", None),
        ("post", "/v1/endpoints/{name}/enable", "/v1/endpoints/app/enable", None),
    ]:
        reply = await site.ask(method.upper(), target, body=b"" if body is None else json.dumps(body).encode())
        described = document["paths"][path][method]["responses"][str(reply.status)]
        schema = described["content"]["application/json"]["schema"]
        jsonschema.validate(reply.json, schema | {"components": document["components"]})


def strict(document: Any) -> Any:
    """Forbid every key that is not named."""
    for schema in document["components"]["schemas"].values():
        if schema.get("type") == "object":
            schema["additionalProperties"] = False
    return document


@pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # the daemon does, meanwhile, in its own thread
@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.name != ENDLESS], ids=lambda each: each.name)
async def test_whatever_is_asked_the_answer_is_a_documented_one(site: Site, operation: Any) -> None:
    """Made-up requests, good ones and bad ones: no error of ours, nothing that the document does not know."""
    base = f"http://{site.app.address}"

    def ask() -> None:
        schema = schemathesis.openapi.from_dict(openapi.document())
        described = schema[operation.path][operation.method.upper()]
        takes = bool(operation.in_query or operation.body or "deliveries/{id}" in operation.path)
        for mode in GenerationMode if takes else (GenerationMode.POSITIVE,):  # elsewhere nothing can be wrong

            @settings(
                max_examples=EXAMPLES,
                derandomize=True,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(case=described.as_strategy(generation_mode=mode))
            def each(case: schemathesis.Case[Any]) -> None:
                response = case.call(base_url=base, timeout=30)
                case.validate_response(response, checks=CHECKS)

            each()

    await asyncio.to_thread(ask)
    assert site.app.ready() is None

"""The OpenAPI 3.1 document, made of the table of operations and the models."""

from __future__ import annotations

import json
import re
from functools import cache
from http import HTTPStatus
from typing import Any

from aiohttp import web
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from notifier import __version__
from notifier.web import models, requests
from notifier.web.operations import OPERATIONS, Operation, Text

Schema = dict[str, Any]

_REF = "#/components/schemas/{model}"
_EVERYWHERE = frozenset({403, 405})  # problems of every path
_WITH_TOKEN = frozenset({400, 401})  # and of those that are not for probes and browsers
_HEADERS = {
    401: {"WWW-Authenticate": "how to authenticate"},
    405: {"Allow": "the methods that there are"},
    503: {"Retry-After": "seconds"},
}
_PATH: dict[str, Schema] = {
    "source": {"schema": {"type": "string", "minLength": 1}, "description": "name of the source"},
    "name": {"schema": {"type": "string", "minLength": 1}, "description": "name of the endpoint"},
}
_OF_TASK: Schema = {"schema": {"type": "string", "minLength": 1, "maxLength": 512}, "description": "id of the task"}


async def openapi(_request: web.Request) -> web.Response:
    """Return the document."""
    return web.Response(body=_written(), content_type="application/json")


@cache
def _written() -> bytes:
    return json.dumps(document()).encode()


def document() -> Schema:
    """Make the document."""
    definitions: Schema = {}
    paths: Schema = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, definitions)
    problems = {model.__name__: _schema(model, definitions) for model in (models.Problem, models.Problems)}
    statuses = _EVERYWHERE | _WITH_TOKEN | {status for each in OPERATIONS for status in each.refusals}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "notifier",
            "version": __version__,
            "description": "Follows long-running tasks and tells when their state changes.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "responses": {f"Problem{status}": _problem(status, problems) for status in sorted(statuses)},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "http.token of the configuration, if set"}
            },
        },
    }


def _operation(operation: Operation, definitions: Schema) -> Schema:
    described: Schema = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": _path_parameters(operation) + _query_parameters(operation),
        "responses": _replies(operation, definitions),
    }
    if operation.open:
        described["security"] = []
    if operation.name == "stream":
        described["parameters"].append(
            {"name": "Last-Event-ID", "in": "header", "schema": {"type": "string", "pattern": "^a?[0-9]{1,18}$"}}
        )
    if operation.body is not None:
        content = {"application/json": {"schema": _schema(operation.body, definitions, mode="validation")}}
        described["requestBody"] = {"required": operation.body_required, "content": content}
    return described


def _replies(operation: Operation, definitions: Schema) -> Schema:
    replies: Schema = {}
    for status, model in operation.replies.items():
        reply: Schema = {"description": HTTPStatus(status).phrase}
        match model:
            case None:
                pass
            case Text(media=media, description=description):
                reply["description"] = description or reply["description"]
                reply["content"] = {media: {"schema": {"type": "string"}}}
            case _:
                reply["content"] = {"application/json": {"schema": _schema(model, definitions)}}
        replies[str(status)] = reply
    refusals = _EVERYWHERE | operation.refusals | (frozenset() if operation.open else _WITH_TOKEN)
    for status in sorted(refusals):
        replies[str(status)] = {"$ref": f"#/components/responses/Problem{status}"}
    return replies


def _problem(status: int, schemas: Schema) -> Schema:
    schema = schemas["Problems" if status == 422 else "Problem"]
    reply: Schema = {
        "description": HTTPStatus(status).phrase,
        "content": {"application/problem+json": {"schema": schema}},
    }
    if status in _HEADERS:
        reply["headers"] = {
            name: {"description": said, "schema": {"type": "string"}} for name, said in _HEADERS[status].items()
        }
    return reply


def _path_parameters(operation: Operation) -> list[Schema]:
    names = re.findall(r"\{(\w+)\}", operation.path)
    number = {"schema": TypeAdapter(requests.DeliveryId).json_schema(), "description": "id of the delivery"}
    own = {"id": number if operation.path.startswith("/v1/deliveries/") else _OF_TASK}
    return [{"name": name, "in": "path", "required": True} | (_PATH | own)[name] for name in names]


def _query_parameters(operation: Operation) -> list[Schema]:
    properties: Schema = operation.query.model_json_schema().get("properties", {})
    return [{"name": name, "in": "query"} | _parameter(schema) for name, schema in properties.items()]


def _parameter(schema: Schema) -> Schema:
    """Turn a field that may be left out into a parameter, which is left out by not being sent."""
    plain = next((option for option in schema.get("anyOf", ()) if option.get("type") != "null"), schema)
    kept = {key: value for key, value in plain.items() if key not in ("title", "description", "default")}
    found: Schema = {"schema": kept}
    if said := schema.get("description"):
        found["description"] = said
    return found


def _schema(model: Any, definitions: Schema, *, mode: JsonSchemaMode = "serialization") -> Schema:
    """Return a schema that refers to others by name, and put those with the rest."""
    schema = TypeAdapter(model).json_schema(mode=mode, ref_template=_REF)
    definitions |= schema.pop("$defs", {})
    if isinstance(model, type) and schema.get("type") == "object":
        definitions[model.__name__] = schema
        return {"$ref": _REF.format(model=model.__name__)}
    return schema

"""The OpenAPI 3.1 document, made from the table of operations and the types of requests and answers.

It is made when it is first asked for, one operation at a time: all of it would keep the loop from others for 60 ms.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from notifier import __version__
from notifier.web import answers
from notifier.web.operations import OPERATIONS, Operation, TextBody

Schema = dict[str, Any]

_REF = "#/components/schemas/{model}"
_EVERYWHERE = frozenset({403, 405})  # problems of every path
_WITH_TOKEN = frozenset({400, 401})  # and of every path that is not for probes and browsers
_HEADERS = {
    401: {"WWW-Authenticate": "the scheme, Bearer"},
    405: {"Allow": "the methods of the path"},
    503: {"Retry-After": "seconds"},
}


_made: list[bytes] = []  # the document, once it was asked for


async def encoded() -> bytes:
    """Return the document as JSON."""
    if not _made:
        definitions: Schema = {}
        paths: Schema = {}
        for operation in OPERATIONS:
            _add(operation, paths, definitions)
            await asyncio.sleep(0)
        _made.append(json.dumps(_whole(paths, definitions)).encode())
    return _made[0]


def document() -> Schema:
    """Return the document."""
    definitions: Schema = {}
    paths: Schema = {}
    for operation in OPERATIONS:
        _add(operation, paths, definitions)
    return _whole(paths, definitions)


def _add(operation: Operation, paths: Schema, definitions: Schema) -> None:
    paths.setdefault(operation.path, {})[operation.method] = _operation(operation, definitions)


def _whole(paths: Schema, definitions: Schema) -> Schema:
    problems = {
        model.__name__: _schema(model, definitions) for model in (answers.ProblemDetails, answers.InvalidDetails)
    }
    statuses = _EVERYWHERE | _WITH_TOKEN | {status for each in OPERATIONS for status in each.refusals}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "notifier",
            "version": __version__,
            "description": "Follows long-running tasks and sends webhooks when their state changes.",
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
        "parameters": _parameters(operation),
        "responses": _replies(operation, definitions),
    }
    if operation.open:
        described["security"] = []
    if (body := operation.body) is not None:
        content = {"application/json": {"schema": _schema(body.schema, definitions, mode="validation")}}
        described["requestBody"] = {"required": body.empty is ..., "content": content}
    return described


def _replies(operation: Operation, definitions: Schema) -> Schema:
    replies: Schema = {}
    for status, model in operation.replies.items():
        reply: Schema = {"description": HTTPStatus(status).phrase}
        match model:
            case None:
                pass
            case TextBody(media=media, description=description):
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
    schema = schemas["InvalidDetails" if status == 422 else "ProblemDetails"]
    reply: Schema = {
        "description": HTTPStatus(status).phrase,
        "content": {"application/problem+json": {"schema": schema}},
    }
    if status in _HEADERS:
        reply["headers"] = {
            name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS[status].items()
        }
    return reply


def _parameters(operation: Operation) -> list[Schema]:
    properties: Schema = operation.parameters.model_json_schema(by_alias=True).get("properties", {})
    places = [("path", operation.in_path), ("query", operation.in_query), ("header", operation.parameters.in_header)]
    return [
        {"name": name, "in": place} | ({"required": True} if place == "path" else {}) | _parameter(properties[name])
        for place, names in places
        for name in names
    ]


def _parameter(schema: Schema) -> Schema:
    """Describe a parameter. An optional one may be left out, and is never null."""
    plain = next((option for option in schema.get("anyOf", ()) if option.get("type") != "null"), schema)
    kept = {key: value for key, value in plain.items() if key not in ("title", "description", "default")}
    described: Schema = {"schema": kept}
    if description := schema.get("description"):
        described["description"] = description
    return described


def _schema(model: Any, definitions: Schema, *, mode: JsonSchemaMode = "serialization") -> Schema:
    """Return a schema that refers to others by name, and add those to the definitions."""
    schema = TypeAdapter(model).json_schema(mode=mode, ref_template=_REF)
    definitions |= schema.pop("$defs", {})
    if isinstance(model, type) and schema.get("type") == "object":
        definitions[model.__name__] = schema
        return {"$ref": _REF.format(model=model.__name__)}
    return schema

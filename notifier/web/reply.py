"""Answers in JSON. Each ends its line, since people read them in terminals too."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web


def reply(value: Any, *, status: int = 200, content_type: str = "application/json") -> web.Response:
    """Return an answer that holds a value in JSON."""
    return web.json_response(value, status=status, content_type=content_type, dumps=_line)


def _line(value: Any) -> str:
    return f"{json.dumps(value)}\n"

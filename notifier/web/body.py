"""The body of a request: JSON of bounded size and depth. A refusal comes before much work is spent on it."""

from __future__ import annotations

import asyncio

import structlog
from aiohttp import web

from notifier.core import strictjson
from notifier.core.model import Json
from notifier.core.strictjson import SameKeyTwice
from notifier.web.refusals import BadRequest, NotJson, Overloaded, TooLarge, TooSlow

log = structlog.get_logger(__name__)

MAX_BODY = 1 << 20  # bytes
MAX_WATCHES_BODY = 8 << 20  # bytes, of a list of watches
MAX_COMMAS = 1_000_000  # limits the values in a body: each takes far more memory than its bytes
PATIENCE = 20.0  # seconds for a body
SLOWEST = 16 << 10  # bytes a second; a large body has more time, at this rate
AT_ONCE = 64 << 10  # bytes; a larger body is parsed in a thread, because it would hold up the loop


async def read_json(request: web.Request, *, limit: int = MAX_BODY, empty: Json = ...) -> Json:
    """Return the body's value, or `empty` for an empty body; without `empty`, an empty body is refused.

    Raises TooLarge, TooSlow, NotJson, Overloaded, BadRequest.
    """
    raw = await _read(request, limit)
    if not raw:
        if empty is ...:
            raise BadRequest("a body is needed")
        return empty
    _check_type(request)
    if raw.count(b",") > MAX_COMMAS:
        raise TooLarge(f"the body holds more than {MAX_COMMAS} values; send several requests")
    if len(raw) <= AT_ONCE:
        return _parse(raw)
    try:
        parsed = asyncio.get_running_loop().run_in_executor(None, _parse, raw)
    except RuntimeError as exc:  # the system refuses a thread
        raise Overloaded from exc
    return await parsed


async def _read(request: web.Request, limit: int) -> bytes:
    too_large = TooLarge(f"the body is larger than {limit >> 20} MiB; send several requests")
    if (request.content_length or 0) > limit:
        raise too_large
    raw, begin = bytearray(), asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(PATIENCE) as deadline:
            async for chunk in request.content.iter_any():
                raw += chunk
                if len(raw) > limit:
                    raise too_large
                deadline.reschedule(begin + PATIENCE + len(raw) / SLOWEST)
    except TimeoutError as exc:
        raise TooSlow from exc
    except (web.RequestPayloadError, ConnectionError) as exc:
        log.debug("http.body_cut", peer=request.remote)
        raise BadRequest("the body ends before its length, or is not encoded as its headers say") from exc
    return bytes(raw).strip()


def _check_type(request: web.Request) -> None:
    """Refuse a type that a form of another page could have sent; a body without a type counts as JSON."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise NotJson("send the body as it is, without Content-Encoding")
    if "Content-Type" not in request.headers:
        return
    kind = request.content_type
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise NotJson("send the body with Content-Type: application/json")
    if (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        raise NotJson("send the body in UTF-8")


def _parse(raw: bytes) -> Json:
    try:
        return strictjson.parse(raw.decode())
    except UnicodeDecodeError as exc:
        raise BadRequest("the body is not UTF-8") from exc
    except SameKeyTwice as exc:
        raise BadRequest("the body has a mapping with the same key twice") from exc
    except RecursionError as exc:
        raise BadRequest("the body is no JSON that can be taken: nested too deeply") from exc
    except ValueError as exc:
        raise BadRequest(f"the body is no JSON: {exc}") from exc

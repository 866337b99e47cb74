"""The files of the status page. They hold nothing secret: the page reads the API, which asks for the token."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from aiohttp import web

# Only the page's own files run, and they connect only to the API (W3C CSP level 3); browsers' icons need data:.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",  # the browser asks by the tag each time: a new version shows at once
}
TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of the page."""

    body: bytes
    kind: str  # its Content-Type
    tag: str  # changes with the body

    def answer(self, request: web.Request) -> web.Response:
        """Return the file, or 304 if the browser has it (RFC 9110 section 13.1.2)."""
        known = request.if_none_match or ()
        if any(tag.value in (self.tag, "*") for tag in known):
            response = web.Response(status=304, headers=HEADERS)
        else:
            response = web.Response(body=self.body, headers={**HEADERS, "Content-Type": self.kind})
            response.enable_compression()
        response.etag = self.tag
        return response


def _read() -> Mapping[str, Part]:
    parts: dict[str, Part] = {}
    for file in resources.files(__package__).iterdir():
        kind = TYPES.get(file.name.rpartition(".")[2])
        if kind is not None:
            body = file.read_bytes()
            parts[file.name] = Part(body=body, kind=kind, tag=hashlib.sha256(body).hexdigest()[:24])
    return parts


PARTS = _read()  # read once: they are small, and no request can name another file


async def static(request: web.Request) -> web.Response:
    """Send a part of the page."""
    part = PARTS.get(request.match_info["name"])
    if part is None:
        raise web.HTTPNotFound(text="the page has no such part")
    return part.answer(request)

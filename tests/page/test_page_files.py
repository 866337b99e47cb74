"""How the page is served: to everybody, under a strict policy, kept by browsers until it changes."""

from __future__ import annotations

import re
from pathlib import Path

import aiohttp
import pytest
from page_rig import daemon
from yarl import URL

from notifier.web.page.page import PARTS, POLICY


async def test_the_page_needs_no_token_but_its_api_does(tmp_path: Path) -> None:
    """The files hold no secret; the page reads everything from the API."""
    async with daemon(tmp_path, token="let-me-in") as site, aiohttp.ClientSession() as session:
        for path in ("", "static/app.js", "static/theme.css", "static/icon.svg"):
            async with session.get(f"{site.url}/{path}") as reply:
                assert reply.status == 200, path
        for path in ("v1/watches", "v1/stream", "v1/endpoints"):
            async with session.get(f"{site.url}/{path}") as reply:
                assert reply.status == 401, path


async def test_every_part_has_its_headers_and_its_tag(tmp_path: Path) -> None:
    """The policy, no sniffing, no referrer, the right type; 304 for a known tag, the file for another."""
    types = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    async with daemon(tmp_path) as site, aiohttp.ClientSession() as session:
        for name, part in PARTS.items():
            url = f"{site.url}/" if name == "index.html" else f"{site.url}/static/{name}"
            async with session.get(url) as reply:
                assert await reply.read() == part.body
                assert reply.content_type == types[name.rpartition(".")[2]]
                assert reply.headers["Content-Security-Policy"] == POLICY
                assert reply.headers["X-Content-Type-Options"] == "nosniff"
                assert reply.headers["Referrer-Policy"] == "no-referrer"
                assert reply.headers["Cache-Control"] == "no-cache"
                tag = reply.headers["ETag"]
            for known, status in ((tag, 304), (f'"other", W/{tag}', 304), ("*", 304), ('"other"', 200)):
                async with session.get(url, headers={"If-None-Match": known}) as reply:
                    assert reply.status == status, (name, known)
                    assert reply.headers["ETag"] == tag
                    assert reply.headers["Content-Security-Policy"] == POLICY


@pytest.mark.parametrize("name", ["page.py", "__init__.py", "nothing.js", "..%2Fguard.py", "%2e%2e%2fapp.js", "%00"])
async def test_nothing_else_is_served(tmp_path: Path, name: str) -> None:
    """Names are looked up in a table, never on the disk."""
    async with (
        daemon(tmp_path) as site,
        aiohttp.ClientSession() as session,
        session.get(URL(f"{site.url}/static/{name}", encoded=True)) as reply,
    ):
        assert reply.status == 404
        assert reply.content_type == "application/problem+json"


def test_everything_referred_to_is_there() -> None:
    """Every file that a part names exists, every shape that is drawn is defined, nothing comes from outside."""
    page = PARTS["index.html"].body.decode()
    assert set(re.findall(r'(?:href|src)="static/([^"]+)"', page)) <= set(PARTS)
    shapes, ids = set(re.findall(r'<symbol id="i-([^"]+)"', page)), set(re.findall(r'\bid="([^"]+)"', page))
    assert set(re.findall(r'<use href="#i-([^"]+)"', page)) <= shapes
    for name, part in PARTS.items():
        text = part.body.decode()
        if name.endswith(".js"):
            assert set(re.findall(r'from "\./([^"]+)"', text)) <= set(PARTS), name
            assert set(re.findall(r'byId\("([^"]+)"\)', text)) <= ids, name
            assert set(re.findall(r'icon\("([^"]+)"[,)]', text)) <= shapes, name
        outside = set(re.findall(r"https?://[^\s\"'`<)]+", text)) - {"http://www.w3.org/2000/svg"}
        assert outside == set(), name


def test_data_never_becomes_markup() -> None:
    """No part of the page parses text as HTML or as code, or has it parsed."""
    wrong = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|setHTML|srcdoc"
        r"|\beval\b|new Function|javascript:|\bstyle=|\bon[a-z]+="
    )
    for name, part in PARTS.items():
        if name.endswith((".js", ".html")):
            assert wrong.findall(part.body.decode()) == [], name


def test_no_file_is_long() -> None:
    """One idea a file, also here."""
    for name, part in PARTS.items():
        assert part.body.count(b"\n") < 300, name

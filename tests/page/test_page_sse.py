"""The page's decoder of text/event-stream, run in the browser: the specification's cases, cut at every place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from page_rig import Complaints, daemon
from playwright.async_api import BrowserContext

# The first four are the examples of the WHATWG specification (HTML, section 9.2.6).
CASES: list[tuple[str, list[tuple[str, str, str]]]] = [
    ("data: YHOO\ndata: +2\ndata: 10\n\n", [("", "message", "YHOO\n+2\n10")]),
    (
        ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        [("1", "message", "first event"), ("", "message", "second event"), ("", "message", " third event")],
    ),
    ("data\n\ndata\ndata\n\ndata:", [("", "message", ""), ("", "message", "\n")]),
    ("data:test\n\ndata: test\n\n", [("", "message", "test"), ("", "message", "test")]),
    ("event: add\ndata: 1\n\ndata: 2\n\n", [("", "add", "1"), ("", "message", "2")]),
    ("data: a\r\n\r\ndata: b\r\rdata: c\n\n", [("", "message", "a"), ("", "message", "b"), ("", "message", "c")]),
    ("id: 7\ndata: a\n\ndata: b\n\n", [("7", "message", "a"), ("7", "message", "b")]),
    ("id: 7\nid: a\0b\ndata: a\n\n", [("7", "message", "a")]),
    ("event: x\n\nDATA: no\nretry: 5\nunknown: 1\n\n", []),
    ("data: unfinished\n", []),
]

DECODE = """async (pieces) => {
  const { Decoder } = await import("/static/sse.js");
  const decoder = new Decoder();
  return pieces.flatMap((piece) => decoder.feed(piece)).map(({ id, event, data }) => [id, event, data]);
}"""


async def test_the_decoder_follows_the_specification(
    tmp_path: Path, context: BrowserContext, complaints: Complaints
) -> None:
    """It reads each stream whole, letter by letter, and cut in two at each place."""
    async with daemon(tmp_path) as site:
        page = await context.new_page()
        complaints.watch(page, site.url)
        await page.goto(site.url)
        for text, expected in CASES:
            cuts = [[text], list(text), *([text[:i], text[i:]] for i in range(len(text)))]
            for pieces in cuts:
                found: list[Any] = await page.evaluate(DECODE, pieces)
                assert [tuple(one) for one in found] == expected, pieces


async def test_an_event_without_end_is_an_error(
    tmp_path: Path, context: BrowserContext, complaints: Complaints
) -> None:
    """Memory has a bound: the stream is then opened again."""
    async with daemon(tmp_path) as site:
        page = await context.new_page()
        complaints.watch(page, site.url)
        await page.goto(site.url)
        told = await page.evaluate(
            """async () => {
              const { Decoder } = await import("/static/sse.js");
              const decoder = new Decoder();
              try { for (let i = 0; i < 100; i += 1) decoder.feed("data: " + "x".repeat(100000)); }
              catch (error) { return error.name; }
              return "none";
            }"""
        )
        assert told == "RangeError"

"""The page on providers lists the presets as they are, and its examples work as printed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml
from daemon_rig import serving
from providers_page import MARK, PAGE, generated
from waits import until

from notifier.config import Config, load
from notifier.core.eventstream import Decoder, Framing
from notifier.core.model import Phase
from notifier.core.signing import new_secret
from notifier.sources import preset as presets
from notifier.sources.snapshot import SnapshotReader
from notifier.tools.callback import ReceivedCallback
from notifier.tools.listener import Listener
from notifier.tools.preset_speech import speech_of
from notifier.tools.simulator import Simulator

TEXT = PAGE.read_text(encoding="utf-8")
ENV = {"MY_TOKEN": "my-token", "GATEWAY_KEY": "key", "RUNWAY_KEY": "r", "KLING_KEY": "k"}


def section(title: str) -> str:
    """Return a section of the page."""
    return TEXT.split(f"\n## {title}", 1)[1].split("\n## ", 1)[0]


def block(text: str, language: str, mark: str = "") -> str:
    """Return the one block of a language behind a mark, without its indentation."""
    [found] = re.findall(rf"{re.escape(mark)}\n( *)```{language}\n(.*?)\n *```", text, re.DOTALL)
    return "\n".join(line.removeprefix(found[0]) for line in found[1].split("\n")) + "\n"


def loaded(tmp_path: Path, example: str) -> Config:
    """Load an example as a configuration."""
    path = tmp_path / "config.yaml"
    path.write_text(example)
    return load(path, env=ENV)


RUN = "run by a test -->"


def test_the_generated_part_is_that_of_the_presets() -> None:
    """Transport, states, sources, confidence, rate limits and webhooks; `tests/rig/providers_page.py` writes them."""
    assert MARK + TEXT.split(MARK, 1)[1] == generated()


def test_every_preset_says_what_it_was_checked_against() -> None:
    """The generic one describes nobody."""
    for name in set(presets.names()) - {"generic"}:
        about = presets.load(name).about
        assert about.confidence, name
        assert about.sources, name


def test_the_first_example_and_that_of_gateways_are_valid(tmp_path: Path) -> None:
    assert set(loaded(tmp_path, block(TEXT.split("\n## ", 1)[0], "yaml")).sources) == {"runway", "kling"}
    sources = loaded(tmp_path, block(section("Gateways"), "yaml", RUN)).sources
    assert {source.description.origin for source in sources.values()} == {
        "https://gateway.example",
        "https://newapi.example",
        "https://unified.example",
        "https://query.example",
    }


def test_the_headers_of_a_gateway_and_a_prefix_are_taken_as_said(tmp_path: Path) -> None:
    """The lists' own words, put into a source."""
    lines = section("Gateways")
    [headers] = re.findall(r"`headers: (\{.*?X-API-KEY: null\})`", lines)
    [prefix] = re.findall(r"`base_url: (\S+)`", lines)
    fields = {"preset": "pika-official", "base_url": prefix, "headers": yaml.safe_load(headers), "token": "t"}
    source = loaded(tmp_path, yaml.safe_dump({"sources": {"one": fields}})).sources["one"]
    assert source.description.headers["Authorization"] == "Bearer {token}"
    assert "X-API-KEY" not in source.description.headers
    assert source.description.base_url == "https://gateway.example/volc"


def test_every_preset_that_the_page_names_exists() -> None:
    rows = [row.rsplit("|", 2)[1] for row in section("Gateways").splitlines() if row.startswith("| ")]
    named = {name for row in rows for name in re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)*)`", row)} - {"base_url"}
    assert len(named) > 10
    assert named <= set(presets.names())


def test_the_described_provider_is_read_as_printed(tmp_path: Path) -> None:
    """The reply of the first step, by the configuration of the second."""
    text = section("Describe your provider")
    source = loaded(tmp_path, block(text, "yaml", RUN)).sources["mine"]
    reader = SnapshotReader(source="mine", preset=source.description)
    reply = json.loads(block(text, "json", "<!-- this reply is read by a test -->"))
    seen = reader.read_reply(json.dumps(reply).encode(), 200, "42")
    assert seen is not None
    assert (seen.phase, seen.state, seen.progress, seen.error) == (Phase.RUNNING, "RENDERING", 40, None)
    failed = reader.read_reply(json.dumps(reply | {"fault": {"reason": "no paint"}}).encode(), 200, "42")
    assert failed is not None
    assert (failed.phase, failed.error and failed.error.message) == (Phase.FAILED, "no paint")


def test_the_streams_of_both_framings_are_read_as_printed() -> None:
    """Two snapshots each; the lines without blank ones are nothing to the specification before the end."""
    framings: tuple[Framing, ...] = ("event", "line")
    for framing in framings:
        stream = block(section("Describe your provider"), "", f"<!-- this stream is read by a test: {framing} -->")
        events = Decoder(framing=framing).feed(stream.encode())
        assert [json.loads(event.data)["state"] for event in events] == ["RENDERING", "READY"]
        if framing == "line":
            assert Decoder(framing="event").feed(stream.encode()) == []


async def test_the_ten_lines_of_a_preset_work_as_printed(tmp_path: Path) -> None:
    """A daemon follows tasks by them; only the address is another, and the interval shorter."""
    example = block(section("A preset of your own, in ten lines"), "yaml", RUN)
    assert len(example.splitlines()) <= 10
    preset = loaded(tmp_path, example).presets["my-service"]
    speech = speech_of("my-service", preset)
    secret, got = new_secret(bytes(32)), list[ReceivedCallback]()
    async with (
        Simulator(speech=speech, token="my-token") as sim,
        Listener(secrets=[secret], on_callback=got.append) as ears,
    ):
        sim.course("bad", speech.failing(""))
        config: dict[str, Any] = yaml.safe_load(example.replace("https://api.example.com", sim.base_url))
        config["sources"]["mine"] |= {"poll": {"interval": "50ms", "max_interval": "50ms"}, "token": "my-token"}
        config |= {
            "endpoints": {"app": {"type": "webhook", "url": ears.url, "secrets": [secret]}},
            "watches": ["good", "bad"],
            "store": {"url": f"sqlite:///{tmp_path}/n.db"},
            "http": {"listen": "127.0.0.1:0"},
        }
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(config))
        async with serving(path):
            await until(lambda: {callback.state for callback in got} >= {"ok", "bad"})
    states = {id_: [callback.state for callback in got if callback.watch == id_] for id_ in ("good", "bad")}
    assert states == {"good": ["waiting", "busy", "ok"], "bad": ["waiting", "busy", "bad"]}
    ends = {callback.state: callback.payload["data"] for callback in got}
    assert ends["ok"]["result"]["urls"] == ["https://example.com/results/good.mp4"]
    assert ends["bad"]["error"] == {"code": None, "message": "simulated: the simulated task failed"}

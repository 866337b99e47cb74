"""The worked examples of CONTRIBUTING.md work as they stand there, and the files and commands that it names exist."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import yaml

from notifier import config as configuration
from notifier.core.model import Phase
from notifier.senders.services import ServiceName, load
from notifier.sources import preset
from notifier.sources.snapshot import SnapshotReader

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """Return the first block of a language, without its indentation."""
    match = re.search(rf"^( *)```{language}\n(.*?)^ *```$", TEXT, re.MULTILINE | re.DOTALL)
    assert match, language
    return "".join(line.removeprefix(match[1]) for line in match[2].splitlines(keepends=True))


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Add the example to the built-in presets."""
    built_in = ROOT / "notifier" / "sources" / "presets"
    presets = tmp_path / "presets"
    presets.mkdir()
    for path in built_in.iterdir():
        (presets / path.name).write_bytes(path.read_bytes())
    (presets / "acme.yaml").write_text(block("yaml"), encoding="utf-8")
    monkeypatch.setattr(preset, "files", lambda _package: tmp_path)
    preset.raw.cache_clear()
    yield
    preset.raw.cache_clear()


@pytest.mark.usefixtures("acme")
def test_the_preset_is_found_by_its_name(tmp_path: Path) -> None:
    """A configuration needs no more than its name and a token."""
    file = tmp_path / "config.yaml"
    file.write_text("sources: {acme: {preset: acme, token: t}}\n", encoding="utf-8")
    source = configuration.load(file, env={}).sources["acme"]
    written = preset.Preset.model_validate(yaml.safe_load(block("yaml")))
    assert source.description.model_dump() == written.model_dump()
    assert "acme" in preset.names()


@pytest.mark.usefixtures("acme")
def test_the_preset_reads_the_snapshot_of_the_example() -> None:
    reader = SnapshotReader(source="acme", preset=preset.Preset.model_validate(preset.raw("acme")))
    snapshot = reader.read(block("json").encode())
    assert (snapshot.state, snapshot.phase, snapshot.progress) == ("RENDERING", Phase.RUNNING, 40)
    assert (snapshot.urls, snapshot.error) == (("https://cdn.acme.example/1.mp4",), None)
    failed = reader.read(b'{"job": {"status": "RENDERING"}, "fault": {"code": "E7", "reason": "no frames"}}')
    assert (failed.phase, failed.error and failed.error.code) == (Phase.FAILED, "E7")


def test_a_service_has_the_methods_that_the_example_names() -> None:
    for name in get_args(ServiceName):
        public = {method for method in dir(type(load(name))) if not method.startswith("_")}
        assert public == {"message", "text", "judge"}, name


def test_files_that_are_named_exist() -> None:
    """Those that the examples add are the only exceptions."""
    new = {"notifier/sources/presets/acme.yaml", "notifier/senders/services/teams.py"}
    named = set(re.findall(r"`((?:notifier|tests|\.ci)/[\w./]+)`", TEXT)) - new
    assert len(named) > 8
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_files_of_rooms_that_are_named_exist() -> None:
    """CONTRIBUTING.md and ARCHITECTURE.md name them by their rooms, as in `core/retry.py`."""
    package, text = ROOT / "notifier", TEXT + (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rooms = {path.name for path in package.iterdir() if path.is_dir()}
    named = {path for path in re.findall(r"`([\w.*/-]+)`", text) if "/" in path and path.split("/")[0] in rooms}
    assert len(named) > 40
    assert [path for path in sorted(named) if not list(package.glob(path))] == []


def test_targets_of_make_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^ {4}|`)make ([a-z]+)", TEXT, re.MULTILINE))
    assert {"check", "test"} <= named <= targets


def test_every_dependency_has_its_reason() -> None:
    """ARCHITECTURE.md has it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    reasons = text[text.index("## Dependencies") : text.index("## Tests")]
    names = [re.match(r"[\w-]+", each)[0] for each in project["dependencies"]]  # type: ignore[index]  # each has one
    assert [name for name in names if not re.search(rf"(?<![\w-]){name}(?![\w-])", reasons)] == []


def test_the_architecture_is_read_in_ten_minutes() -> None:
    """A decision has a title and three sentences; who needs to know more reads the module that it names."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    decisions = re.findall(r"^\*\*\d+\..*?(?=\n\n)", text, re.MULTILINE | re.DOTALL)
    assert len(text.split()) <= 1900
    assert 0 < len(decisions) <= 15
    assert [each for each in decisions if len(re.findall(r"\. (?=[A-Z`])", each.split("**", 2)[2])) > 3] == []

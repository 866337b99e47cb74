"""Watches of a long list are read in turns, and a reload may come in one of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from notifier.config import Config, ConfigInForce, load
from notifier.web import api
from notifier.web.api import Api
from notifier.web.refusals import Invalid

NOBODY = cast(Any, None)  # reading asks for the configuration alone


def configured(tmp_path: Path, source: str) -> Config:
    """Load a configuration with one source of that name."""
    path = tmp_path / f"{source}.yaml"
    path.write_text(f"sources: {{{source}: {{preset: vidu, token: t}}}}\n")
    return load(path, env={})


class Site:
    """An API, and the configuration in force, which changes in the first turn that reading gives."""

    def __init__(self, *configs: Config) -> None:
        first, *self.later = configs
        self.in_force = ConfigInForce(first)
        self.api = Api(
            store=NOBODY, status=NOBODY, hub=NOBODY, dispatcher=NOBODY, watcher=NOBODY, clock=NOBODY, reload=NOBODY,
            in_force=self.in_force,
        )  # fmt: skip

    async def read(self, source: str | None) -> list[str]:
        """Read a list of watches while reloads happen; return their sources."""
        watch = {"id": "1"} if source is None else {"id": "1", "source": source}

        async def reload() -> None:
            for config in self.later:
                self.in_force.config = config
                await asyncio.sleep(0)

        read, _ = await asyncio.gather(self.api._read([watch] * 5, listed=True), reload())
        return [each.source for each in read]


@pytest.fixture(autouse=True)
def in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a turn after every watch."""
    monkeypatch.setattr(api, "SLICE", 0.0)


async def test_a_source_that_a_reload_removes_is_refused(tmp_path: Path) -> None:
    """Nobody would follow its watches."""
    with pytest.raises(Invalid, match="refused"):
        await Site(configured(tmp_path, "old"), configured(tmp_path, "new")).read("old")


async def test_a_source_that_a_reload_adds_is_known(tmp_path: Path) -> None:
    """Though the first watches were refused by the configuration before."""
    assert await Site(configured(tmp_path, "old"), configured(tmp_path, "new")).read("new") == ["new"] * 5


async def test_a_default_that_a_reload_changes_is_that_of_all(tmp_path: Path) -> None:
    """However many reloads there are."""
    configs = [configured(tmp_path, name) for name in ("a", "b", "c")]
    assert await Site(*configs).read(None) == ["c"] * 5

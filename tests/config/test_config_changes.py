"""A reload tells what it changes by the names that the configuration's owner gave."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_site import WHSEC, Site

from notifier.config.changes import compare

BEFORE = f"""
sources: {{vidu: {{preset: vidu, token: a}}}}
endpoints: {{app: {{type: webhook, url: "https://example.com/", secrets: [{WHSEC}]}}}}
watches: ["1"]
http: {{listen: "127.0.0.1:8780"}}
"""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", {}),
        ('["1"]', '["1", "2"]', {}),
        ("token: a", "token: b", {"changed": ("source vidu",)}),
        ("{vidu:", "{other: {preset: vidu, token: a, default: true}, vidu:", {"added": ("source other",)}),
        ("{app:", "{ops:", {"added": ("endpoint ops",), "removed": ("endpoint app",)}),
        ("example.com/", "example.com/2", {"changed": ("endpoint app",)}),
        ("watches", "log: {level: debug}\nwatches", {"changed": ("log",)}),
        ("watches", "shutdown_timeout: 5s\nwatches", {"changed": ("shutdown_timeout",)}),
        ("8780", "8781", {"changed": ("http",), "needs_restart": ("http.listen",)}),
        ("watches", "loop: asyncio\nwatches", {"changed": ("loop",), "needs_restart": ("loop",)}),
    ],
)
def test_each_part_that_differs_is_named(
    tmp_path: Path, old: str, new: str, expected: dict[str, tuple[str, ...]]
) -> None:
    """Watches are not compared; keys that only a restart can change are named as such."""
    site = Site(tmp_path)
    before, after = site.load(BEFORE), site.load(BEFORE.replace(old, new) if old else BEFORE)
    changes = compare(before, after, started=before)
    named = {key: getattr(changes, key) for key in ("added", "changed", "removed", "needs_restart")}
    assert {key: names for key, names in named.items() if names} == expected


def test_a_key_that_is_set_back_needs_no_restart(tmp_path: Path) -> None:
    """It is compared with the start, and not with the reload before."""
    site = Site(tmp_path)
    started, moved = site.load(BEFORE), site.load(BEFORE.replace("8780", "8781"))
    assert compare(moved, site.load(BEFORE), started=started).needs_restart == ()
    assert compare(moved, moved, started=started).needs_restart == ("http.listen",)

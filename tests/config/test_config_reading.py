"""A configuration remembers what it was read from, by contents, whether it could be used or not."""

from __future__ import annotations

import os

import pytest
from config_site import Site

from notifier.config import ConfigError, load
from notifier.config.reading import MAX_BYTES, Reading, digest

SOURCE = "sources: {s: {preset: vidu, token: {file: token}}}\n"


@pytest.fixture
def reading(site: Site) -> Reading:
    """Return what a configuration with a secret and watch files was read from."""
    site.write("t0p", "token")
    site.write("[a]", "w.d/a.yaml")
    return site.load(f"{SOURCE}watches: [b]\nwatch_files: ['w.d/*.yaml']\n").reading


def test_nothing_has_changed(reading: Reading, site: Site) -> None:
    """Read again, it is the same; files that no glob fits do not count."""
    assert [path.name for path in reading.files] == ["config.yaml", "a.yaml", "token"]
    site.write("x", "w.d/a.txt")
    assert reading.now() == reading.files
    assert reading.stamps().keys() == reading.files.keys()


@pytest.mark.parametrize("name", ["config.yaml", "w.d/a.yaml", "w.d/new.yaml", "token"])
def test_a_change_is_seen(reading: Reading, site: Site, name: str) -> None:
    """Other contents, of a file of any kind, and a new file that fits a glob."""
    before = reading.stamps()
    site.write("[another]", name)
    assert reading.now() != reading.files
    assert reading.stamps() != before


def test_a_file_that_is_gone_is_a_change(reading: Reading, site: Site) -> None:
    """It has neither contents nor stamp."""
    path = site.directory / "w.d/a.yaml"
    path.unlink()
    assert reading.now()[path] is None
    assert reading.stamps()[path] is None
    assert reading.files[path] is not None


def test_a_touch_is_seen_by_the_stamp_alone(reading: Reading, site: Site) -> None:
    """Contents decide."""
    before = reading.stamps()
    site.write("t0p", "token")
    assert reading.stamps() != before
    assert reading.now() == reading.files


def test_a_refusal_tells_what_was_read(site: Site) -> None:
    """The file that is missing, too: it may come."""
    with pytest.raises(ConfigError) as caught:
        load(site.write(f"{SOURCE}watch_files: ['w.d/*.yaml']\n"), env={})
    reading = caught.value.reading
    assert reading is not None
    assert reading.patterns == ("w.d/*.yaml",)
    assert reading.files[site.directory / "token"] is None
    site.write("t0p", "token")
    assert reading.now() != reading.files


def test_pipes_are_not_read(site: Site) -> None:
    """They might never begin; nor is there an end to what is read of a file."""
    os.mkfifo(site.directory / "pipe")
    assert digest(site.directory / "pipe") is None
    assert digest(site.directory / "a\0b") is None
    large = site.write(b"x", "large")
    os.truncate(large, MAX_BYTES + 10)
    assert digest(large) is not None


def test_renewed_authorities_make_another_source(site: Site) -> None:
    """A file of certificates is exchanged under its name; the source is not equal to itself before."""
    import trustme

    def load_with(authority: trustme.CA) -> object:
        site.write(authority.cert_pem.bytes(), "ca.pem")
        return site.load("sources: {s: {preset: vidu, ca_file: ca.pem}}").sources["s"]

    first, second = trustme.CA(), trustme.CA()
    assert load_with(first) == load_with(first)
    assert load_with(first) != load_with(second)

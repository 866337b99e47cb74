"""Fixtures of the tests of the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_site import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(directory=tmp_path)

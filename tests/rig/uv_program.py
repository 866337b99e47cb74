"""The uv that the Makefile uses: of the PATH, or in .venv."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def uv() -> str:
    """Return its path. `make install` brings it, so there is no run of the tests without it."""
    own = Path(sys.prefix) / "uv" / "bin" / "uv"
    found = shutil.which("uv") or (str(own) if own.exists() else None)
    assert found is not None, "uv is missing: make install"
    return found

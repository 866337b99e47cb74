"""What systemd is told is true from the first line on."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from daemon_rig import serving
from waits import PATIENCE

TEXT = """
sources:
  vidu: {{preset: vidu, base_url: "http://127.0.0.1:9", token: tok}}
watches: ["1", "2", "3"]
store: {{url: "sqlite:///{directory}/n.db"}}
http: {{listen: "127.0.0.1:0"}}
"""


@pytest.mark.parametrize("start", ["first", "second"])
async def test_the_first_status_counts_the_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str) -> None:
    """Also after a restart, when the watches are in the database already."""
    path = tmp_path / "config.yaml"
    path.write_text(TEXT.format(directory=tmp_path))
    if start == "second":
        async with serving(path):
            pass
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.setblocking(False)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    messages: list[str] = []
    with manager:
        async with serving(path), asyncio.timeout(PATIENCE):
            while not any(message.startswith("STATUS=") for message in messages):
                messages.append((await asyncio.get_running_loop().sock_recv(manager, 4096)).decode())
    assert "READY=1" in messages
    assert messages[-1].startswith("STATUS=3 watches, ")

"""The program in Go, `bench/go`: compiled where there is Go. It uses Go's own library, so nothing is downloaded."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from bench.child import ROOT, BenchError

SOURCE = ROOT / "bench" / "go"
NO_GO = "no `go` on the PATH (Debian: apt-get install golang-go)"
ALONE = {"GOPROXY": "off", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off", "CGO_ENABLED": "0"}


def compiled(directory: Path) -> Path | None:
    """Compile the program into the directory and return its path; None without Go. Raises BenchError."""
    go = shutil.which("go")
    if go is None:
        return None
    program = directory / "follow"
    done = subprocess.run(
        [go, "build", "-o", str(program.resolve()), "."],
        cwd=SOURCE,
        env=os.environ | ALONE,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BenchError(f"bench/go cannot be compiled: {done.stderr.strip()}")
    return program

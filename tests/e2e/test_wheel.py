"""A wheel carries everything: the program runs from it, outside of the repository.

It is built from the source distribution, so that one is whole, too. The environment is empty but for the wheel: the
locked packages are lent to it by a path, which does not make the repository importable.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest
from daemon_process import Finished, Start, command, config
from uv_program import ROOT, uv

from notifier import __version__

PAGE = ROOT / "notifier" / "web" / "page"
PRESETS = ROOT / "notifier" / "sources" / "presets"


def run(*arguments: str | Path, **more: str) -> None:
    done = subprocess.run(
        list(map(str, arguments)), capture_output=True, text=True, check=False, env={**os.environ, **more}
    )
    assert done.returncode == 0, done.stdout + done.stderr


def build(out: Path) -> Path:
    """Build the source distribution, and the wheel from it."""
    run(uv(), "build", "--quiet", "--out-dir", out, ROOT)
    (made,) = out.glob("*.whl")
    return made


def install(wheel: Path, directory: Path) -> Path:
    """Install the wheel and nothing else; return the program's path."""
    venv.create(directory, with_pip=False, symlinks=True)
    run(uv(), "pip", "install", "--quiet", "--no-deps", "--python", directory / "bin" / "python", wheel)
    packages = sysconfig.get_path("purelib", vars={"base": str(directory), "platbase": str(directory)})
    (Path(packages) / "lent.pth").write_text(sysconfig.get_path("purelib"))
    return directory / "bin" / "notifier"


def carried(wheel: Path) -> dict[str, bytes]:
    with ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name.startswith("notifier/")}


@pytest.mark.unmeasured
async def test_the_program_works_from_a_wheel(daemons: Start, tmp_path: Path) -> None:
    """It has every file of the package; commands, presets, the tables of a new database, and the page work."""
    wheel = build(tmp_path / "dist")
    files = [path for path in (ROOT / "notifier").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert carried(wheel) == {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in files}
    program = str(install(wheel, tmp_path / "venv"))
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    async def said(*arguments: str) -> Finished:
        done = await command(*arguments, python=[program], cwd=tmp_path, env=alone)
        assert done.code == 0, done.err
        return done

    assert (await said("--version")).out == f"notifier {__version__}\n"
    listed = {line.split()[0] for line in (await said("preset", "list")).out.splitlines()[1:]}
    assert listed == {path.stem for path in PRESETS.glob("*.yaml")}
    daemon = daemons(config(upstream="http://127.0.0.1:9", endpoints={}), python=[program])
    daemon.env = alone
    assert "1 source" in (await said("check", "-c", str(daemon.file))).out
    await daemon.start()
    assert (await daemon.get("/readyz"))[0] == 200
    for path in PAGE.iterdir():
        if path.suffix in (".js", ".css", ".svg"):
            assert (await daemon.get(f"/static/{path.name}")) == (200, path.read_text(encoding="utf-8"))
    assert (await daemon.get("/"))[0] == 200
    assert await daemon.stop() == 0

"""The Debian package: what it brings, what its installation does, and that the program works where it was put.

It is installed into an empty directory, whose scripts run outside of it with `DPKG_ROOT` (dpkg(1)). `make test-systemd`
installs it into a Debian that is booted.
"""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from helper_programs import require
from uv_program import ROOT, uv

from notifier import __version__

CONFIG = """\
sources: {s: {preset: vidu, token: t}}
endpoints:
  a: {type: apprise, url: "json://127.0.0.1/"}
  b: {type: webhook, url: "https://example.com/", secrets: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw}
store: {url: "postgresql://u:p@127.0.0.1/n"}
queues: [{url: "redis://127.0.0.1"}, {url: "nats://127.0.0.1"}, {url: "amqp://127.0.0.1"}]
archive: {to: "s3://bucket/results", s3: {access_key: a, secret_key: s}}
tracing: {url: "http://127.0.0.1:4318/v1/traces"}
"""


def said(*arguments: str | Path, **more: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | more
    environment |= {"PYTHONPYCACHEPREFIX": f"{ROOT}/build/bytecode"}  # that of the build
    done = subprocess.run([*map(str, arguments)], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, f"{arguments}:\n{done.stdout}{done.stderr}"
    return done.stdout


def dpkg(root: Path, *arguments: str | Path) -> None:
    (root / "var/lib/dpkg/info").mkdir(parents=True, exist_ok=True)
    (root / "var/lib/dpkg/updates").mkdir(exist_ok=True)
    (root / "var/lib/dpkg/status").touch()
    forced = ("script-chrootless", "depends", "not-root", "unsafe-io")
    said("dpkg", f"--root={root}", "--log=/dev/null", *(f"--force-{name}" for name in forced), *arguments)


def locked() -> dict[str, str]:
    """Return the versions of uv.lock."""
    listed = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    return {package["name"]: package.get("version", __version__) for package in listed}


def installed(root: Path) -> dict[str, str]:
    """Return the packages below /opt/notifier, and their versions."""
    (packages,) = root.glob("opt/notifier/lib/python3.*/site-packages")
    told = [path.name.removesuffix(".dist-info").split("-") for path in packages.glob("*.dist-info")]
    return {re.sub(r"[._]+", "-", name).lower(): version for name, version in told}


@pytest.mark.slow
def test_the_package_installs_a_program_that_works(tmp_path: Path) -> None:
    require("dpkg-deb")
    require("systemd-analyze")  # its package has systemd-sysusers
    built = said(
        *(sys.executable, ROOT / "deploy/deb/build.py", "--quick", "--uv", uv()),
        *("--build", tmp_path / "stage", "--out", tmp_path),
    )
    package, root = Path(built.strip()), tmp_path / "root"
    control = said("dpkg-deb", "--field", package)
    minor = int(said("/usr/bin/python3", "-c", "import sys; print(sys.version_info[1])"))
    assert f"Version: {__version__}-1\n" in control
    assert f"python3 (>= 3.{minor}), python3 (<< 3.{minor + 1}~)" in control
    dpkg(root, "--install", package)
    the_program_is_whole(root, tmp_path)
    the_service_is_ready_to_be_enabled(root)
    nothing_tells_where_it_was_built(root, tmp_path / "stage")
    an_installation_keeps_what_the_owner_wrote(root, package)


def the_program_is_whole(root: Path, place: Path) -> None:
    program = root / "opt/notifier/bin/notifier"
    assert said(program, "--version") == f"notifier {__version__}\n"
    assert os.readlink(root / "usr/bin/notifier") == "/opt/notifier/bin/notifier"
    assert set(installed(root).items()) <= set(locked().items())
    variables = {"VIDU_TOKEN": "t", "APP_WEBHOOK_SECRET": said(program, "secret", "new").strip()}
    assert "1 source" in said(program, "check", "-c", root / "etc/notifier/config.yaml", **variables)
    (place / "every-extra.yaml").write_text(CONFIG)
    said(program, "check", "-c", place / "every-extra.yaml")  # a library that is missing is an error
    for page in ("man1/notifier.1.gz", "man5/notifier.yaml.5.gz"):
        text = gzip.decompress((root / "usr/share/man" / page).read_bytes()).decode()
        assert text.startswith(".TH NOTIFIER")
    for path in ("bash-completion/completions/notifier", "zsh/vendor-completions/_notifier"):
        assert "_NOTIFIER_COMPLETE=complete_" in (root / "usr/share" / path).read_text()


def the_service_is_ready_to_be_enabled(root: Path) -> None:
    for unit in (ROOT / "systemd").iterdir():
        brought = root / "usr/lib/systemd/system" / unit.name
        assert brought.read_bytes() == unit.read_bytes()
        for started in re.findall(r"^Exec\w+=(\S+)", unit.read_text(), re.MULTILINE):
            assert (root / started.lstrip("/")).exists()
    assert not (root / "etc/systemd").exists()  # nothing is enabled
    assert re.search(r"^notifier:[^:]*:\d+:\d+:notifier:/var/lib/notifier:", (root / "etc/passwd").read_text(), re.M)
    assert (root / "etc/notifier/environment").stat().st_mode & 0o777 == 0o600
    assert (root / "etc/notifier/config.yaml").stat().st_mode & 0o777 == 0o644


def nothing_tells_where_it_was_built(root: Path, stage: Path) -> None:
    places = [os.fsencode(stage), os.fsencode(ROOT)]
    found = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(found) > 1000
    assert [path for path in found if any(place in path.read_bytes() for place in places)] == []


def an_installation_keeps_what_the_owner_wrote(root: Path, package: Path) -> None:
    """An upgrade keeps configuration and secrets; a purge leaves nothing that the package made."""
    written = {root / "etc/notifier" / name: f"# {name}\n" for name in ("config.yaml", "environment")}
    for path, text in written.items():
        path.write_text(text)
    dpkg(root, "--install", package)
    assert {path: path.read_text() for path in written} == written
    dpkg(root, "--purge", "notifier")
    left = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    kept = ("etc/passwd", "etc/group", "etc/shadow", "etc/gshadow", "etc/.pwd.lock", "var/lib/dpkg/")
    assert {path for path in left if not path.startswith(kept)} == set()

"""Programs of the system that tests run, and the Debian packages that bring them: their one list.

As a script it installs those that are missing, where it may: as root, with apt. `make test` calls it, and
`make test-systemd` with `--boot`. It needs nothing but Python's own library.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable

PACKAGES = {
    "chromium": "chromium",
    "dpkg-deb": "dpkg",
    "epmd": "erlang-base",  # RabbitMQ's name service
    "faketime": "faketime",
    "go": "golang-go",
    "nats-server": "nats-server",
    "node": "nodejs",
    "openssl": "openssl",
    "postgres": "postgresql",
    "promtool": "prometheus",
    "rabbitmq-server": "rabbitmq-server",
    "redis-server": "redis-server",
    "systemd-analyze": "systemd",
}
# Those of `make test-systemd` alone.
TO_BOOT = {"buildah": "buildah", "debootstrap": "debootstrap", "systemd-nspawn": "systemd-container"}
# Where Debian keeps programs that are not on everybody's PATH; of several versions the newest comes first.
PLACES = ("/usr/lib/rabbitmq/bin", *(f"/usr/lib/postgresql/{version}/bin" for version in range(30, 9, -1)))
SYSTEM = "/usr/sbin"


def find(program: str) -> str | None:
    """Return the path of a program, or None where it is not installed."""
    return shutil.which(program, path=os.pathsep.join((*PLACES, os.environ.get("PATH", os.defpath), SYSTEM)))


def missing(programs: Iterable[str] = PACKAGES) -> list[str]:
    """Return the programs that are not installed."""
    return [program for program in programs if find(program) is None]


def command(programs: list[str]) -> str:
    """Return the command that installs programs."""
    packages = {(PACKAGES | TO_BOOT)[name] for name in programs}
    return f"apt-get install --no-install-recommends {' '.join(sorted(packages))}"


def require(program: str) -> str:
    """Return the path of a program, or skip the test."""
    import pytest

    path = find(program)
    if path is None:
        pytest.skip(f"{program} is missing: {command([program])}")
    return path


def real_clock() -> dict[str, str]:
    """Return the environment without faketime: a server that a test starts keeps the real clock, as shared ones do."""
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD" and "FAKETIME" not in name}


def install(wanted: Iterable[str]) -> None:
    """Install the missing programs as root with apt; do nothing where that cannot be. A failure ends nothing."""
    programs = missing(wanted)
    if not programs or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    print(f"Installing {', '.join(programs)}", flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    update = ["apt-get", "update", "-qq"]
    # Each by itself: a package that this system does not have keeps none of the others away.
    for arguments in (update, *([*command([program]).split(), "-y", "-qq"] for program in programs)):
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(f"{' '.join(arguments)} failed: {done.stderr.strip()[-500:]}", file=sys.stderr)


if __name__ == "__main__":
    install(TO_BOOT if sys.argv[1:] == ["--boot"] else PACKAGES)

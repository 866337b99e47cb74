"""A small Debian of this machine's release, kept under .cache/ for the next run."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
# What the notifier package depends on, and a system to boot.
PACKAGES = ("ca-certificates", "dbus", "libstdc++6", "python3", "systemd", "systemd-sysv")


def said(*arguments: str | Path, **more: str) -> str:
    """Run a program; return what it printed. Raises AssertionError with all of that where it fails."""
    done = subprocess.run(
        [*map(str, arguments)], capture_output=True, text=True, check=False, env={**os.environ, **more}
    )
    assert done.returncode == 0, f"{arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def debian_root() -> Path:
    """Return its directory; the first call makes it with debootstrap, which takes minutes."""
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    root = ROOT / ".cache" / f"debian-{release}"
    if not root.exists():
        draft = root.with_name(f"{root.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.parent.mkdir(exist_ok=True)
        include = f"--include={','.join(PACKAGES)}"
        said("debootstrap", "--variant=minbase", include, release, draft, mirror(release))
        shutil.rmtree(draft / "var/cache/apt/archives")
        draft.rename(root)
    return root


def mirror(release: str) -> str:
    """Return the mirror that this machine's apt takes the release from."""
    listed = said(
        "apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", f"Codename: {release}"
    )  # fmt: skip
    assert listed, f"apt has no source for {release}: apt-get update"
    return listed.splitlines()[0]

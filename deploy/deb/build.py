"""Build the Debian package: the program and its locked packages under /opt/notifier, and what a service needs.

It is built on the Debian release that it is for, with that release's own Python, on which it depends. The locked
packages come along, with all extras: with pip nobody could add one of the locked version later. Everything is made anew
under build/; the package goes to dist/, and its path is printed.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PYTHON = "/usr/bin/python3"
HOME = Path("opt/notifier")
PAGES = ("README.md", "CHANGELOG.md", "SECURITY.md", "docs", "config.example.yaml")
COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/notifier",
    "zsh": "usr/share/zsh/vendor-completions/_notifier",
    "fish": "usr/share/fish/vendor_completions.d/notifier.fish",
}
SCRIPTS = ("prerm", "postinst", "postrm")
CONFFILES = ("/etc/notifier/config.yaml",)
BESIDE = {"PYTHONPYCACHEPREFIX": str(ROOT / "build" / "bytecode")}  # of programs that are run to build it
CONTROL = """\
Package: notifier
Version: {version}
Architecture: {architecture}
Maintainer: {maintainer}
Installed-Size: {size}
Depends: python3 (>= {python}), python3 (<< {next_python}~), libc6 (>= 2.28), libstdc++6, ca-certificates, systemd
Suggests: postgresql, prometheus
Section: net
Priority: optional
Description: follows generation tasks and sends a signed webhook on every change
 Generation services report a task's progress over a stream that has to be held
 open, or at a status URL that has to be polled. This daemon does both for any
 number of tasks, and POSTs a signed webhook whenever a task changes state. It
 survives dropped streams, dead receivers and kill -9, and loses nothing.
 .
 The service is neither enabled nor started by the installation.
"""


def main() -> None:
    """Build it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--uv", default="uv", help="the path of uv")
    options.add_argument("--revision", default="1", help="the package's revision: 0.1.0-REVISION")
    options.add_argument("--maintainer", default=os.environ.get("DEBEMAIL", "notifier maintainers <root@localhost>"))
    options.add_argument("--build", type=Path, default=ROOT / "build" / "deb")
    options.add_argument("--out", type=Path, default=ROOT / "dist")
    options.add_argument("--quick", action="store_true", help="no bytecode, and hardly compressed: for tests")
    chosen = options.parse_args()
    stage: Path = chosen.build.absolute()
    shutil.rmtree(stage, ignore_errors=True)
    install_program(stage, chosen.uv)
    if not chosen.quick:
        compile_program(stage)
    program = stage / HOME / "bin" / "notifier"
    version = f"{said(program, '--version').split()[1]}-{chosen.revision}"
    install_service(stage, program)
    install_documents(stage, program)
    print(pack(stage, version, chosen.maintainer, chosen.out, level=1 if chosen.quick else 9))


def said(*arguments: str | Path, **more: str) -> str:
    """Run a program; return what it printed."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [*map(str, arguments)], env=environment | BESIDE | more, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def install_program(stage: Path, uv: str) -> None:
    """Make the environment: what uv.lock says, and nothing that tells where it was built."""
    home = stage / HOME
    settings = {"UV_PYTHON": PYTHON, "UV_PYTHON_DOWNLOADS": "never", "UV_PROJECT_ENVIRONMENT": str(home)}
    settings |= {"UV_LINK_MODE": "copy", "UV_COMPILE_BYTECODE": "0"}
    said(uv, "venv", "--quiet", "--relocatable", home, **settings)
    said(uv, "sync", "--quiet", "--frozen", "--no-editable", "--no-default-groups", "--all-extras", **settings)
    for path in (home / "bin").iterdir():
        if not path.name.startswith("python") and path.name != "notifier":
            path.unlink()
    for path in home.glob("lib/python*/site-packages/notifier-*.dist-info/*.json"):
        path.unlink()  # where it was installed from
    for path in (home / ".gitignore", home / ".lock", home / "CACHEDIR.TAG"):
        path.unlink(missing_ok=True)
    for path in sorted(home.rglob("__pycache__")):
        shutil.rmtree(path)


def compile_program(stage: Path) -> None:
    """Add bytecode, as the service cannot write there. It holds whatever the dates of the files are."""
    compiling = ("-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash")
    said(PYTHON, *compiling, "-s", stage, "-p", "/", stage / HOME / "lib", PYTHONPYCACHEPREFIX="")


def install_service(stage: Path, program: Path) -> None:
    """Add the units, the user, and a short configuration."""
    for unit in sorted((ROOT / "systemd").iterdir()):
        put(stage / "usr/lib/systemd/system" / unit.name, unit.read_bytes())
    put(stage / "usr/lib/sysusers.d/notifier.conf", (HERE / "sysusers.conf").read_bytes())
    (stage / "etc/notifier/watches.d").mkdir(parents=True)
    example = ("--preset", "vidu", "--url", "https://example.com/hooks/tasks", "--no-slack")
    said(program, "init", "-c", stage / "etc/notifier/config.yaml", *example)
    (stage / "usr/bin").mkdir(parents=True)
    (stage / "usr/bin/notifier").symlink_to("/" / HOME / "bin" / "notifier")


def install_documents(stage: Path, program: Path) -> None:
    """Add the manual, the documents, and what completes commands in shells."""
    said(stage / HOME / "bin" / "python", ROOT / "deploy" / "man_pages.py", stage / "man")
    for page in sorted((stage / "man").iterdir()):
        put(stage / f"usr/share/man/man{page.name[-1]}" / f"{page.name}.gz", zipped(page.read_bytes()))
    shutil.rmtree(stage / "man")
    for shell, path in COMPLETIONS.items():
        put(stage / path, said(program, _NOTIFIER_COMPLETE=f"source_{shell}").encode())
    place = stage / "usr/share/doc/notifier"
    for name in PAGES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place / name)
        else:
            put(place / name, (ROOT / name).read_bytes())
    put(place / "changelog.gz", zipped((ROOT / "CHANGELOG.md").read_bytes()))
    put(place / "copyright", (ROOT / "LICENSE").read_bytes())


def zipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def put(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def pack(stage: Path, version: str, maintainer: str, out: Path, *, level: int) -> Path:
    """Write the control files; return the package."""
    settle_modes(stage)
    sums = "".join(f"{hashlib.md5(path.read_bytes()).hexdigest()}  {name}\n" for name, path in files(stage))
    size = sum(path.stat().st_size for _, path in files(stage)) // 1024
    architecture = said("dpkg", "--print-architecture").strip()
    minor = said(PYTHON, "-c", "import sys; print(sys.version_info[1])").strip()
    control = CONTROL.format(
        version=version, architecture=architecture, maintainer=maintainer, size=size,
        python=f"3.{minor}", next_python=f"3.{int(minor) + 1}",
    )  # fmt: skip
    put(stage / "DEBIAN/md5sums", sums.encode())
    put(stage / "DEBIAN/control", control.encode())
    put(stage / "DEBIAN/conffiles", "".join(f"{name}\n" for name in CONFFILES).encode())
    for script in SCRIPTS:
        put(stage / "DEBIAN" / script, (HERE / script).read_bytes(), 0o755)
    out.mkdir(parents=True, exist_ok=True)
    package = out / f"notifier_{version}_{architecture}.deb"
    said("dpkg-deb", "--root-owner-group", "-Zzstd", f"-z{level}", "--build", stage, package)
    return package


def files(stage: Path) -> Iterator[tuple[str, Path]]:
    """List what the package installs, by the names of the target."""
    for path in sorted(stage.rglob("*")):
        if path.is_file() and not path.is_symlink() and "DEBIAN" not in path.relative_to(stage).parts[:1]:
            yield path.relative_to(stage).as_posix(), path


def settle_modes(stage: Path) -> None:
    """Let nothing depend on the umask of who builds."""
    stage.chmod(0o755)
    for path in stage.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


if __name__ == "__main__":
    main()

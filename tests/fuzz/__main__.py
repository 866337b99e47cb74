"""Runs the targets under atheris: `python -m fuzz --seconds 60 [TARGET ...]`, each as a process of its own.

What is found is printed with its bytes, and kept in the working folder as `crash-...`; in the corpus it is a test.
Inputs that reach new code are not added to the corpus by themselves.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import structlog

from fuzz.targets import TARGETS

CORPUS = Path(__file__).with_name("corpus")
SHM = Path("/dev/shm")  # where there is one: opening a file on a disk takes longer than reading a configuration
LONGEST = 4096  # bytes of an input


def run(name: str, seconds: int) -> None:
    """Fuzz one target in this process; atheris ends it."""
    import atheris

    for module in ("core", "runtime.http1", "inputs.message", "config", "web.requests", "web.body", "sources"):
        prefix = f"notifier.{module}"
        for loaded in [known for known in sys.modules if known == prefix or known.startswith(f"{prefix}.")]:
            _instrument(atheris, loaded)
    # A snapshot of a state that nobody knows is logged once by each preset: writing that took most of the time.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    target = TARGETS[name]
    with tempfile.TemporaryDirectory(prefix="notifier-fuzz-") as found:
        options = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=20", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *options, found, str(CORPUS / name)], target)
        atheris.Fuzz()


def _instrument(atheris: object, module: str) -> None:
    """Have atheris see the branches of every function of a module."""
    for value in list(vars(sys.modules[module]).values()):
        functions = [value] if callable(value) else []
        if isinstance(value, type):
            functions = [each for each in vars(value).values() if callable(each)]
        for function in functions:
            if getattr(function, "__module__", None) == module and hasattr(function, "__code__"):
                function.__code__ = atheris.instrument_func(function).__code__  # type: ignore[attr-defined]


def main() -> int:
    """Fuzz each target in turn; return 1 if anything was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", default=list(TARGETS))
    given = parser.parse_args()
    if given.here:
        run(given.targets[0], given.seconds)
        return 0
    failed = []
    with tempfile.TemporaryDirectory(prefix="notifier-fuzz-", dir=SHM if SHM.is_dir() else None) as place:
        env = os.environ | {"TMPDIR": place}
        for name in given.targets:
            print(f"== {name}", flush=True)
            command = [sys.executable, "-m", "fuzz", "--here", "--seconds", str(given.seconds), name]
            if subprocess.run(command, env=env).returncode:
                failed.append(name)
    print(f"{len(given.targets)} targets, {given.seconds} s each: {', '.join(failed) or 'nothing'} found")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

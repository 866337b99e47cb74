"""One booted machine for all tests, with the package installed; each test has the service to itself."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from debian_root import ROOT, debian_root, said
from machine import PLACE, Machine, booted
from service import Service
from uv_program import uv


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with two versions of the package: `1.deb`, and `2.deb` to upgrade to.

    NOTIFIER_TEST_DEB may name one that is built already.
    """
    work, out = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("packages")
    built = os.environ.get("NOTIFIER_TEST_DEB") or said(
        *(sys.executable, ROOT / "deploy/deb/build.py", "--uv", uv(), "--build", work / "stage", "--out", work)
    )
    shutil.copy(built.strip(), out / "1.deb")
    said("dpkg-deb", "--raw-extract", out / "1.deb", work / "again")
    control = work / "again" / "DEBIAN" / "control"
    control.write_text(control.read_text().replace("-1\n", "-2\n", 1))
    said("dpkg-deb", "--root-owner-group", "-Znone", "--build", work / "again", out / "2.deb")
    shutil.rmtree(work)
    return out


@pytest.fixture(scope="session")
def machine(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Boot it, and install the package."""
    with booted(debian_root(), packages, tmp_path_factory.mktemp("console") / "log") as made:
        made.run("dpkg", "--force-unsafe-io", "--install", f"{PLACE}/1.deb")
        yield made


@pytest.fixture
def service(machine: Machine) -> Iterator[Service]:
    """Return the service, configured and not started; upstream and receiver are up."""
    made = Service(machine)
    made.configure()
    made.begin_upstream()
    made.begin_receiver()
    yield made
    made.clear()

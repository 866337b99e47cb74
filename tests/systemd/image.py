"""The container image, built by buildah from a base that is made of the small Debian: it asks no registry of images."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

from debian_root import ROOT, debian_root, said

CONTAINER = ROOT / "deploy" / "container"


class Images:
    """Images and containers in a store of the test's own."""

    def __init__(self, store: Path) -> None:
        self._store = store

    def buildah(self, *arguments: str | Path) -> str:
        """Run buildah; return what it printed."""
        places = (f"--root={self._store}/root", f"--runroot={self._store}/run")
        return said("buildah", *places, *arguments, BUILDAH_ISOLATION="chroot").strip()

    def build(self) -> str:
        """Return the name of the image."""
        base, image = "localhost/base", "localhost/notifier"
        made = self.buildah("from", "scratch")
        self.buildah("copy", "--quiet", made, debian_root(), "/")
        install = "apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv >/dev/null"
        self.buildah("run", "--network=host", made, "--", "sh", "-c", install)
        # This machine's authorities may be others than those that packages bring.
        trusted = Path(os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or "")
        self.buildah("copy", "--quiet", made, trusted, "/authorities.pem")
        self.buildah("config", "--env=SSL_CERT_FILE=/authorities.pem", "--env=PIP_CERT=/authorities.pem", made)
        self.buildah("commit", "--quiet", made, base)
        self.buildah("rm", made)
        files = (f"--file={CONTAINER / 'Dockerfile'}", f"--ignorefile={CONTAINER / 'Dockerfile.dockerignore'}")
        options = ("--format=docker", "--network=host", f"--build-arg=BASE={base}", f"--tag={image}")
        self.buildah("build", "--quiet", *options, *files, ROOT)
        return image

    @contextlib.contextmanager
    def mounted(self, image: str) -> Iterator[Path]:
        """Mount a container of an image; return its root."""
        made = self.buildah("from", image)
        try:
            yield Path(self.buildah("mount", made))
        finally:
            self.buildah("umount", made)
            self.buildah("rm", made)

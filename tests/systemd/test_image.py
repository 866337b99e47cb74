"""The container image: it is built, and runs without root on a root that is read-only."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from image import Images
from machine import Machine, first_process, forget, until

CONFIG = """\
sources: {vidu: {preset: vidu, token: t}}
endpoints: {app: {type: webhook, url: "https://example.com/", secrets: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw}}
http: {listen: "0.0.0.0:8780", token: t}
"""
NAME = "notifier-image-test"
STATE = "/var/lib/notifier"


def test_the_image_runs_without_root_on_a_read_only_root(tmp_path: Path) -> None:
    """It becomes ready, its health check says so, it writes to its state alone, and SIGTERM ends it in order."""
    images = Images(tmp_path / "store")
    image = images.build()
    made = json.loads(images.buildah("inspect", "--type=image", image))["Docker"]["config"]
    assert (made["User"], made["Entrypoint"], made["Cmd"]) == ("10001:10001", ["notifier"], ["run"])
    with images.mounted(image) as root, (tmp_path / "log").open("wb") as log:
        (root / "etc/notifier/config.yaml").write_text(CONFIG)
        places = [
            f"--directory={root}",
            "--read-only",
            f"--tmpfs={STATE}:mode=0700,uid=10001,gid=10001",
            "--tmpfs=/tmp",
        ]
        limits = ["--user=notifier", "--drop-capability=all", "--no-new-privileges=yes", "--private-network"]
        quiet = [
            f"--machine={NAME}",
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--console=pipe",
            "--kill-signal=SIGTERM",
        ]
        variables = [f"--setenv={variable}" for variable in made["Env"]]
        program = [*made["Entrypoint"], *made["Cmd"]]
        command = ["systemd-nspawn", *places, *limits, *quiet, *variables, f"--chdir={made['WorkingDir']}", *program]
        nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            machine = Machine(first_process(nspawn, tmp_path / "log", "notifier"))
            check = ["env", *made["Env"], *made["Healthcheck"]["Test"][1:]]
            until(lambda: machine.tried(*check).returncode == 0, "a health check that says 0")
            assert machine.tried(*check).stdout.startswith("ready")
            status = Path(f"/proc/{machine.leader}/status").read_text()
            assert "Uid:\t10001\t10001\t10001\t10001" in status
            assert "CapEff:\t0000000000000000" in status
            assert machine.tried("touch", "/opt/notifier/x").stderr.endswith("Read-only file system\n")
            assert machine.run("ls", STATE).split()[0] == "notifier.db"
        finally:
            nspawn.terminate()
            nspawn.wait()
            forget(NAME)
    assert '"event":"daemon.stopped"' in (tmp_path / "log").read_text()
    assert nspawn.returncode == 0

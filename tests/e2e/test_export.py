"""`notifier export` writes watches of the API and of queues, so that another configuration follows the same tasks."""

from __future__ import annotations

import json

from daemon_process import SECRET, Start, config
from polled_upstream import PolledUpstream, state

from notifier.config import load

SERVICE = {
    "url": "{base_url}/{kind}/{id}",
    "transport": "poll",
    "paths": {"state": "status"},
    "states": {"running": ["busy"], "succeeded": ["ok"]},
    "variables": {"kind": "jobs"},
}
PLAIN = {"id": "1", "source": "vidu"}
FULL = {
    "id": "2",
    "source": "vidu",
    "endpoints": [],
    "labels": {"team": "ü\x7f\x85\u2028\ufeff\ufffe\uffff: #- ${HOME}", "007": "\U0001f600"},
    "metadata": {"order": [7, None, "1e5", "no"], "${HOME}": {"<<": "$${HOME}", "=": [1e22, 1e-7, -0.0, 10**25, True]}},
    "variables": {"kind": "images/x"},
    "traceparent": f"00-{'a' * 32}-{'1' * 16}-01",
}


async def test_open_watches_are_written_as_a_watch_file(daemons: Start) -> None:
    """With everything that describes them, oldest first; those of files and those that ended are left out."""
    async with PolledUpstream() as upstream:
        upstream.script("ended", state("ok"))
        settings = config(
            upstream=upstream.url,
            endpoints={},
            watches=["of-a-file"],
            presets={"my-service": SERVICE},
            vidu={"preset": "my-service"},
            callbacks={"secret": SECRET, "allow_networks": ["127.0.0.0/8"], "allow_http": True},
        )
        daemon = daemons(settings)
        await daemon.start()
        own = {"id": "3", "callback_url": "http://127.0.0.1:9/t0ken"}
        assert (await daemon.post("/v1/watches", ["ended", PLAIN, FULL, own]))[0] == 201
        await daemon.get("/v1/watches/vidu/ended/wait?timeout=60")
        done = await daemon.run("export", "-c", str(daemon.file))
        assert done.code == 0
        assert "t0ken" not in done.out
        assert "1 of 3 have a callback URL of their own" in done.err

        (daemon.directory / "exported.yaml").write_text(done.out, encoding="utf-8")
        other = daemon.directory / "other.yaml"
        other.write_text(json.dumps(settings | {"watches": [], "watch_files": ["exported.yaml"]}), encoding="utf-8")
        first, second, third = [watch.to_new_watch() for watch in load(other).watches]
        assert (first.id, second.id, third.id) == ("1", "2", "3")
        assert (second.labels, second.metadata) == (FULL["labels"], FULL["metadata"])
        assert (second.variables, second.endpoints) == (FULL["variables"], ())
        assert (second.traceparent, first.traceparent) == (FULL["traceparent"], None)
        assert (first.endpoints, dict(first.variables)) == (None, {})
        told = await daemon.run("export", "--label", "007:x", "--json", "-c", str(daemon.file))
        assert told.code == 2
        none = await daemon.run("export", "--label", "team=nobody", "-c", str(daemon.file))
        assert none.out == "[]\n"
        wrong = await daemon.run("export", "--source", "vdu", "-c", str(daemon.file))
        assert (wrong.code, wrong.lines) == (1, ["notifier: there is no source vdu; there is only vidu"])
        assert await daemon.stop() == 0

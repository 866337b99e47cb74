"""The daemon logs what `notifier check` warns of: all at the start, and at a reload those that are new."""

from __future__ import annotations

from daemon_process import Daemon, Start, config, webhook


def said(daemon: Daemon) -> list[str]:
    """Return the warnings so far, without their places."""
    return [each["warning"].split(": ", 1)[1] for each in daemon.log.events("config.warning")]


async def test_warnings_are_logged_once(daemons: Start) -> None:
    """As the command prints them, with their places."""
    nowhere = "http://127.0.0.1:9"
    deaf = webhook(nowhere, match={"labels": {"team": "video"}})
    settings = config(upstream=nowhere, endpoints={"app": deaf}, watches=["1", "2"]) | {"watch_files": ["w.d/*.yaml"]}
    daemon = daemons(settings)
    await daemon.start()
    unheard = "watches[0]: no endpoint receives the events of this watch (and 1 more in this file)"
    unmatched = "watch_files[0]: matches no file"
    assert said(daemon) == [unmatched, unheard]
    checked = await daemon.run("check", "-c", str(daemon.file))
    logged = [f"warning: {each['warning']}" for each in daemon.log.events("config.warning")]
    assert [line.removeprefix("notifier: ") for line in checked.lines] == logged

    assert await daemon.post("/v1/reload")
    assert said(daemon) == [unmatched, unheard], "nothing is new"
    daemon.write(settings | {"watch_files": ["w.d/*.yaml", "x.d/*.yaml"]})
    status, answer = await daemon.post("/v1/reload")
    assert status == 200
    [warning] = answer["warnings"]
    assert warning.endswith(": watch_files[1]: matches no file")
    await daemon.log.wait("reload.done", 2)
    assert said(daemon)[2:] == ["watch_files[1]: matches no file"]
    assert await daemon.stop() == 0

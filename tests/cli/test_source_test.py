"""`notifier source test`: each raw message beside what it is read as, and every fault of an upstream in words."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from polled_upstream import Answer, PolledUpstream, state

from notifier import config as configuration
from notifier.cli.look_report import LookReport
from notifier.daemon.adapters import source_settings, trust
from notifier.sources import preset as presets
from notifier.sources.plan import Plan
from notifier.sources.probe import Look, look
from notifier.tools.preset_speech import speech_of
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import parse_spec

TOKEN = "sk-never/shown+1"
POLLED: dict[str, Any] = {
    "preset": "generic",
    "transport": "poll",
    "url": "{base_url}/jobs/{id}?key={token}",
    "paths": {"state": "status", "error_message": "reason", "result": "files"},
    "states": {"running": ["busy"], "succeeded": ["ok"], "failed": ["bad"]},
}


def written(path: Path, source: Mapping[str, Any]) -> Path:
    """Write a configuration with one source."""
    path = path / "config.yaml"
    path.write_text(yaml.safe_dump({"sources": {"mine": {"token": TOKEN, **source}}}))
    return path


async def seen(tmp_path: Path, source: Mapping[str, Any], id_: str = "1") -> tuple[Look, LookReport, str]:
    """Look once, as the command does; return what it prints, too."""
    loaded = configuration.load(written(tmp_path, source)).sources["mine"]
    plan = Plan.create("mine", source_settings(loaded, trust(loaded)), user_agent="test")
    brought = await look(plan, id_, listen=None, longest=5.0)
    report = LookReport("mine", loaded, plan, brought)
    text = "\n".join(report.lines())
    assert TOKEN not in text
    assert "sk-never%2Fshown%2B1" not in text
    assert TOKEN not in json.dumps(report.as_json())
    return brought, report, text


async def test_a_poll_is_printed_beside_what_it_maps_to(tmp_path: Path) -> None:
    async with PolledUpstream() as upstream:
        upstream.script("1", state("bad", reason="out of credits", echoed=TOKEN))
        brought, report, text = await seen(tmp_path, {**POLLED, "base_url": upstream.url})
    assert "GET " + upstream.url + "/jobs/1?key=<secret>: 200 after" in text
    assert '"echoed": "<secret>"' in text
    assert '    phase failed, state "bad"\n    error {"code": null, "message": "out of credits"}' in text
    assert len(brought.observations) == 1
    assert report.as_json()["messages"][0]["observed"]["phase"] == "failed"


async def test_a_state_in_no_list_comes_with_the_yaml_that_lists_it(tmp_path: Path) -> None:
    """What is printed, merged into the configuration, lists the state and keeps those that were listed."""
    async with PolledUpstream() as upstream:
        upstream.script("1", state("rendering: 2"))
        source = {**POLLED, "base_url": upstream.url}
        _, report, text = await seen(tmp_path, source)
        added = yaml.safe_load(text[text.index("  sources:") :])
        states = {**POLLED["states"], **added["sources"]["mine"]["states"]}
        _, better, _ = await seen(tmp_path, {**source, "states": states})
    assert report.as_json()["unknown_states"] == ["rendering: 2"]
    assert "rendering: 2 is in no list, so it counts as running" in text
    assert states["running"] == ["busy", "rendering: 2"]
    assert better.as_json()["unknown_states"] == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            Answer(status=401, body={"message": f"no {TOKEN}"}),
            "it was sent in the header Auth",
        ),
        (Answer(status=403, body={}), "check the source's token"),
        (Answer(status=404, body={"error": "no such job"}), "lost after not_found_grace, here 60 s"),
        (Answer(status=422, body={}), "the upstream refuses the request: check the id"),
        (Answer(body=b"<!doctype html><h1>Log in</h1>"), "a web page is no API"),
        (Answer(body=b""), "the upstream answers with an empty body"),
        (Answer(status=204), "there is nothing to read"),
        (Answer(status=503, body={"message": "later"}), "the upstream cannot answer now"),
        (Answer(body=[]), "the snapshot has no state where the preset says"),
        (Answer(body=b"{'state': 1}"), "the snapshot is not JSON"),
        (
            Answer(status=302, headers={"Location": "//elsewhere.invalid/login"}),
            "cannot be resolved; redirected to",
        ),
        (
            Answer(body={"code": 0, "data": {"job": {"status": "ok", "n": [1]}}}),
            "there is no state at `status`; these look like one: data.job.status (ok); set paths.state",
        ),
    ],
)
async def test_an_answer_without_a_state_is_said_in_words(tmp_path: Path, answer: Answer, said: str) -> None:
    async with PolledUpstream() as upstream:
        upstream.script("1", answer)
        brought, report, text = await seen(tmp_path, {**POLLED, "base_url": upstream.url})
    assert said in text
    assert not brought.observations
    assert report.as_json()["error"] is not None


async def test_an_upstream_that_cannot_be_reached_is_said_and_a_missing_token_too(tmp_path: Path) -> None:
    async with PolledUpstream() as upstream:
        base_url = upstream.url
        upstream.script("1", Answer(status=401))
        source = {**POLLED, "url": "{base_url}/jobs/{id}", "base_url": base_url, "token": None}
        assert "the source has no token: set `token`" in (await seen(tmp_path, source))[2]
    text = (await seen(tmp_path, {**POLLED, "base_url": base_url}))[2]
    assert ": no reply after" in text
    assert "cannot connect: " in text
    assert "whether this machine reaches it" in text


async def test_a_stream_is_read_to_its_first_snapshot(tmp_path: Path) -> None:
    """What comes before and carries no state is shown, too; what is silent is waited for a while only."""
    async with Simulator(transcript=parse_spec("queueing,success"), interval=3600) as sim:
        sim.fault("1", "garbage@0")
        source = {"preset": "vidu", "base_url": sim.base_url}
        brought, _, text = await seen(tmp_path, source)
        assert [message.observation is not None for message in brought.messages][-1]
        assert len(brought.observations) == 1
        assert "{not json\n    the snapshot is not JSON" in text
        assert text.rstrip().endswith('    phase queued, state "queueing"')
        sim.fault("2", "comments")
        loaded = configuration.load(written(tmp_path, source)).sources["mine"]
        plan = Plan.create("mine", source_settings(loaded, trust(loaded)), user_agent="test")
        silent = await look(plan, "2", listen=None, longest=0.05)
    assert (silent.status, silent.messages, silent.ended, silent.error) == (200, (), False, None)
    assert "no message within 0 s" in "\n".join(LookReport("mine", loaded, plan, silent).lines())


async def test_a_stream_can_be_read_to_its_end(tmp_path: Path) -> None:
    async with Simulator() as sim:
        loaded = configuration.load(written(tmp_path, {"preset": "vidu", "base_url": sim.base_url})).sources["mine"]
        plan = Plan.create("mine", source_settings(loaded, trust(loaded)), user_agent="test")
        whole = await look(plan, "1", listen=60.0, longest=1.0)
        refused = await look(plan, "unknown-1", listen=None, longest=1.0)
    assert (len(whole.messages), whole.ended) == (32, True)
    assert refused.status == 404
    assert "check the id" in "\n".join(LookReport("mine", loaded, plan, refused).lines())


async def test_the_result_and_the_progress_of_a_stream_are_shown(tmp_path: Path) -> None:
    """The result takes a request after the success, though an event follows; progress comes by events of its own."""
    for name, told in (("hedra-stream", "event done: "), ("comfy-stream", "carries no state; progress 0.42")):
        speech = speech_of(name, presets.load(name))
        async with Simulator(speech=speech, framing=speech.framing) as sim:
            path = written(tmp_path, {"preset": name, "base_url": sim.base_url})
            loaded = configuration.load(path).sources["mine"]
            plan = Plan.create("mine", source_settings(loaded, trust(loaded)), user_agent="test")
            whole = await look(plan, "1", listen=60.0, longest=1.0)
        assert whole.observations[-1].urls == ("https://example.com/results/1.mp4",)
        assert told in "\n".join(LookReport("mine", loaded, plan, whole).lines())


@pytest.mark.parametrize(
    ("name", "fault", "said"),
    [
        ("fal-stream", "501#1", "the source's twin is polled then"),
        ("fal", "", "https://example.com/results/1.mp4"),
        ("minimax", "404#2", "result_error"),
    ],
)
async def test_a_twin_a_result_and_a_variable_are_asked_for(tmp_path: Path, name: str, fault: str, said: str) -> None:
    """As the daemon would: by a poll where there is no stream, and by a second request after success."""
    speech = speech_of(name, presets.load(name))
    async with Simulator(speech=speech, transcript=speech.load("succeeded"), token=TOKEN) as sim:
        if fault:
            sim.fault("1", fault)
        path = written(tmp_path, {"preset": name, "base_url": sim.base_url})
        given = ["--variable", "owner=fal-ai", "--variable", "app=flux"] if "fal" in name else []
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "notifier", "source", "test", "mine", "1", *given, "-c", str(path)),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "NO_COLOR": "1"},
        )
        output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    assert said in output
    assert "phase succeeded" in output
    assert TOKEN not in output


async def test_a_variable_that_is_missing_is_asked_for(tmp_path: Path) -> None:
    _, _, text = await seen(tmp_path, {"preset": "fal", "base_url": "http://127.0.0.1:1"})
    assert "--variable NAME=VALUE" in text


@pytest.mark.parametrize(("id_", "code", "said"), [("1", 0, "phase succeeded"), ("unknown-1", 1, "check the id")])
async def test_the_command_exits_by_what_it_read(tmp_path: Path, id_: str, code: int, said: str) -> None:
    """0 with a state, 1 without one; 2 for a wrong option; 1 for a source that is not configured, with the others."""
    async with Simulator(transcript=parse_spec("success")) as sim:
        path = written(tmp_path, {"preset": "vidu", "base_url": sim.base_url})
        for name, arguments, exits in (
            ("mine", [id_], code),
            ("mine", [id_, "--json"], code),
            ("yours", [id_], 1),
            ("mine", [id_, "--for", "soon"], 2),
        ):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "notifier", "source", "test", name, *arguments, "-c", str(path)),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, "NO_COLOR": "1"},
            )
            output, errors = await process.communicate()
            assert process.returncode == exits, errors
            assert "Traceback" not in errors.decode()
            if "--json" in arguments:
                assert json.loads(output)["source"] == "mine"
            elif name == "yours" or "--for" in arguments:
                assert "there is no source yours" in errors.decode() or "--for" in errors.decode()
            else:
                assert said in output.decode()

"""`notifier simulate --preset`: what it prints works as printed, by curl's request and by a whole daemon."""

from __future__ import annotations

import re
import shlex
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from daemon_rig import serving
from typer.testing import CliRunner
from waits import until

from notifier import config as configuration
from notifier.cli import app
from notifier.core.model import TERMINAL, Phase
from notifier.core.signing import new_secret
from notifier.sources import preset as presets
from notifier.sources.preset import Preset
from notifier.tools.callback import ReceivedCallback
from notifier.tools.listener import Listener
from notifier.tools.preset_body import RESULT, decoded, scalar
from notifier.tools.preset_route import naming_variable
from notifier.tools.preset_speech import PresetSpeech, speech_of
from notifier.tools.simulator import Simulator

SECRET = new_secret(bytes(range(32)))
OWN = {
    "url": "{base_url}/jobs/{id}",
    "transport": "poll",
    "paths": {"state": "status", "error_message": "reason"},
    "states": {"running": ["busy"], "succeeded": ["ok"], "failed": ["bad"]},
}


@pytest.mark.parametrize("name", ["runway", "fal", "hedra-stream", "newapi-video", "stability", "kling"])
async def test_the_introduction_works_as_printed(tmp_path: Path, name: str) -> None:
    """Its request is answered with the first state, and its configuration is valid and without warnings."""
    speech = speech_of(name, presets.load(name))
    async with Simulator(speech=speech, framing=speech.framing, token="t0ken", keep_open=True) as sim:
        text = speech.introduction(sim.base_url, "t0ken")
        [line] = re.findall(r"^  (curl .*)$", text, re.MULTILINE)
        words = shlex.split(line)
        headers = dict(word.split(": ", 1) for flag, word in pairwise(words) if flag == "-H")
        async with aiohttp.ClientSession() as session, session.get(words[-1], headers=headers) as reply:
            assert reply.status in (200, 202)
            first = await reply.content.readany()
        state = next(step.state for step in map(decoded, speech.load("documented").snapshots) if step)
        assert state.encode() in first or reply.status == 202
        path = tmp_path / "config.yaml"
        path.write_text(text[text.index("  sources:") :])
        review = configuration.review(path)
        assert len(review.config.watches) == 3
        assert not [str(problem) for problem in review.warnings if "interval" in str(problem)]


def test_a_preset_of_ones_own_can_be_simulated(tmp_path: Path) -> None:
    """Also one without an example: the body follows from its paths."""
    speech = speech_of("mine", Preset.model_validate(OWN))
    assert speech.reply("7", speech.say("running")).body == b'{"status":"busy"}'
    failed = speech.reply("7", speech.failing("").snapshots[-1]).body
    assert b'"status":"bad"' in failed
    assert b"simulated" in failed


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"paths": {"state": "length(items)"}}, "cannot be simulated"),
        ({"states": {"running": ["busy"]}}, "no state of success"),
        ({"failure_if_present": ["status"]}, "busy is read as failed"),
    ],
)
def test_a_preset_that_cannot_be_spoken_is_refused_with_the_reason(changed: dict[str, Any], reason: str) -> None:
    """Before anything listens: it would otherwise say something else than it means."""
    with pytest.raises(ValueError, match=reason):
        PresetSpeech("mine", Preset.model_validate({**OWN, **changed}))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--preset", "runwya"], "there is no preset runwya"),
        (
            ["--preset", "runway", "--fail", "x=SUCCEEDED"],
            "no failure of the preset runway; there are: FAILED",
        ),
        (["--preset", "stability", "--transcript", "running,busy"], "HTTP statuses, which 'busy' is none of"),
        (["--preset", "stability", "--transcript", "202,999"], "HTTP statuses, which '999' is none of"),
        (["--fail", "x=success"], "there are failed, canceled"),
        (["--preset", "ideogram", "--transcript", "running"], "has no state that is running"),
    ],
)
def test_wrong_options_are_usage_errors(arguments: list[str], reason: str) -> None:
    result = CliRunner().invoke(app, ["simulate", *arguments])
    assert result.exit_code == 2
    assert reason in result.stderr


def test_states_are_written_as_providers_write_them() -> None:
    """Presets hold numbers and booleans as text; a word of digits with a zero before them is a word."""
    written = [scalar(state) for state in ("7", "0", "true", "false", "00", "007", "-1", "1234567890", "busy", "")]
    assert written == [7, 0, True, False, "00", "007", "-1", "1234567890", "busy", ""]


def test_a_state_beside_the_status_is_answered_with_that_status() -> None:
    """Of stability: a failure that is told beside success comes with 200, one of the statuses with itself."""
    speech = speech_of("stability", presets.load("stability"))
    for state, status in (("400", 400), ("403", 403), ("failure_if_present", 200), ("running", 202), ("299", 299)):
        assert speech.reply("1", speech.say(state)).status == status


async def test_all_presets_at_once_through_a_whole_daemon(tmp_path: Path) -> None:
    """Each provider's task that succeeds and one that fails end in their callbacks, with error and result.

    The daemon has every built-in preset as a source, and everything is real but the providers.
    """
    names, got = presets.names(), dict[tuple[str, str], list[ReceivedCallback]]()

    def take(callback: ReceivedCallback) -> None:
        got.setdefault((callback.source or "", callback.watch or ""), []).append(callback)

    speeches = {name: speech_of(name, presets.load(name)) for name in names}
    due = sum(2 if speech.failures else 1 for speech in speeches.values())
    async with AsyncExitStack() as stack:
        ears = await stack.enter_async_context(Listener(secrets=[SECRET], on_callback=take))
        sims: dict[str, Simulator] = {}
        for name, speech in speeches.items():
            sims[name] = await stack.enter_async_context(Simulator(speech=speech, framing=speech.framing))
            if speech.failures:
                sims[name].course("*bad", speech.failing(""))
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(_configuration(tmp_path, speeches, sims, ears.url)))
        async with serving(path):
            await until(lambda: sum(map(_ended, got.values())) == due)
    for name, speech in speeches.items():
        for (source, id_), callbacks in got.items():
            if source == name:
                _check(speech, id_, callbacks)


def _configuration(
    tmp_path: Path, speeches: dict[str, PresetSpeech], sims: dict[str, Simulator], url: str
) -> dict[str, Any]:
    sources: dict[str, Any] = {}
    watches: list[dict[str, Any]] = []
    for name, speech in speeches.items():
        missing = {key: "x" for key, value in speech.preset.variables.items() if value is None}
        sources[name] = {"preset": name, "base_url": sims[name].base_url, "token": "t0k", "variables": missing}
        if speech.preset.transport == "poll":
            sources[name]["poll"] = {"interval": "50ms", "max_interval": "50ms"}
        named = naming_variable(speech.preset, speech.preset.url)
        missing.pop(named or "", None)
        watches += [
            {"id": id_, "source": name, "variables": {} if named is None else {named: id_}}
            for id_ in (("good", "bad") if speech.failures else ("good",))
        ]
    return {
        "sources": sources,
        "endpoints": {"app": {"type": "webhook", "url": url, "secrets": [SECRET]}},
        "watches": watches,
        "store": {"url": f"sqlite:///{tmp_path}/n.db"},
        "http": {"listen": "127.0.0.1:0"},
    }


def _ended(callbacks: list[ReceivedCallback]) -> bool:
    return any(callback.phase in TERMINAL for callback in callbacks)


def _check(speech: PresetSpeech, id_: str, callbacks: list[ReceivedCallback]) -> None:
    last = callbacks[-1]
    assert all(callback.verified for callback in callbacks)
    assert [callback.sequence for callback in callbacks] == list(range(1, len(callbacks) + 1))
    assert [callback.phase in TERMINAL for callback in callbacks] == [False] * (len(callbacks) - 1) + [True]
    data = last.payload["data"]
    preset = speech.preset
    if id_ == "bad":
        assert last.phase in (Phase.FAILED, Phase.CANCELED)
        assert data["result"] is None
        told = preset.paths.error_code or preset.paths.error_message
        assert (data["error"] is not None) or not told
    else:
        assert (last.phase, data["error"]) == (Phase.SUCCEEDED, None)
        if preset.paths.result is not None or preset.result_request is not None:
            assert data["result"]["urls"] == [RESULT.format(id=id_)]

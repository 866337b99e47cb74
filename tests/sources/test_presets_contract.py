"""Every built-in preset against what is known of its provider (`providers.json`, with the sources of each entry)."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jmespath
import pytest

from notifier.core.errors import SourceError, Unreadable
from notifier.core.eventstream import Decoder
from notifier.core.model import TERMINAL, Observation, Phase
from notifier.sources import preset as presets
from notifier.sources.snapshot import SnapshotReader

PROVIDERS: dict[str, dict[str, Any]] = {
    entry["name"]: entry for entry in json.loads((Path(__file__).parent / "providers.json").read_text(encoding="utf-8"))
}
NO_TASK = {"gpt4oimage"}  # answers at once
BY_OTHER_MEANS = {"stability", "replicate-stream"}  # the status, or the event's name, is the state
POLLED = sorted(
    name for name, entry in PROVIDERS.items() if entry["transport"] == "poll" and name not in BY_OTHER_MEANS
)
STREAMED = sorted(
    name for name, entry in PROVIDERS.items() if entry["transport"] == "sse" and name not in BY_OTHER_MEANS
)
NOT_FOUND = {"Task not found"}  # FLUX lists it among the states
WRONG: tuple[Any, ...] = (None, {}, [], 7.5, "something", True, "DELETED")


def reader(name: str) -> SnapshotReader:
    return SnapshotReader(source="test", preset=presets.load(name), now=lambda: 1_780_000_000.0)


def own_id(name: str, body: Any) -> str:
    """Return the id of the task that a body is about, or any."""
    path = presets.load(name).paths.task_id
    return str(jmespath.search(path, body)) if path else "1"


def read(name: str, body: Any, status: int = 200, task_id: str | None = None) -> Observation:
    found = reader(name).read_reply(
        json.dumps(body).encode(), status, own_id(name, body) if task_id is None else task_id
    )
    assert found is not None
    return found


def state_path(name: str, body: Any) -> list[str | int]:
    """Return where the state stands in a body."""
    for candidate in PROVIDERS[name]["state_path"].split("||"):
        if jmespath.search(candidate.strip(), body) is not None:
            names = candidate.strip().replace("[0]", ".0").split(".")
            return [int(part) if part.isdigit() else part for part in names]
    raise AssertionError(f"{name} has no state in its example")


def replaced(body: Any, path: list[str | int], value: Any) -> Any:
    """Return a body with another value at a place."""
    body = copy.deepcopy(body)
    place = body
    for part in path[:-1]:
        place = place[part]
    if value == "DELETED" and isinstance(place, dict):
        place.pop(path[-1], None)
    else:
        place[path[-1]] = value
    return body


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[list[str | int]]:
    """List every place of a body."""
    items: list[tuple[Any, Any]] = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, item in items:
        yield [*path, key]
        yield from places(item, (*path, key))


def test_every_provider_has_a_preset() -> None:
    assert set(PROVIDERS) - NO_TASK == set(presets.names()) - {"generic"}


def test_every_preset_has_a_title_and_the_doubtful_ones_say_so() -> None:
    loaded = {name: presets.load(name) for name in PROVIDERS.keys() - NO_TASK}
    assert all(preset.title for name, preset in loaded.items() if name != "vidu")
    low = {name for name in loaded if PROVIDERS[name]["confidence"].startswith("low")}
    assert low <= {name for name, preset in loaded.items() if preset.experimental}
    assert all(loaded[name].transport == PROVIDERS[name]["transport"] for name in loaded)
    assert all(preset.poll.interval >= (preset.poll.floor or 0) for preset in loaded.values())


@pytest.mark.parametrize("name", POLLED)
def test_the_example_maps_to_its_phase(name: str) -> None:
    entry = PROVIDERS[name]
    body = entry["example_body"]
    state = jmespath.search(entry["state_path"], body)
    observation = read(name, body)
    if state in entry["success"]:
        assert observation.phase is Phase.SUCCEEDED
        assert observation.error is None
    elif state in entry["failure"]:
        assert observation.phase in (Phase.FAILED, Phase.CANCELED)
        assert observation.error is not None
        assert not observation.urls
    else:
        assert observation.phase not in TERMINAL
    if "http" in json.dumps(jmespath.search(entry["result_path"] or "null", body)):
        assert observation.urls
        assert all(url.startswith("http") for url in observation.urls)


@pytest.mark.parametrize("name", POLLED)
def test_every_state_maps_to_its_phase(name: str) -> None:
    entry = PROVIDERS[name]
    body = entry["example_body"]
    at = state_path(name, body)
    kinds: list[tuple[str, Any]] = [
        (kind, state) for kind in ("pending", "success", "failure") for state in entry[kind] or [] if state is not None
    ]
    for kind, state in kinds:
        if state == "" or state in NOT_FOUND:
            continue
        phase = read(name, replaced(body, at, state)).phase
        expected = {"success": {Phase.SUCCEEDED}, "failure": {Phase.FAILED, Phase.CANCELED}}
        assert phase in expected.get(kind, set(Phase) - TERMINAL), (kind, state)


@pytest.mark.parametrize("name", POLLED)
def test_no_mutation_of_a_task_in_work_ends_it(name: str) -> None:
    """Missing, null and of the wrong type, at any place; only an error that the preset names may."""
    entry, preset = PROVIDERS[name], presets.load(name)
    pending = next(state for state in entry["pending"] if state not in (None, "", *NOT_FOUND))
    body = replaced(entry["example_body"], state_path(name, entry["example_body"]), pending)
    task_id = own_id(name, body)
    for place in places(body):
        for wrong in WRONG:
            mutant = replaced(body, place, wrong)
            if any(jmespath.search(path, mutant) for path in preset.failure_if_present):
                continue
            if place == state_path(name, body) and wrong is True:
                continue  # a state of veo
            try:
                observation = read(name, mutant, task_id=task_id)
            except SourceError:
                continue
            assert observation.phase not in TERMINAL, (place, wrong)


@pytest.mark.parametrize("name", POLLED)
def test_what_says_nothing_of_the_task_ends_nothing(name: str) -> None:
    bodies: tuple[Any, ...] = (
        [],
        {},
        None,
        "SUCCESS",
        1,
        [[]],
        {"error": None},
        {"code": 401, "message": "no"},
        {"data": None},
    )
    for body in bodies:
        try:
            observation = reader(name).read_reply(json.dumps(body).encode(), 200, "1")
        except SourceError:
            continue
        assert observation is None or observation.phase not in TERMINAL, body


@pytest.mark.parametrize("name", [name for name in POLLED if presets.load(name).paths.task_id])
def test_a_reply_about_another_task_is_no_observation(name: str) -> None:
    with pytest.raises(Unreadable, match="another task"):
        read(name, PROVIDERS[name]["example_body"], task_id="another")


@pytest.mark.parametrize("name", STREAMED)
def test_the_example_of_a_stream_ends_as_its_last_state_says(name: str) -> None:
    entry, preset = PROVIDERS[name], presets.load(name)
    one = reader(name)
    decoder = Decoder(framing=preset.framing)
    events = [*decoder.feed(entry["example_body"].encode()), *decoder.finish()]
    phases: list[Phase] = []
    for event in events:
        if one.ends(event):
            break
        if (observation := one.read_event(event)) is not None:
            phases.append(observation.phase)
    assert phases[-1] is (Phase.RUNNING if name == "vidu-web" else Phase.SUCCEEDED)
    assert not TERMINAL & set(phases[:-1])


def test_the_status_can_be_the_state() -> None:
    assert read("stability", {"id": "1", "status": "in-progress"}, 202, "1").phase is Phase.RUNNING
    done = read("stability", {"id": "1", "result": "https://example.com/v.mp4"}, 200, "1")
    assert (done.phase, done.urls) == (Phase.SUCCEEDED, ("https://example.com/v.mp4",))
    refused = read("stability", {"name": "content_moderation", "errors": ["flagged"]}, 403, "1")
    assert (refused.phase, refused.error and refused.error.code) == (Phase.FAILED, "content_moderation")
    assert reader("stability").read_reply(b"", 500, "1") is None


@pytest.mark.parametrize(
    ("name", "status", "body"),
    [
        ("newapi-video", 400, b'{"code":"task_not_exist","message":"task_not_exist","data":null}'),
        ("suno", 400, b'{"code":"task_not_exist"}'),
        ("midjourney", 200, b""),
        ("midjourney", 204, b""),
        ("midjourney", 400, b'{"description":"task_no_found ","type":"upstream_error","code":4}'),
        ("vidu-task", 500, b'{"error":{"message":"task 1 not found"}}'),
        ("flux", 200, b'{"id":"1","status":"Task not found","result":null}'),
    ],
)
def test_not_found_is_data_too(name: str, status: int, body: bytes) -> None:
    with pytest.raises(SourceError) as caught:
        reader(name).read_reply(body, status, "1")
    assert caught.value.kind == "not_found"


def test_an_envelope_error_is_one_of_the_question_with_the_providers_words() -> None:
    with pytest.raises(Unreadable, match="1002 rate limit"):
        read("minimax", {"base_resp": {"status_code": 1002, "status_msg": "rate limit"}}, task_id="1")


def test_an_error_path_counts_only_in_a_failure_and_a_result_only_without_one() -> None:
    body: dict[str, Any] = {
        "code": "success",
        "data": {"task_id": "1", "status": "SUCCESS", "fail_reason": "https://example.com/v.mp4"},
    }
    done = read("newapi-video", body)
    assert (done.error, done.urls) == (None, ("https://example.com/v.mp4",))
    body["data"].update(status="FAILURE", fail_reason="moderated")
    failed = read("newapi-video", body)
    assert (failed.error and failed.error.message, failed.urls) == ("moderated", ())


def test_progress_and_times_left() -> None:
    """Two counts are a share; an absolute time becomes seconds."""
    assert read("openai-batch", PROVIDERS["openai-batch"]["example_body"]).progress == 0.4
    body = PROVIDERS["hedra"]["example_body"] | {"estimated_completion_at": "2026-05-28T20:27:30Z"}
    assert read("hedra", body).eta_seconds == 1_780_000_050 - 1_780_000_000
    assert read("midjourney", PROVIDERS["midjourney"]["example_body"]).progress == 100


def test_json_inside_a_string_and_the_lifetime_of_urls() -> None:
    assert read("kie", PROVIDERS["kie"]["example_body"]).urls == ("https://example.com/generated-content.jpg",)
    assert read("flux", PROVIDERS["flux"]["example_body"]).urls_lifetime == 600


def test_a_preview_or_an_address_to_come_is_no_result() -> None:
    """Nor are the media themselves, which are too long for a URL."""
    body = PROVIDERS["midjourney"]["example_body"] | {"status": "IN_PROGRESS", "progress": "45%"}
    assert read("midjourney", body).urls == ()
    assert read("fal", PROVIDERS["fal"]["example_body"] | {"status": "IN_PROGRESS"}).urls == ()
    assert read("stability", {"id": "1", "result": "QUJD" * 10_000}, 200, "1").urls == ()


def test_a_video_that_was_filtered_out_is_a_failure_with_the_reason() -> None:
    """Also where the provider has no state for it."""
    filtered = {"raiMediaFilteredCount": 1, "raiMediaFilteredReasons": ["violates the policy"]}
    veo = read("veo", {"name": "1", "done": True, "response": {"generateVideoResponse": filtered}}, task_id="1")
    assert (veo.phase, veo.error and veo.error.message) == (Phase.FAILED, "violates the policy")
    body = PROVIDERS["xai-video"]["example_body"]
    assert read("xai-video", replaced(body, ["video", "respect_moderation"], False)).phase is Phase.FAILED


def test_words_beside_an_error_that_is_none_are_no_error() -> None:
    """MiniMax says `success` of the request even where the task has failed."""
    body = PROVIDERS["minimax"]["example_body"] | {"status": "Fail"}
    assert read("minimax", body).error is None
    body["base_resp"] = {"status_code": 1027, "status_msg": "output sensitive"}
    failed = read("minimax", body).error
    assert failed is not None
    assert (failed.code, failed.message) == ("1027", "output sensitive")


def test_details_may_be_a_text_or_an_object() -> None:
    body = PROVIDERS["flux"]["example_body"]
    for details, message in (("nsfw", "nsfw"), ({"reasons": ["nsfw"]}, '{"reasons":["nsfw"]}'), (None, None)):
        error = read("flux", body | {"status": "Content Moderated", "details": details}).error
        assert (error and error.message) == message


def test_a_status_may_be_empty_at_first_but_a_body_without_one_is_about_no_task() -> None:
    body = PROVIDERS["midjourney"]["example_body"]
    assert read("midjourney", body | {"status": ""}).phase is Phase.QUEUED
    with pytest.raises(Unreadable):
        read("midjourney", {"code": 4, "description": "no"}, task_id="1")


def test_older_forms_of_gateways_are_read_too() -> None:
    old = {"task": {"status": "SUCCEEDED", "progressRatio": "1", "artifacts": [{"url": "https://example.com/v.mp4"}]}}
    done = read("runway-gateway", old)
    assert (done.phase, done.progress, done.urls) == (Phase.SUCCEEDED, 1, ("https://example.com/v.mp4",))


def test_stated_rate_limits_and_lifetimes_are_kept() -> None:
    """Those that `providers.json` gives as numbers."""
    limits = {name: presets.load(name).poll.rate_limit for name in ("dashscope", "ideogram", "replicate")}
    assert limits == {"dashscope": 20, "ideogram": 100, "replicate": 50}
    hours = {name: (presets.load(name).result_lifetime or 0) / 3600 for name in ("dashscope", "replicate", "heygen-v1")}
    assert hours == {"dashscope": 24, "replicate": 1, "heygen-v1": 168}


# Where a preset differs from `providers.json` in its URL or its states, and why.
OTHER_URLS = {
    "luma-gateway": "the path is a variable, since gateways have two",
    "runway-gateway": "the path is a variable, since gateways have two",
    "openai-response-stream": "the cursor is added by `cursor`",
    "replicate-stream": "the stream's URL cannot be derived: its path is the id",
}
OTHER_STATES = {
    "flux": {"Task not found"},  # a rule of `not_found`
    "flux-gptgod": {"Error", "Failed", "Request Moderated", "Content Moderated"},  # as the vendor has them
    "midjourney": {""},  # read as submitted
    "replicate-stream": {"event:done", "event:error", "done", "error"},  # the events' names
    "stability": {"404"},  # not found
    "veo": {"null"},  # read as false
}


@pytest.mark.parametrize("name", sorted(PROVIDERS.keys() - NO_TASK))
def test_the_preset_asks_as_the_facts_say(name: str) -> None:
    """URL, headers, interval and states, but for the differences that have a reason."""
    entry, preset = PROVIDERS[name], presets.load(name)
    url = preset.url.replace("{base_url}", preset.base_url or "{base}").replace("{+id}", "{id}")
    assert (url == entry["url"]) is (name not in OTHER_URLS)
    said = {key: value for key, value in entry["headers"].items() if key not in ("Last-Event-ID", "Accept")}
    sent = {key: value for key, value in preset.headers.items() if key != "Accept"}
    placeholders = {"{token_or_jwt}": "{token}", "{uuid4}": "{uuid}"}
    for written, ours in placeholders.items():
        said = {key: value.replace(written, ours) for key, value in said.items()}
    assert sent == said
    assert preset.poll.interval == entry.get("poll_interval_s", preset.poll.interval)
    known = [*entry["pending"], *entry["success"], *entry["failure"]]
    listed = {state for states in preset.states.values() for state in states}
    stated = {state if isinstance(state, str) else json.dumps(state) for state in known}
    assert listed ^ stated == OTHER_STATES.get(name, set())

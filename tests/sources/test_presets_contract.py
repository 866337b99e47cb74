"""Every built-in preset against what is known of its provider (`providers.json`, with the sources of each entry)."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import jmespath
import pytest

from notifier.core.errors import SourceError, Unreadable
from notifier.core.eventstream import Decoder, StreamEvent
from notifier.core.model import TERMINAL, Observation, Phase
from notifier.sources import preset as presets
from notifier.sources.snapshot import Aside, SnapshotReader
from notifier.tools.inverse import put

PROVIDERS: dict[str, dict[str, Any]] = {
    entry["name"]: entry for entry in json.loads((Path(__file__).parent / "providers.json").read_text(encoding="utf-8"))
}
NO_TASK = {"gpt4oimage"}  # answers at once
BY_STATUS = {"stability": 202}  # the status of the reply is the state: that of the example
POLLED = sorted(name for name, entry in PROVIDERS.items() if entry["transport"] == "poll" and name not in BY_STATUS)
STREAMED = sorted(name for name, entry in PROVIDERS.items() if entry["transport"] == "sse")
NOT_FOUND = {"Task not found"}  # FLUX lists it among the states
NOW = 1_780_000_000.0
WRONG: tuple[Any, ...] = (None, {}, [], 7.5, "something", True, "DELETED")


def reader(name: str) -> SnapshotReader:
    return SnapshotReader(source="test", preset=presets.load(name), now=lambda: NOW)


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
    check_values(name, body, observation)


def found(path: str | None, body: Any) -> Any:
    """Return what one of the facts' paths finds; nothing where there is none."""
    return None if path is None else jmespath.search(path, body)


def links(value: Any) -> list[str]:
    """List the URLs in a value, also those in JSON inside a text."""
    if isinstance(value, str) and value.startswith("{"):
        value = json.loads(value)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [link for item in value for link in links(item)]
    return [value] if isinstance(value, str) and value.startswith("http") else []


def check_values(name: str, body: Any, observation: Observation) -> None:
    """Compare progress, time left, error and result with what the facts' own paths find in a body."""
    entry = PROVIDERS[name]
    progress, eta = found(entry["progress_path"], body), found(entry["eta_path"], body)
    if progress is not None:
        assert observation.progress == float(str(progress).removesuffix("%"))
    if isinstance(eta, str):
        eta = datetime.fromisoformat(eta).timestamp() - NOW
    assert name in OTHER_VALUES or observation.eta_seconds == (eta or None)
    if observation.phase in (Phase.FAILED, Phase.CANCELED):
        code, message = (found(entry["error_paths"].get(key), body) or None for key in ("code", "message"))
        assert observation.error is not None
        assert (observation.error.code, observation.error.message) == (code and str(code), message)
    if observation.phase is Phase.SUCCEEDED and name not in OTHER_VALUES:
        assert links(list(observation.urls)) == links(found(entry["result_path"], body))


# Where a preset reads another place than `providers.json` names, and why.
OTHER_VALUES = {
    "fal": "by a second request: the URL of the answer is no result",
    "fal-stream": "by a second request: the URL of the answer is no result",
    "pika": "by a second request: the URL of the answer is no result",
    "minimax": "by a second request, with the file's id",
    "openai-response": "the output is no URL",
    "openai-response-stream": "the output is no URL",
    "openai-batch": "a file's id is no URL",
    "openai-finetune": "a model's name is no URL; a time left is told, too",
    "runway-workflow": "the output is a mapping of lists",
    "kie": "the result is JSON in a text",
    "vidu-web": "the waiting time that the facts name is in minutes",
}


def with_words(name: str, body: Any, word: str) -> Any:
    """Return a body in which each place that the facts name for an error holds a word, and the place itself."""
    for key in ("code", "message"):
        if (path := PROVIDERS[name]["error_paths"].get(key)) is not None:
            body = put(path, body, f"{word} {key}")
    return body


@pytest.mark.parametrize("name", POLLED)
def test_what_stands_where_the_facts_say_is_read(name: str) -> None:
    """Progress of a task in work, the result of one that succeeded, and code and message of one that failed."""
    entry, example = PROVIDERS[name], PROVIDERS[name]["example_body"]
    at, link = state_path(name, example), "https://example.com/told.mp4"
    pending = next(state for state in reversed(entry["pending"]) if state not in (None, "", *NOT_FOUND))
    if entry["progress_path"] is not None:
        share = found(entry["progress_path"], example)
        share = "45%" if isinstance(share, str) else 0.45
        body = put(entry["progress_path"], replaced(example, at, pending), share)
        assert read(name, body).progress == (45 if share == "45%" else 0.45)
    if entry["result_path"] is not None and name not in OTHER_VALUES:
        body = put(entry["result_path"], replaced(example, at, entry["success"][0]), link)
        assert read(name, body).urls == (link,)
    if not entry["failure"]:
        return
    body = with_words(name, replaced(example, at, entry["failure"][0]), "told")
    failed = read(name, body)
    code, message = (f"told {key}" if key in entry["error_paths"] else None for key in ("code", "message"))
    if code or message:
        assert failed.error is not None
        assert (failed.error.code, failed.error.message) in ((code, message), (code, failed.error.message))
        assert message is None or failed.error.message == message
    assert failed.urls == ()


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
    if name == "xai-video":
        del body["video"]  # which means success where there is no state
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


@pytest.mark.parametrize("name", [name for name in STREAMED if presets.load(name).paths.task_id])
def test_an_event_about_another_task_is_no_observation(name: str) -> None:
    preset, one = presets.load(name), reader(name)
    decoder = Decoder(framing=preset.framing)
    events = [*decoder.feed(PROVIDERS[name]["example_body"].encode()), *decoder.finish()]
    states = [event for event in events if isinstance(one.read_event(event), Observation)]
    own = jmespath.search(preset.paths.task_id or "", json.loads(states[0].data))
    assert own
    assert all(isinstance(one.read_event(event, own), Observation) for event in states)
    for event in states:
        with pytest.raises(Unreadable, match="another task"):
            one.read_event(event, "another")


def test_a_preset_that_is_not_held_to_an_id_says_why() -> None:
    loaded = {name: presets.load(name) for name in PROVIDERS.keys() - NO_TASK}
    held = {name for name, preset in loaded.items() if preset.paths.task_id is not None or name in BY_STATUS}
    assert {name for name, preset in loaded.items() if preset.about.no_task_id} == loaded.keys() - held


@pytest.mark.parametrize("name", STREAMED)
def test_the_example_of_a_stream_ends_as_its_last_state_says(name: str) -> None:
    entry, preset = PROVIDERS[name], presets.load(name)
    one = reader(name)
    decoder = Decoder(framing=preset.framing)
    events = [*decoder.feed(entry["example_body"].encode()), *decoder.finish()]
    seen: list[tuple[Any, Observation]] = []
    asides: list[float] = []
    for event in events:
        if event.type == one.end_event:
            break
        told = one.read_event(event)
        if isinstance(told, Aside):
            asides.append(told.progress)
        elif told is not None:
            seen.append((json.loads(event.data), told))
    assert seen[-1][1].phase is (Phase.RUNNING if name == "vidu-web" else Phase.SUCCEEDED)
    assert not TERMINAL & {observation.phase for _, observation in seen[:-1]}
    for body, observation in seen:
        check_values(name, body, observation)
    assert asides == ([0.42] if name == "comfy-stream" else [])


def test_the_status_can_be_the_state() -> None:
    for status, phase in ((202, Phase.RUNNING), (200, Phase.SUCCEEDED), (400, Phase.FAILED)):
        assert read("stability", PROVIDERS["stability"]["example_body"], status).phase is phase
    filtered = read("stability", {"id": "1", "result": "QUJD", "finish_reason": "CONTENT_FILTERED"}, 200, "1")
    assert (filtered.phase, filtered.urls) == (Phase.FAILED, ())
    assert filtered.error is not None
    assert filtered.error.code == "CONTENT_FILTERED"
    done = read("stability", {"id": "1", "result": "https://example.com/v.mp4"}, 200, "1")
    assert (done.phase, done.urls) == (Phase.SUCCEEDED, ("https://example.com/v.mp4",))
    refused = read("stability", {"name": "content_moderation", "errors": ["flagged"]}, 403, "1")
    assert (refused.phase, refused.error and refused.error.code) == (Phase.FAILED, "content_moderation")
    assert all(reader("stability").read_reply(b"", status, "1") is None for status in (201, 204, 404, 500))


def test_a_status_may_stand_for_a_state_that_the_body_lacks() -> None:
    """xAI answers 202 with no JSON while the task is in work, and may leave the state out of what is done."""
    one = reader("xai-video")
    for body in (b"", b"accepted", b"<p>wait</p>", b"{}", b"[]"):
        waiting = one.read_reply(body, 202, "1")
        assert waiting is not None
        assert (waiting.phase, waiting.state) == (Phase.QUEUED, "pending")
        with pytest.raises(Unreadable):
            one.read_reply(body, 200, "1")
    video = {"video": {"url": "https://example.com/v.mp4", "respect_moderation": True}}
    done = read("xai-video", video, task_id="1")
    assert (done.phase, done.state, done.urls) == (Phase.SUCCEEDED, "done", ("https://example.com/v.mp4",))
    assert read("xai-video", video | {"status": "in_progress"}, 202, "1").phase is Phase.RUNNING
    assert one.read_reply(b"", 204, "1") is None
    assert one.read_reply(b"accepted", 503, "1") is None


def test_the_end_of_replicates_stream_may_be_that_of_a_canceled_prediction() -> None:
    one = reader("replicate-stream")
    for name, data, phase, state in (
        ("done", b"{}", Phase.SUCCEEDED, "done"),
        ("done", b'{"reason":"canceled"}', Phase.CANCELED, "canceled"),
        ("done", b'{"reason":"error"}', Phase.FAILED, "error"),
        ("error", b'{"detail":"out of memory"}', Phase.FAILED, "error"),
    ):
        told = one.read_event(StreamEvent(data, name, "1:0"), "1")
        assert isinstance(told, Observation)
        assert (told.phase, told.state) == (phase, state)
    assert one.read_event(StreamEvent(b"Once upon", "output", "1:0"), "1") is None


def test_the_outputs_of_a_workflow_are_those_of_all_its_nodes() -> None:
    body = {"id": "1", "status": "SUCCEEDED", "output": {"n1": ["https://h/1.mp4"], "n2": ["https://h/2.mp4"]}}
    assert read("runway-workflow", body).urls == ("https://h/1.mp4", "https://h/2.mp4")


def test_the_time_at_which_urls_expire_is_the_providers_own() -> None:
    """A Unix time of sora and of new-api, an ISO 8601 one for each output of Comfy: the earliest counts."""
    assert read("sora", PROVIDERS["sora"]["example_body"]).urls_expire == 1_759_027_985
    body = PROVIDERS["newapi-openai-video"]["example_body"]
    assert read("newapi-openai-video", body).urls_expire is None
    assert read("newapi-openai-video", body | {"expires_at": 1_780_086_400}).urls_expire == 1_780_086_400
    later, sooner = ({"url": "https://h/v", "url_expires_at": f"2026-08-1{day}T00:00:00Z"} for day in (2, 1))
    comfy = PROVIDERS["comfy"]["example_body"] | {"status": "succeeded", "outputs": [later, sooner, {"url": "x"}]}
    assert read("comfy", comfy).urls_expire == 1_786_406_400


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
    assert read("hedra", body).eta_seconds == 1_780_000_050 - NOW
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
    "replicate-stream": "the stream's URL cannot be derived: its path is a variable",
}
OTHER_STATES = {
    "flux": {"Task not found"},  # a rule of `not_found`
    "flux-gptgod": {"Error", "Failed", "Request Moderated", "Content Moderated"},  # as the vendor has them
    "midjourney": {""},  # read as submitted
    "replicate-stream": {"event:done", "event:error", "done", "error", "canceled"},  # the events' names, and a reason
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

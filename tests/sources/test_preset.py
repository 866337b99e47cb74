"""The descriptions of providers that come with the program, and what a description may say."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from notifier.core.model import Phase
from notifier.sources.preset import Preset, names, raw


@pytest.mark.parametrize("name", names())
def test_built_in_presets(name: str) -> None:
    """Each built-in preset is valid, sends its token in a header only, and knows how a task ends."""
    preset = Preset.model_validate(raw(name))
    assert (preset.headers.get("Accept") == "text/event-stream") is (preset.transport == "sse")
    assert any("{token}" in value for value in preset.headers.values())
    assert "{token}" not in preset.url
    own = [f"{{{variable}}}" for variable, value in preset.variables.items() if value is None]  # each watch has its own
    assert any(place in preset.url for place in ("{id}", "{+id}", *own))
    assert preset.states[Phase.SUCCEEDED]
    assert preset.states.get(Phase.FAILED) or preset.failure_if_present
    stated = [state for states in preset.states.values() for state in states]
    assert len(stated) == len(set(stated)), "a state has one meaning"


def test_the_documented_upstream() -> None:
    """The vidu preset has the documented address, framing and every documented state."""
    preset = Preset.model_validate(raw("vidu"))
    assert preset.base_url == "https://api.gptgod.online"
    assert preset.url == "{base_url}/vidu/v1/tasks/state?id={id}"
    assert preset.framing == "line"
    assert preset.states == {
        Phase.QUEUED: ("created", "queueing", "preparation", "scheduling"),
        Phase.RUNNING: ("processing",),
        Phase.SUCCEEDED: ("success",),
        Phase.FAILED: ("failed",),
        Phase.CANCELED: ("canceled",),
    }


def test_an_unknown_name() -> None:
    """There is no other preset."""
    with pytest.raises(KeyError):
        raw("nonesuch")


@pytest.mark.parametrize("field", ["state", "progress", "eta", "error_code", "error_message", "result"])
def test_paths_are_jmespath(field: str) -> None:
    """A path that does not compile is refused with the reason."""
    with pytest.raises(ValidationError, match="not a JMESPath expression"):
        Preset.model_validate({**raw("generic"), "paths": {field: "a[?"}})


def test_failure_paths_are_jmespath() -> None:
    """So is one of `failure_if_present`."""
    with pytest.raises(ValidationError, match="not a JMESPath expression"):
        Preset.model_validate({**raw("generic"), "failure_if_present": ["error", "]"]})

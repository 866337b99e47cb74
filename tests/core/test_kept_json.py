"""JSON that is kept as text is like its value for all who read it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from notifier.core.kept_json import KeptJson, KeptLabels


@pytest.mark.parametrize("value", [None, 5, 1.5, "x", [1, None], {"a": {"b": []}}])
def test_a_value_equals_itself(value: Any) -> None:
    """Whichever side of the comparison it stands on, and however its text is written."""
    kept = KeptJson(json.dumps(value))
    assert kept.value == value
    assert kept == value
    assert value == kept
    assert kept == KeptJson(json.dumps(value))
    assert kept == KeptJson(json.dumps(value, indent=1) + " ")
    assert kept != [value]
    assert kept != KeptJson(json.dumps([value]))
    assert repr(kept) == repr(value)


def test_labels_are_a_mapping() -> None:
    """With everything that a mapping has."""
    labels = {"team": "video", "user": "7"}
    kept = KeptLabels(json.dumps(labels))
    assert (dict(kept), dict(kept.items()), list(kept), len(kept)) == (labels, labels, list(labels), 2)
    assert (kept["team"], kept.get("user"), kept.get("none"), "team" in kept) == ("video", "7", None, True)
    assert kept == labels
    assert labels == kept
    assert kept == KeptLabels(json.dumps(labels, indent=1))
    assert kept != KeptLabels("{}")
    assert repr(kept) == repr(labels)
    with pytest.raises(KeyError):
        kept["none"]

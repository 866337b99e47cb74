"""The inputs of the fuzzers' corpus, and what fuzzing has found, without atheris: no target fails on any of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.targets import TARGETS, read_by, readers

CORPUS = Path(__file__).with_name("corpus")


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_no_input_is_too_much(name: str) -> None:
    """Each target has inputs, and none of them, whole, cut or doubled, raises what the code does not promise."""
    inputs = sorted((CORPUS / name).iterdir())
    assert len(inputs) >= 3
    for path in inputs:
        data = path.read_bytes()
        for fuzzed in (data, data[: len(data) // 2], data + data):
            TARGETS[name](fuzzed)


def test_every_preset_reads_every_snapshot_of_the_corpus() -> None:
    """The fuzzer has each input read by some of them alone."""
    for path in sorted((CORPUS / "snapshot").iterdir()):
        read_by(readers(), path.read_bytes())


def test_every_folder_of_the_corpus_has_a_target() -> None:
    """None is left behind by a target of another name."""
    assert {path.name for path in CORPUS.iterdir()} == TARGETS.keys()

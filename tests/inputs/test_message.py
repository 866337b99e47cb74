"""Reading messages: every shape, every refusal, and no digit lost."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from input_rig import CONFIG

from notifier import config as configuration
from notifier.config import Config
from notifier.config.types import MAX_ID
from notifier.core.callback import Callback
from notifier.core.model import NewWatch
from notifier.inputs import message
from notifier.inputs.message import AddWatch, Content, MessageRefused, RemoveWatch, batches, excerpt, read

URL, SECRET = "https://a.example/t0ken", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_an_entrys_own_field_names_its_trace(config: Config) -> None:
    """As plain text, beside the other fields of the watch, and before the trace of the message."""
    entry = {"id": b"1", "traceparent": TRACE.encode(), "labels": b"{}"}
    assert read(entry, config, traceparent=TRACE.replace("4bf9", "0000")) == (
        AddWatch(watch=NewWatch(source="vidu", id="1", traceparent=TRACE)),
    )


def ids(content: Content, config: Config) -> list[str]:
    """Return the ids that a message wants."""
    return [order.watch.id for order in read(content, config) if isinstance(order, AddWatch)]


@pytest.mark.parametrize(
    "body",
    ["2370487727425661", "9" * 400, "1e5", "1234e56", "-0", "1.10", "007", "NaN", "Infinity", "abc-1", "a b", "été"],
)
def test_a_bare_id_is_taken_as_it_is_written(body: str, config: Config) -> None:
    """A number is no number here, however long, and no float."""
    assert ids(f" {body}\r\n".encode(), config) == [body]
    assert ids(f"\ufeff{body}".encode(), config) == [body]


def test_numbers_inside_json_keep_every_digit(config: Config) -> None:
    """An id of digits in a mapping or a list is exact, too."""
    assert ids(b'[{"id": 2370487727425661000000000007}, 12345678901234567890]', config) == [
        "2370487727425661000000000007",
        "12345678901234567890",
    ]


@given(text=st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=MAX_ID))
def test_a_json_string_is_an_id(text: str, config: Config) -> None:
    """A JSON string stands for its text, whatever that looks like."""
    assert ids(json.dumps(text).encode(), config) == [text]


@given(body=st.binary(max_size=200))
def test_nothing_but_a_refusal_is_ever_raised(body: bytes, config: Config) -> None:
    """Whatever arrives is read or refused, and can be shown."""
    with contextlib.suppress(MessageRefused):
        read(body, config)
    assert len(excerpt(body)) <= message.EXCERPT + 3


def test_removals_name_source_and_id(config: Config) -> None:
    """One or several; the default source counts here, too."""
    assert read(b'{"remove": {"id": "1", "source": "other"}}', config) == (RemoveWatch(source="other", id="1"),)
    assert read(b'{"remove": ["1", {"id": "2"}]}', config) == (
        RemoveWatch(source="vidu", id="1"),
        RemoveWatch(source="vidu", id="2"),
    )


def test_an_entry_of_fields_is_a_watch(config: Config) -> None:
    """Of a watch's own fields, id and source are text and the others JSON; `data` holds a whole message."""
    [order] = read(
        {"id": b"007", "source": b"other", "labels": b'{"team": "video"}', "metadata": b"7", "endpoints": b'["app"]'},
        config,
    )
    assert order == AddWatch(
        watch=NewWatch(source="other", id="007", labels={"team": "video"}, metadata=7, endpoints=("app",))
    )
    assert read({"data": b"7", "traceparent": b"00-x"}, config) == (AddWatch(watch=NewWatch(source="vidu", id="7")),)
    assert read({"remove": b'{"id": "1"}'}, config) == (RemoveWatch(source="vidu", id="1"),)


def test_an_entry_has_every_key_of_a_watch_as_text_or_as_json() -> None:
    keys = set(configuration.WatchConfig.keys())
    assert keys - message.JSON_FIELDS == {"id", "source", "traceparent"}
    assert keys >= message.JSON_FIELDS


def test_a_message_carries_variables_and_a_removal_needs_none(tmp_path: Path) -> None:
    """As a mapping, or as JSON in an entry's field; a watch without those that it needs is refused as a whole."""
    path = tmp_path / "fal.yaml"
    path.write_text("sources: {fal: {preset: fal, token: t, variables: {owner: o}}}")
    config = configuration.load(path)
    watch = NewWatch(source="fal", id="1", variables={"app": "pika"})
    assert read(b'{"id": "1", "variables": {"app": "pika"}}', config) == (AddWatch(watch=watch),)
    assert read({"id": b"1", "variables": b'{"app": "pika"}'}, config) == (AddWatch(watch=watch),)
    assert read(b'{"remove": "1"}', config) == (RemoveWatch(source="fal", id="1"),)
    with pytest.raises(MessageRefused, match="the url of fal names app"):
        read(b'[{"id": "1", "variables": {"app": "pika"}}, "2"]', config)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the message is empty"),
        (b" \n", "the message is empty"),
        (b"{", "neither JSON nor a bare id"),
        (b'"half', "neither JSON nor a bare id"),
        (b"\xc3\x28", "not UTF-8"),
        (b"true", "expected text, got true"),
        (b"null", "id in quotes or a mapping"),
        (b"two\nlines", "no line breaks"),
        (b'{"id": "a", "id": "b"}', "the same key twice"),
        (b'{"id": "a", "metadata": NaN}', "NaN is not JSON"),
        (b'{"id": "a", "metadata": ' + b"9" * 5000 + b"}", "neither JSON"),
        (b'["a", ["b"]]', "[1]: "),
        (b'["a", {"id": "b", "source": "vidoo"}]', '[1]: source: '),
        (b'{"remove": {"id": "a", "labels": {}}}', "by id and source alone"),
        (b"[" * 200_000, "nested too deeply"),
        (b'"' + b"x" * message.MAX_BYTES + b'"', "larger than"),
        (json.dumps(["a"] * (message.MAX_CHANGES + 1)).encode(), "more than 5000"),
        ({"id": b"a", "labels": b"{"}, "labels: expected JSON"),
        ({"id": b"a", "metadata": b"plain text"}, "metadata: expected JSON, in which a text has quotes"),
        ({"id": b"a", "lables": b"{}"}, 'did you mean "labels"'),
        ({"id": b"a", "lables": b"plain text"}, 'did you mean "labels"'),
        ({"labels": b"{}"}, "put JSON into the field `data`, or the id into `id`; the fields are labels"),
        ({"watch": b'{"id": "a"}'}, "put JSON into the field `data`"),
        ({"remove": b""}, "remove: the message is empty"),
        ({"data": b"{"}, "neither JSON"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_is_wrong(content: Content, reason: str, config: Config) -> None:
    """In one line, naming the item of a list."""
    with pytest.raises(MessageRefused) as refused:
        read(content, config)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_steps_keep_the_order_and_are_bounded() -> None:
    """Runs of the same kind go together; the first of two equal watches counts."""
    want = [AddWatch(watch=NewWatch(source="s", id=str(n % 1500), labels={"n": str(n)})) for n in range(1600)]
    away = [RemoveWatch(source="s", id="0"), RemoveWatch(source="s", id="1")]
    found = list(batches([*want, *away, want[0]]))
    assert [(len(step.added), len(step.removed)) for step in found] == [(1000, 0), (500, 0), (0, 2), (1, 0)]
    assert [watch.labels["n"] for step in found[:2] for watch in step.added] == [str(n) for n in range(1500)]


@pytest.mark.parametrize(
    "content",
    [
        b'{"id": "1", "callback_url": "https://a.example/t0ken", "callback_secret": "whsec_s3cret"}',
        b'{"id": "1", "callbackUrl": "https://a.example/t0ken"}',
        b'{"url": "https://a.example/t0ken"}',
        b"https://a.example/t0ken",
        {"id": b"1", "callback_url": b"https://a.example/t0ken"},
        {"id": b"1", "secret": b"whsec_s3cret"},
    ],
)
def test_an_excerpt_ends_before_what_may_be_secret(content: Any) -> None:
    shown = excerpt(content)
    assert "t0ken" not in shown
    assert "s3cret" not in shown
    assert shown.endswith("...")


def test_an_entry_has_its_callback_as_text(tmp_path: Path) -> None:
    path = tmp_path / "callbacks.yaml"
    path.write_text(f"{CONFIG}callbacks: {{secret: {SECRET}}}")
    config = configuration.load(path)
    [order] = read({"id": b"1", "callback_url": URL.encode(), "callback_secret": SECRET.encode()}, config)
    callback = Callback(url=URL, secret=SECRET)
    assert order == AddWatch(watch=NewWatch(source="vidu", id="1", callback=callback))

"""What is written to stderr: for people, for machines, for the journal; never a secret, never an exception."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import pytest
import structlog

from notifier.core.errors import NotifierError
from notifier.runtime import logs

log = structlog.get_logger(__name__)


class Secret:
    """Prints as the program's secrets do."""

    def __repr__(self) -> str:
        return "<secret>"


class SecretText(str):
    """A secret that is text, too."""

    __slots__ = ()

    def __str__(self) -> str:
        return "<secret>"


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError


@pytest.fixture
def file(tmp_path: Path) -> Iterator[TextIO]:
    with (tmp_path / "log").open("w+", encoding="utf-8") as stream:
        yield stream


def lines(stream: TextIO) -> list[dict[str, Any]]:
    stream.seek(0)
    return [json.loads(line) for line in stream.read().splitlines()]


def test_a_line_of_json_has_its_time_its_level_its_event_then_the_fields(file: TextIO) -> None:
    logs.configure(stream=file, env={})
    before = datetime.now(UTC)
    log.bind(watch="vidu/7").warning("watch.reconnecting", delay=1.25, attempt=3)
    (line,) = lines(file)
    assert list(line) == ["timestamp", "level", "event", "watch", "delay", "attempt"]
    assert line["timestamp"].endswith("Z")
    assert before <= datetime.fromisoformat(line.pop("timestamp")) <= datetime.now(UTC)
    assert line == {"level": "warning", "event": "watch.reconnecting", "watch": "vidu/7", "delay": 1.25, "attempt": 3}


def test_a_terminal_is_written_to_for_people_in_colour() -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal:
        logs.configure(stream=terminal, env={"TERM": "xterm"})
        log.info("watch.added", watch="vidu/7")
        coloured = os.read(master, 4096).decode()
        logs.configure(stream=terminal, env={"TERM": "xterm", "NO_COLOR": "1"})
        log.info("watch.added", watch="vidu/7")
        plain = os.read(master, 4096).decode()
    os.close(master)
    assert "\x1b[" in coloured
    assert "\x1b[" not in plain
    date, _, rest = plain.partition(" ")
    assert datetime.fromisoformat(date).tzinfo is not None
    assert rest.split() == ["[info", "]", "watch.added", "watch=vidu/7"]


def test_people_are_shown_no_control_characters_of_strangers(file: TextIO) -> None:
    """An upstream's text could otherwise move the cursor or pretend to be a line of ours."""
    logs.configure(format="console", stream=file, env={})
    log.info("source.unknown_state", state="a\x1b[2J\nb\x9b1m")
    file.seek(0)
    text = file.read()
    assert text.count("\n") == 1
    assert not set(text) & {"\x1b", "\x9b"}


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_traceback_is_logged_without_the_values_of_variables(file: TextIO, format: str) -> None:
    logs.configure(format=format, stream=file, env={})
    password = "hunter2"
    try:
        raise NotifierError("it broke" if password else "")
    except NotifierError:
        log.exception("delivery.failed", endpoint="app")
    file.seek(0)
    text = file.read()
    assert "Traceback" in text
    assert "it broke" in text
    assert "hunter2" not in text.replace('password = "hunter2"', "")
    if format == "json":
        (line,) = text.splitlines()
        assert json.loads(line)["exception"].splitlines()[-1].endswith("NotifierError: it broke")


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.parametrize(
    "value",
    [
        Secret(),
        SecretText("s3cret"),
        "postgresql://notifier:s3cret@db/notifier",
        "cannot reach amqp://guest:s3cret@mq:5672/%2f, giving up",
        "redis://:s3cret@localhost:6379",
        "https://user:s3cret/with/slashes@example.com/",
        "https://s3cret@example.com/",
        "https://example.com/state?id=1&access_token=s3cret&x=1",
        "https://hooks.slack.com/services/T000/B000/s3cret",
        "header was Bearer s3cret",
        "whsec_s3cret",
        "key whsk_s3cret refused",
        ValueError("at https://a:s3cret@b/"),
    ],
    ids=str,
)
def test_a_secret_is_never_told(file: TextIO, format: str, value: object) -> None:
    logs.configure(format=format, stream=file, env={})
    log.info("config.loaded", value=value)
    try:
        raise ValueError(str(value))
    except ValueError:
        log.exception("config.failed")
    logging.getLogger("aiohttp").warning("got %s", value)
    file.seek(0)
    text = file.read()
    assert text.count("<secret>") >= 3
    assert "s3cret" not in text


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.parametrize(
    "value",
    [{"deep": [{"key": SecretText("s3cret")}]}, {"Authorization": "s3cret"}, {"headers": {"token": "s3cret"}}],
    ids=str,
)
def test_a_secret_in_a_container_is_never_told(file: TextIO, format: str, value: object) -> None:
    logs.configure(format=format, stream=file, env={})
    log.info("config.loaded", value=value, token="s3cret")
    file.seek(0)
    text = file.read()
    assert text.count("<secret>") == 2
    assert "s3cret" not in text


@pytest.mark.parametrize(
    "value",
    [
        "https://example.com:8443/hooks/@team?id=7&page=2",
        "http://127.0.0.1:8780/v1/watches",
        "mail ops@example.com",
        "sqlite:////var/lib/notifier/notifier.db",
        "the token expired",
    ],
)
def test_what_is_no_secret_is_left_as_it_is(file: TextIO, value: str) -> None:
    logs.configure(stream=file, env={})
    log.info("endpoint.checked", value=value, key="kept", token=None)
    (line,) = lines(file)
    assert (line["value"], line["key"], line["token"]) == (value, "kept", None)


def test_every_value_has_a_form_in_json(file: TextIO) -> None:
    """Logging is for when things are odd: no value of any kind may make it fail."""
    logs.configure(stream=file, env={})
    log.info("odd", nan=float("nan"), path=Path("/x"), keys={1: {"a"}}, broken=Unprintable(), half="\udc80")
    (line,) = lines(file)
    assert line["nan"] == "nan"
    assert line["path"] == "/x"
    assert line["keys"] == {"1": ["a"]}
    assert line["broken"] == "<unprintable Unprintable>"
    assert line["half"] == "\udc80"


def test_a_value_is_bounded_and_ends_show(file: TextIO) -> None:
    logs.configure(stream=file, env={})
    nested: list[object] = []
    for _ in range(500):
        nested = [nested]
    log.info("big", text="a" + "x" * 1_000_000 + "z", nested=nested)
    (line,) = lines(file)
    assert line["text"].startswith("a")
    assert line["text"].endswith("z")
    assert "characters left out" in line["text"]
    assert len(line["text"]) < logs.MAX_TEXT + 100


def test_the_level_is_a_threshold_and_follows_a_second_configuration(file: TextIO) -> None:
    """A reload may change the level; loggers that are bound by then must follow."""
    bound = log.bind(watch="vidu/7")
    logs.configure(level="warning", stream=file, env={})
    bound.info("one")
    bound.warning("two")
    logs.configure(level="debug", stream=file, env={})
    bound.debug("three")
    log.debug("four")
    logs.configure(level="error", stream=file, env={})
    bound.warning("five")
    assert [line["event"] for line in lines(file)] == ["two", "three", "four"]


@pytest.mark.parametrize(("format", "level", "named"), [("xml", "info", "xml"), ("json", "loud", "loud")])
def test_an_unknown_format_or_level_is_refused_by_name(format: str, level: str, named: str) -> None:
    with pytest.raises(NotifierError, match=named):
        logs.configure(format=format, level=level)


def test_libraries_are_heard_when_they_warn(file: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])  # pytest's own one raises on a message that cannot be formatted
    logs.configure(level="debug", stream=file, env={})
    logging.getLogger("sqlalchemy.engine").info("SELECT 1")
    logging.getLogger("aiohttp.client").warning("Unclosed %s", "session")
    logging.getLogger("alembic").error(Unprintable())
    logging.getLogger("custom").log(35, "between the levels")
    try:
        raise OSError("gone")
    except OSError:
        logging.getLogger("asyncio").exception("Task exception was never retrieved")
    unclosed, misfit, between, task = lines(file)
    assert (unclosed["level"], unclosed["event"]) == ("warning", "Unclosed session")
    assert unclosed["logger"] == "aiohttp.client"
    assert (misfit["level"], misfit["event"]) == ("error", "<unprintable Unprintable>")
    assert between["event"] == "between the levels"
    assert task["exception"].endswith("OSError: gone")


def test_configuring_twice_does_not_say_things_twice(file: TextIO) -> None:
    logs.configure(stream=file, env={})
    logs.configure(stream=file, env={})
    logging.getLogger("aiohttp").warning("once")
    assert len(lines(file)) == 1


def test_python_warnings_are_logged(file: TextIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logs.configure(stream=file, env={})
        warnings.warn("old ways", DeprecationWarning, stacklevel=1)
        logs.reset()
    assert "DeprecationWarning: old ways" in lines(file)[0]["event"]


def journal_of(stream: TextIO) -> dict[str, str]:
    stat = os.fstat(stream.fileno())
    return {"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"}


def test_the_journal_is_told_the_level_and_stamps_the_time_itself(file: TextIO) -> None:
    logs.configure(level="debug", stream=file, env=journal_of(file))
    methods: list[Callable[..., Any]] = [log.debug, log.info, log.warning, log.error, log.critical]
    for method in methods:
        method("journal.line")
    logging.getLogger("aiohttp").error("from a library")
    file.seek(0)
    written = file.read().splitlines()
    assert [line[:3] for line in written] == ["<7>", "<6>", "<4>", "<3>", "<2>", "<3>"]
    assert json.loads(written[0][3:]) == {"level": "debug", "event": "journal.line"}


def test_another_stream_than_the_journals_is_not_the_journal(file: TextIO) -> None:
    """The variable is inherited also by what redirects its output."""
    with open(os.devnull) as other:
        logs.configure(stream=file, env=journal_of(other))
    log.info("plain")
    assert "timestamp" in lines(file)[0]


def test_an_object_that_is_no_file_will_do() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream, env={"JOURNAL_STREAM": "1:1"})
    log.info("kept")
    assert lines(stream)[0]["event"] == "kept"


@pytest.mark.parametrize("how", ["closed", "no reader", "none"])
def test_a_stream_that_is_gone_never_raises(how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if how == "none":
        monkeypatch.setattr(sys, "stderr", None)  # as it is where descriptor 2 was closed at the start
        logs.configure()
        log.info("unheard")
        return
    read, write = os.pipe()
    stream = os.fdopen(write, "w")
    logs.configure(stream=stream)
    os.close(read)
    if how == "closed":
        stream.close()
        with (tmp_path / "innocent").open("w") as innocent:  # takes the number that became free
            log.info("unheard")
            logging.getLogger("aiohttp").warning("unheard")
            logs.configure(stream=stream)
            log.info("unheard")
            assert os.fstat(innocent.fileno()).st_size == 0
        return
    log.info("unheard")
    logging.getLogger("aiohttp").warning("unheard")
    stream.close()


def test_a_reader_that_is_stuck_costs_lines_and_then_is_told_how_many() -> None:
    """A write would wait for ever, and the whole event loop with it."""
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream, os.fdopen(read, "rb") as reader:
        logs.configure(format="json", stream=stream, env={})
        for number in range(2000):  # far more than a pipe holds
            log.info("filler", number=number, text="x" * 5000)
        os.set_blocking(reader.fileno(), False)
        received = reader.read()
        log.info("last")
        received += reader.read()
    whole = [json.loads(line) for line in received.decode().splitlines() if line.endswith("}")]
    lost, last = whole[-2:]
    assert (lost["event"], last["event"]) == ("log.lines_lost", "last")
    kept = [line["number"] for line in whole[:-2]]
    assert kept == list(range(len(kept)))
    assert lost["lines"] == 2000 - len(kept)


def test_a_reader_that_only_pauses_loses_nothing() -> None:
    read, write = os.pipe()
    received: list[bytes] = []

    def drain() -> None:
        with os.fdopen(read, "rb") as reader:
            received.extend(reader)

    late = threading.Timer(0.05, drain)
    with os.fdopen(write, "w") as stream:
        logs.configure(format="json", stream=stream, env={})
        late.start()
        for number in range(100):
            log.info("filler", number=number, text="x" * 5000)
    late.join()
    assert [json.loads(line)["number"] for line in received] == list(range(100))


def test_a_descriptor_that_someone_made_non_blocking_is_no_problem() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    with os.fdopen(write, "w") as stream, os.fdopen(read, "rb"):
        logs.configure(format="json", stream=stream, env={})
        for _ in range(50):
            log.info("filler", text="x" * 5000)

"""How the listener's answers are written."""

from __future__ import annotations

from random import Random

import pytest

from notifier.tools.responses import (
    Blackhole,
    Drip,
    Drop,
    Reset,
    Response,
    Script,
    Status,
    parse_path_script,
    parse_script,
)


def first(text: str, n: int) -> list[Response]:
    script = Script(parse_script(text), Random(1))
    return [script.next() for _ in range(n)]


OK = Status(status=200)
ERROR = Status(status=500)


@pytest.mark.parametrize(
    ("text", "responses"),
    [
        ("200", [OK] * 5),
        ("500x3,200", [ERROR] * 3 + [OK] * 2),
        ("500x3", [ERROR] * 3 + [OK] * 2),
        ("500x2,200x2,500", [ERROR] * 2 + [OK] * 2 + [ERROR]),
        ("500,200,410", [ERROR, OK] + [Status(status=410)] * 3),
        ("drop,reset, blackhole,drip:2,200", [Drop(), Reset(), Blackhole(), Drip(every=2), OK]),
        ("429:5x1,200", [Status(status=429, headers=(("Retry-After", "5"),))] + [OK] * 4),
        ("302:/elsewhere", [Status(status=302, headers=(("Location", "/elsewhere"),))] * 5),
        ("404:no_service", [Status(status=404, body="no_service")] * 5),
        ("slow:0.5x1", [Status(status=200, delay=0.5)] + [OK] * 4),
    ],
)
def test_steps_follow_each_other_and_the_last_stays(text: str, responses: list[Response]) -> None:
    assert first(text, 5) == responses


def test_retry_after_may_be_a_date() -> None:
    date = "Wed, 21 Oct 2026 07:28:00 GMT"
    assert first(f"503:{date}x1,200", 2) == [Status(status=503, headers=(("Retry-After", date),)), OK]


def test_random_choice_goes_by_weight_and_seed() -> None:
    responses = first("200*9|500", 1000)
    assert set(responses) == {OK, ERROR}
    assert 50 < responses.count(ERROR) < 200
    assert first("200*9|500", 1000) == responses


def test_path_comes_first() -> None:
    assert parse_path_script("/a/*=500x3,200")[0] == "/a/*"
    assert parse_path_script("302:/x?a=b")[0] == "*"


@pytest.mark.parametrize(
    "text", ["", "banana", "100", "600", "drop:3", "500x0", "200*0|500", "/path", "slow:x", "200,,500", "404:a\nb"]
)
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="response "):
        parse_path_script(text)

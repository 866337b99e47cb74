"""How faults are written and combined."""

from __future__ import annotations

import pytest

from notifier.tools.faults import (
    HUGE_LINE,
    Answer,
    Bom,
    Comments,
    Cut,
    Fault,
    Hangup,
    How,
    Insert,
    LineEnd,
    SlowHead,
    What,
    parse_fault,
    parse_rule,
    plan_of,
)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("drop", Cut(how=How.DROP, after=1)),
        ("reset@0", Cut(how=How.RESET, after=0)),
        ("truncate@7", Cut(how=How.TRUNCATE, after=7)),
        ("stall@3", Cut(how=How.STALL, after=3)),
        ("hangup", Hangup()),
        ("slowhead", SlowHead(seconds=10)),
        ("slowhead:0.5s", SlowHead(seconds=0.5)),
        ("comments:2", Comments(every=2)),
        ("crlf", LineEnd(eol=b"\r\n")),
        ("cr", LineEnd(eol=b"\r")),
        ("bom", Bom()),
        ("204", Answer(status=204)),
        ("huge:3@2", Insert(after=2, data=(b"data: xxx",))),
        ("json", Answer(status=200, body=None)),
        ("404", Answer(status=404, body=b'{"error":{"message":"server_id not found"}}')),
        (
            "429:1.5",
            Answer(status=429, headers=(("Retry-After", "1.5"),), body=b'{"error":{"message":"too many requests"}}'),
        ),
        ("redirect:http://a/?b=c", Answer(status=302, headers=(("Location", "http://a/?b=c"),))),
    ],
)
def test_each_kind_is_read(text: str, what: What) -> None:
    assert parse_fault(text).what == what


def test_huge_is_several_mebibytes_unless_told() -> None:
    what = parse_fault("huge").what
    assert isinstance(what, Insert)
    assert len(what.data[0]) == HUGE_LINE + len("data: ")


def test_every_suffix_is_read() -> None:
    fault = parse_fault("reset@4x3#2%12.5")
    assert fault == Fault(name="reset", what=Cut(how=How.RESET, after=4), times=3, nth=2, chance=0.125)


def test_retry_after_may_be_any_text() -> None:
    """A date holds spaces, commas and colons; the suffix still belongs to the fault."""
    fault = parse_fault("503:Wed, 21 Oct 2026 07:28:00 GMTx2")
    assert isinstance(fault.what, Answer)
    assert fault.what.headers == (("Retry-After", "Wed, 21 Oct 2026 07:28:00 GMT"),)
    assert fault.times == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected KIND"),
        ("explode", "there are: drop, reset"),
        ("drop:3", "drop takes no :3"),
        ("html@3", "html takes no @3"),
        ("drop@x", "expected KIND"),
        ("dropx0", "count from 1"),
        ("drop%101", "up to 100"),
        ("200", "400 to 599"),
        ("999", "400 to 599"),
        ("slowhead:soon", "no number of seconds"),
        ("huge:big", "no number of bytes"),
        ("huge:999999999999", "are more than"),
        ("429:a\nb", "cannot stand in a header"),
        ("redirect:a b", "no URL"),
    ],
)
def test_what_cannot_be_read_says_why(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_fault(text)


def test_rule_has_an_optional_glob() -> None:
    assert parse_rule("drop") == ("*", parse_fault("drop"))
    assert parse_rule("video-*=drop@2") == ("video-*", parse_fault("drop@2"))
    assert parse_rule("redirect:/x?a=b")[0] == "*"
    with pytest.raises(ValueError, match="'nothing'"):
        parse_rule("a=nothing")


def test_times_nth_and_chance_choose_connections() -> None:
    first_two, third, half = parse_fault("dropx2"), parse_fault("drop#3"), parse_fault("drop%50")
    assert [first_two.strikes(n, 0.0) for n in (1, 2, 3)] == [True, True, False]
    assert [third.strikes(n, 0.0) for n in (1, 2, 3, 4)] == [False, False, True, False]
    assert (half.strikes(1, 0.49), half.strikes(1, 0.5)) == (True, False)


def test_faults_add_up_and_the_earliest_cut_and_first_answer_win() -> None:
    texts = ("crlf", "bom", "drop@5", "reset@2", "garbage@1", "slowhead:1", "slowhead:2", "404", "500")
    plan = plan_of([parse_fault(text) for text in texts])
    assert plan.cut == Cut(how=How.RESET, after=2)
    assert (plan.eol, plan.bom, plan.delay, len(plan.inserts)) == (b"\r\n", True, 3, 1)
    assert isinstance(plan.answer, Answer)
    assert plan.answer.status == 404
    assert plan.names == ("crlf", "bom", "drop", "reset", "garbage", "slowhead", "slowhead", "404", "500")

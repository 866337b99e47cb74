"""When to try again, and what a plain HTTP reply means."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.retry import (
    EXTRA_ABOVE,
    EXTRA_ATTEMPTS,
    EXTRA_SHARE,
    EXTRA_WAIT,
    JITTER,
    LONGEST_HINT,
    LONGEST_OBEYED,
    UNSPENT_LONGEST,
    UNSPENT_WAIT,
    Delivered,
    Failed,
    Gone,
    after_unspent,
    classify_http,
    extra_attempt,
    may_be_outage,
    next_attempt,
    parse_retry_after,
)

DEFAULT = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
NOW = 784_111_777_000_000  # Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110's examples
JITTERS = st.floats(min_value=0, max_value=1, exclude_max=True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("1.", 1.0),
        (".5", 0.5),
        ("9" * 500, LONGEST_HINT),
        ("Sun, 06 Nov 1994 08:49:47 GMT", 10.0),
        ("Sun, 6 Nov 1994 08:49:47 UTC", 10.0),
        ("sun, 06 nov 1994 08:49:47 +0000", 10.0),
        ("Sunday, 06-Nov-94 08:49:47 GMT", 10.0),
        ("Sun Nov  6 08:49:47 1994", 10.0),
        ("Wed Nov 16 08:49:37 1994", 864_000.0),
        ("Sun, 06 Nov 1994 08:49:60 GMT", 22.0),  # a leap second reads as the one before
        ("Sun, 06 Nov 1994 08:49:27 GMT", 0.0),
        ("Sunday, 06-Nov-93 08:49:47 GMT", 0.0),
        ("Sunday, 06-Nov-50 08:49:47 GMT", 0.0),  # 2050 would be 56 years ahead, so it is 1950
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_HINT),
    ],
)
def test_retry_after_is_read_in_every_form(value: str, seconds: float) -> None:
    """Integer, decimal, the three HTTP-dates, past and huge (RFC 9110 sections 5.6.7 and 10.2.3)."""
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "-1", "+1", "nan", "inf", "1e3", "1,5", "5s", "soon", "٣", ".", "0x10", "1 2"),
        *("Sun, 31 Feb 1994 08:49:47 GMT", "Sun, 06 Foo 1994 08:49:47 GMT", "Sun, 06 Nov 0000 08:49:47 GMT"),
        *("Sun, 06 Nov 1994 25:49:47 GMT", "Sun, 06 Nov 1994 08:49:47 PST", "06 Nov 1994 08:49:47"),
    ],
)
def test_a_bad_retry_after_is_no_hint(value: str) -> None:
    """Garbage never raises and never delays anything."""
    assert parse_retry_after(value, NOW) is None


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 10.0),
        ("Sun, 06 Nov 1994 08:49:45 GMT", 2.0),  # a clock that is 8 s fast
        ("Sun, 06 Nov 1994 07:49:47 GMT", 3600.0),  # and one that is an hour slow
        ("Sun, 06 Nov 1994 09:49:47 GMT", 0.0),
        ("Sunday, 06-Nov-94 08:49:42 GMT", 5.0),
        ("Sat, 01 Jan 1994 00:00:00 GMT", 10.0),  # no clock
        *(("", 10.0), ("now", 10.0), ("12", 10.0)),
    ],
)
def test_a_date_is_read_by_the_clock_of_its_sender(date: str, seconds: float) -> None:
    """The reply's own Date tells what time it is there, unless it is far from ours."""
    assert parse_retry_after("Sun, 06 Nov 1994 08:49:47 GMT", NOW, date) == seconds
    assert parse_retry_after("7", NOW, date) == 7.0
    outcome = classify_http(503, {"retry-after": "Sun, 06 Nov 1994 08:49:47 GMT", "date": date}, now=NOW)
    assert isinstance(outcome, Failed)
    assert outcome.retry_after == seconds


@given(st.text(max_size=60), st.integers(min_value=0, max_value=2**53), st.text(max_size=60))
def test_retry_after_never_raises(value: str, now: int, date: str) -> None:
    """Whatever arrives, the answer is None or a finite number of seconds in bounds."""
    seconds = parse_retry_after(value, now, date)
    assert seconds is None or 0 <= seconds <= LONGEST_HINT


@given(
    st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2090, 1, 1)),
    st.integers(min_value=-100, max_value=10_000_000),
)
def test_a_date_is_the_seconds_until_it(now: datetime, ahead: int) -> None:
    """Dates that the standard library writes come back as the distance from `now`."""
    moment = now.replace(microsecond=0, tzinfo=UTC)
    text = format_datetime(moment + timedelta(seconds=ahead), usegmt=True)
    assert parse_retry_after(text, int(moment.timestamp()) * 1_000_000) == max(0, ahead)


def test_the_default_schedule_runs_out_after_its_entries() -> None:
    """A schedule of N entries is N attempts in all, each as long after the one before as its entry says."""
    waits = [next_attempt(attempts_made=made, schedule=DEFAULT, jitter=0) for made in range(11)]
    assert waits == [*DEFAULT, None]


@given(st.integers(min_value=0, max_value=9), JITTERS)
def test_jitter_lengthens_by_up_to_a_tenth(made: int, jitter: float) -> None:
    """No attempt is early."""
    wait = next_attempt(attempts_made=made, schedule=DEFAULT, jitter=jitter)
    assert wait is not None
    assert DEFAULT[made] <= wait <= DEFAULT[made] * (1 + JITTER)


@given(
    st.integers(min_value=0, max_value=9),
    JITTERS,
    st.floats(min_value=0, allow_infinity=False),
)
def test_a_hint_lengthens_the_wait_within_a_day(made: int, jitter: float, hint: float) -> None:
    """max(schedule, hint), the hint capped; a hint never shortens the wait."""
    wait = next_attempt(attempts_made=made, schedule=DEFAULT, jitter=jitter, retry_after=hint)
    assert wait is not None
    assert math.isfinite(wait)
    assert wait >= max(DEFAULT[made], min(hint, LONGEST_OBEYED))
    assert wait <= max(DEFAULT[made] * (1 + JITTER), LONGEST_OBEYED)


def test_a_schedule_of_days_is_kept() -> None:
    """The day's cap is for hints; whoever writes `48h` means it."""
    assert next_attempt(attempts_made=1, schedule=(0.0, 172_800.0), jitter=0) == 172_800.0


@pytest.mark.parametrize("made", [10, 11, 10_000])
def test_nothing_is_left_beyond_the_schedule(made: int) -> None:
    """Safe at any number; a hint does not bring a dead message back."""
    assert next_attempt(attempts_made=made, schedule=DEFAULT, jitter=0.5, retry_after=3.0) is None


def test_an_attempt_ten_thousand_of_a_long_schedule() -> None:
    """Nothing grows with the number of attempts but the schedule itself."""
    assert next_attempt(attempts_made=9_999, schedule=(0.0, *[60.0] * 9_999), jitter=0) == 60.0


@given(JITTERS, st.none() | st.floats(min_value=0, allow_infinity=False), st.floats(min_value=0, allow_infinity=False))
def test_an_attempt_that_did_not_count_is_repeated_soon(jitter: float, hint: float | None, age: float) -> None:
    """A second, or what the endpoint asked for, within a day; without that, a tenth of the message's age, or 5 min."""
    wait = after_unspent(jitter=jitter, retry_after=hint, age=age)
    asked = min(age / 10, UNSPENT_LONGEST) if hint is None else min(hint, LONGEST_OBEYED)
    assert max(UNSPENT_WAIT, asked) <= wait <= max(UNSPENT_WAIT, asked) * 1.1 + 1e-9
    assert wait <= LONGEST_OBEYED


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_only_2xx_is_delivered(status: int) -> None:
    """Any 2xx, whatever else it says."""
    assert classify_http(status, {"retry-after": "5"}, now=NOW) == Delivered()


@pytest.mark.parametrize("status", [100, 101, 400, 401, 403, 404, 408, 413, 500, 501, 505, 599])
def test_other_statuses_fail_and_count(status: int) -> None:
    """They spend an attempt and hold nothing back."""
    assert classify_http(status, {}, now=NOW) == Failed(
        reason=f"http_{status}", detail=f"the endpoint answered {status}"
    )


@pytest.mark.parametrize(
    ("reason", "outage"),
    [
        *[(reason, True) for reason in ("http_500", "http_599", "timeout", "connect", "tls", "dns", "rate_limited")],
        *[(reason, True) for reason in ("http_408", "http_425", "http_429")],
        *[(reason, False) for reason in (None, "http_400", "http_404", "redirect", "forbidden_address", "internal")],
    ],
)
def test_an_outage_is_told_apart_from_what_would_fail_again(reason: str | None, outage: bool) -> None:
    """By the word that is kept of a failure: what says something of the message or the setup is no outage."""
    assert may_be_outage(reason) is outage


def test_410_means_gone() -> None:
    """The endpoint asks never to be called again."""
    assert classify_http(410, {}, now=NOW) == Gone(reason="http_410", detail="the endpoint answered 410 Gone")


def test_429_holds_the_endpoint_back_for_free() -> None:
    """Too many requests is no fault of the message nor of the endpoint."""
    outcome = classify_http(429, {"retry-after": "1.5"}, now=NOW)
    assert isinstance(outcome, Failed)
    assert (outcome.throttle, outcome.spend, outcome.retry_after) == (True, False, 1.5)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_an_overloaded_endpoint_is_held_back_and_charged(status: int) -> None:
    """They throttle like 429 but count."""
    outcome = classify_http(status, {"retry-after": "Sun, 06 Nov 1994 08:50:37 GMT"}, now=NOW)
    assert isinstance(outcome, Failed)
    assert (outcome.throttle, outcome.spend, outcome.retry_after) == (True, True, 60.0)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://example.com/new", "https://example.com/new"),
        ("https://user:pass@example.com:8443/new?token=t#f", "https://example.com:8443/new?***"),
        ("/else?secret=1", "/else?***"),
        ("//example.com/x", "//example.com/x"),
        ("https://example.com/hooks/T0PS3CRET/", "https://example.com/hooks/***/"),
        ("http://[::1", "an unreadable Location"),
        ("", "nowhere: no Location"),
        ("/\x1b[31mred\u202e", "/%1B[31mred%E2%80%AE"),
        ("/" + "a" * 500, "/" + "a" * 199),
    ],
)
def test_a_redirect_fails_and_shows_where_to(location: str, shown: str) -> None:
    """3xx is not followed; the Location is told without user, query, fragment or the endpoint's own path."""
    outcome = classify_http(302, {"location": location}, now=NOW, hide=("T0PS3CRET",))
    assert outcome == Failed(reason="redirect", detail=f"302 to {shown}")


@given(st.text(max_size=80))
def test_no_location_is_too_strange(location: str) -> None:
    """A hostile Location neither raises nor gets control characters into the log."""
    outcome = classify_http(301, {"location": location}, now=NOW)
    assert isinstance(outcome, Failed)
    assert outcome.detail.isprintable()


@pytest.mark.parametrize(
    ("wait", "share", "draw", "extra"),
    [
        (300.0, 0.33, 0.5, True),
        (300.0, 0.33, 0.01, False),  # the luck of one in twenty-four
        (EXTRA_ABOVE, 0.33, 0.5, False),
        (300.0, EXTRA_SHARE - 0.001, 0.999, False),  # nearly everything is accepted: it may be the message
        (300.0, 0.0, 0.999, False),
    ],
)
def test_a_refusal_by_chance_need_not_wait_for_minutes(wait: float, share: float, draw: float, extra: bool) -> None:
    """An endpoint that accepts the rest is asked again soon, some times and not for ever."""
    seconds = extra_attempt(wait, refused_share=share, draw=draw, jitter=0.5)
    assert seconds == (EXTRA_WAIT * (1 + JITTER / 2) if extra else None)


@pytest.mark.parametrize(("share", "at_most"), [(0.1, 0.01), (0.33, 0.03), (0.5, 0.06), (0.9, 0.1)])
def test_few_wait_for_minutes_at_an_endpoint_that_refuses_by_chance(share: float, at_most: float) -> None:
    """And a message that is refused for its own sake gets a bounded number of extra attempts."""
    rng = random.Random(1)
    waited, attempts = 0, 0
    for _ in range(5000):
        while rng.random() < share:
            if extra_attempt(300.0, refused_share=share, draw=rng.random(), jitter=0.0) is None:
                waited += 1
                break
        while extra_attempt(300.0, refused_share=share, draw=rng.random(), jitter=0.0) is not None:
            attempts += 1
    assert waited / 5000 <= at_most
    assert attempts / 5000 == pytest.approx(EXTRA_ATTEMPTS / (1 - share) - 1, rel=0.1)

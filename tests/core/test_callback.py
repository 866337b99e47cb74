"""Destinations are named by what they are, and print as nothing that may be secret."""

from __future__ import annotations

import re

import pytest

from notifier.core.callback import Callback, is_callback, origin
from notifier.core.model import Event, EventType, Watch
from notifier.core.routing import callback

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_a_name_is_of_url_and_secret() -> None:
    names = {
        Callback(url=url, secret=secret).name
        for url in ("https://a.example/1", "https://a.example/2")
        for secret in (None, SECRET)
    }
    assert len(names) == 4
    assert Callback(url="https://a.example/1").name in names
    assert all(re.fullmatch(r"callback:[a-z2-7]{24}", name) and is_callback(name) for name in names)
    assert not is_callback("callback")


def test_what_is_kept_goes_by_the_name_that_it_is_kept_under() -> None:
    """Its deliveries carry that, though somebody may have changed the row by hand since."""
    kept = Callback(url="https://a.example/1", kept_as="callback:x")
    assert kept.name == "callback:x"
    assert kept == Callback(url="https://a.example/1")


def test_nothing_secret_is_printed() -> None:
    shown = repr(Callback(url="https://a.example/t0ken", secret=SECRET))
    assert "t0ken" not in shown
    assert SECRET not in shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example/t0ken", "https://a.example"),
        ("HTTPS://A.example:8443?t0ken", "https://a.example:8443"),
        ("http://[2001:db8::1]:80", "http://[2001:db8::1]:80"),
        ("https://a.example#t0ken", "https://a.example"),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, shown: str) -> None:
    assert origin(url) == Callback(url=url).origin == shown


@pytest.mark.parametrize("kind", list(EventType))
@pytest.mark.parametrize("named", [None, "callback:x"])
def test_a_callback_hears_what_an_endpoint_hears_by_default(kind: EventType, named: str | None) -> None:
    """Not of what its watch has nothing to do with, nor of a stall."""
    watch = Watch(pk=1, source="vidu", id="1", created_at=0, callback=named, endpoints=())
    told = callback(Event(type=kind, at=0, watch=watch))
    assert told == (named if kind.value.startswith("task.") or kind is EventType.LOST else None)
    assert callback(Event(type=kind, at=0)) is None

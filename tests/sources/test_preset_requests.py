"""Requests of presets: variables, ids with slashes, and header values that are made for each request."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest

from notifier.core.errors import Refused, TaskNotFound
from notifier.sources import preset as presets
from notifier.sources.preset import Preset
from notifier.sources.request import Request, RequestTemplate


def request(name: str, task_id: str, token: str = "tok", **fields: Any) -> Request:
    """Return the request of a preset for a task."""
    described = Preset.model_validate(presets.raw(name) | {"base_url": "https://h"} | fields)
    return RequestTemplate(preset=described, token=token, user_agent="test").fill(task_id)


def test_variables_fill_the_url_and_keep_their_slashes() -> None:
    assert str(request("kling", "a/b").url) == "https://h/v1/videos/text2video/a%2Fb"
    other = request("kling", "1", variables={"kind": "images/generations"})
    assert str(other.url) == "https://h/v1/images/generations/1"
    assert str(request("midjourney", "1").url) == "https://h/mj/task/1/fetch"
    assert str(request("midjourney", "1", variables={"prefix": "mj-fast/"}).url) == "https://h/mj-fast/mj/task/1/fetch"


def test_a_watchs_variables_go_before_the_sources() -> None:
    """They are quoted as ids are; a text that is no variable of the preset, or that names the host, has no effect."""
    described = Preset.model_validate(presets.raw("kling"))
    template = RequestTemplate(preset=described, token="tok", user_agent="test")
    url = template.fill("1", variables={"kind": "images/é?#%", "token": "x", "base_url": "https://evil"}).url
    assert str(url) == "https://api-singapore.klingai.com/v1/images/%C3%A9%3F%23%25/1"
    spread = described.model_copy(
        update={"url": "https://{region}.h/{kind}/{id}", "variables": {"region": "eu", "kind": None}}
    )
    template = RequestTemplate(preset=spread, token="tok", user_agent="test")
    assert str(template.fill("1", variables={"region": "evil/", "kind": "k"}).url) == "https://eu.h/k/1"
    with pytest.raises(Refused, match="names kind"):
        template.fill("1")


def test_an_id_keeps_its_slashes_where_the_preset_says_so() -> None:
    assert str(request("veo", "models/veo-3/operations/1?x#y").url) == (
        "https://h/v1beta/models/veo-3/operations/1%3Fx%23y"
    )
    for climbing in ("models/../../secrets", "./x"):
        with pytest.raises(TaskNotFound):
            request("veo", climbing)


def test_a_fresh_uuid_for_each_request() -> None:
    values = {request("pixverse", "1").headers["Ai-trace-id"] for _ in range(10)}
    assert len(values) == 10
    assert all(len(value) == 36 for value in values)


def test_a_signed_token_of_a_key_pair() -> None:
    """As RFC 7519 describes HS256; the secret key itself is never sent and never shown."""
    headers = {"Authorization": "Bearer {jwt}"}
    sent = request("kling", "1", "access:secret-key", headers=headers).headers["Authorization"]
    head, claims, signature = sent.removeprefix("Bearer ").split(".")
    expected = hmac.new(b"secret-key", f"{head}.{claims}".encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64decode(signature + "==") == expected
    decoded = json.loads(base64.urlsafe_b64decode(claims + "=="))
    assert decoded["iss"] == "access"
    assert decoded["nbf"] <= time.time() < decoded["exp"]
    described = Preset.model_validate(presets.raw("kling") | {"headers": headers})
    template = RequestTemplate(preset=described, token="access:secret-key", user_agent="test")
    assert "secret-key" not in template.redact("no secret-key here")


def test_a_token_of_a_few_letters_leaves_words_whole() -> None:
    """As one writes it to try something; where it stands alone it is left out as any other."""
    template = RequestTemplate(preset=Preset.model_validate(presets.raw("vidu")), token="t", user_agent="test")
    assert template.redact('http://host/tasks?t=1 "t" t') == 'http://host/tasks?<secret>=1 "<secret>" <secret>'


@pytest.mark.parametrize(
    "given",
    [
        {"url": "{base_url}/s?id={id}&api_key=s3cr%2Ft-01"},
        {"url": "{base_url}/s?key={my_key}&id={id}", "variables": {"my_key": "s3cr/t-01"}},
        {"url": "{base_url}&id={id}", "base_url": "https://host/s?Access_Token=s3cr%2Ft-01"},
        {"url": "https://user:s3cr%2Ft-01@host/{id}"},
        {"url": "https://s3cr%2Ft-01@host/{id}"},
        {"batch": {"url": "{base_url}/all?password=s3cr%2Ft-01&ids={ids}", "method": "GET"}},
    ],
)
def test_what_is_secret_in_a_url_is_not_repeated(given: dict[str, Any]) -> None:
    """By the name of its parameter or by its place; as it is written and as it is meant."""
    described = Preset.model_validate(presets.raw("vidu") | given)
    template = RequestTemplate(preset=described, token="a-token", user_agent="test")
    assert template.redact("s3cr/t-01, s3cr%2Ft-01") == "<secret>, <secret>"

"""A template makes the text that its author means, and nothing that takes long, grows large or leaves the sandbox."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import standardwebhooks
import structlog
from hypothesis import given
from hypothesis import strategies as st
from scripted_receiver import delivery, receiving, reply, says

from notifier.core.retry import Delivered, Rejected
from notifier.core.signers import StandardSigner
from notifier.core.signing import decode_secret
from notifier.senders.chat import ChatSender
from notifier.senders.services import ServiceName
from notifier.senders.target import Target
from notifier.senders.template import MAX_OUTPUT, MAX_STEPS, Template, TemplateFault, event_of, json_body
from notifier.senders.webhook import WebhookSender

EVENT = {
    "id": "msg_1",
    "type": "task.failed",
    "timestamp": "2026-11-22T06:21:01.123456Z",
    "data": {
        "watch": {"source": "vidu", "id": "7", "labels": {"team": 'vi"deo', "a": "b"}, "metadata": {"order": 7}},
        "state": "failed",
        "error": {"code": "E1", "message": "<b> & 'x'\nü"},
        "result": None,
        "task": {"list": [3, 1, 2], "n": 1.5},
    },
}


def render(source: str, **more: Any) -> str:
    return Template(source).render({**EVENT, **more})


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ data.watch.id }}: {{ data.state | upper }}", "7: FAILED"),
        ("{{ data.error.message }}", "<b> & 'x'\nü"),  # as it is: nothing is HTML here
        ("{{ data.error | tojson }}", '{"code":"E1","message":"<b> & \'x\'\\nü"}'),
        ("{{ data.result.urls[0] if data.result else 'none' }}", "none"),
        ("{{ data.watch.labels.none | default('-') }}", "-"),
        ("{% for n in data.task.list | sort %}{{ loop.index }}={{ n }};{% endfor %}{{ 1 }}", "1=1;2=2;3=3;1"),
        ("{% for k, v in data.watch.labels.items() %}{{ k }}={{ v }};{% endfor %}", 'team=vi"deo;a=b;'),
        ("{% for k, v in data.watch.labels | dictsort %}{{ k }}{{ '' if loop.last else ',' }}{% endfor %}", "a,team"),
        ("{{ data.task.list | join('-') }} {{ data.state | replace('a', 'A') }}", "3-1-2 fAiled"),
        ("{{ 1.256 | round(1) }} {{ 1.6 | round }} {{ [1, 2] | sum }}", "1.3 2 3"),
        ("{% set x = data.state ~ '!' %}{{ x }}{{ id }}", "failed!msg_1"),
        ("{{ 2 ** 10 + 3 * 4 % 5 }} {{ 'ab' * 2 }}", "1026 abab"),
        ("{% if type == 'task.failed' %}\n  line\n{% endif %}\nend", "line\nend"),
        ("{{ range(3) | list }}", "[0, 1, 2]"),
        ("{{ type | truncate(6, true, '…', 0) }}", "task.…"),
    ],
)  # fmt: skip
def test_what_templates_make(source: str, text: str) -> None:
    """The usual, over `id`, `type`, `timestamp` and `data`."""
    assert render(source) == text


@pytest.mark.parametrize(
    ("source", "line", "said"),
    [
        ("a\n{% if %}", 2, "Expected an expression"),
        ("{{ data.watch.id", 1, "unexpected end of template"),
        ("\n\n{% fi %}", 3, "unknown tag 'fi'"),
        ("{{ x | nofilter }}", 1, "No filter named 'nofilter'"),
        ("{% include 'x' %}", 1, "{% include %} is not for templates of one piece"),
        ("{% extends 'x' %}", 1, "{% extends %} is not"),
        ("{% import 'x' as y %}", 1, "{% import %} is not"),
        ("{% from 'x' import y %}", 1, "{% from %} is not"),
        ("{% block x %}{% endblock %}", 1, "{% block %} is not"),
        ("\n{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(99) }}", 2, "{% macro %} is not"),
        ("{% for x in data recursive %}{{ loop(x) }}{% endfor %}", 1, "loops do not call themselves here"),
        ("\n{% if no %}{% for x in range(10001) %}{% endfor %}{% endif %}", 2, "a range of more than 10000 elements"),
        ("{{ x | random }}", 1, "No filter named 'random'"),
        ("x" * (64 * 1024 + 1), None, "longer than 64 KiB"),
        ("{% if a %}" * 3000, None, "nested too deeply"),
    ],
)
def test_what_is_refused_before_it_is_rendered(source: str, line: int | None, said: str) -> None:
    """With its line."""
    with pytest.raises(TemplateFault) as caught:
        Template(source)
    assert caught.value.line == line
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("source", "line", "said"),
    [
        ("{{ data.wach.id }}", 1, "has no attribute 'wach'"),
        ("a\n\n{{ data.watch.labels.none }}", 3, "has no attribute 'none'"),
        ("{{ data.result.urls[0] }}", 1, "'None' has no attribute 'urls'"),
        ("{{ nothing }}", 1, "'nothing' is undefined"),
        ("{{ data.nothing | tojson }}", 1, "has no attribute 'nothing'"),
        ("{{ 1 / 0 }}", 1, "ZeroDivisionError"),
        ("{{ 'a' + 1 }}", 1, "TypeError"),
        ("{{ lipsum(5) }}", 1, "'lipsum' is undefined"),
        ("{{ namespace(x=1) }}", 1, "'namespace' is undefined"),
        ("{{ ''.__class__.__mro__ }}", 1, "unsafe"),
        ("{{ data.watch.clear() }}", 1, "access to attribute 'clear' of 'dict' object is unsafe"),
        ("{{ data.update({}) }}", 1, "access to attribute 'update' of 'dict' object is unsafe"),
        ("{{ '{0.__class__}'.format(1) }}", 1, "access to attribute 'format' of 'str' object is unsafe"),
        ("{{ (data.keys | string) ~ data.keys.__self__ }}", 1, "unsafe"),
    ],
)
def test_what_fails_is_told_with_its_line(source: str, line: int, said: str) -> None:
    """A misspelt name is no empty text; and what leads out of the sandbox leads nowhere."""
    with pytest.raises(TemplateFault) as caught:
        render(source)
    assert caught.value.line == line
    assert said in str(caught.value)


DEEP = "{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}"
WIDE = "{% for a in range(100) %}{% for b in range(100) %}xxxxxxx{% endfor %}{% endfor %}"
TEXT = "{% set x = 'x' * 60000 %}"
BOMBS = [
    DEEP, WIDE, "{% for a in range(10000) %}{{ 'xxxxxxxxxxxxxxxx' }}{% endfor %}",
    "{% set n = 10 ** 9 %}{% for a in range(n) %}{% endfor %}",
    "{{ 'x' * 1000000000 }}", "{{ 1000000000 * 'x' }}", "{{ [1] * 1000000000 }}", "{{ 10 ** 1000000000 }}",
    "{{ 9 ** (9 ** 9) }}", "{{ '%1000000000d' % 1 }}", "{{ 'x'.center(1000000000) }}",
    "{{ 'x'.zfill(10 ** 9) }}",
    "{{ '{:1000000000}'.format(1) }}", "{{ '{a:1000000000}'.format_map({'a': 1}) }}", "{{ '\t'.expandtabs(10 ** 9) }}",
    "{{ 'x' | center(1000000000) }}", "{{ '%1000000000d' | format(1) }}", "{{ 'x' | indent(1000000000) }}",
    "{{ [1] | batch(1000000000, 'x') | list }}", "{{ [1] | slice(1000000000) | list }}",
    TEXT + "{{ range(10000) | join(x) }}", TEXT + "{{ x | replace('x', x) }}", TEXT + "{{ x.replace('x', x) }}",
    TEXT + "{{ x.join(['a'] * 60000) }}", TEXT + "{% set x = x ~ x %}" * 60, TEXT + "{% set x = x + x %}" * 60,
    "{% set x = [1] * 60000 %}" + "{% set x = x + x %}" * 60, "{% set x = 99 ** 9 %}" + "{% set x = x * x %}" * 60,
    "{% set x %}{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}{% endset %}",
    "{{ x * 70000 }}".replace("x", "'日'"),
]  # fmt: skip


@pytest.mark.parametrize("source", BOMBS, ids=range(len(BOMBS)))
def test_no_template_takes_long_or_grows_large(source: str) -> None:
    """It is refused, or fails, while it is small."""
    began = time.process_time()
    with pytest.raises(TemplateFault):
        render(source)
    assert time.process_time() - began < 5


def test_the_bounds_are_reached() -> None:
    """As many steps and bytes as are promised, each time anew."""
    template = Template(f"{{% for a in range({MAX_STEPS}) %}}{{{{ '' }}}}{{% endfor %}}{{{{ big }}}}")
    for _ in range(2):
        assert len(template.render({"big": "x" * MAX_OUTPUT})) == MAX_OUTPUT
    with pytest.raises(TemplateFault, match="64 KiB"):
        template.render({"big": "x" * (MAX_OUTPUT + 1)})
    with pytest.raises(TemplateFault, match="64 KiB"):
        template.render({"big": "日" * (MAX_OUTPUT // 2)})


@given(st.text(alphabet="{}%# abdegilnrstx'|()[]~*+.0123456789\n", max_size=80))
def test_a_text_is_a_template_or_a_fault(source: str) -> None:
    """Nothing else is raised."""
    with suppress(TemplateFault):
        render(source)


@pytest.mark.parametrize("text", ["", "{", "{'a': 1}", "NaN", '{"a": Infinity}', '{"a": 1} x', "[" * 100_000])
def test_json_is_json(text: str) -> None:
    """And nothing that only Python reads."""
    with pytest.raises(TemplateFault, match="not JSON"):
        json_body(text)


@pytest.mark.parametrize("body", [b"", b"\xff", b"[1]", b"null", b"[" * 100_000])
def test_an_event_is_an_object(body: bytes) -> None:
    """Whatever the store holds."""
    with pytest.raises(TemplateFault, match="the event is not"):
        event_of(delivery(body))


BODY = json.dumps({key: value for key, value in EVENT.items() if key != "id"}).encode()
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def webhook(url: str, template: str) -> WebhookSender:
    return WebhookSender(
        Target(url=url, timeout=20, headers={}, max_in_flight=1),
        signer=StandardSigner([decode_secret(WHSEC)]),
        clock=lambda: time.time_ns() // 1000,
        template=template,
    )


def slack(url: str, template: str, service: ServiceName = "slack") -> ChatSender:
    return ChatSender(
        Target(url=url, timeout=20), clock=lambda: 0, retry_on_timeout=True, service=service, template=template
    )


async def test_a_webhooks_body_is_made_and_signed() -> None:
    """What is sent is what was signed, also when a template made it."""
    async with receiving(says(reply())) as receiver:
        sender = webhook(receiver.url, '{"summary": {{ data.error.message | tojson }}, "dedup_key": "{{ id }}"}')
        assert (await sender.send(delivery(BODY))).outcome == Delivered()
        await sender.close()
    (request,) = receiver.requests
    assert json.loads(request.body) == {"summary": "<b> & 'x'\nü", "dedup_key": "msg_1"}
    assert request.headers["content-type"] == "application/json"
    standardwebhooks.Webhook(WHSEC).verify(request.body, request.headers, json_parse=False)


@pytest.mark.parametrize(
    ("service", "message"),
    [
        ("slack", {"text": "*vidu* failed"}),
        ("mattermost", {"text": "*vidu* failed"}),
        ("discord", {"content": "*vidu* failed", "allowed_mentions": {"parse": []}}),
        ("feishu", {"msg_type": "text", "content": {"text": "*vidu* failed"}}),
    ],
)
async def test_a_message_is_made(service: ServiceName, message: Any) -> None:
    """In place of ours; its markup is its author's."""
    replies = says(reply(200, b'{"ok": true, "code": 0}'))
    async with receiving(replies) as receiver:
        sender = slack(receiver.url, "*{{ data.watch.source }}* {{ data.state }}\n", service)
        assert (await sender.send(delivery(BODY))).outcome == Delivered()
        await sender.close()
    assert json.loads(receiver.requests[0].body) == message


@pytest.mark.parametrize(
    ("template", "detail"),
    [
        ("{{ data.nothing }}", "line 1 of the template: 'dict object' has no attribute 'nothing'"),
        (
            '{"a": {{ data.state }}}',
            "what it makes is not JSON (Expecting value at line 1, column 7); the filter tojson quotes",
        ),
    ],
)
async def test_a_body_that_cannot_be_made_ends_its_message(template: str, detail: str) -> None:
    """At once, without a request, told in the log: it would fail again at each attempt."""
    sender = webhook("http://127.0.0.1:9/", template)
    with structlog.testing.capture_logs() as logs:
        attempt = await sender.send(delivery(BODY))
    await sender.close()
    assert attempt.outcome == Rejected(reason="template", detail=detail, well=None)
    assert [(entry["event"], entry["problem"]) for entry in logs] == [("sender.template_failed", detail)]


@pytest.mark.parametrize("body", [BODY, b"no event"])
async def test_a_text_that_cannot_be_made_ends_its_message(body: bytes) -> None:
    """So does an empty one."""
    sender = slack("http://127.0.0.1:9/", "{{ '' if data }}")
    attempt = await sender.send(replace(delivery(BODY), body=body))
    await sender.close()
    assert isinstance(attempt.outcome, Rejected)
    assert attempt.outcome.reason == "template"


def test_only_who_uses_templates_loads_their_library() -> None:
    """Start-up time is not spent on what is not configured."""
    program = (
        "import sys; from notifier.senders.webhook import WebhookSender as W;"
        "from notifier.core.signers import Unsigned; from notifier.senders.target import Target;"
        "target = Target(url='http://127.0.0.1/', timeout=1, max_in_flight=1);"
        "made = lambda **more: W(target, signer=Unsigned(), clock=int, **more); import notifier.config;"
        "made(); assert 'jinja2' not in sys.modules; made(template='{}'); assert 'jinja2' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

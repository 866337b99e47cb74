"""`secret new`, `sign` and `verify`, with the vectors that other implementations agree on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import standardwebhooks
from typer.testing import CliRunner

from notifier.cli import app

# Standard Webhooks 1.0.0 (its specification's example), Svix's own documentation, and Svix's ed25519 test.
VECTORS = [
    (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "1614265330",
        '{"test": 2432232314}',
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
    (
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        "1649367553",
        '{"email":"test@example.com","username":"test_user"}',
        "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
    ),
    (
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "1614265330",
        '{"test": 2432232314}',
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==",
    ),
]
EVERY = pytest.mark.parametrize(("secret", "message", "timestamp", "body", "signature"), VECTORS)


@EVERY
def test_sign(secret: str, message: str, timestamp: str, body: str, signature: str) -> None:
    """sign prints the very bytes of the vector, however narrow the terminal."""
    args = ["sign", "--secret", secret, "--id", message, "--timestamp", timestamp]
    result = CliRunner().invoke(app, args, input=body, env={"COLUMNS": "20"})
    assert result.exit_code == 0, result.output
    assert result.output == f"webhook-id: {message}\nwebhook-timestamp: {timestamp}\nwebhook-signature: {signature}\n"
    as_json = json.loads(CliRunner().invoke(app, [*args, "--json"], input=body).output)
    assert as_json == {"webhook-id": message, "webhook-timestamp": timestamp, "webhook-signature": signature}


@EVERY
def test_verify(tmp_path: Path, secret: str, message: str, timestamp: str, body: str, signature: str) -> None:
    """verify accepts the vector, from a file too, and refuses it changed or old: one line, exit code 1."""
    (tmp_path / "body").write_text(body)
    (tmp_path / "changed").write_text(body + " ")
    args = ["verify", "-s", secret, "--id", message, "--timestamp", timestamp, "--signature", signature]
    good = CliRunner().invoke(app, [*args, "--tolerance", "0", str(tmp_path / "body")])
    assert (good.exit_code, good.output) == (0, "good\n")
    told = CliRunner().invoke(app, [*args, "--tolerance", "0", "--json", str(tmp_path / "body")])
    assert (told.exit_code, json.loads(told.output)) == (0, {"good": True, "reason": None})
    told = CliRunner().invoke(app, [*args, "--tolerance", "0", "--json", str(tmp_path / "changed")])
    answer = json.loads(told.output)
    assert (told.exit_code, answer["good"], bool(answer["reason"])) == (1, False, True)
    headers = {"webhook-id": message, "Webhook-Timestamp": timestamp, "WEBHOOK-SIGNATURE": signature}
    given = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    good = CliRunner().invoke(app, ["verify", "-s", secret, "--tolerance", "0", *given], input=body)
    assert (good.exit_code, good.output) == (0, "good\n")
    for bad in (
        [*args, "--tolerance", "0", str(tmp_path / "changed")],
        [*args, str(tmp_path / "body")],
        [*args, "--tolerance", "0", str(tmp_path / "missing")],
        [*args[:-1], "v1,AAAA", "--tolerance", "0", str(tmp_path / "body")],
    ):
        refused = CliRunner().invoke(app, bad)
        assert refused.exit_code == 1, refused.output
        assert refused.stderr.startswith("notifier: ")
        assert refused.stderr.count("\n") == 1
        assert secret not in refused.output


def test_new_secret_serves_every_library() -> None:
    """A new secret is taken by other implementations, and never the same twice."""
    import svix.webhooks  # here, as it takes a second to load

    made = {CliRunner().invoke(app, ["secret", "new"]).output.strip() for _ in range(5)}
    assert len(made) == 5
    body = '{"a": "hällo"}'
    for secret in made:
        signed = CliRunner().invoke(app, ["sign", "-s", secret, "-"], input=body).output
        headers = dict(line.split(": ", 1) for line in signed.splitlines())
        svix.webhooks.Webhook(secret).verify(body, headers)
        assert standardwebhooks.Webhook(secret).verify(body, headers) == {"a": "hällo"}


def test_new_key_pair_signs_and_verifies() -> None:
    """The private half signs what the public half verifies."""
    private, public = CliRunner().invoke(app, ["secret", "new", "--ed25519"]).output.split()
    assert (private[:5], public[:5]) == ("whsk_", "whpk_")
    as_json = json.loads(CliRunner().invoke(app, ["secret", "new", "--ed25519", "--json"]).output)
    assert (as_json["secret"][:5], as_json["public"][:5]) == ("whsk_", "whpk_")
    assert json.loads(CliRunner().invoke(app, ["secret", "new", "--json"]).output)["secret"].startswith("whsec_")
    signed = CliRunner().invoke(app, ["sign", "-s", private], input="x").output
    given = [part for line in signed.splitlines() for part in ("-H", line)]
    assert CliRunner().invoke(app, ["verify", "-s", public, *given], input="x").exit_code == 0
    assert CliRunner().invoke(app, ["verify", "-s", public, *given], input="y").exit_code == 1


@pytest.mark.parametrize("command", ["sign", "verify"])
@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "plain", "whsec_!!!"])
def test_secret_that_is_none(secret: str, command: str) -> None:
    """A secret that cannot be used is a mistake of use, no bad signature; the line does not repeat it."""
    result = CliRunner().invoke(app, [command, "-s", secret], input="x")
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    assert len(secret) < 7 or secret not in result.output

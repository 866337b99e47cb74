"""Commands for secrets and signatures: secret new, sign, verify."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from notifier.cli.client import JsonOption
from notifier.cli.duration import seconds
from notifier.cli.output import EXIT_FAILED, EXIT_USAGE, fail, show, show_json
from notifier.core.signing import (
    SecretError,
    SignatureError,
    decode_secret,
    decode_verifier,
    new_key_pair,
    new_secret,
    sign,
    verify,
)

if TYPE_CHECKING:
    from notifier.core.model import Micros

SECRET_BYTES = 32
SECRET_VARIABLES = ["NOTIFIER_SECRET", "WEBHOOK_SECRET"]  # of those who verify, and of who runs a receiver

secret = typer.Typer(help="Create signing secrets.", no_args_is_help=True)

Secrets = Annotated[
    list[str],
    typer.Option(
        "--secret",
        "-s",
        envvar=SECRET_VARIABLES,
        metavar="WHSEC",
        help="whsec_... (or whsk_...); may be given several times.",
    ),
]
Body = Annotated[Path | None, typer.Argument(metavar="FILE", help="File with the body; - or nothing: standard input.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(secret, name="secret")
    app.command("sign")(sign_body)
    app.command("verify")(verify_body)


@secret.command("new")
def new(
    ed25519: Annotated[
        bool, typer.Option("--ed25519", help="A key pair: whsk_ to sign with, whpk_ to verify.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Create a signing secret.

    Example: notifier secret new
    """
    if ed25519:
        private, public = new_key_pair(os.urandom(32))
        made = {"secret": private, "public": public}
    else:
        made = {"secret": new_secret(os.urandom(SECRET_BYTES))}
    if as_json:
        show_json(made)
        return
    for text in made.values():
        typer.echo(text)


def sign_body(
    secret: Secrets,
    body: Body = None,
    message: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="webhook-id; a new one if not given.")
    ] = None,
    timestamp: Annotated[
        int | None, typer.Option(metavar="SECONDS", help="webhook-timestamp; now if not given.", min=0)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the headers that sign a body (Standard Webhooks).

    Example: echo -n '{"test": 1}' | notifier sign --secret whsec_...
    """
    try:
        keys = [decode_secret(text) for text in secret]
    except SecretError as exc:
        fail(f"--secret: {exc}", EXIT_USAGE)
    now = _now()
    from notifier.core.payload import message_id

    message = message or message_id(now, int.from_bytes(os.urandom(10)))
    timestamp = now // 1_000_000 if timestamp is None else timestamp
    signature = sign(keys, message, timestamp, _read(body))
    headers = {"webhook-id": message, "webhook-timestamp": str(timestamp), "webhook-signature": signature}
    if as_json:
        show_json(headers)
        return
    for name, value in headers.items():
        show(f"{name}: {value}")


def verify_body(
    secret: Secrets,
    body: Body = None,
    message: Annotated[str, typer.Option("--id", metavar="ID", help="webhook-id")] = "",
    timestamp: Annotated[str, typer.Option(metavar="SECONDS", help="webhook-timestamp")] = "",
    signature: Annotated[str, typer.Option(metavar="TEXT", help="webhook-signature")] = "",
    header: Annotated[
        list[str],
        typer.Option(
            "--header", "-H", metavar="HEADER", help="A header as received, 'name: value'; instead of the three."
        ),
    ] = [],
    tolerance: Annotated[
        float,
        typer.Option(
            metavar="DURATION", parser=seconds, show_default=False, help="How old it may be; default: 5m; 0: any age."
        ),
    ] = 300.0,
    as_json: JsonOption = False,
) -> None:
    """Verify a callback's signature; exit 0 if it is good.

    Example: notifier verify --secret whsec_... --id msg_... --timestamp 1614265330 --signature v1,... body.json
    """
    headers = {"webhook-id": message, "webhook-timestamp": timestamp, "webhook-signature": signature}
    for line in header:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    try:
        keys = [decode_verifier(text) for text in secret]
        verify(keys, headers, _read(body), now=_now(), tolerance=tolerance or float("inf"))
    except SignatureError as exc:
        if not as_json:
            fail(str(exc))
        show_json({"good": False, "reason": str(exc)})
        raise typer.Exit(EXIT_FAILED) from None
    except SecretError as exc:
        fail(f"--secret: {exc}", EXIT_USAGE)
    show_json({"good": True, "reason": None}) if as_json else typer.secho("good", fg="green")


def _now() -> Micros:
    return time.time_ns() // 1000


def _read(path: Path | None) -> bytes:
    if path is None or str(path) == "-":
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except OSError as exc:
        fail(f"cannot read {path}: {exc.strerror}")

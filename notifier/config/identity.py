"""How callbacks prove their sender to an endpoint: signing secrets and TLS client certificates."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, PlainValidator, ValidationInfo, WithJsonSchema

from notifier.config.problems import invalid
from notifier.config.secret import Secret
from notifier.config.section import Context, Impossible
from notifier.config.types import printable
from notifier.core.signers import PLAIN_SECRET_BYTES
from notifier.core.signing import SecretError, decode_secret
from notifier.runtime.tls import EncryptedKey, tls_context

Signature = Literal["standard", "github", "stripe", "none"]


def _fitting(secret: Secret, info: ValidationInfo) -> Secret:
    """Refuse a secret that cannot sign in the chosen form."""
    match info.data.get("signature"):
        case "standard":
            try:
                decode_secret(secret.reveal())
            except SecretError as exc:  # its message does not quote the secret
                raise invalid(str(exc)) from exc
        case "github" | "stripe" if len(secret.reveal().encode()) < PLAIN_SECRET_BYTES:
            raise invalid(f"a secret has at least {PLAIN_SECRET_BYTES} bytes; `notifier secret new` makes one")
    return secret


def _fitting_number(secrets: tuple[Secret, ...], info: ValidationInfo) -> tuple[Secret, ...]:
    """Refuse a number of secrets that the form of the signature does not allow."""
    match info.data.get("signature"):
        case "none" if secrets:
            raise invalid("`signature: none` signs nothing; remove one of the two")
        case "github" if len(secrets) > 1:
            raise invalid("GitHub's header holds one signature, so there can be one secret only")
        case "standard" | "github" | "stripe" if not secrets:
            raise invalid("required, but missing")
    return secrets


def _listed(value: Any) -> Any:
    """Return a list; one secret may stand without it."""
    return value if isinstance(value, list | tuple) else [value]


# for a field that follows a field `signature`
FormSecrets = Annotated[
    tuple[Annotated[Secret, AfterValidator(_fitting)], ...],
    BeforeValidator(_listed, json_schema_input_type=Secret | tuple[Secret, ...]),
    AfterValidator(_fitting_number),
]


def tried(value: Any, info: ValidationInfo, read: Callable[[Path], None]) -> Path:
    """Return the path of a file that `read` can read. Raises PydanticCustomError."""
    if isinstance(value, Path):
        return value
    context = Context.of(info)
    path = context.directory / printable(value)
    context.note(path)
    try:
        if not path.is_file():  # a pipe may block for ever
            raise invalid("no such file")
        read(path)
    except OSError as exc:
        raise invalid(f"cannot be read: {exc.strerror}") from exc
    return path


def _ca_file(value: Any, info: ValidationInfo) -> Path:
    return tried(value, info, _read_authorities)


def _read_authorities(path: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError as exc:  # a subclass of OSError
        raise invalid("holds no certificates in PEM form") from exc


CaFile = Annotated[Path, PlainValidator(_ca_file), WithJsonSchema({"type": "string", "minLength": 1})]


def _file(value: Any, info: ValidationInfo) -> Path:
    return tried(value, info, lambda path: path.open("rb").close())


PemFile = Annotated[Path, PlainValidator(_file), WithJsonSchema({"type": "string", "minLength": 1})]


def impossible_certificate(cert_file: Path | None, key_file: Path | None, *, secure: bool) -> Iterator[Impossible]:
    """Load the certificate with its key, as a sender will."""
    both = frozenset({"cert_file", "key_file"})
    if cert_file is None:
        if key_file is not None:
            yield Impossible(key="key_file", keys=both, message="the key of no certificate; set cert_file too")
        return
    if not secure:
        message = "a certificate is shown in TLS only; the url begins with http://"
        yield Impossible(key="cert_file", keys=frozenset({"cert_file", "url"}), message=message)
    key = "cert_file" if key_file is None else "key_file"
    try:
        tls_context(cert_file=cert_file, key_file=key_file)
    except EncryptedKey:
        yield Impossible(key=key, keys=both, message="the private key is encrypted; there is nobody to ask: decrypt it")
    except ssl.SSLError as exc:
        if exc.reason == "KEY_VALUES_MISMATCH":
            message = "the private key is not that of the certificate"
        elif key_file is None:
            message = "holds no certificate with its private key in PEM form; the key may stand apart, in key_file"
        else:
            message = "certificate or private key is not in PEM form, or is not fit for TLS"
        yield Impossible(key=key, keys=both, message=message)
    except OSError as exc:
        yield Impossible(key=key, keys=both, message=f"cannot be read: {exc.strerror}")

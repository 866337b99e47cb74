"""What a command prints where no daemon answers as it should, and where a request goes."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner
from waits import PATIENCE

from notifier.cli import app, session, wait
from notifier.cli.client import Client, connect
from notifier.cli.session import send

LIST = "/v1/watches"


@contextmanager
def answering(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """Treat each connection, after the head of its request; yield the URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:  # closed: the test is over
                    return
                with peer:
                    peer.recv(1 << 16)
                    answer(peer)

        thread = threading.Thread(target=serve, name="no daemon", daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def says(status: str, body: bytes, kind: str = "application/json") -> Callable[[socket.socket], object]:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return lambda peer: peer.sendall(head.encode() + body)


def printed(client: Client, capsys: pytest.CaptureFixture[str], *, code: int = 1) -> str:
    """Return the one line that a request ends with, with this exit code."""
    with pytest.raises(SystemExit) as ended:
        client.get(LIST)
    assert ended.value.code == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err.strip().removeprefix("notifier: ")


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (
            says("200 OK", b"<!doctype html><title>It works!</title>", "text/html"),
            "what answers at URL is not the daemon; say where it is: --url or -c FILE",
        ),
        (
            says("404 Not Found", b'{"message": "no route"}'),
            "what answers at URL is not the daemon; say where it is: --url or -c FILE",
        ),
        (
            says("401 Unauthorized", b'{"detail": "a bearer token is needed"}'),
            "the daemon at URL asks for its bearer token: --token, NOTIFIER_TOKEN or -c FILE",
        ),
        (
            says("409 Conflict", b'{"detail": "the endpoint is disabled"}'),
            "the endpoint is disabled",
        ),
        (
            lambda peer: peer.sendall(b"SSH-2.0-OpenSSH_9.6\r\n"),
            "what answers at URL is not the daemon; say where it is: --url or -c FILE",
        ),
        (
            lambda _: None,
            "cannot reach the daemon at URL: Remote end closed connection without response; is it running?"
            " (--url, --token or -c FILE)",
        ),
    ],
    ids=["page", "stranger", "token", "refusal", "ssh", "nothing"],
)
def test_an_answer_that_is_no_list(
    answer: Callable[[socket.socket], object], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says what is wrong, and what to do."""
    with answering(answer) as url:
        assert printed(Client(url=url), capsys) == line.replace("URL", url)


def test_a_value_that_the_daemon_does_not_know_is_a_mistake_of_use(capsys: pytest.CaptureFixture[str]) -> None:
    """`watch list --phase bogus` ends with 2, as an option that the command itself refuses does."""
    detail = b'{"detail": "phase: expected one of queued, running, got \\"bogus\\""}'
    with answering(says("400 Bad Request", detail)) as url:
        line = printed(Client(url=url), capsys, code=2)
    assert line == 'phase: expected one of queued, running, got "bogus"'
    with answering(says("400 Bad Request", b"<h1>plain HTTP to a port of HTTPS</h1>", "text/html")) as url:
        assert printed(Client(url=url), capsys).startswith("what answers at")
    with answering(says("400 Bad Request", b'{"message": "no route"}')) as url:
        assert printed(Client(url=url), capsys).startswith("what answers at")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1:9", "127.0.0.1:8780", "localhost", "HTTP//x", "unix"])
def test_an_address_of_another_form_is_a_mistake_of_use(url: str) -> None:
    """It can be told without asking anybody."""
    done = CliRunner().invoke(app, ["status", "--url", url])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"notifier: --url {url}: expected http://HOST:PORT or unix:PATH\n"


def test_an_argument_that_is_no_text_is_told_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes that the locale's encoding does not know say nothing about whether the daemon is running."""
    client = Client(url="http://127.0.0.1:9")
    with pytest.raises(SystemExit) as ended:
        client.get(LIST, q=os.fsdecode(b"caf\xe9"))
    assert ended.value.code == 2
    assert capsys.readouterr().err == "notifier: an argument is not text in this locale\n"


def test_a_store_that_is_away_is_no_mistake_of_the_configuration() -> None:
    """`reload` ends with 1, so that a script asks again, and not with 78, which says that the files are wrong."""
    with answering(says("503 Service Unavailable", b'{"detail": "the store cannot be used for now"}')) as url:
        done = CliRunner().invoke(app, ["reload", "--url", url])
    assert (done.exit_code, done.stderr) == (1, "notifier: the store cannot be used for now\n")


def test_a_wait_outlives_an_outage_that_it_begins_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon is there, and its store will be back: a task is looked for until there is an answer."""
    monkeypatch.setattr(wait, "RETRY", 0.01)
    away = says("503 Service Unavailable", b'{"detail": "the store cannot be used for now"}')
    item = b'{"source": "vidu", "id": "1", "phase": "failed", "lost": null, "ended": true}'
    answers = [away, away, says("200 OK", item)]
    with answering(lambda peer: answers.pop(0)(peer)) as url:
        done = CliRunner().invoke(app, ["watch", "wait", "vidu/1", "--url", url])
    assert (done.exit_code, done.stdout) == (3, "vidu/1 failed\n")
    with answering(away) as url:
        done = CliRunner().invoke(app, ["watch", "wait", "vidu/1", "--timeout", "50ms", "--url", url])
    assert (done.exit_code, done.stderr) == (1, "notifier: the store cannot be used for now\n")


def test_a_wrong_token_is_told_from_none(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(says("401 Unauthorized", b"{}")) as url:
        line = printed(Client(url=url, token="wrong"), capsys)
    assert line == (f"the daemon at {url} refuses this bearer token: --token, NOTIFIER_TOKEN or -c FILE")


def test_silence_ends(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A daemon that accepts and says nothing."""
    monkeypatch.setattr(session, "TIMEOUT", 0.2)
    over = threading.Event()
    with answering(lambda _: over.wait(PATIENCE)) as url:
        line = printed(Client(url=url), capsys)
        over.set()
    assert line == f"the daemon at {url} does not answer"


def test_nobody_listens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a port, on a socket in the file system, and at a URL that names no host."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for url, reason in (
        (f"http://127.0.0.1:{port}", "Connection refused"),
        (f"unix:{tmp_path}/none.sock", "No such file or directory"),
        ("http://", "the URL names no host"),
    ):
        line = printed(Client(url=url), capsys)
        assert line == (f"cannot reach the daemon at {url}: {reason}; is it running? (--url, --token or -c FILE)")


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://[::1]", ("::1", 80)),
        ("http://[2001:db8::1]:8780", ("2001:db8::1", 8780)),
        ("http://127.0.0.1", ("127.0.0.1", 80)),
        ("https://[::1]/behind", ("::1", 443)),
        ("https://n.example:80", ("n.example", 80)),
    ],
)
def test_a_url_without_a_port_means_that_of_its_scheme(
    url: str, place: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the host is an IPv6 address, whose last group is no port."""
    asked: list[tuple[str, int]] = []

    def refuse(address: tuple[str, int], *_: object) -> socket.socket:
        asked.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(ConnectionRefusedError):
        send("GET", url, LIST, token=None, timeout=1.0)
    assert asked == [place]


def test_a_token_is_found_where_it_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option goes before the configuration, and advice repeats what selects the daemon, never the token."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "n.yaml"
    path.write_text('http: {listen: "127.0.0.1:4321", token: from-the-file-0123456789}\n')
    assert connect(None, None, path) == Client(
        url="http://127.0.0.1:4321", token="from-the-file-0123456789", options=f" -c {path}"
    )
    assert connect(None, "mine", path).token == "mine"
    assert connect("http://n.example", None, path) == Client(url="http://n.example", options=" --url http://n.example")
    for url in ("ftp://x", "localhost:8780"):
        with pytest.raises(SystemExit):
            connect(url, None, None)


def test_an_option_goes_before_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-c FILE` asks the daemon of that file, whichever one the environment names."""
    path = tmp_path / "n.yaml"
    path.write_text('http: {listen: "127.0.0.1:4321"}\n')
    monkeypatch.setenv("NOTIFIER_URL", "http://other.example")
    assert connect("http://other.example", None, path).url == "http://127.0.0.1:4321"
    assert connect("http://n.example", None, path).url == "http://n.example"
    assert connect("http://other.example", None, None).url == "http://other.example"
    monkeypatch.setenv("NOTIFIER_CONFIG", str(path))
    assert connect("http://other.example", None, path).url == "http://other.example"
    monkeypatch.delenv("NOTIFIER_URL")
    assert connect(None, None, path).url == "http://127.0.0.1:4321"


def test_advice_repeats_the_options_that_were_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration in the directory is found again by itself, so that advice is short."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text('http: {listen: "127.0.0.1:9780"}\n')
    (tmp_path / "other.yaml").write_text('http: {listen: "127.0.0.1:9781"}\n')
    found = connect(None, None, None)
    assert (found.url, found.options) == ("http://127.0.0.1:9780", "")
    named = connect(None, None, Path("other.yaml"))
    assert (named.url, named.options) == ("http://127.0.0.1:9781", " -c other.yaml")
    assert connect("http://127.0.0.1:9", None, None).options == " --url http://127.0.0.1:9"


def test_a_refused_reload_is_told_as_json_by_an_earlier_daemon_too() -> None:
    """Its problems are text alone, perhaps with an excerpt; a failure for now is no list of problems."""
    body = {"detail": "refused", "problems": ["c.yaml:2:1: x: unknown key\n    x: 1\n    ^", "c.yaml: empty"]}
    with answering(says("422 Unprocessable Entity", json.dumps(body).encode(), "application/problem+json")) as url:
        result = CliRunner().invoke(app, ["reload", "--json", "--url", url])
    assert (result.exit_code, result.stderr) == (78, "")
    at_large = {"file": "", "line": 0, "column": 0, "key": "", "suggestion": None}
    first = at_large | {"message": "c.yaml:2:1: x: unknown key", "excerpt": ["x: 1", "^"]}
    second = at_large | {"message": "c.yaml: empty", "excerpt": []}
    assert json.loads(result.stdout) == {"problems": [first, second], "warnings": []}
    with answering(says("503 Service Unavailable", b'{"detail": "the daemon is stopping"}')) as url:
        result = CliRunner().invoke(app, ["reload", "--json", "--url", url])
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "notifier: the daemon is stopping\n")


@pytest.mark.parametrize(
    "credentials", ["user:hunter2", ":hunter2", "hunter2", "user:hun/hunter2", "a@b:hunter2", "u:hunter2 x"]
)
@pytest.mark.parametrize("host", ["127.0.0.1:9", "[::1", "127.0.0.1:x", "", "127.0.0.1:9/a b"])
def test_credentials_of_the_url_are_not_printed(credentials: str, host: str) -> None:
    """In no error: nobody is there, the URL is none, or it has another form."""
    for form in ("http://{}@{}", "https://{}@{}", "ftp://{}@{}", "{}@{}", "//{}@{}"):
        done = CliRunner().invoke(app, ["status", "--url", form.format(credentials, host)])
        assert done.exit_code in (1, 2)
        assert "hunter2" not in done.output, done.output
        assert f"<secret>@{host}" in done.output


def test_credentials_of_the_url_are_kept_out_of_answers_and_advice() -> None:
    """Neither the errors about what answers, nor the commands that are advised, hold them."""
    with answering(says("401 Unauthorized", b"{}")) as url:
        named = url.replace("http://", "http://user:hunter2@")
        done = CliRunner().invoke(app, ["status", "--url", named])
    shown = url.replace("http://", "http://<secret>@")
    assert done.stderr.startswith(f"notifier: the daemon at {shown} asks for its bearer token: ")
    with answering(says("404 Not Found", b"{}")) as url:
        done = CliRunner().invoke(app, ["status", "--url", url.replace("http://", "http://user:hunter2@")])
    assert "hunter2" not in done.output
    assert "is not the daemon" in done.output
    assert connect(named, None, None).options == f" --url '{shown}'"
    assert connect("unix:/run/a@b", None, None).options == " --url unix:/run/a@b"

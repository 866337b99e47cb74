"""Which event loop runs, what a TLS connection costs on asyncio's, and how many files may be open."""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import resource
import subprocess
import sys
from collections.abc import Iterator

import pytest

from notifier.runtime import loops


@pytest.fixture(autouse=True)
def _tls_buffers() -> Iterator[None]:
    size = asyncio.sslproto.SSLProtocol.max_size
    yield
    asyncio.sslproto.SSLProtocol.max_size = size


async def loop_module() -> str:
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


@pytest.mark.parametrize(("choice", "module"), [("auto", "uvloop"), ("uvloop", "uvloop"), ("asyncio", "asyncio")])
def test_the_loop_is_the_one_chosen(choice: loops.Choice, module: str) -> None:
    with loops.runner(choice) as runner:
        assert runner.run(loop_module()) == module


def test_auto_does_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)  # what an import finds where it is not installed
    with loops.runner("auto") as runner:
        assert runner.run(loop_module()) == "asyncio"


def test_uvloop_demanded_but_absent_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(loops.LoopUnavailable, match="install it, or say `loop: auto`"):
        loops.runner("uvloop")


def test_asyncio_gets_small_tls_buffers_and_uvloop_leaves_them() -> None:
    stock = asyncio.sslproto.SSLProtocol.max_size
    with loops.runner("uvloop"):
        assert asyncio.sslproto.SSLProtocol.max_size == stock
    with loops.runner("asyncio"):
        assert asyncio.sslproto.SSLProtocol.max_size == loops.TLS_BUFFER < stock


def test_the_file_limit_is_raised_to_the_hard_one() -> None:
    """In a process of its own: a limit is the whole process's."""
    program = (
        "import resource; from notifier.runtime.loops import raise_file_limit;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 300));"
        "print(raise_file_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE), raise_file_limit())"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["300", "300", "300", "300"]


def test_a_limit_that_may_not_be_raised_is_lived_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox may forbid setrlimit; the daemon runs with what it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard + 1))  # more than an unprivileged process may have

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert loops.raise_file_limit() == soft


def test_threads_share_one_arena() -> None:
    """In a process of its own: malloc's settings are the whole process's. malloc_stats(3) prints each arena."""
    program = (
        "import ctypes, threading; from notifier.runtime.loops import settle_memory; settle_memory();"
        "thread = threading.Thread(target=bytes, args=(10_000,)); thread.start(); thread.join();"
        "getattr(ctypes.CDLL(None), 'malloc_stats', lambda: None)()"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stderr.count("Arena ") <= 1

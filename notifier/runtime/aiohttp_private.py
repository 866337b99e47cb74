"""The private parts of aiohttp that the program uses, all in this one module.

aiohttp has no public way to do what is done here. `tests/runtime/test_aiohttp_private.py` fails when a new version
changes one of these parts.

The package loads its client with everything else: 2 MiB, and while that is loaded, it reads the system's authorities
twice, for connections that the program never makes: 40 ms and 3 MiB. In a process that imports this module before
aiohttp, the modules of the server are loaded as they are imported, and all of the package when it is asked for another
name.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp.web import RequestHandler


def _postpone(name: str) -> None:
    """Import a package in part: what it loads itself is loaded when it is asked for a name that is no module's."""
    spec = find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    package, loader = module_from_spec(spec), spec.loader

    def load(wanted: str) -> Any:
        if wanted.startswith("__") or find_spec(f"{name}.{wanted}") is not None:  # the latter is imported next
            raise AttributeError(f"module {name!r} has no attribute {wanted!r}")
        del package.__getattr__
        loader.exec_module(package)
        return getattr(package, wanted)

    package.__getattr__ = load  # type: ignore[method-assign]  # PEP 562
    package.__version__ = version(name)  # type: ignore[attr-defined]  # which its modules ask for
    sys.modules[name] = package


if "aiohttp" not in sys.modules:
    _postpone("aiohttp")


def is_idle(handler: RequestHandler) -> bool:
    """Return whether an HTTP server's connection waits for the rest of a request's head."""
    if handler._request_count == 0:  # its task, which waits, may not have begun
        return True
    waiter = handler._waiter
    return waiter is not None and not waiter.done()

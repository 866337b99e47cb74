"""How libraries are loaded without those of their parts that the daemon does not use.

A package loads its parts when it is imported: aiohttp its client, which takes 2 MiB and reads the system's authorities
twice, 40 ms and 3 MiB; prometheus_client two HTTP servers. Nothing public of them prevents that.
`tests/runtime/test_loading_private.py` fails when a new version makes it impossible.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec
from typing import Any


def load_in_part(name: str) -> None:
    """Have a package load each module when it is imported, and all it wants when it is asked for any other name.

    Nothing happens to a package that is loaded already.
    """
    if name in sys.modules:
        return
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
    package.__version__ = version(name)  # type: ignore[attr-defined]  # modules of aiohttp need it
    sys.modules[name] = package

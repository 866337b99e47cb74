"""How libraries are loaded without those of their parts that the daemon does not use.

A package loads its parts when it is imported: aiohttp its client, which takes 2 MiB and reads the system's authorities
twice, 40 ms and 3 MiB; prometheus_client two HTTP servers. Nothing public of them prevents that.
`tests/runtime/test_loading_private.py` fails when a new version makes it impossible.
"""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec
from typing import Any


def load_in_part(name: str) -> None:
    """Have a package load each module when it is asked for, and all it wants when it is asked for any other name.

    Nothing happens to a package that is loaded already. Threads may ask at the same time.
    """
    if name in sys.modules:
        return
    spec = find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    package, loader = module_from_spec(spec), spec.loader
    lock, loading = threading.RLock(), False

    def load(wanted: str) -> Any:
        nonlocal loading
        missing = AttributeError(f"module {name!r} has no attribute {wanted!r}", name=wanted, obj=package)
        if wanted.startswith("__") and wanted != "__all__":
            raise missing
        if find_spec(f"{name}.{wanted}") is not None:
            return import_module(f"{name}.{wanted}")
        with lock:
            if loading:  # this thread asks, in the middle of it
                raise missing
            if vars(package).get("__getattr__") is load:  # no other thread has done it meanwhile
                loading = True
                try:
                    loader.exec_module(package)
                finally:
                    loading = False
                if vars(package)["__getattr__"] is load:  # else the package has one of its own now
                    del package.__getattr__
        return getattr(package, wanted)

    package.__getattr__ = load  # type: ignore[method-assign]  # PEP 562
    package.__version__ = version(name)  # type: ignore[attr-defined]  # modules of aiohttp need it
    sys.modules[name] = package

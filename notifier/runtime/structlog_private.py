"""What the program knows of the inside of structlog, in this one module.

structlog chooses the level by the class of a logger, and a logger that is bound keeps its class. It loads what it finds
installed: rich, 5 MiB with pygments, to draw tracebacks that the program writes in its own way, and greenlet, for other
contexts than asyncio's. A process that imports this module before structlog does without.
`tests/runtime/test_structlog_private.py` fails when a new version changes that.
"""

from __future__ import annotations

import sys

_UNUSED = ("rich", "greenlet")
_loaded = {name: sys.modules[name] for name in _UNUSED if name in sys.modules}
for _name in _UNUSED:
    sys.modules[_name] = None  # type: ignore[assignment]  # an import then fails as if it were not installed
try:
    import structlog
finally:
    for _name in _UNUSED:
        del sys.modules[_name]
    sys.modules.update(_loaded)

__all__ = ["LevelLogger", "set_level", "structlog"]


class LevelLogger(structlog.make_filtering_bound_logger(0)):  # type: ignore[misc]  # a class made at run time
    """Logs at and above the level that was last set; below it, a call costs nothing."""


def set_level(level: int) -> None:
    """Replace the methods of `LevelLogger` with those of a level, so that loggers in use follow."""
    for name, method in vars(structlog.make_filtering_bound_logger(level)).items():
        if not name.startswith("__"):
            setattr(LevelLogger, name, method)

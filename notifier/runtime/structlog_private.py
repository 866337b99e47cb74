"""What the program knows of the inside of structlog, in this one module.

structlog chooses the level by the class of a logger, and a logger that is bound keeps its class. It loads rich where
that is installed, 5 MiB with pygments, to draw tracebacks that the program writes in its own way. A process that
imports this module before structlog does without.
`tests/runtime/test_structlog_private.py` fails when a new version changes that.
"""

from __future__ import annotations

import sys

_rich = sys.modules.get("rich")
sys.modules["rich"] = None  # type: ignore[assignment]  # an import then fails as if it were not installed
try:
    import structlog
finally:
    del sys.modules["rich"]
    if _rich is not None:
        sys.modules["rich"] = _rich

__all__ = ["LevelLogger", "set_level", "structlog"]


class LevelLogger(structlog.make_filtering_bound_logger(0)):  # type: ignore[misc]  # a class made at run time
    """Logs at and above the level that was last set; below it, a call costs nothing."""


def set_level(level: int) -> None:
    """Replace the methods of `LevelLogger` with those of a level, so that loggers in use follow."""
    for name, method in vars(structlog.make_filtering_bound_logger(level)).items():
        if not name.startswith("__"):
            setattr(LevelLogger, name, method)

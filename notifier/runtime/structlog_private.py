"""What the program knows of the inside of structlog's loggers, in this one module.

structlog chooses the level by the class of a logger, and a logger that is bound keeps its class.
`tests/runtime/test_structlog_private.py` fails when a new version changes that.
"""

from __future__ import annotations

import structlog


class LevelLogger(structlog.make_filtering_bound_logger(0)):  # type: ignore[misc]  # a class made at run time
    """Logs at and above the level that was last set; below it, a call costs nothing."""


def set_level(level: int) -> None:
    """Replace the methods of `LevelLogger` with those of a level, so that loggers in use follow."""
    for name, method in vars(structlog.make_filtering_bound_logger(level)).items():
        if not name.startswith("__"):
            setattr(LevelLogger, name, method)

"""Follow generation tasks and tell others, losing nothing."""

__version__ = "0.1.0"

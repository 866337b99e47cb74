"""Repeatable measurements on loopback; `python -m bench`. Knows the daemon only by its command and configuration."""

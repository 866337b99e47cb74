"""The process: built, changed by a reload, stopped.

`build` makes the parts, `adapters` the sources and senders, `app` runs them and stops them in order. `reload` replaces
the configuration in force, which `config_reader` reads, and `installation` the objects made from it; `file_watches`
adds and removes the watches of its files, `file_follower` reloads by itself, by hints of `inotify`. `periodic` deletes
old rows, and gives systemd its line, whose text is in `web/status.py`; `clock_follower` moves dates when the clock is
set; `heartbeat` tells a monitor that the daemon is well.
"""

__all__ = [
    "adapters",
    "app",
]

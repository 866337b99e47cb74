"""Adapters that read task states from upstreams.

`sse` reads streams, each over a `connection`, `poll` asks again and again, `result` requests the result of a success.
`preset` describes a provider, by a file in `presets/` or in the configuration; by that description `request` writes the
request, and `snapshot` reads the answer, as a `document` with `values`, from a `body` that is unpacked. `http` sends
requests through redirects and a proxy, by the settings in `plan`. `archive` keeps results, in a `kept_file` or a
`kept_object`. `probe` is one look, for `notifier source test`.
"""

__all__ = [
    "archive",
    "document",
    "kept_file",
    "kept_object",
    "plan",
    "poll",
    "preset",
    "probe",
    "snapshot",
    "sse",
    "values",
]

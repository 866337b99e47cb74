"""Values and decisions: no I/O, no clock, no randomness; everything enters as an argument.

Of a task: `machine` turns an observation into a step, `history` tells a stream's past from news, `reconnect` says when
to connect or poll again, or give up. Of an event: `payload` makes its bytes, `routing` its receivers, `digest` one
message of many. Of an endpoint: `retry` says what a reply meant and reads Retry-After, `flow` how much it is sent, by
`window`, `load` and `recent`; `breaker` stops sending, `endpoint` is its saved health.
"""

__all__ = [
    "addresses",
    "archive",
    "breaker",
    "callback",
    "databases",
    "digest",
    "endpoint",
    "errors",
    "eventstream",
    "flow",
    "history",
    "http_head",
    "kept_json",
    "load",
    "machine",
    "model",
    "mute",
    "pace",
    "payload",
    "recent",
    "reconnect",
    "retry",
    "rhythm",
    "routing",
    "share",
    "signers",
    "signing",
    "strictjson",
    "text",
    "trace",
    "window",
]

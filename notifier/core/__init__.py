"""Values and decisions: no I/O, no clock, no randomness; everything enters as an argument.

`model` has the values that all share, `errors` every error. Of a stream: `eventstream` decodes it, `http_head` is the
head of a reply. Of a task: `machine` turns an observation into a step, `history` tells a stream's past from news,
`reconnect` says when to connect or poll again, or give up. Of an event: `payload` makes its bytes, `signing` and
`signers` sign them, `routing` finds its receivers, `digest` makes one message of many. Of an endpoint: `retry` says
what a reply meant and reads Retry-After, `flow` how much it is sent, by `window`, `load` and `recent`; `breaker` stops
sending, `endpoint` is its saved health, `condition` its state in words. Of a URL that came with a watch: `callback` has
its rules, `addresses` the addresses that it may not lead to. Of several nodes: `share`.
"""

__all__ = [
    "addresses",
    "archive",
    "breaker",
    "callback",
    "condition",
    "databases",
    "digest",
    "endpoint",
    "errors",
    "eventstream",
    "flow",
    "history",
    "http_head",
    "json_private",
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

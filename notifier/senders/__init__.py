"""Adapters that deliver events to endpoints: one attempt each. When the next one follows is decided in `deliver`.

`webhook` sends signed bodies, `cloudevents` writes them in another form, `callback` sends to the URLs of watches. For
people, `notice` gathers the content of a message; `chat` sends it to one of the `services`, `slack_bot` edits it in a
channel by the `slack_api`, `apprise_service` reaches all others, `template` words it as the user wishes. All POST by
`exchange` over kept `connections`; `reply` has the limits of an answer's size, `faults` says whose fault a missing
answer is.
"""

__all__ = [
    "apprise_service",
    "callback",
    "chat",
    "mention",
    "notice",
    "pace",
    "refusing",
    "services",
    "slack_bot",
    "target",
    "template",
    "webhook",
]

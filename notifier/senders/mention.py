"""Writes the names of people and groups so that Slack calls them. Pure.

Which messages mention anybody is decided in `notice.py` (`is_failure`).

https://docs.slack.dev/messaging/formatting-message-text/#mentions
"""

from __future__ import annotations

import re

_EVERYBODY = frozenset({"here", "channel", "everyone"})
_USER = re.compile(r"[UW][A-Z0-9]{5,20}")
_GROUP = re.compile(r"S[A-Z0-9]{5,20}")


def slack_mention(name: str) -> str | None:
    """Return the mention of a user's id, a group's id, `here`, `channel` or `everyone`; None for anything else.

    Slack has no mention by a name: names change, and an unknown one would call nobody.
    """
    bare = name.removeprefix("@")
    if bare in _EVERYBODY:
        return f"<!{bare}>"
    if _USER.fullmatch(bare):
        return f"<@{bare}>"
    return f"<!subteam^{bare}>" if _GROUP.fullmatch(bare) else None

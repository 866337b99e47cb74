"""Chat services with incoming webhooks: the messages that each accepts, and the meaning of its replies."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Literal, Protocol

from notifier.core.model import Json, Micros
from notifier.core.retry import Outcome
from notifier.senders.notice import Notice

ServiceName = Literal["slack", "mattermost", "discord", "feishu"]


class Service(Protocol):
    """One service. Pure: for any event, the message is within the service's limits."""

    def message(self, notice: Notice) -> Json:
        """Return the JSON to POST for an event."""
        ...

    def text(self, text: str) -> Json:
        """Return the JSON to POST for a text in the service's own markup; a text that is too long is cut visibly."""
        ...

    def judge(
        self, status: int, body: str, headers: Mapping[str, str], *, now: Micros, hide: tuple[str, ...] = ()
    ) -> Outcome:
        """Judge a reply; arguments as for `classify_http`."""
        ...


def load(name: ServiceName) -> Service:
    """Return a service by its name. Its module is imported on first use, since Slack's library takes 150 ms to load."""
    service: Service = import_module(f"{__name__}.{name}").SERVICE
    return service

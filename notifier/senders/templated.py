"""What is sent where a template decides: a body or a text, or the message's end.

A fault of the template is the message's, not the endpoint's: it would fail the same way at every attempt. So the
message is dead at once, and listed, for a retry by hand once the template is corrected. Rendered is the event as it was
stored, at each attempt: after a reload, by the new template.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import structlog

from notifier.core.model import Delivery
from notifier.core.retry import Rejected
from notifier.senders.template import Template, TemplateFault, event_of, json_body, not_empty

T = TypeVar("T")

log = structlog.stdlib.get_logger()


class Templated:
    """Applies one template to deliveries."""

    def __init__(self, source: str) -> None:
        """Raises TemplateFault."""
        self._template = Template(source)

    def json(self, delivery: Delivery) -> bytes | Rejected:
        """Return the body that the template makes."""
        return self._made(delivery, json_body)

    def text(self, delivery: Delivery) -> str | Rejected:
        """Return the text that the template makes."""
        return self._made(delivery, not_empty)

    def _made(self, delivery: Delivery, accept: Callable[[str], T]) -> T | Rejected:
        try:
            return accept(self._template.render(event_of(delivery)))
        except TemplateFault as exc:
            log.error("sender.template_failed", endpoint=delivery.endpoint, delivery=delivery.id, problem=str(exc))
            return Rejected(reason="template", detail=str(exc), well=None)

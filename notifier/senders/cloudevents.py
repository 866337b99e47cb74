"""Writes an event as a CloudEvent 1.0 in structured mode: one JSON object with the event's data in `data`. Pure.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/sequence.md
"""

from __future__ import annotations

import json
from urllib.parse import quote

from notifier.core.model import Delivery, Json
from notifier.core.payload import encode
from notifier.core.retry import Rejected

CONTENT_TYPE = "application/cloudevents+json"
_SOURCE = "/notifier"  # of operators' events, which have no watch


def structured(delivery: Delivery) -> bytes | Rejected:
    """Return a delivery's event as a CloudEvent. Its `id` is the webhook-id, so repeats can be dropped."""
    try:
        return _structured(delivery.event_id, json.loads(delivery.body))
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as exc:
        detail = f"the stored event is not one of this program: {type(exc).__name__}"
        return Rejected(reason="format", detail=detail, well=None)


def _structured(event_id: str, event: Json) -> bytes:
    data: Json = event["data"]
    watch = data.get("watch")
    subject = data.get("endpoint") if watch is None else watch["id"]
    attributes: dict[str, Json] = {
        "specversion": "1.0",
        "id": event_id,
        "source": _SOURCE if watch is None else f"{_SOURCE}/{quote(watch['source'], safe='')}",
        "type": event["type"],
        "subject": subject,
        "time": event["timestamp"],
        "datacontenttype": "application/json",
        "sequence": str(data["sequence"]) if "sequence" in data else None,
        "sequencetype": "Integer" if "sequence" in data else None,
    }
    return encode({name: value for name, value in attributes.items() if value is not None} | {"data": data})

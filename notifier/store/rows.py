"""Rows from values, and values from rows."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

from notifier.core.json_private import compiled
from notifier.core.kept_json import KeptJson, KeptLabels
from notifier.core.model import NONE, Address, Delivery, NewWatch, Phase, Record, Watch
from notifier.core.retry import Attempt, Delivered, Failed
from notifier.core.text import storable
from notifier.store.values import Dead, Done, Later, Muted, Settlement, Superseded

DESCRIPTION = ("labels", "metadata", "endpoints", "callback", "variables", "traceparent")  # columns that users describe
description = attrgetter(*DESCRIPTION)
_NO_LABELS: Mapping[str, str] = {}
_sorted_json = compiled(json.JSONEncoder(sort_keys=True))


def watch_from(row: Any, described: Mapping[str, Any] | None = None) -> Watch:
    """Read a watch, in as little memory as it can be in; `described`: its columns DESCRIPTION as they are now."""
    created_at, changed_at = row.created_at, row.changed_at
    values = description(row) if described is None else described.values()
    labels, metadata, endpoints, callback, variables, traceparent = values
    return Watch(
        pk=row.pk,
        source=sys.intern(row.source),
        id=row.id,
        created_at=created_at,
        labels=kept_labels(labels),
        metadata=kept_metadata(metadata),
        endpoints=None if endpoints is None else tuple(json.loads(endpoints)),
        callback=callback,
        variables=NONE if variables is None else json.loads(variables),
        traceparent=traceparent,
        state=row.state,
        phase=None if row.phase is None else Phase(row.phase),
        sequence=row.sequence,
        changed_at=created_at if changed_at == created_at else changed_at,  # one object for both
        stalled=bool(row.stalled),
        ended=bool(row.ended),
        last_event_id=row.last_event_id or "",
    )


def kept_labels(text: str) -> Mapping[str, str]:
    """Read labels, in little memory."""
    return _NO_LABELS if text == "{}" else KeptLabels(text)


def kept_metadata(text: str) -> KeptJson | None:
    """Read metadata, in little memory."""
    return None if text == "null" else KeptJson(text)


def delivery_from(row: Sequence[Any]) -> Delivery:
    """Read a delivery with its body, from the columns of `statements.LOAD_DELIVERIES`."""
    number, endpoint, lane, attempt, event_id, event_type, body, at, traceparent = row
    return Delivery(
        id=number,
        endpoint=endpoint,
        event_id=event_id,
        event_type=event_type,
        body=body,
        lane=lane,
        observed_at=at,
        attempt=attempt,
        traceparent=traceparent,
    )


def fresh_delivery(number: int, watch: Watch | None, record: Record, address: Address) -> Delivery:
    """Create the delivery that was just inserted."""
    return Delivery(
        id=number,
        endpoint=address.endpoint,
        event_id=record.id,
        event_type=record.type.value,
        body=record.body,
        lane=None if watch is None else watch.pk,
        observed_at=record.at,
        traceparent=record.traceparent,
    )


def described(watch: NewWatch) -> dict[str, Any]:
    """Return the columns that describe a watch."""
    return {
        "labels": _sorted_json(dict(watch.labels)),
        "metadata": _sorted_json(watch.metadata),
        "endpoints": None if watch.endpoints is None else json.dumps(watch.endpoints),
        "callback": callback_name(watch),
        "variables": _sorted_json(dict(watch.variables)) if watch.variables else None,
        "traceparent": watch.traceparent,
    }


def callback_name(watch: NewWatch) -> str | None:
    """Return the name of a watch's own destination."""
    return None if watch.callback is None else watch.callback.name


def step_row(watch: Watch, records: Sequence[Record], node: int) -> dict[str, object]:
    """Return the parameters of a watch's step: its columns, and the conditions of its update."""
    return {
        "_pk": watch.pk,
        "_before": watch.sequence - len(records),
        "_me": node,
        "state": storable(watch.state),
        "phase": watch.phase,
        "sequence": watch.sequence,
        "changed_at": watch.changed_at,
        "last_event_id": storable(watch.last_event_id or None),
        "stalled": watch.stalled,
        "lost": records[-1].lost,
        "updated_at": records[-1].at,
    }


def event_row(pk: int, epoch: int, watch: Watch | None, record: Record) -> dict[str, object]:
    """Return the parameters of an event; `pk` and `epoch` make its key (see `keys`)."""
    return {
        "pk": pk,
        "epoch": epoch,
        "id": record.id,
        "watch": None if watch is None else watch.pk,
        "sequence": record.sequence,
        "type": record.type,
        "at": record.at,
        "body": record.body,
        "traceparent": record.traceparent,
    }


def settle_row(settlement: Settlement, node: int) -> dict[str, object]:
    """Return the parameters of a verdict: the delivery's columns, and the conditions of its update."""
    delivery, at = settlement.delivery, settlement.at
    row: dict[str, object] = {"_id": delivery.id, "_me": node, "due": at, "settled_at": at, "reason": None}
    match settlement.verdict:
        case Done():
            return row | {"status": "delivered", "attempt": delivery.attempt + 1}
        case Later(due=due, attempt=attempt, reason=reason):
            return row | {
                "status": "ready",
                "attempt": attempt,
                "due": due,
                "settled_at": None,
                "reason": storable(reason),
            }
        case Dead(attempt=attempt, reason=reason):
            return row | {"status": "dead", "attempt": attempt, "reason": storable(reason)}
        case Superseded():
            return row | {"status": "superseded", "attempt": delivery.attempt, "reason": "superseded"}
        case Muted(mute=mute):
            return row | {"status": "muted", "attempt": delivery.attempt, "reason": f"muted by {storable(mute)}"}


def attempt_row(delivery: int, attempt: Attempt) -> dict[str, object]:
    """Return the columns of an attempt."""
    outcome = attempt.outcome
    failed = None if isinstance(outcome, Delivered) else outcome
    return {
        "delivery": delivery,
        "at": attempt.at,
        "outcome": type(outcome).__name__.lower(),
        "reason": failed and storable(failed.reason),
        "detail": failed and storable(failed.detail),
        "status": attempt.status,
        "seconds": attempt.seconds,
        "phases": json.dumps(attempt.phases) if attempt.phases else None,
        "address": storable(attempt.address),
        "reply": storable(attempt.reply or None),
        "retry_after": outcome.retry_after if isinstance(outcome, Failed) else None,
    }

"""The bytes of a callback, and its id. They are stored, signed and sent unchanged.

The form is that of Standard Webhooks 1.0.0: `type`, `timestamp`, `data`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from notifier.core.json_private import compiled
from notifier.core.kept_json import KeptJson
from notifier.core.model import Event, Json, Micros, Observation, Phase, Watch

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ENTROPY_BITS = 80

_text = json.encoder.encode_basestring
_compact = compiled(json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")))
_PHASES: Mapping[Phase | None, str] = {None: "null"} | {phase: _text(phase) for phase in Phase}


def message_id(now: Micros, entropy: int) -> str:
    """Return a `webhook-id` that sorts by time: milliseconds, then 80 random bits, in hexadecimal."""
    return f"msg_{(now // 1000) << _ENTROPY_BITS | entropy & (1 << _ENTROPY_BITS) - 1:032x}"


def timestamp(at: Micros) -> str:
    """Return a time as RFC 3339 in UTC with microseconds."""
    second, micros = divmod(at, 1_000_000)
    return f"{_second(second)}.{micros:06d}Z"


@lru_cache(maxsize=256)  # a page of watches or a burst of events repeats the same few seconds
def _second(at: int) -> str:
    return (_EPOCH + timedelta(seconds=at)).isoformat(timespec="seconds").removesuffix("+00:00")


def body(event: Event, *, watched: Micros | None = None) -> bytes:
    """Return the callback's JSON, UTF-8.

    `watched` is how long the task has been followed, where dates do not tell it: a clock may have been set.
    """
    if event.watch is not None and event.observation is not None and not event.extra:
        written = _change(event, event.watch, event.observation, watched)
        if written is not None:
            return written
    data: dict[str, Json] = {} if event.watch is None else _watch_data(event, event.watch, watched)
    if event.observation is not None and event.observation.result_error is not None:
        data["result_error"] = event.observation.result_error
    data.update(event.extra)
    return encode({"type": event.type.value, "timestamp": timestamp(event.at), "data": data})


def encode(value: Json) -> bytes:
    """Return JSON that any parser accepts: numbers outside JSON become null, lone surrogates become U+FFFD."""
    try:
        text = _compact(value)
    except ValueError:
        text = _compact(_plain(value))
    try:
        return text.encode()
    except UnicodeEncodeError:  # escaped halves are JSON, but several parsers refuse them (RFC 8259 section 8.2)
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def _change(event: Event, watch: Watch, observation: Observation, watched: Micros | None) -> bytes | None:
    """Write what `body` does for a change that has nothing rare, at half the cost; None: it has something rare.

    Every change is tried here first. `_watch_data` has the same keys, in the same order: keep the two alike.
    """
    if observation.error is not None or observation.urls or observation.result_error is not None:
        return None
    followed = event.at - watch.created_at if watched is None else watched
    labels = dict(watch.labels.items())
    state, before = watch.state, event.previous_state
    progress, eta = observation.progress, observation.eta_seconds
    try:
        return (
            f'{{"type":"{event.type}","timestamp":"{timestamp(event.at)}","data":{{"watch":{{'
            f'"source":{_text(watch.source)},"id":{_text(watch.id)},'
            f'"labels":{_compact(labels) if labels else "{}"},'
            f'"metadata":{"{}" if watch.metadata is None else _compact(_metadata(watch))}}},'
            f'"sequence":{watch.sequence},'
            f'"state":{"null" if state is None else _text(state)},"phase":{_PHASES[watch.phase]},'
            f'"previous_state":{"null" if before is None else _text(before)},'
            f'"previous_phase":{_PHASES[event.previous_phase]},'
            f'"progress":{"null" if progress is None else _compact(progress)},'
            f'"eta_seconds":{"null" if eta is None else _compact(eta)},'
            f'"error":null,"result":null,"watched_seconds":{round(max(0, followed) / 1e6, 3)!r},'
            f'"task":{_compact(observation.task)}}}}}'
        ).encode()
    except ValueError:  # a number outside JSON, or half of a surrogate pair: see `encode`
        return None


def _watch_data(event: Event, watch: Watch, watched: Micros | None) -> dict[str, Json]:
    observation = event.observation
    followed = event.at - watch.created_at if watched is None else watched
    return {
        "watch": {
            "source": watch.source,
            "id": watch.id,
            "labels": dict(watch.labels.items()),
            "metadata": _metadata(watch),
        },
        "sequence": watch.sequence,
        "state": watch.state,
        "phase": watch.phase,
        "previous_state": event.previous_state,
        "previous_phase": event.previous_phase,
        "progress": observation.progress if observation else None,
        "eta_seconds": observation.eta_seconds if observation else None,
        "error": _error(observation),
        "result": _result(event),
        "watched_seconds": round(max(0, followed) / 1e6, 3),
        "task": observation.task if observation else None,
    }


def _metadata(watch: Watch) -> Json:
    value = watch.metadata.value if isinstance(watch.metadata, KeptJson) else watch.metadata
    return {} if value is None else value


def _result(event: Event) -> Json:
    observation = event.observation
    if observation is None or not observation.urls:
        return None
    result: dict[str, Json] = {"urls": list(observation.urls)}
    if observation.kept:
        result["archived"] = [
            {"url": each.url, "bytes": each.bytes, "reason": each.reason} for each in observation.kept
        ]
    if observation.urls_expire is not None:
        result["expires_at"] = timestamp(round(observation.urls_expire * 1e6))
    elif observation.urls_lifetime is not None:
        result["expires_at"] = timestamp(event.at + round(observation.urls_lifetime * 1e6))
    return result


def _error(observation: Observation | None) -> Json:
    if observation is None or observation.error is None:
        return None
    return {"code": observation.error.code, "message": observation.error.message}


def _plain(value: Json) -> Json:
    match value:
        case float() if not math.isfinite(value):
            return None
        case int():
            return value if _writable(value) else None
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value


def _writable(number: int) -> bool:
    """Return whether Python can write the number in decimal; it refuses numbers of some thousand digits."""
    try:
        str(number)
    except ValueError:
        return False
    return True

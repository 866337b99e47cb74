"""The report of one look at an upstream, in words for people and as JSON for programs. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from notifier.cli.output import printable

if TYPE_CHECKING:
    from notifier.config import SourceConfig
    from notifier.core.model import Json, Observation
    from notifier.sources.plan import Plan
    from notifier.sources.probe import Look, Message

MAX_SHOWN = 2000  # characters of a message that are shown to people
MAX_DEPTH = 5  # of a message, in which a state is looked for
MAX_NAMED = 5  # places that could hold the state
STATE_NAMES = ("state", "status", "task_status", "task_state", "job_status", "job_state", "phase")


class LookReport:
    """The report of one look, in words and as JSON."""

    def __init__(self, name: str, config: SourceConfig, plan: Plan, look: Look, *, preset: str | None = None) -> None:
        """Create a report; `preset` is the name of the source's twin, if that was asked."""
        self._name = name
        self._preset_name = preset or config.preset
        self._config = config
        self._preset = plan.settings.preset
        self._redact = plan.template.redact
        self._look = look

    @property
    def unknown(self) -> list[str]:
        """List the states that were read and stand in no list."""
        listed = {state for states in self._preset.states.values() for state in states}
        return list(
            dict.fromkeys(
                seen.state for seen in self._look.observations if seen.state is not None and seen.state not in listed
            )
        )

    def as_json(self) -> Json:
        """Return everything, for programs."""
        look, error = self._look, self._look.error
        return {
            "source": self._name,
            "preset": self._preset_name,
            "transport": self._preset.transport,
            "request": {"method": look.method, "url": look.url},
            "status": look.status,
            "seconds": round(look.seconds, 3),
            "messages": [self._message(message) for message in look.messages],
            "unknown_states": [self._redact(state) for state in self.unknown],
            "ended": look.ended,
            "error": None if error is None else {"kind": error.kind, "message": self._redact(str(error))},
            "hint": self._hint(),
        }

    def _message(self, message: Message) -> Json:
        error = message.error
        return {
            "event": message.event or None,
            "text": message.text,
            "observed": self._fields(message.observation),
            "error": None if error is None else self._redact(str(error)),
        }

    def _fields(self, seen: Observation | None) -> Json:
        if seen is None:
            return None
        fields = {
            "phase": seen.phase.value,
            "state": seen.state,
            "progress": seen.progress,
            "eta_seconds": seen.eta_seconds,
            "error": None if seen.error is None else {"code": seen.error.code, "message": seen.error.message},
            "result": {"urls": list(seen.urls)} if seen.urls else None,
            "result_error": seen.result_error,
        }
        return self._clean(fields)

    def _clean(self, value: Json) -> Json:
        """Take credentials out of every text of a value."""
        if isinstance(value, str):
            return self._redact(value)
        if isinstance(value, list):
            return [self._clean(item) for item in value]
        return {key: self._clean(item) for key, item in value.items()} if isinstance(value, dict) else value

    def lines(self) -> Iterator[str]:
        """Return the lines for people."""
        look = self._look
        yield f"source {self._name}: preset {self._preset_name}, {self._preset.transport}"
        answered = "no reply" if look.status is None else str(look.status)
        yield printable(f"{look.method} {look.url}: {answered} after {look.seconds:.2f} s")
        for message in look.messages:
            yield ""
            yield from self._of_message(message)
        yield ""
        if look.error is not None:
            yield printable(self._redact(str(look.error)))
        elif not look.messages:
            yield "the stream ended without a message" if look.ended else f"no message within {look.seconds:.0f} s"
        elif not look.observations:
            yield "no message carries a state"
        if (hint := self._hint()) is not None:
            yield hint
        yield from self._additions()

    def _of_message(self, message: Message) -> Iterator[str]:
        text = message.text if len(message.text) <= MAX_SHOWN else message.text[:MAX_SHOWN] + " ..."
        name = f"event {message.event}: " if message.event else ""
        yield printable(f"{name}{text}")
        if len(message.text) > MAX_SHOWN:
            yield f"    ({len(message.text) - MAX_SHOWN} more characters)"
        fields = self._fields(message.observation)
        if fields is None:
            told = "" if message.progress is None else f"; progress {message.progress:g}, for the next one that does"
            yield (
                f"    carries no state{told}"
                if message.error is None
                else f"    {printable(self._redact(str(message.error)))}"
            )
            return
        phase, state = fields.pop("phase"), fields.pop("state")
        yield printable(f"    phase {phase}, state {json.dumps(state, ensure_ascii=False)}")
        for key, value in fields.items():
            if value is not None:
                yield printable(f"    {key} {json.dumps(value, ensure_ascii=False)}")

    def _additions(self) -> Iterator[str]:
        unknown = [self._redact(state) for state in self.unknown]
        if not unknown:
            return
        are, they = ("is", "it counts") if len(unknown) == 1 else ("are", "they count")
        yield printable(f"{', '.join(unknown)} {are} in no list, so {they} as running; list it where it belongs:")
        yield ""
        known = [state for phase, states in self._preset.states.items() if phase == "running" for state in states]
        listed = ", ".join(json.dumps(state, ensure_ascii=False) for state in [*known, *unknown])
        yield "  sources:"
        yield f"    {self._name}:"
        yield "      states:"
        yield printable(f"        running: [{listed}]   # or under queued, succeeded, failed, canceled")

    def _hint(self) -> str | None:
        """Return what to do about a look that brought no state."""
        look = self._look
        if look.observations:
            return None
        error = look.error or next((message.error for message in look.messages if message.error is not None), None)
        if not look.url:
            return "give a variable of the url with --variable NAME=VALUE, or under `variables` of the source"
        if error is None:
            return None if not look.messages else self._places() or "check state_events, and paths.state"
        match error.kind, error.status:
            case "refused", 401 | 403:
                return self._about_token()
            case "refused", 400 | 422:
                return "the upstream refuses the request: check the id, and the source's url and variables"
            case "refused", _:
                return "check the source's url, method and headers"
            case "not_found", _:
                grace = f"not_found_grace, here {self._config.not_found_grace:g} s"
                return (
                    "check the id, and the source's base_url, url and variables; "
                    f"a watch whose task stays unknown is lost after {grace}"
                )
            case "unavailable", _ if "page" in str(error):
                return "check the source's base_url and url: a web page is no API, but perhaps a login or maintenance"
            case "no_content", _:
                return "204 says that there is nothing to read: check the id, or poll in place of a stream"
            case "unreadable", _:
                return self._places() or "check the source's url and paths"
            case _ if look.status is not None:
                return "the upstream cannot answer now; try again later"
            case _:
                return "check the source's base_url, and whether this machine reaches it"

    def _about_token(self) -> str:
        if self._config.token is None:
            return "the source has no token: set `token`"
        headers = [name for name, value in self._preset.headers.items() if "{token}" in value or "{jwt}" in value]
        where = f"the header {' and '.join(headers)}" if headers else "the url"
        return f"check the source's token; it was sent in {where}"

    def _places(self) -> str | None:
        """Name the places of the messages that could hold the state."""
        listed = {state for states in self._preset.states.values() for state in states}
        found = {path: value for message in self._look.messages for path, value in _texts(_parsed(message.text))}
        likely = [path for path, value in found.items() if value in listed]
        likely += [path for path in found if path.rpartition(".")[2].lower() in STATE_NAMES and path not in likely]
        if not likely:
            return None
        named = ", ".join(f"{path} ({self._redact(found[path])[:40]})" for path in likely[:MAX_NAMED])
        return printable(
            f"there is no state at `{self._preset.paths.state}`; these look like one: {named}; set paths.state"
        )


def _parsed(text: str) -> Json:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _texts(value: Json, path: str = "", depth: int = MAX_DEPTH) -> Iterator[tuple[str, str]]:
    """List the scalars of a message that could be states, with their paths."""
    if isinstance(value, dict) and depth:
        for key, item in value.items():
            if key.isidentifier() and key.isascii():
                yield from _texts(item, f"{path}.{key}" if path else key, depth - 1)
    elif isinstance(value, list) and value and depth and path:
        yield from _texts(value[0], f"{path}[0]", depth - 1)
    elif path and isinstance(value, str | bool | int):
        yield path, value if isinstance(value, str) else json.dumps(value)

"""Reads one snapshot, the JSON that a provider sends, into an Observation; knows one preset and does no I/O.

An observation is safe to store and to send on: finite numbers, strings that are Unicode text without NUL (which
PostgreSQL refuses), bounded nesting. No input raises anything but Unreadable.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Collection, Mapping

import jmespath
import structlog

from notifier.core.errors import SourceError, TaskNotFound, Unreadable
from notifier.core.eventstream import StreamEvent
from notifier.core.model import Json, Observation, Phase, TaskError
from notifier.core.text import storable
from notifier.sources import values
from notifier.sources.preset import NotFound, Preset, compilable

MAX_STATE = 200  # characters; a state is a word, and is compared, indexed and shown everywhere
MAX_DEPTH = 64  # of nested values; far more would exhaust the stack of the code that writes them again
MAX_UNKNOWN = 100  # unknown states logged; an upstream that makes up states must not fill the log
MAX_EVENT_ID = 1000  # characters; a longer ID is neither kept nor sent back
MAX_INTEGER = 4000  # digits; Python refuses to convert more than 4,300

Find = Callable[[Json], Json]

log = structlog.get_logger(__name__)

_NAMES = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_UNSTORABLE_ESCAPES = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_BAD_ESCAPE = re.compile(r"""\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}|(.?))""", re.DOTALL)  # group 1: there is no such escape


class SnapshotReader:
    """Reads snapshots by one preset. It remembers only the unknown states that were logged."""

    def __init__(self, *, source: str, preset: Preset, now: Callable[[], float] = time.time) -> None:
        """Create a reader. `now`: seconds since the Unix epoch, by which an absolute time becomes seconds left."""
        self._source = source
        self._now = now
        self._phases = {state: phase for phase, states in preset.states.items() for state in states}
        paths = preset.paths
        self._state = find(paths.state)
        self._progress = find(paths.progress)
        self._eta = find(paths.eta)
        self._code = find(paths.error_code)
        self._message = find(paths.error_message)
        self._result = find(paths.result)
        self._task_id = find(paths.task_id)
        self._question_code = find(paths.question_code)
        self._question_message = find(paths.question_message)
        self._items = find(preset.batch.items if preset.batch is not None else None)
        self._cursor = None if preset.cursor is None else find(preset.cursor.path)
        self._not_found = tuple((rule, find(rule.path)) for rule in preset.not_found)
        self._failures = tuple(find(path) for path in preset.failure_if_present)
        self._state_events = preset.state_events
        self._end_event = preset.end_event
        all_paths = (*paths.model_dump().values(), *preset.failure_if_present)
        self._sees_names = any(path is not None and compilable(path) != path for path in all_paths)
        self._names_states = compilable(paths.state) != paths.state  # no JSON is needed where the name is the state
        self._lifetime = preset.result_lifetime
        self._reads_status = '"@status"' in compilable(paths.state)
        self._unknown: set[str] = set()

    @property
    def unknown_states(self) -> Collection[str]:
        """Return the states that were read and that the preset does not list; they count as running."""
        return self._unknown

    def ends(self, event: StreamEvent) -> bool:
        """Return whether an event ends its stream."""
        return event.type == self._end_event

    def counts_without_data(self, event: StreamEvent) -> bool:
        """Return whether an event counts by its name alone; others without data only keep the connection alive."""
        return event.type == self._end_event or (self._names_states and event.type in self._phases)

    def place(self, event: StreamEvent) -> str:
        """Return where to go on behind an event; empty: it does not tell."""
        if self._cursor is None:
            return event.last_event_id if len(event.last_event_id) <= MAX_EVENT_ID else ""
        try:
            return self._place(parse(event.data)) if event.data else ""
        except Unreadable:
            return ""

    def _place(self, task: Json) -> str:
        """Return the cursor in an event's data."""
        place = None if self._cursor is None else self._cursor(task)
        if isinstance(place, bool) or not isinstance(place, int | str):
            return ""
        return text if len(text := str(place)) <= MAX_EVENT_ID else ""

    def read_event(self, event: StreamEvent) -> Observation | None:
        """Return the observation that an event of a stream makes; None if it carries no state.

        An event that carries no state by its name may carry an error all the same. Raises Unreadable like `read`.
        """
        name = event.type
        if name == self._end_event:
            return self._read_end(event)
        carries_state = self._state_events is None or name in self._state_events
        try:
            task = parse(event.data)
        except Unreadable:
            if not carries_state:
                return None
            if not self._names_states:
                raise
            task = storable(event.text)
        view = _with_name(task, name) if self._sees_names else task
        if not carries_state and self._failure(view) is None:
            return None
        place = _event_id(event) if self._cursor is None else self._place(task)
        return self._observation(task, view, place, state_required=carries_state)

    def read_reply(self, data: bytes, status: int, task_id: str) -> Observation | None:
        """Return the observation that the reply to a poll makes; None if its status alone tells what it means.

        Raises TaskNotFound for a reply that says so by the preset's rules, and Unreadable like `read`, also for a reply
        about another task. The error of a question carries the provider's words.
        """
        try:
            task = parse(data) if data.strip() else None
        except Unreadable:
            if self._reads_status or not 200 <= status < 300:
                task = None
            else:
                raise
        if any(_matches(rule, get(task), data, status) for rule, get in self._not_found):
            raise TaskNotFound(f"the upstream answers that it does not know the task{self._words(task)}", status=status)
        if not self._reads_status and (not 200 <= status < 300 or status == 204):
            return None
        about = self._task_id(task)
        if about is not None and str(about) != task_id:
            raise Unreadable("the upstream answers about another task")
        if self._reads_status:
            told = status < 400 or isinstance(task, dict)  # a gateway's refusal is no word of the provider
            if str(status) not in self._phases or not told:
                return None
            return self._observation(task, {**(task if isinstance(task, dict) else {}), "@status": status}, "")
        if not data.strip():
            raise Unreadable("the upstream answers with an empty body")
        try:
            return self._observed(task)
        except Unreadable as exc:
            raise Unreadable(f"{exc}{self._words(task)}") from exc

    def read_batch(self, data: bytes, task_ids: frozenset[str]) -> Mapping[str, Observation | SourceError]:
        """Return the observation of each task in the reply to a poll of several; a snapshot that has none is an error.

        What the reply says of other tasks, or of no task, is left out. Raises Unreadable where it holds no snapshots.
        """
        reply = parse(data)
        items = self._items(reply)
        if isinstance(items, dict):
            pairs = [(task_id, item) for task_id, item in items.items() if task_id in task_ids]
        elif isinstance(items, list):
            named = ((self._task_id(item), item) for item in items)
            pairs = [(str(about), item) for about, item in named if about is not None and str(about) in task_ids]
        else:
            raise Unreadable(f"the reply holds no snapshots where the preset says{self._words(reply)}")
        found: dict[str, Observation | SourceError] = {}
        for task_id, item in pairs:
            try:
                found.setdefault(task_id, self._observed(item))
            except Unreadable as exc:
                found.setdefault(task_id, exc)
        return found

    def _observed(self, task: Json) -> Observation:
        view = _with_name(task, "message") if self._sees_names else task
        return self._observation(task, view, "")

    def _words(self, task: Json) -> str:
        """Return what the provider says of the question, for an error's message."""
        words = [values.word(self._question_code(task)), values.word(self._question_message(task))]
        said = " ".join(word for word in words if word)[:MAX_STATE]
        return f"; it says: {said}" if said else ""

    def read(self, data: bytes) -> Observation:
        """Return the observation that a snapshot makes.

        An error that the preset names (`failure_if_present`) outweighs every state except failed and canceled, and
        needs no state beside it. Raises Unreadable when it is not JSON, or has neither a state nor such an error.
        """
        task = parse(data)
        return self._observation(task, _with_name(task, "message") if self._sees_names else task, "")

    def _read_end(self, event: StreamEvent) -> Observation | None:
        """Return the observation of the event that ends a stream, by its data, or by its name if `states` lists it."""
        try:
            task = parse(event.data) if event.data else None
        except Unreadable:
            task = storable(event.text)
        view = _with_name(task, event.type) if self._sees_names else task
        phase = self._phases.get(event.type)
        try:
            return self._observation(task, view, _event_id(event))
        except Unreadable:
            if phase is None:
                return None
        return Observation(state=event.type, phase=phase, urls=values.urls(self._result(view)), task=task)

    def _failure(self, view: Json) -> Json:
        """Return the first error that the preset names; None if there is none."""
        return next((value for find_error in self._failures if values.present(value := find_error(view))), None)

    def _observation(self, task: Json, view: Json, event_id: str, *, state_required: bool = True) -> Observation:
        failure = self._failure(view)
        if state_required:
            state, phase = self._state_of(view, failed=failure is not None)
        else:
            state, phase = None, Phase.FAILED
        failed = phase in (Phase.FAILED, Phase.CANCELED)
        return Observation(
            state=state,
            phase=phase,
            progress=values.progress(self._progress(view)),
            eta_seconds=values.seconds_left(self._eta(view), self._now()),
            error=None if phase is Phase.SUCCEEDED else self._error(view, failure),
            urls=() if failed else values.urls(self._result(view)),
            urls_lifetime=self._lifetime,
            task=task,
            event_id=event_id,
        )

    def _error(self, view: Json, failure: Json) -> TaskError | None:
        """Return the error of a task that has not succeeded: then the same fields may hold something else."""
        return values.task_error(self._code(view), self._message(view)) or values.error_in(failure)

    def _state_of(self, task: Json, *, failed: bool) -> tuple[str | None, Phase]:
        try:
            state = _state(self._state(task))
        except Unreadable:
            if failed:
                return None, Phase.FAILED
            raise
        phase = self._phases.get(state)
        if failed and phase not in (Phase.FAILED, Phase.CANCELED):
            return state, Phase.FAILED
        return state, phase or self._unknown_state(state)

    def _unknown_state(self, state: str) -> Phase:
        if state not in self._unknown and len(self._unknown) < MAX_UNKNOWN:
            self._unknown.add(state)
            log.warning("source.unknown_state", source=self._source, state=state, taken_for=Phase.RUNNING.value)
        return Phase.RUNNING


def _event_id(event: StreamEvent) -> str:
    return event.last_event_id if len(event.last_event_id) <= MAX_EVENT_ID else ""


def _with_name(task: Json, name: str) -> Json:
    """Return a snapshot in which paths find the event's name."""
    return {**task, "@event": name} if isinstance(task, dict) else {"@event": name}


def parse(data: bytes) -> Json:
    """Parse JSON into values that can be stored and written again. Raises Unreadable.

    It reads what careless writers send, too: NaN, infinities and numbers that no parser can hold become null, control
    characters in strings stay, an escape that does not exist is its own characters, NULs around the text are dropped.
    """
    text = data.decode("utf-8", "replace").removeprefix("\ufeff").strip("\0 \t\r\n")
    try:
        try:
            value = _decoded(text)
        except json.JSONDecodeError as exc:
            if not exc.msg.startswith("Invalid"):
                raise
            value = _decoded(_BAD_ESCAPE.sub(_escaped, text))
        if "\0" in text or _UNSTORABLE_ESCAPES.search(data) or data.count(b"[") + data.count(b"{") > MAX_DEPTH:
            value = _cleaned(value, MAX_DEPTH)
    except ValueError as exc:
        raise Unreadable(f"the snapshot is not JSON: {_brief(exc)}") from exc
    except RecursionError as exc:
        raise Unreadable("the snapshot is nested too deeply") from exc
    return value


def _decoded(text: str) -> Json:
    """Return the value of a text without white space around it, as `JSONDecoder.decode` does with six calls less."""
    try:
        value, end = _scan(text, 0)
    except StopIteration as exc:
        raise json.JSONDecodeError("Expecting value", text, exc.value) from None
    if end != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return value


def find(path: str | None) -> Find:
    """Compile a path. Where it cannot be followed, as with no path, the result is None."""
    if path is None:
        return lambda _: None
    if not _NAMES.fullmatch(path):
        return _expression(path)
    names = tuple(path.split("."))
    if len(names) == 1:
        name = path
        return lambda task: task.get(name) if isinstance(task, dict) else None

    def follow(task: Json) -> Json:
        for name in names:
            if not isinstance(task, dict):
                return None
            task = task.get(name)
        return task

    return follow


class PathFunctions(jmespath.functions.Functions):
    """The functions that paths may use beyond those of JMESPath."""

    @jmespath.functions.signature({"types": []})
    def _func_parse_json(self, text: Json) -> Json:
        """Return the value of JSON in a string; null if it is none."""
        try:
            return parse(text.encode()) if isinstance(text, str) else None
        except Unreadable:
            return None


def _expression(path: str) -> Find:
    options = jmespath.Options(custom_functions=PathFunctions())
    compiled = jmespath.compile(compilable(path))

    def search(task: Json) -> Json:
        try:
            return compiled.search(task, options)
        # JMESPath's own errors are ValueErrors; the library also compares and adds whatever it is given.
        except (ValueError, TypeError, ArithmeticError, RecursionError):
            return None

    return search


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _whole(digits: str) -> int | None:
    """Return an integer; None if it has more digits than Python reads or writes."""
    return int(digits) if len(digits) <= MAX_INTEGER else None


def _escaped(escape: re.Match[str]) -> str:
    return escape[0] if escape[1] is None else "\\" + escape[0]


# `strict=False` lets control characters stand in strings.
_decoder = json.JSONDecoder(strict=False, parse_constant=lambda _: None, parse_float=_finite, parse_int=_whole)
_scan: Callable[[str, int], tuple[Json, int]] = _decoder.scan_once  # type: ignore[attr-defined]  # of every version


def _brief(exc: ValueError) -> str:
    """Describe the error without quoting the document."""
    return f"{exc.msg} at character {exc.pos}" if isinstance(exc, json.JSONDecodeError) else str(exc)[:100]


def _cleaned(value: Json, depth: int) -> Json:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict | list) and not depth:
        raise RecursionError
    if isinstance(value, dict):
        return {storable(key): _cleaned(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_cleaned(item, depth - 1) for item in value]
    return value


def _state(value: Json) -> str:
    if not isinstance(value, str) and isinstance(value, bool | int | float):
        value = json.dumps(value)
    if not isinstance(value, str) or not value:
        raise Unreadable("the snapshot has no state where the preset says")
    if len(value) > MAX_STATE:
        raise Unreadable(f"the snapshot's state is longer than {MAX_STATE} characters")
    return value


def _matches(rule: NotFound, value: Json, data: bytes, status: int) -> bool:
    if rule.status not in (None, status) or (rule.empty and data.strip() not in (b"", b"null")):
        return False
    if rule.path is None:
        return True
    if isinstance(value, bool | int):
        value = json.dumps(value)
    return value in rule.values if rule.values else values.present(value)

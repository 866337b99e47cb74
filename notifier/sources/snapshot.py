"""Reads one snapshot, the JSON that a provider sends, into an Observation; knows one preset and does no I/O.

An observation is safe to store and to send on, as its document is (`document.py`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import structlog

from notifier.core.errors import SourceError, TaskNotFound, Unreadable
from notifier.core.eventstream import StreamEvent
from notifier.core.model import Json, Observation, Phase, TaskError
from notifier.core.text import storable
from notifier.sources import values
from notifier.sources.document import Find, find, parse
from notifier.sources.preset import NotFound, Preset, compilable

MAX_STATE = 200  # characters; a state is a word, and is compared, indexed and shown everywhere
MAX_UNKNOWN = 100  # unknown states logged; an upstream that makes up states must not fill the log
MAX_EVENT_ID = 1000  # characters; a longer ID is neither kept nor sent back

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """The contents of an event without a state."""

    progress: float  # in the provider's unit


class SnapshotReader:
    """Reads snapshots by one preset. It remembers only the unknown states that were logged."""

    def __init__(self, *, source: str, preset: Preset, now: Callable[[], float] = time.time) -> None:
        """Create a reader. `now`: seconds since the Unix epoch, by which an absolute time becomes seconds left."""
        self._source = source
        self._now = now
        self._phases = {state: phase for phase, states in preset.states.items() for state in states}
        paths = preset.paths
        self._state = find(paths.state)
        self._progress = _find(paths.progress)
        self._eta = _find(paths.eta)
        self._code = _find(paths.error_code)
        self._message = _find(paths.error_message)
        self._result = _find(paths.result)
        self._expires = _find(paths.result_expires)
        self._task_id = _find(paths.task_id)
        self._question_code = find(paths.question_code)
        self._question_message = find(paths.question_message)
        self._items = find(preset.batch.items if preset.batch is not None else None)
        self._cursor = None if preset.cursor is None else find(preset.cursor.path)
        self._not_found = tuple((rule, find(rule.path)) for rule in preset.not_found)
        self._failures = tuple(find(path) for path in preset.failure_if_present)
        self._state_events = preset.state_events
        self.end_event = preset.end_event  # an event of this name ends its stream
        all_paths = (*paths.model_dump().values(), *preset.failure_if_present)
        self._sees_names = any(path is not None and '"@event"' in compilable(path) for path in all_paths)
        self._names_states = '"@event"' in compilable(paths.state)  # no JSON is needed where the name is the state
        self._lifetime = preset.result_lifetime
        self._is_status = compilable(paths.state) == '"@status"'
        self._sees_status = '"@status"' in compilable(paths.state)
        self._unknown: set[str] = set()

    @property
    def unknown_states(self) -> Collection[str]:
        """Return the states that were read and that the preset does not list; they count as running."""
        return self._unknown

    def counts_without_data(self, event: StreamEvent) -> bool:
        """Return whether an event counts by its name alone; others without data only keep the connection alive."""
        return event.type == self.end_event or (self._names_states and event.type in self._phases)

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

    def read_event(self, event: StreamEvent, task_id: str | None = None) -> Observation | Aside | None:
        """Return the observation that an event of a task's stream makes; an aside or None if it carries no state.

        An event that carries no state by its name may carry an error all the same. Raises Unreadable like `read`, also
        for an event about another task than `task_id`; None: of any.
        """
        name = event.type
        if name == self.end_event:
            return self._read_end(event, task_id)
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
            progress = self._progress and values.progress(self._progress(view))
            return None if progress is None else Aside(progress=progress)
        if self._task_id is not None:
            self._check_task(task, task_id)
        place = _event_id(event) if self._cursor is None else self._place(task)
        return self._observation(task, view, place, state_required=carries_state)

    def read_reply(self, data: bytes, status: int, task_id: str) -> Observation | None:
        """Return the observation that the reply to a poll makes; None if its status alone tells what it means.

        Raises TaskNotFound for a reply that says so by the preset's rules, and Unreadable like `read`, also for a reply
        about another task. The error of a question carries the provider's words.
        """
        unreadable = ""  # why it is no JSON; an exception that is kept would keep the reply
        try:
            task = parse(data) if data.strip() else None
        except Unreadable as exc:
            task, unreadable = None, str(exc)
        well = 200 <= status < 300
        if unreadable and well and not self._sees_status:
            raise Unreadable(unreadable)
        if any(_matches(rule, get(task), data, status) for rule, get in self._not_found):
            raise TaskNotFound(f"the upstream answers that it does not know the task{self._words(task)}", status=status)
        if not self._is_status and (not well or status == 204):
            return None
        self._check_task(task, task_id)
        view: Json = task
        if self._sees_status:
            view = {**(task if isinstance(task, dict) else {}), "@status": status}
        if self._is_status:
            told = status < 400 or isinstance(task, dict)  # a gateway's refusal is no word of the provider
            return self._observation(task, view, "") if told and str(status) in self._phases else None
        if not data.strip() and not self._sees_status:
            raise Unreadable("the upstream answers with an empty body")
        try:
            return self._observation(task, _with_name(view, "message") if self._sees_names else view, "")
        except Unreadable as exc:
            raise Unreadable(unreadable or f"{exc}{self._words(task)}") from exc

    def read_batch(self, data: bytes, task_ids: frozenset[str]) -> Mapping[str, Observation | SourceError]:
        """Return the observation of each task in the reply to a poll of several; a snapshot that has none is an error.

        Entries about other tasks, or about no task, are left out. Raises Unreadable where it holds no snapshots.
        """
        reply = parse(data)
        items = self._items(reply)
        if isinstance(items, dict):
            pairs = [(task_id, item) for task_id, item in items.items() if task_id in task_ids]
        elif isinstance(items, list):
            named = ((self._task_id and self._task_id(item), item) for item in items)
            pairs = [(str(about), item) for about, item in named if about is not None and str(about) in task_ids]
        else:
            raise Unreadable(f"the reply holds no snapshots where the preset says{self._words(reply)}")
        found: dict[str, Observation | SourceError] = {}
        for task_id, item in pairs:
            try:
                found.setdefault(task_id, self._observed(item))
            except Unreadable as exc:
                found.setdefault(task_id, exc.with_traceback(None))  # which would hold the whole reply
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

    def _check_task(self, task: Json, task_id: str | None) -> None:
        """Raise Unreadable for a snapshot that names another task."""
        about = self._task_id and self._task_id(task)
        if about is not None and task_id is not None and str(about) != task_id:
            raise Unreadable("the upstream answers about another task")

    def _read_end(self, event: StreamEvent, task_id: str | None) -> Observation | None:
        """Return the observation of the event that ends a stream, by its data, or by its name if `states` lists it."""
        try:
            task = parse(event.data) if event.data else None
        except Unreadable:
            task = storable(event.text)
        self._check_task(task, task_id)
        view = _with_name(task, event.type) if self._sees_names else task
        phase = self._phases.get(event.type)
        try:
            return self._observation(task, view, _event_id(event))
        except Unreadable:
            if phase is None:
                return None
        urls = values.urls(self._result(view)) if self._result else ()
        return Observation(state=event.type, phase=phase, urls=urls, task=task)

    def _failure(self, view: Json) -> Json:
        """Return the first error that the preset names; None if there is none."""
        for find_error in self._failures:
            if values.present(value := find_error(view)):
                return value
        return None

    def _observation(self, task: Json, view: Json, event_id: str, *, state_required: bool = True) -> Observation:
        failure = self._failure(view) if self._failures else None
        if state_required:
            state, phase = self._state_of(view, failed=failure is not None)
        else:
            state, phase = None, Phase.FAILED
        failed = phase in (Phase.FAILED, Phase.CANCELED)
        return Observation(
            state=state,
            phase=phase,
            progress=self._progress and values.progress(self._progress(view)),
            eta_seconds=self._eta and values.seconds_left(self._eta(view), self._now()),
            error=None if phase is Phase.SUCCEEDED else self._error(view, failure),
            urls=() if failed or not self._result else values.urls(self._result(view)),
            urls_lifetime=self._lifetime,
            urls_expire=self._expires and values.moment(self._expires(view)),
            task=task,
            event_id=event_id,
        )

    def _error(self, view: Json, failure: Json) -> TaskError | None:
        """Return the error of a task that has not succeeded: then the same fields may hold something else."""
        code, message = self._code and self._code(view), self._message and self._message(view)
        return values.task_error(code, message) or values.error_in(failure)

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


def _find(path: str | None) -> Find | None:
    """Compile a path that many presets lack, and so most of their snapshots need not be asked for."""
    return None if path is None else find(path)


def _event_id(event: StreamEvent) -> str:
    return event.last_event_id if len(event.last_event_id) <= MAX_EVENT_ID else ""


def _with_name(task: Json, name: str) -> Json:
    """Return a snapshot in which paths find the event's name."""
    return {**task, "@event": name} if isinstance(task, dict) else {"@event": name}


def _state(value: Json) -> str:
    state = value if isinstance(value, str) else json.dumps(value) if isinstance(value, bool | int | float) else ""
    if not state:
        raise Unreadable("the snapshot has no state where the preset says")
    if len(state) > MAX_STATE:
        raise Unreadable(f"the snapshot's state is longer than {MAX_STATE} characters")
    return state


def _matches(rule: NotFound, value: Json, data: bytes, status: int) -> bool:
    if rule.status not in (None, status) or (rule.empty and data.strip() not in (b"", b"null")):
        return False
    if rule.path is None:
        return True
    if isinstance(value, bool | int):
        value = json.dumps(value)
    return value in rule.values if rule.values else values.present(value)

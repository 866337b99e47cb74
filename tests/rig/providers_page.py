"""Writes the generated part of docs/providers.md from the built-in presets: `python tests/rig/providers_page.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from notifier.core.model import Phase
from notifier.sources import preset as presets
from notifier.sources.preset import Preset

PAGE = Path(__file__).parents[2] / "docs" / "providers.md"
MARK = "<!-- what follows is generated: python tests/rig/providers_page.py -->\n"
HEAD = "| preset | provider | transport | interval | in work | succeeded | failed |\n" + "| --- " * 7 + "|\n"


def generated() -> str:
    """Return the table of presets, and a paragraph on each."""
    loaded = {name: presets.load(name) for name in presets.names()}
    table = "".join(_row(name, preset) for name, preset in loaded.items())
    return f"{MARK}\n{HEAD}{table}\n" + "\n".join(map("".join, (_details(*item) for item in loaded.items())))


def _row(name: str, preset: Preset) -> str:
    title = (preset.title or name) + (" (experimental)" if preset.experimental else "")
    interval = f"{preset.poll.interval:g} s" if preset.transport == "poll" else "stream"
    work, well, badly = (
        _states(preset, *phases)
        for phases in ((Phase.QUEUED, Phase.RUNNING), (Phase.SUCCEEDED,), (Phase.FAILED, Phase.CANCELED))
    )
    badly = ", ".join(filter(None, (badly, "an error beside any state" if preset.failure_if_present else "")))
    return f"| [`{name}`](#{name}) | {title} | {preset.transport} | {interval} | {work} | {well} | {badly} |\n"


def _states(preset: Preset, *phases: Phase) -> str:
    return ", ".join(f"`{state}`" for phase in phases for state in preset.states.get(phase, ()))


def _details(name: str, preset: Preset) -> Iterator[str]:
    about = preset.about
    yield f"### {name}\n\n"
    base = preset.base_url or "a `base_url` of your own"
    yield f"- Asks: `{preset.method} {preset.url.replace('{base_url}', '')}` of {base}, {_pace(preset)}.\n"
    needed = ", ".join(f"`{key}`" for key, value in preset.variables.items() if value is None)
    given = ", ".join(f"`{key}: {value or repr('')}`" for key, value in preset.variables.items() if value is not None)
    if preset.variables:
        yield f"- Variables: {'; '.join(filter(None, (needed and f'to be given: {needed}', given)))}.\n"
    if preset.batch is not None:
        url = preset.batch.url.replace("{base_url}", "")
        yield f"- Many at once: `{preset.batch.method} {url}`, {preset.batch.most} ids a request.\n"
    if preset.poll_twin is not None:
        yield f"- Without a stream: polled as [`{preset.poll_twin}`](#{preset.poll_twin}).\n"
    if preset.max_event is not None:
        yield f"- Longest snapshot: {preset.max_event >> 20} MiB.\n"
    if preset.cursor is not None:
        yield f"- Resumed: by `{preset.cursor.parameter}`{_window(preset)}.\n"
    if preset.paths.task_id is not None:
        yield f"- Held to the task's id: by `{preset.paths.task_id}`.\n"
    elif about.no_task_id is not None:
        yield f"- Not held to the task's id: {_plain(about.no_task_id)}.\n"
    result = _result(preset)
    if result:
        yield f"- Result: {result}.\n"
    if about.confidence:
        yield f"- Confidence: {_plain(about.confidence)}.\n"
    if about.sources:
        yield f"- Checked against: {'; '.join(map(_plain, about.sources))}.\n"
    if about.rate_limit:
        yield f"- Rate limit: {_plain(about.rate_limit)}.\n"
    yield f"- Its own webhook: {_plain(about.webhook) if about.webhook else 'none known'}.\n"


def _pace(preset: Preset) -> str:
    if preset.transport == "sse":
        return "a stream"
    floor = "" if preset.poll.floor is None else f", at least {preset.poll.floor:g} s"
    rate = "" if preset.poll.rate_limit is None else f", at most {preset.poll.rate_limit:g} requests a second"
    hint = "" if preset.poll.hint is None else f", or as `{preset.poll.hint}` says"
    return f"every {preset.poll.interval:g} s{hint}{floor}{rate}"


def _window(preset: Preset) -> str:
    return "" if preset.resume_window is None else f", for {preset.resume_window / 60:g} minutes"


def _result(preset: Preset) -> str:
    parts = []
    if preset.result_request is not None:
        parts.append(f"by a second request, `{preset.result_request.url.replace('{base_url}', '')}`")
    elif preset.paths.result is not None:
        parts.append(f"`{preset.paths.result}`")
    expires = preset.paths.result_expires or (preset.result_request and preset.result_request.expires)
    if expires:
        parts.append(f"to the time at `{expires}`")
    if preset.result_lifetime is not None:
        hours = preset.result_lifetime / 3600
        parts.append(f"for {hours:g} hours" if hours >= 1 else f"for {hours * 60:g} minutes")
    return ", ".join(parts)


def _plain(text: str) -> str:
    """Return a text that Markdown shows as it is."""
    for character in "*_<>[]":
        text = text.replace(character, f"\\{character}")
    return text.rstrip(".")


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(text.split(MARK, 1)[0] + generated(), encoding="utf-8")

"""The command status: one line for the daemon's health, its sources and endpoints, and what needs attention."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import typer
from rich.text import Text

from notifier.cli import node
from notifier.cli.client import ConfigOption, JsonOption, TokenOption, UrlOption, connect
from notifier.cli.output import printable, show, show_json, show_table, span, tell, when

BACKLOG = 300.0  # seconds that the oldest undelivered event may wait before it needs attention
NAMED = ("queued", "running", "succeeded", "failed", "canceled", "lost")  # phases, in order

Report = dict[str, Any]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(status)


def status(
    config: ConfigOption = None, url: UrlOption = None, token: TokenOption = None, as_json: JsonOption = False
) -> None:
    """Show the daemon's health and what needs attention.

    Each point comes with the command to run.

    Example: notifier status
    """
    client = connect(url, token, config)
    report = client.get("/v1/status")
    if as_json:
        show_json(report)
        return
    nodes = client.get("/v1/nodes")["items"]
    wanting = [*attention(report, client.options), *_of_nodes(nodes, client.options)]
    show(verdict(report, len(wanting)))
    tell(amounts(report))
    cluster = f", one of {report['nodes']} nodes" if report["nodes"] > 1 else ""
    place = f"{printable(report['node'])}{cluster}, process {report['pid']}, {report['config']}"
    tell(f"version {report['version']} on {place}")
    show()
    if len(nodes) > 1:
        show_table(node.COLUMNS, node.rows(nodes, node.time_of(nodes)), empty="no nodes", cut=node.CUT, drop=node.DROP)
        show()
    _sources(report)
    show()
    _endpoints(report)
    if report["mutes"]:
        show()
        show(Text("muted", style="bold"))
    for item in report["mutes"]:
        tell(f"  {_muted(item)}")
    if wanting:
        show()
        show(Text("needs attention", style="bold"))
    for what, *commands in wanting:
        tell(f"  {what}")
        for command in commands:
            show(Text(f"    {command}", style="cyan"))


def _muted(item: Report) -> str:
    labels = ", ".join(f"{printable(key)}={printable(value)}" for key, value in item["labels"].items())
    about = f", tasks with {labels}" if labels else ""
    comment = f": {printable(item['comment'])}" if item["comment"] else ""
    return f"{printable(item['endpoint'] or 'all that people read')}{about}, until {when(item['until'])}{comment}"


def verdict(report: Report, wanting: int) -> Text:
    """Return one line about the daemon's health."""
    if not report["ready"]:
        line = Text(f"not ready: {report['reason']}", style="bold red")
    elif wanting:
        line = Text(f"ready, but {wanting} thing{'s need' if wanting > 1 else ' needs'} attention", style="bold yellow")
    else:
        line = Text("ready, all is well", style="bold green")
    return line


def amounts(report: Report) -> str:
    """Return one line with the main counts."""
    following = sum(source["following"] for source in report["sources"])
    opened = sum(source["open"] for source in report["sources"])
    waiting = sum(source.get("waiting", 0) for source in report["sources"])
    pending = sum(endpoint["pending"] for endpoint in report["endpoints"])
    return (
        f"{_count(following, 'task')} followed on {_count(opened, 'open stream')}, "
        + (f"{waiting:,} waiting for a free stream, " if waiting else "")
        + f"{_count(pending, 'delivery', 'deliveries')} pending, up {span(report['uptime_seconds'])}"
    )


def attention(report: Report, options: str) -> Iterator[tuple[str, ...]]:
    """List what needs attention, each with the commands to run; `options` select the daemon."""
    if not report["store"]["available"]:
        yield (
            "the store cannot be written: nothing new is sent until it can; see the log",
            "df -h; journalctl -u notifier",
        )
    for source in report["sources"]:
        if source["following"] and not source["open"] and not source["troubles"]:
            yield (
                f"{printable(source['name'])}: no stream is open, {_count(source['following'], 'task')} to follow",
                f"notifier watch list -s {printable(source['name'])} --open{options}",
                f"notifier source test {printable(source['name'])} ID",
            )
        if source["waiting"] and source["open"] >= source["max_streams"] * report["nodes"]:
            yield (
                f"{printable(source['name'])}: {_count(source['waiting'], 'task')} waiting for a free stream; "
                f"max_streams is {source['max_streams']:,}: raise it in the configuration, then reload",
                f"notifier reload{options}",
            )
        yield from _of_source(source, options)
    yield from _without_source(report, options)
    if (problem := report.get("archive", {}).get("problem")) is not None:  # an earlier version does not say
        yield (
            f"results are not kept: {printable(problem)}",
            "journalctl -u notifier -o cat | grep '\"archive\\.not_kept'",
        )
    for queue in report["queues"]:
        if queue["problem"] is not None:
            yield (
                f"no watches from {printable(queue['name'])}: {printable(queue['problem'])}",
                "journalctl -u notifier -o cat | grep '\"queue\\.'",
            )
    for endpoint in report["endpoints"]:
        yield from _of_endpoint(endpoint, options)


def _of_source(source: Report, options: str) -> Iterator[tuple[str, ...]]:
    name, errors = printable(source["name"]), source.get("errors", {})
    for kind, count in source["troubles"].items():
        words = errors.get(kind)
        counted = f"{name}: {_count(count, 'task')} of {source['following']} cannot be read"
        if words is None:  # the node that has it is of an earlier version
            yield (f"{counted}: {kind}",)
            continue
        excerpt = f"; it sent {printable(words['excerpt'])}" if words["excerpt"] else ""
        yield f"{counted}: {printable(words['error'])}{excerpt}", f"# {words['hint']}"
    if unknown := source.get("unknown_states", ()):
        one = len(unknown) == 1
        which, them, they = ("the state", "it", "it belongs") if one else ("the states", "them", "they belong")
        counts = "is in no list, and counts" if one else "are in no list, and count"
        yield (
            f"{name}: {which} {', '.join(map(_quoted, unknown))} {counts} as running; "
            f"list {them} where {they} in the source's states, such as:",
            f"states: {{running: [{', '.join(map(_quoted, [*source.get('running_states', ()), *unknown]))}]}}",
        )
    if lost := source.get("lost_lately"):
        reasons = ", ".join(f"{count} {reason}" for reason, count in lost.items())
        yield (
            f"{name}: {_count(sum(lost.values()), 'task')} given up in the last 24 hours ({reasons}); "
            "one that is removed counts no longer",
            f"notifier watch list -s {name} -p lost{options}",
            f"notifier watch remove {name}/ID{options}",
        )
    if unheard := source.get("unheard", 0):
        yield (
            f"{name}: no endpoint receives the events of {_count(unheard, 'task')}: no `match` accepts them",
            f"notifier watch list -s {name} --open{options}",
        )


def _without_source(report: Report, options: str) -> Iterator[tuple[str, ...]]:
    for source, count in report.get("without_source", {}).items():  # an earlier version does not say
        name = printable(source)
        yield (
            f"{name}: the configuration names no such source, so nobody follows {_count(count, 'task')}; "
            "name it again and reload, or remove them",
            f"notifier watch list -s {name} --open{options}",
            f"notifier watch remove {name}/ID{options}",
        )


def _quoted(state: str) -> str:
    return printable(json.dumps(state, ensure_ascii=False))


def _of_nodes(nodes: Iterable[Report], options: str) -> Iterator[tuple[str, ...]]:
    for item in nodes:
        name = printable(item["name"])
        if item["alive"] is False:
            yield f"node {name} gives no sign of life: others take over", f"notifier node list{options}"
        elif item["ready"] is False and not item["this"] and not item["leaving"]:
            yield (
                f"node {name} is not ready: {printable(item['reason'] or 'for no reason told')}",
                f"notifier node list{options}",
            )


def _of_endpoint(endpoint: Report, options: str) -> Iterator[tuple[str, ...]]:
    name = printable(endpoint["name"])
    pending, oldest = endpoint["pending"], endpoint["oldest_seconds"]
    kept = f"{_count(pending, 'delivery', 'deliveries')} kept" + (f", the oldest for {span(oldest)}" if pending else "")
    match endpoint["state"]:
        case "disabled":
            yield f"{name} is disabled ({endpoint['reason']}): {kept}", f"notifier endpoint enable {name}{options}"
        case "failing":
            reason = f" ({endpoint['reason']})" if endpoint["reason"] else ""
            yield (
                f"{name} fails{reason}, and is tried again: {kept}",
                f"notifier endpoint test {name}{options}",
            )
        case "paused":
            yield f"{name} is paused ({endpoint['reason']}): {kept}", f"notifier endpoint list{options}"
        case "slowed":
            yield f"{name} is slowed: {endpoint['reason']}; {kept}", f"notifier endpoint list{options}"
        case _ if oldest > BACKLOG:
            yield f"{name} is behind: {kept}", f"notifier delivery list -e {name} -s pending{options}"
    if endpoint["dead"]:
        yield (
            f"{name} has {_count(endpoint['dead'], 'dead delivery', 'dead deliveries')}, not sent again by themselves",
            f"notifier delivery list -e {name} -s dead{options}",
            f"notifier delivery retry -e {name}{options}",
        )


def _sources(report: Report) -> None:
    show_table(
        ("source", "open", "following", "watches by phase"),
        [
            (source["name"], source["open"], source["following"], _phases(source["watches"]))
            for source in report["sources"]
        ],
        empty="no sources",
    )


def _phases(counts: dict[str, int]) -> str:
    order = [*NAMED, *sorted(counts.keys() - set(NAMED))]
    return ", ".join(f"{counts[phase]} {phase}" for phase in order if counts.get(phase)) or "none"


def _endpoints(report: Report) -> None:
    show_table(
        ("endpoint", "state", "under way", "pending", "oldest", "dead"),
        [
            (e["name"], e["state"], e["in_flight"], e["pending"], span(e["oldest_seconds"]), e["dead"])
            for e in report["endpoints"]
        ],
        empty="no endpoints",
        cut=("endpoint",),
    )


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"

"""Commands for sources: source list, what ails them; source test, one look at an upstream with their configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from notifier.cli.client import ConfigOption, JsonOption, TokenOption, UrlOption, connect
from notifier.cli.complete import configured_sources, tasks_of_source
from notifier.cli.daemon import FileOption
from notifier.cli.duration import seconds
from notifier.cli.look_report import LookReport
from notifier.cli.output import EXIT_FAILED, fail, show, show_json, show_table
from notifier.cli.process import DEFAULT_FILE, load_config
from notifier.cli.watch_input import read_pairs

if TYPE_CHECKING:
    from notifier.config import SourceConfig
    from notifier.sources.plan import Plan
    from notifier.sources.probe import Look

LONGEST = 5.0  # seconds for which a stream without a snapshot is read

source = typer.Typer(help="See sources; try their configuration.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(source, name="source")


@source.command("list")
def list_sources(
    config: ConfigOption = None, url: UrlOption = None, token: TokenOption = None, as_json: JsonOption = False
) -> None:
    """List sources with their streams, and what ails them.

    An ok source is read. In a failing one, some tasks cannot be read. A waiting one has more tasks than streams.

    Example: notifier source list
    """
    report = connect(url, token, config).get("/v1/status")
    if as_json:
        items = [{**each, "state": state_of(each, report["nodes"])} for each in report["sources"]]
        show_json({"items": items, "next": None})
        return
    show_table(
        ("source", "state", "following", "open", "waiting", "reason"),
        [
            (
                each["name"],
                state_of(each, report["nodes"]),
                each["following"],
                each["open"],
                each["waiting"],
                "; ".join(_ailments(each, report["nodes"])) or None,
            )
            for each in report["sources"]
        ],
        empty="no sources",
        cut=("reason",),
        drop=("waiting", "open", "following"),
    )


def state_of(item: Mapping[str, Any], nodes: int) -> str:
    """Return a source's state in one word, as the page does."""
    if item["troubles"]:
        return "failing"
    return "waiting" if item["waiting"] and item["open"] >= item["max_streams"] * nodes else "ok"


def _ailments(item: Mapping[str, Any], nodes: int) -> Iterator[str]:
    for kind in item["troubles"]:
        error = item["errors"].get(kind)
        yield kind if error is None else error["error"]
    if state_of(item, nodes) == "waiting":
        yield f"max_streams is {item['max_streams']}"
    if item["unknown_states"]:
        yield f"unlisted states: {', '.join(item['unknown_states'])}"
    if lost := sum(item.get("lost_lately", {}).values()):
        yield f"{lost} given up in 24 hours"
    if item["unheard"]:
        yield f"{item['unheard']} heard of by no endpoint"


@source.command("test")
def try_source(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="The source's name in the configuration.", autocompletion=configured_sources
        ),
    ],
    id_: Annotated[str, typer.Argument(metavar="ID", help="A task's id.", autocompletion=tasks_of_source)],
    config: FileOption = DEFAULT_FILE,
    variable: Annotated[
        list[str],
        typer.Option("--variable", metavar="NAME=VALUE", help="A variable of the URL, as a watch may have it."),
    ] = [],
    listen: Annotated[
        float | None,
        typer.Option(
            "--for",
            metavar="DURATION",
            parser=seconds,
            help="Read a stream for so long; default: to its first snapshot.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Look once at the upstream, and print each message beside what it is read as.

    It needs no daemon, and changes nothing. A task without a stream is asked for by the source's polled twin. States
    that the configuration does not list are printed with the YAML that lists them. Exit code 1 if no state was read.

    Example: notifier source test vidu 2370487727425660
    """
    import asyncio  # here, as help does not need it

    loaded = load_config(config)
    if name not in loaded.sources:
        fail(f"there is no source {name}; {config} has {', '.join(loaded.sources) or 'none'}", EXIT_FAILED)
    chosen = loaded.sources[name]
    variables = read_pairs(variable, option="--variable", example="kind=videos/text2video")
    plan = _plan(name, chosen)
    look = asyncio.run(_look(plan, id_, listen, variables))
    reports = [LookReport(name, chosen, plan, look)]
    if not look.observations and plan.settings.twin is not None:
        plan = plan.with_settings(plan.settings.twin)
        look = asyncio.run(_look(plan, id_, None, variables))
        reports.append(LookReport(name, chosen, plan, look, preset=chosen.description.poll_twin))
    if as_json:
        twin = reports[1].as_json() if len(reports) > 1 else None
        show_json({**reports[0].as_json(), "twin": twin})
    else:
        for number, report in enumerate(reports):
            if number:
                show("\nThe task may have no stream; the source's twin is polled then:\n")
            for line in report.lines():
                show(line)
    if not look.observations:
        raise typer.Exit(EXIT_FAILED)


def _plan(name: str, config: SourceConfig) -> Plan:
    from notifier.daemon.adapters import source_settings, trust
    from notifier.runtime import logs
    from notifier.senders.target import USER_AGENT
    from notifier.sources.plan import Plan

    logs.configure(format="auto", level="error")  # an unknown state is told in the answer
    return Plan.create(name, source_settings(config, trust(config)), user_agent=USER_AGENT)


async def _look(plan: Plan, task_id: str, listen: float | None, variables: Mapping[str, str]) -> Look:
    from notifier.sources.probe import look

    return await look(plan, task_id, listen=listen, longest=LONGEST, variables=variables)

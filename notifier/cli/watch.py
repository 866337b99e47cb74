"""Commands for watches: watch add|list|show|wait|remove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from notifier.cli import follow
from notifier.cli.client import (
    Client,
    ConfigOption,
    Denied,
    JsonOption,
    TokenOption,
    UrlOption,
    connect,
)
from notifier.cli.complete import endpoint_names, label_pairs, phase_names, source_names, watch_names
from notifier.cli.known import require_source
from notifier.cli.listing import CUT, DROP, Wanted, columns, rows
from notifier.cli.lookup import IdCommand, find, name_of, path_of
from notifier.cli.output import (
    EXIT_FAILED,
    EXIT_USAGE,
    complain,
    fail,
    printable,
    refuse,
    show,
    show_json,
    show_table,
    tell_styled,
)
from notifier.cli.timeline import lines
from notifier.cli.wait import wait
from notifier.cli.watch_input import WatchDefaults, WatchInput, batches, read_file, read_metadata, read_pairs

if TYPE_CHECKING:
    from notifier.cli.session import DaemonSession
    from notifier.core.model import Json

NAMED = 20  # added watches that are listed one by one

watch = typer.Typer(help="Follow tasks, and see their state.", no_args_is_help=True)

Ids = Annotated[
    list[str],
    typer.Argument(metavar="[SOURCE/]ID", help="SOURCE/ID, or ID if one source has it.", autocompletion=watch_names),
]
SourceOption = Annotated[
    str | None, typer.Option("--source", "-s", metavar="NAME", help="A source's name.", autocompletion=source_names)
]
Labels = Annotated[
    list[str],
    typer.Option(
        "--label", "-l", metavar="NAME=VALUE", help="NAME=VALUE; may be repeated.", autocompletion=label_pairs
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    watch.command("wait", cls=IdCommand)(wait)
    app.add_typer(watch, name="watch")


@watch.command("add", cls=IdCommand)
def add(
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="The provider's ids of tasks.")] = [],
    source: SourceOption = None,
    label: Labels = [],
    metadata: Annotated[
        str | None, typer.Option(metavar="JSON", help="A JSON value that is sent with every event.")
    ] = None,
    endpoint: Annotated[
        list[str],
        typer.Option(
            "--endpoint",
            "-e",
            metavar="NAME",
            help="An endpoint that receives the events; may be repeated; default: all that match.",
            autocompletion=endpoint_names,
        ),
    ] = [],
    variable: Annotated[
        list[str],
        typer.Option(metavar="NAME=VALUE", help="A variable that the source's url names; may be repeated."),
    ] = [],
    callback_url: Annotated[
        str | None, typer.Option(metavar="URL", help="A callback URL of the task's own, besides the endpoints.")
    ] = None,
    callback_secret: Annotated[
        str | None,
        typer.Option(metavar="WHSEC", help="Its signing secret; default: callbacks.secret of the daemon."),
    ] = None,
    traceparent: Annotated[
        str | None,
        typer.Option(metavar="TRACE", help="W3C Trace Context, sent on with callbacks: 00-TRACE-PARENT-FLAGS."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="FILE", help="A list of watches, or ids; -: stdin."),
    ] = None,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Follow tasks. One that is followed already stays unchanged.

    Up to 10,000 are added together: if one of them is wrong, none is added. More go in several requests, and a refusal
    says how many were added before it.

    Example: notifier watch add 2370487727425660 --label team=video

    Example: notifier watch add --file watches.yaml

    Example: notifier watch add 2370487727425660 --callback-url https://example.com/hooks/2370487727425660

    Example: notifier watch add 841 --source kling --variable kind=videos/image2video

    Options apply to every watch that has no value of its own. A file holds ids or a JSON object on each line, or a
    list in YAML or JSON. Blank lines and the text after a # are ignored:

    \b
      - "2370487727425660"
      - {id: "2370487727425661", source: vidu,
         labels: {team: video}, metadata: {order: 7},
         callback_url: https://example.com/hooks/7, callback_secret: whsec_...}

    A queue's message has the same forms, in JSON, and is accepted or refused as a whole:

    \b
      {"id": "2370487727425661", "labels": {"team": "video"}}
      [{"id": "2370487727425661"}, "2370487727425662"]
      {"remove": {"source": "vidu", "id": "2370487727425661"}}
      2370487727425660
    """
    defaults = WatchDefaults(
        source=source,
        endpoints=endpoint,
        labels=read_pairs(label),
        metadata=read_metadata(metadata),
        variables=read_pairs(variable, option="--variable", example="kind=videos/text2video"),
        traceparent=traceparent,
        callback_url=callback_url,
        callback_secret=callback_secret,
    )
    if not ids and file is None:
        fail("say which tasks: ID..., or --file FILE", EXIT_USAGE)
    watches = [WatchInput(name=text, watch={"id": text}) for text in ids]
    listed = read_file(file) if file is not None else []
    if file is not None and not listed:
        complain(f"warning: {printable(str(file))} holds no watches")
    watches += listed
    watches = [replace(each, watch=defaults.fill(each.watch)) for each in watches]
    answers = _post(connect(url, token, config), watches)
    if as_json:
        show_json(_sum(answers))
        return
    for warning in (text for answer in answers for text in answer["warnings"]):
        complain(f"warning: {printable(warning)}")
    items = [item for answer in answers for item in answer["items"]]
    for item in items if len(items) <= NAMED else ():
        show(f"{'added' if item['created'] else 'known'}  {printable(name_of(item))}")
    total = _sum(answers)
    known = f", {total['existing']} known before" if total["existing"] else ""
    show(f"{total['created']} added{known}")


def _post(client: Client, watches: Sequence[WatchInput]) -> list[dict[str, Any]]:
    """Send the watches; exits if a batch is refused, and says how many were added before it."""

    def work(daemon: DaemonSession) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = []
        for batch in batches(watches):
            try:
                answers.append(daemon.ask("POST", "/v1/watches", body=[each.watch for each in batch]))
            except Denied as exc:
                taken = _sum(answers)["created"]
                summary = f"{exc}; {taken} were added before" if taken else str(exc)
                if exc.problems:
                    refuse([_placed(problem, batch) for problem in exc.problems], summary=summary, code=EXIT_FAILED)
                fail(summary, exc.code)
        return answers

    return client.run(work)


def _placed(problem: str, batch: Sequence[WatchInput]) -> str:
    """Name the line or argument of a refused watch in place of its index in the request."""
    from notifier.config import key_path, split_problem

    location, message = split_problem(problem)
    match location:
        case (int(index), *key) if index < len(batch):
            named = f"{key_path(tuple(key))}: " if key else ""
            return f"{batch[index].place(tuple(key))}: {named}{message}"
        case _:
            return problem


def _sum(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "items": [item for answer in answers for item in answer["items"]],
        "created": sum(answer["created"] for answer in answers),
        "existing": sum(answer["existing"] for answer in answers),
        "warnings": [warning for answer in answers for warning in answer["warnings"]],
    }


@watch.command("list")
def list_watches(
    source: SourceOption = None,
    phase: Annotated[
        str | None,
        typer.Option(
            "--phase",
            "-p",
            metavar="PHASE",
            help="new, queued, running, succeeded, failed, canceled, lost.",
            autocompletion=phase_names,
        ),
    ] = None,
    label: Labels = [],
    search: Annotated[str | None, typer.Option("--search", "-q", metavar="TEXT", help="A part of the id.")] = None,
    ended: Annotated[bool | None, typer.Option("--ended/--open", help="Only those that ended, or are open.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, metavar="N", help="How many.")] = 50,
    every: Annotated[bool, typer.Option("--all", "-a", help="All of them.")] = False,
    following: Annotated[bool, typer.Option("--follow", "-f", help="Show changes too, until Ctrl-C.")] = False,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """List watches, newest first.

    --follow updates the list on a terminal, and writes a line for each change elsewhere.

    --follow --json writes JSON objects, one a line: the watches, then events, which have a `type`.

    Example: notifier watch list --open --follow
    """
    wanted = Wanted(
        source=source,
        phase=phase,
        labels=read_pairs(label),
        search=search,
        ended=ended,
        limit=None if every else limit,
    )
    client = connect(url, token, config)
    if following:
        if source is not None:
            require_source(client, source)
        follow.run(client, wanted, as_json=as_json)
        return
    page = client.run(wanted.fetch)
    if not page["items"] and source is not None:
        require_source(client, source)
    if as_json:
        show_json(page)
        return
    items = page["items"]
    show_table(columns(items), rows(items), empty="no watches", cut=CUT, drop=DROP)
    if page["next"] is not None:
        show("there are more: --limit takes up to 1000, --all shows them all")


@watch.command("show", cls=IdCommand)
def show_watch(
    name: Annotated[str, typer.Argument(metavar="[SOURCE/]ID", help="A watch.", autocompletion=watch_names)],
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a task's timeline: each change of state, its deliveries, and their outcome.

    Example: notifier watch show 2370487727425660
    """

    def work(daemon: DaemonSession) -> tuple[Json, dict[int, Json]]:
        item = find(daemon, name)
        troubled = [
            delivery["id"]
            for event in item["events"]
            for delivery in event["deliveries"]
            if delivery["reason"] is not None or delivery["attempt"] > 1
        ]
        return item, {
            number: daemon.ask("GET", f"/v1/deliveries/{number}")["attempts"]
            for number in (() if as_json else troubled[:100])
        }

    item, attempts = connect(url, token, config).run(work)
    if as_json:
        show_json(item)
        return
    for line in lines(item, attempts):
        tell_styled(line)


@watch.command("remove", cls=IdCommand)
def remove(
    names: Ids,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop following tasks; events that are recorded are still delivered.

    A task that a file of the configuration lists comes back at the next reload.

    Example: notifier watch remove 2370487727425660
    """

    def work(daemon: DaemonSession) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = []
        for name in names:
            result: dict[str, Any] = {"name": name, "removed": True}
            try:
                item = find(daemon, name)
                daemon.ask("DELETE", path_of(item["source"], item["id"]))
            except Denied as exc:
                if exc.status != 404:
                    raise
                result |= {"removed": False, "reason": str(exc)}
                complain(f"notifier: {printable(str(exc))}")
            else:
                result |= {"source": item["source"], "id": item["id"], "listed": item["origin"] == "file"}
                if not as_json:
                    show(f"{printable(name_of(item))} is no longer followed")
                if item["origin"] == "file":
                    complain(f"warning: a file lists {printable(name_of(item))}: it comes back at the next reload")
            results.append(result)
        return results

    results = connect(url, token, config).run(work)
    if as_json:
        show_json({"items": results})
    if not all(result["removed"] for result in results):
        raise typer.Exit(EXIT_FAILED)

"""Commands for watches: watch add|list|show|wait|remove."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer
from typer.core import TyperCommand

from notifier.cli import follow
from notifier.cli.client import (
    Client,
    ConfigOption,
    Denied,
    JsonOption,
    TokenOption,
    Unreachable,
    UrlOption,
    connect,
)
from notifier.cli.complete import endpoint_names, source_names, watch_names
from notifier.cli.listing import COLUMNS, CUT, Wanted, rows
from notifier.cli.output import EXIT_FAILED, EXIT_USAGE, complain, fail, printable, refuse, show, show_json, show_table
from notifier.cli.timeline import lines
from notifier.cli.watch_input import WatchDefaults, WatchInput, batches, read_file, read_metadata, read_pairs

if TYPE_CHECKING:
    from notifier.cli.session import DaemonSession
    from notifier.core.model import Json

LONGEST_WAIT = 600.0  # seconds of one request; the daemon allows no more
RETRY = 1.0  # seconds until a daemon that does not answer is asked again
ENDS = {"succeeded": 0, "failed": 3, "canceled": 4, "lost": 5}  # exit codes
EXIT_TIMEOUT = 124  # as of timeout(1)
NAMED = 20  # added watches that are listed one by one

watch = typer.Typer(help="Follow tasks, and see their state.", no_args_is_help=True)

Ids = Annotated[
    list[str],
    typer.Argument(metavar="[SOURCE/]ID", help="SOURCE/ID, or ID if one source has it.", autocompletion=watch_names),
]
SourceOption = Annotated[
    str | None, typer.Option("--source", "-s", metavar="NAME", help="A source's name.", autocompletion=source_names)
]
Labels = Annotated[list[str], typer.Option("--label", "-l", metavar="NAME=VALUE", help="NAME=VALUE; may be repeated.")]


class IdCommand(TyperCommand):
    """A command that takes ids. Where an id looks like an unknown option, the refusal says how to write it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line."""
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except Exception as exc:  # typer offers no name for its kind
            option = getattr(exc, "option_name", None)
            if option is not None and not getattr(exc, "possibilities", None):
                word = next((word for word in words if word.startswith(option)), option)
                exc.message += f"; an id that begins with - stands after --: {ctx.command_path} -- {word}"  # type: ignore[attr-defined]
            raise


def register(app: typer.Typer) -> None:
    """Add the commands."""
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
        typer.Option(metavar="NAME=VALUE", help="What the source's url names beside the id; may be repeated."),
    ] = [],
    callback_url: Annotated[
        str | None, typer.Option(metavar="URL", help="A callback URL of the task's own, besides the endpoints.")
    ] = None,
    callback_secret: Annotated[
        str | None,
        typer.Option(metavar="WHSEC", help="Its signing secret; default: callbacks.secret of the daemon."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="FILE", help="YAML or JSON: a list of watches or ids; -: stdin."),
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

    Options apply to every watch that has no value of its own. A file holds a list of watches or ids:

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
        callback_url=callback_url,
        callback_secret=callback_secret,
    )
    if not ids and file is None:
        fail("say which tasks: ID..., or --file FILE", EXIT_USAGE)
    watches = [WatchInput(name=text, watch={"id": text}) for text in ids]
    watches += read_file(file) if file is not None else []
    watches = [replace(each, watch=defaults.fill(each.watch)) for each in watches]
    answers = _post(connect(url, token, config), watches)
    if as_json:
        show_json(_sum(answers))
        return
    items = [item for answer in answers for item in answer["items"]]
    for item in items if len(items) <= NAMED else ():
        show(f"{'added' if item['created'] else 'known'}  {printable(_name(item))}")
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
                fail(summary)
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
    }


@watch.command("list")
def list_watches(
    source: SourceOption = None,
    phase: Annotated[
        str | None,
        typer.Option("--phase", "-p", metavar="PHASE", help="new, queued, running, succeeded, failed, canceled, lost."),
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
        follow.run(client, wanted, as_json=as_json)
        return
    page = client.run(wanted.fetch)
    if as_json:
        show_json(page)
        return
    show_table(COLUMNS, rows(page["items"]), empty="no watches", cut=CUT)
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
        item = _find(daemon, name)
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
        show(line)


@watch.command("wait", cls=IdCommand)
def wait(
    name: Annotated[str, typer.Argument(metavar="[SOURCE/]ID", help="A watch.", autocompletion=watch_names)],
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", min=0, help="Give up after so long.")] = None,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Wait until a task has ended; the exit code says how.

    0 succeeded, 3 failed, 4 canceled, 5 lost, 124 not ended within --timeout. A daemon that restarts is waited for.

    Example: notifier watch wait 2370487727425660 --timeout 600
    """
    item = connect(url, token, config).run(lambda daemon: _end(daemon, name, timeout))
    outcome = "lost" if item["lost"] else item["phase"]
    if as_json:
        show_json(item)
    elif item["ended"]:
        show(f"{printable(_name(item))} {outcome}")
    else:
        complain(f"{_name(item)} has not ended after {timeout:g} s: {outcome or 'nothing was observed yet'}")
    raise typer.Exit(ENDS.get(outcome, EXIT_FAILED) if item["ended"] else EXIT_TIMEOUT)


def _end(daemon: DaemonSession, name: str, timeout: float | None) -> dict[str, Any]:
    """Return a watch once it has ended, or after the timeout in seconds. Raises Denied and Unreachable."""
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    item = _find(daemon, name)
    while not item["ended"] and (left := deadline - time.monotonic()) > 0:
        query = [("timeout", f"{min(left, LONGEST_WAIT):.3f}")]
        try:
            item = daemon.ask_patiently("GET", f"{_path(item['source'], item['id'])}/wait", query=query)
        except (Denied, Unreachable) as exc:
            if isinstance(exc, Denied) and exc.status != HTTPStatus.SERVICE_UNAVAILABLE:
                raise
            time.sleep(min(left, RETRY))
    return item


@watch.command("remove", cls=IdCommand)
def remove(names: Ids, config: ConfigOption = None, url: UrlOption = None, token: TokenOption = None) -> None:
    """Stop following tasks; events that are recorded are still delivered.

    Example: notifier watch remove 2370487727425660
    """

    def work(daemon: DaemonSession) -> int:
        missing = 0
        for name in names:
            try:
                item = _find(daemon, name)
                daemon.ask("DELETE", _path(item["source"], item["id"]))
            except Denied as exc:
                if exc.status != 404:
                    raise
                missing += 1
                complain(f"notifier: {printable(str(exc))}")
            else:
                show(f"{printable(_name(item))} is followed no longer")
        return missing

    if connect(url, token, config).run(work):
        raise typer.Exit(EXIT_FAILED)


def _find(daemon: DaemonSession, name: str) -> dict[str, Any]:
    """Return a watch by SOURCE/ID, or by its id if only one source has it. Raises Denied."""
    source, slash, task = name.partition("/")
    if slash and source and task:
        try:
            return dict(daemon.ask("GET", _path(source, task)))
        except Denied as exc:
            if exc.status != 404:
                raise
    page = daemon.ask("GET", "/v1/watches", query=[("q", name), ("limit", "1000")])
    same = [item for item in page["items"] if item["id"] == name]
    if not same:
        raise Denied(404, f"there is no watch {name}")
    if len(same) > 1:
        raise Denied(409, f"say which: {', '.join(sorted(map(_name, same)))}")
    return dict(daemon.ask("GET", _path(same[0]["source"], name)))


def _path(source: str, task: str) -> str:
    return f"/v1/watches/{quote(source, safe='')}/{quote(task, safe='')}"


def _name(item: dict[str, Any]) -> str:
    return f"{item['source']}/{item['id']}"

"""Commands to try notifier with: simulate, listen, demo."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from notifier.cli.complete import preset_names
from notifier.cli.duration import seconds
from notifier.cli.output import (
    OutputLost,
    complain,
    fail,
    flush_output,
    show,
    show_json,
    show_json_line,
    terminal,
)
from notifier.cli.process import load_config
from notifier.cli.secrets import SECRET_VARIABLES

if TYPE_CHECKING:
    from notifier.tools.speech import Speech

T = TypeVar("T")
SECRET_BYTES = 32


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(demo)
    app.command()(simulate)
    app.command()(listen)


def demo(
    tasks: Annotated[
        int, typer.Option("--tasks", "-n", min=1, max=5000, metavar="N", help="How many tasks; 1000 take 16 s.")
    ] = 12,
    keep: Annotated[bool, typer.Option("--keep", help="Stay up after the summary, until Ctrl-C.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary in JSON; all else goes to standard error.")
    ] = False,
) -> None:
    """See notifier work.

    Runs a simulated upstream, a receiver and the daemon on free ports, with a live table and a summary.

    Example: notifier demo
    """
    from notifier.tools.demo import Interrupted, run

    try:
        if as_json:
            from rich.console import Console

            play = run(tasks=tasks, keep=keep, console=Console(stderr=True), report=show_json)
        else:
            play = run(tasks=tasks, keep=keep, console=terminal())
        well = _until_interrupted(play)
    except Interrupted as exc:
        if exc.number != signal.SIGINT:
            raise
        complain(f"notifier: {exc}")  # Ctrl-C is the user's own wish, not an error
        return
    if not well:
        fail("the demo did not go as it should; see above")


def simulate(
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Speak the protocol of a preset; default: the documented API.",
            autocompletion=preset_names,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="Take presets of your own from this configuration, too."),
    ] = None,
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", "-p", min=0, max=65535, metavar="PORT", help="0: any free one.")
    ] = 8781,
    token: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="The bearer token that clients must send; default: any.")
    ] = None,
    ids: Annotated[
        list[str], typer.Option("--id", metavar="GLOB", help="Known task ids, globs; default: all except unknown*.")
    ] = [],
    transcript: Annotated[
        str,
        typer.Option(
            metavar="TRANSCRIPT",
            help="documented, @FILE, or a list such as queueing*3,processing*28,success; "
            "with --preset its own states, or queued, running, succeeded, failed:CODE, canceled.",
        ),
    ] = "documented",
    task: Annotated[
        list[str],
        typer.Option(
            "--task", metavar="GLOB=TRANSCRIPT", help="GLOB=TRANSCRIPT for some ids, such as bad*=queueing,failed."
        ),
    ] = [],
    failing: Annotated[
        list[str],
        typer.Option("--fail", metavar="GLOB[=STATE]", help="These tasks fail, in STATE or in the usual failure."),
    ] = [],
    framing: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="line or event, with blank lines between; default: as documented or as the preset says.",
        ),
    ] = None,
    every: Annotated[
        float,
        typer.Option(
            metavar="DURATION",
            parser=seconds,
            show_default=False,
            help="Time between lines, such as 250ms; default: 1s; 0: at full speed.",
        ),
    ] = 1.0,
    jitter: Annotated[
        float, typer.Option(min=0, max=1, metavar="SHARE", help="Random share of that time, 0 to 1.")
    ] = 0.0,
    keep_open: Annotated[bool, typer.Option("--keep-open", help="Keep the stream open after the last line.")] = False,
    restart: Annotated[
        bool, typer.Option("--restart-on-reconnect", help="Start the transcript again on each connection.")
    ] = False,
    fault: Annotated[
        list[str],
        typer.Option(
            "--fault",
            metavar="FAULT",
            help="[GLOB=]KIND[:ARG][@LINES][xTIMES][#NTH][%PERCENT] "
            "with the kinds drop reset truncate stall garbage huge "
            "html json 204 redirect hangup slowhead comments crlf cr bom, and 400 to 599.",
        ),
    ] = [],
    seed: Annotated[int | None, typer.Option(metavar="N", help="Seed of the random numbers.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON objects, one a line: the URL at once, the counts at the end.")
    ] = False,
) -> None:
    """Run a simulated upstream, with faults on request.

    It speaks the documented API, or the protocol of any preset: paths, states, failures, unknown tasks and results.

    Example: notifier simulate --preset runway --every 200ms --fail 'bad*' --fault '500x2'
    """
    from notifier.tools.faults import parse_rule
    from notifier.tools.simulator import Simulator, serve

    def build() -> Simulator:
        if framing not in (None, "line", "event"):
            raise ValueError(f"--framing is line or event, not {framing!r}")
        speech = _speech(preset, config)
        return Simulator(
            host=host,
            port=port,
            token=token,
            speech=speech,
            ids=ids or None,
            transcript=speech.load(transcript),
            transcripts={
                **{glob: speech.load(text) for glob, _, text in (item.partition("=") for item in task)},
                **{glob: speech.failing(state) for glob, _, state in (item.partition("=") for item in failing)},
            },
            framing=speech.framing if framing is None else "line" if framing == "line" else "event",
            interval=every,
            jitter=jitter,
            keep_open=keep_open,
            restart_on_reconnect=restart,
            faults=[parse_rule(text) for text in fault],
            seed=seed,
        )

    simulator = _build(build)

    def announce(introduction: str) -> None:
        if as_json:
            complain(introduction)
            show_json_line({"url": simulator.base_url})
        else:
            show(introduction)
            flush_output()  # who reads through a pipe waits for it

    summary = _until_interrupted(serve(simulator, announce=announce))
    show_json_line(asdict(summary)) if as_json else show(str(summary))


def listen(
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", "-p", min=0, max=65535, metavar="PORT", help="0: any free one.")
    ] = 8782,
    secret: Annotated[
        list[str],
        typer.Option("--secret", "-s", envvar=SECRET_VARIABLES, metavar="WHSEC", help="whsec_...; default: a new one."),
    ] = [],
    respond: Annotated[
        list[str],
        typer.Option(
            "--respond",
            metavar="ANSWERS",
            help=r"[/PATH=]ANSWER,...: a status with an optional argument (429:5, 302:/x), drop, reset, blackhole, "
            "drip or slow:SECONDS, each with xTIMES, such as 500x3,200. One without a path is for the other paths.",
        ),
    ] = ["200"],
    tolerance: Annotated[
        float,
        typer.Option(
            metavar="DURATION",
            parser=seconds,
            show_default=False,
            help="How old a callback's timestamp may be; default: 5m.",
        ),
    ] = 300.0,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Seed of the random numbers.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each callback.")] = False,
) -> None:
    """Run a receiver that verifies and prints callbacks.

    It answers as --respond says.

    Example: notifier listen --secret whsec_... --respond 500x3,200
    """
    from notifier.core.signing import new_secret
    from notifier.tools.listener import Listener, serve

    new = None if secret else new_secret(os.urandom(SECRET_BYTES))

    def build() -> Listener:
        return Listener(
            host=host,
            port=port,
            secrets=secret or [new or ""],
            respond=respond,
            tolerance=tolerance,
            keep=1,  # each is shown as it comes, and may be large
            seed=seed,
        )

    listener = _build(build)
    summary = _until_interrupted(serve(listener, console=terminal(), secret=new, as_json=as_json))
    if not as_json:
        show(str(summary))


def _speech(name: str | None, config: Path | None) -> Speech:
    """Return the protocol to speak. Raises ValueError."""
    from notifier.sources import preset as presets
    from notifier.tools.preset_speech import speech_of
    from notifier.tools.speech import DocumentedSpeech

    own = {} if config is None else load_config(config).presets
    if name is None:
        return DocumentedSpeech()
    if name not in own and name not in presets.names():
        raise ValueError(f"there is no preset {name}; `notifier preset list` lists the built-in ones")
    return speech_of(name, own[name] if name in own else presets.load(name))


def _build(build: Callable[[], T]) -> T:
    """Create a tool; wrong options are a usage error."""
    try:
        return build()
    except (ValueError, OSError) as exc:
        fail(str(exc), 2)


def _until_interrupted(work: Coroutine[Any, Any, T]) -> T:
    import asyncio

    try:
        return asyncio.run(work)
    except OutputLost:
        raise
    except OSError as exc:
        fail(f"cannot listen: {exc.strerror or exc}")

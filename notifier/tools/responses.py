"""The script of the listener's answers. Pure, except for the position in the script.

A script is written `[PATH=]STEP,STEP,...`. A step is `RESPONSE[xTIMES]`, or several with weights to choose from at
random: `200*8|500|reset`. Each step but the last happens once unless told otherwise; the last repeats for ever, and
`200` follows one with `xTIMES`. So `500x3,200` fails three times, and `500x3` says the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Answer with a complete response."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    delay: float = 0.0  # seconds before the answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Close the connection without an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """End the connection with RST."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blackhole:
    """Never answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drip:
    """Answer 200, then write a body byte by byte, without end."""

    every: float  # seconds


Response = Status | Drop | Reset | Blackhole | Drip

KINDS = ("STATUS", "STATUS:RETRY_AFTER", "STATUS:LOCATION", "STATUS:BODY", "slow[:SECONDS]", "drip[:SECONDS]")
ANY_PATH = "*"  # of a script that names none
_RETRY_AFTER = frozenset({429, 503})
_STEP_START = r"(?:[2-5]\d\d|drop|reset|blackhole|drip|slow)(?:x\d+)?(?![^\W_])"
_BETWEEN = re.compile(rf",\s*(?={_STEP_START})")  # the comma of an HTTP-date in Retry-After is followed by no response
_STEP = re.compile(r"(?P<choices>.+?)(?:x(?P<times>\d+))?", re.DOTALL)
_CHOICE = re.compile(r"(?P<kind>[a-z]+|[2-5]\d\d)(?::(?P<argument>.*?))?(?:\*(?P<weight>\d+))?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptStep:
    """The possible responses of a step, and how many times it is repeated."""

    choices: tuple[Response, ...]
    weights: tuple[int, ...]
    times: int | None  # None: for ever


class Script:
    """Steps, and the position in them."""

    def __init__(self, steps: tuple[ScriptStep, ...], random: Random) -> None:
        self._steps = steps
        self._random = random
        self._position = 0
        self._done = 0  # times of the current step

    def next(self) -> Response:
        """Return the next response."""
        step = self._steps[self._position]
        self._done += 1
        if step.times is not None and self._done >= step.times:
            self._position, self._done = self._position + 1, 0
        return self._random.choices(step.choices, step.weights)[0]


def parse_script(text: str) -> tuple[ScriptStep, ...]:
    """Read `STEP,STEP,...`; the last step is repeated for ever. Raises ValueError with the reason."""
    steps: list[ScriptStep] = []
    parts = _BETWEEN.split(text.strip())
    for number, part in enumerate(parts, 1):
        match = _STEP.fullmatch(part)
        if match is None or match["times"] == "0":
            raise ValueError(f"response {part!r}: expected RESPONSE[xTIMES]")
        pairs = [_choice(choice) for choice in match["choices"].split("|")]
        times = int(match["times"]) if match["times"] else None
        steps.append(
            ScriptStep(
                choices=tuple(response for response, _ in pairs),
                weights=tuple(weight for _, weight in pairs),
                times=1 if times is None and number < len(parts) else times,
            )
        )
    if steps[-1].times is not None:
        steps.append(ScriptStep(choices=(Status(status=200),), weights=(1,), times=None))
    return tuple(steps)


def parse_path_script(text: str) -> tuple[str, tuple[ScriptStep, ...]]:
    """Read `[PATH=]SCRIPT`; PATH is a glob that begins with `/`. Raises ValueError with the reason."""
    if text.startswith("/"):
        path, equals, script = text.partition("=")
        if not equals:
            raise ValueError(f"response {text!r}: expected PATH=RESPONSE")
        return path, parse_script(script)
    return ANY_PATH, parse_script(text)


def _choice(text: str) -> tuple[Response, int]:
    match = _CHOICE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"response {text!r}: there are drop, reset, blackhole, {', '.join(KINDS)}")
    weight = int(match["weight"] or 1)
    if weight == 0:
        raise ValueError(f"response {text!r}: a weight counts from 1")
    kind, argument = match["kind"], match["argument"]
    if argument is not None and not argument.isprintable():
        raise ValueError(f"response {text!r}: the argument holds a control character")
    match kind, argument:
        case "drop", None:
            return Drop(), weight
        case "reset", None:
            return Reset(), weight
        case "blackhole", None:
            return Blackhole(), weight
        case "drip", _:
            return Drip(every=_seconds(text, argument, 0.5)), weight
        case "slow", _:
            return Status(status=200, delay=_seconds(text, argument, 5.0)), weight
        case _ if kind.isdecimal():
            return _status(int(kind), argument), weight
        case _:
            raise ValueError(f"response {text!r}: there are drop, reset, blackhole, {', '.join(KINDS)}")


def _status(status: int, argument: str | None) -> Status:
    if argument is None:
        return Status(status=status)
    if 300 <= status < 400:
        return Status(status=status, headers=(("Location", argument),))
    if status in _RETRY_AFTER:
        return Status(status=status, headers=(("Retry-After", argument),))
    return Status(status=status, body=argument)


def _seconds(text: str, argument: str | None, default: float) -> float:
    if argument is None:
        return default
    if not re.fullmatch(r"\d+(\.\d+)?s?", argument):
        raise ValueError(f"response {text!r}: {argument!r} is no number of seconds")
    return float(argument.removesuffix("s"))

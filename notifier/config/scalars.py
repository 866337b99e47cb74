"""The meaning of an unquoted YAML scalar: it is not text only where YAML 1.1, YAML 1.2 and JSON agree.

An id of digits must survive exactly, and `007`, `1e5`, `12:30` or `no` mean different things to different YAML
readers. Such a scalar becomes `Unclear`. A field accepts it only where the meaning is certain, and otherwise asks for
quotes. This module knows nothing of files or fields.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

MAX_DIGITS = 4000  # Python refuses to convert longer decimals (sys.get_int_max_str_digits is 4300)


class Interpolated(str):
    """Text that comes from a variable, in part or as a whole; it may be secret and is never shown."""

    __slots__ = ()


class Number(float):
    """A number with its written form, which a refusal shows."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Number:
        """Parse the text."""
        number = super().__new__(cls, text)
        number.text = text
        return number


@dataclass(frozen=True, slots=True, kw_only=True)
class Unclear:
    """An unquoted scalar that YAML readers understand in different ways."""

    text: str
    boolean: bool | None = None  # the meaning of `yes`, `no`, `on` and `off` where only a boolean is possible


_NULL = re.compile(r"|~|null|Null|NULL")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_BOOLEAN_1_1 = {"yes": True, "no": False, "on": True, "off": False}
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")  # RFC 8259, section 6
# Everything else that either version of YAML reads as a number, a time or a special value:
# yaml.org/type/{int,float,timestamp,merge,value}.html for 1.1, section 10.3.2 of the specification for 1.2.
_UNCLEAR = re.compile(
    r"""
      [-+]?[0-9][0-9_]*                                                   # 007, 1_000, +5, -0
    | [-+]?0b[01_]+ | [-+]?0x[0-9a-fA-F_]+ | [-+]?0o[0-7]+
    | [-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?                    # base 60: 12:30:45
    | [-+]?(?:[0-9][0-9_]*)?\.[0-9_]+(?:[eE][-+]?[0-9]+)?                 # .5
    | [-+]?[0-9][0-9_]*\.?(?:[eE][-+]?[0-9]+)?                            # 1., 1_0e5
    | [-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    | [-+]?\.(?:inf|Inf|INF) | \.(?:nan|NaN|NAN)
    | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2}                                      # a date, perhaps with a time
      (?:(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::?[0-9]{2})?))?)?
    | << | =
    """,
    re.VERBOSE,
)


def resolve(text: str) -> Any:
    """Return the meaning of an unquoted scalar: None, a bool, int, float or str, or Unclear."""
    first = text[:1]
    if first.isalpha() and first not in "tTfFnNyYoO":
        return text  # the usual case
    if "1" <= first <= "9" and text.isdigit() and text.isascii() and len(text) <= MAX_DIGITS:
        return int(text)
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text):
        return True
    if _FALSE.fullmatch(text):
        return False
    if text.lower() in _BOOLEAN_1_1:
        return Unclear(text=text, boolean=_BOOLEAN_1_1[text.lower()])
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) <= MAX_DIGITS else Unclear(text=text)
    if _NUMBER.fullmatch(text):
        number = Number(text)
        return number if math.isfinite(number) and not re.match(r"-0(?:[eE]|$)", text) else Unclear(text=text)
    if _UNCLEAR.fullmatch(text):
        return Unclear(text=text)
    return text


def settle(value: Any) -> Any:
    """Read a variable's text as an unquoted scalar; return any other value unchanged."""
    return resolve(str(value)) if isinstance(value, Interpolated) else value

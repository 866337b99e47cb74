"""`${NAME}` in text comes from the environment; `${NAME:-default}` if it is unset or empty; `$${` is a literal `${`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from notifier.config.scalars import Interpolated

_REFERENCE = re.compile(r"\$(?P<escaped>\$)?\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-[^}]*)?\})?")


class Unresolved(Exception):
    """A text's variables cannot be filled in. The messages name variables, never values."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__("; ".join(messages))
        self.messages = messages


def interpolate(text: str, env: Mapping[str, str]) -> str:
    """Fill in the variables; the result is Interpolated if there were any. Raises Unresolved, naming every fault."""
    if "${" not in text:
        return text
    faults: list[str] = []
    used = False

    def replace(found: re.Match[str]) -> str:
        nonlocal used
        if found["escaped"]:
            return found[0][1:]
        name, default = found["name"], found["default"]
        if name is None:
            faults.append("`${` begins no variable such as ${NAME} or ${NAME:-default}; write $${ for a literal ${")
            return ""
        used = True
        value = env.get(name)
        if default is not None:
            return value or str(default[2:])
        if value is None:
            faults.append(f"environment variable {name} is not set; set it, or write ${{{name}:-default}}")
            return ""
        if any("\ud800" <= character <= "\udfff" for character in value):
            faults.append(f"environment variable {name} is not valid UTF-8")
        return value

    result = _REFERENCE.sub(replace, text)
    if faults:
        raise Unresolved(list(dict.fromkeys(faults)))
    return Interpolated(result) if used else result

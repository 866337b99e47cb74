"""The page on providers lists the presets as they are, and its example works as printed."""

from __future__ import annotations

import re
from pathlib import Path

from notifier.config import load
from notifier.sources import preset as presets

PAGE = Path(__file__).parents[1] / "docs" / "providers.md"
HEAD = "| preset | provider | transport | interval | succeeded | failed |\n| --- | --- | --- | --- | --- | --- |\n"


def table() -> str:
    """Return the table of presets."""
    rows = []
    for name in presets.names():
        preset = presets.load(name)
        words = {phase.value: ", ".join(f"`{state}`" for state in states) for phase, states in preset.states.items()}
        failed = ", ".join(word for word in (words.get("failed"), words.get("canceled")) if word)
        title = (preset.title or name) + (" (experimental)" if preset.experimental else "")
        interval = f"{preset.poll.interval:g} s" if preset.transport == "poll" else "stream"
        rows.append(f"| `{name}` | {title} | {preset.transport} | {interval} | {words['succeeded']} | {failed} |\n")
    return HEAD + "".join(rows)


def test_the_table_is_that_of_the_presets() -> None:
    assert PAGE.read_text(encoding="utf-8").endswith(table()), f"the end of {PAGE.name} should be:\n{table()}"


def test_the_example_of_a_preset_works_as_printed(tmp_path: Path) -> None:
    [example] = re.findall(r"run by a test -->\n```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "config.yaml"
    path.write_text(example)
    config = load(path, env={"MY_TOKEN": "t"})
    source = config.sources["mine"]
    assert source.description.transport == "poll"
    assert source.description.poll.interval == 2
    assert source.description.headers == {"Authorization": "Bearer {token}"}


def test_every_preset_that_the_page_names_exists() -> None:
    text = PAGE.read_text(encoding="utf-8").split("## Built-in presets", 1)[0].split("## Gateways", 1)[1]
    named = set(re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)*)`", text.split("## A preset of your own", 1)[0])) - {"base_url"}
    assert named
    assert named <= set(presets.names())

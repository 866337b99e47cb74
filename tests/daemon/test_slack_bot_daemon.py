"""A daemon with a bot: from a task's states to one message, over a restart."""

from __future__ import annotations

from pathlib import Path

from daemon_rig import serving
from parts import transcript
from slack_workspace import TOKEN, Workspace, workspace

from notifier.tools.simulator import Simulator

TEXT = """
sources: {{vidu: {{preset: vidu, base_url: "{upstream}", token: t}}}}
endpoints:
  ops: {{type: slack, token: {token}, channel: ops, api_url: "{slack}", thread: true, mention: here, rate_limit: 99/s}}
watches: [{{id: "1", metadata: {{order: 7}}}}]
store: {{url: "sqlite:///{directory}/n.db"}}
http: {{listen: "127.0.0.1:0", public_url: "https://n.example"}}
shutdown_timeout: 5s
"""


def write(directory: Path, sim: Simulator, slack: Workspace) -> Path:
    path = directory / "config.yaml"
    text = TEXT.format(directory=directory, upstream=sim.base_url, slack=slack.url, token=TOKEN)
    path.write_text(text)
    return path


async def test_a_message_is_edited_over_a_restart(tmp_path: Path) -> None:
    """Posted by one process, edited by the next, with the failure in its thread."""
    async with Simulator(transcript=transcript("queueing"), keep_open=True) as sim, workspace() as slack:
        path = write(tmp_path, sim, slack)
        async with serving(path):
            await slack.accepted(1)
        async with serving(path):
            sim.push("1", "failed")
            await slack.accepted(3)
    (message,), (reply,) = slack.shown(), slack.shown(thread=True)
    assert message.text.startswith("❌ *vidu* `1`: *failed*")
    assert message.edits == 1
    assert "https://n.example/#/watch/vidu/1" in str(message.attachments)
    assert reply.text.endswith("<!here>")

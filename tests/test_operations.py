"""docs/operations.md, the alert rules and the dashboard speak of what there is, and of all of it.

The rules are tried on series made up for the purpose, by Prometheus's own tool.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helper_programs import require
from prometheus_client.core import Metric

from notifier.follow.troubles import KINDS
from notifier.runtime.metrics import Metrics

ROOT = Path(__file__).parent.parent
OPERATIONS = ROOT / "docs" / "operations.md"
ALERTS = ROOT / "docs" / "alerts.yml"
DASHBOARD = ROOT / "docs" / "grafana" / "notifier.json"

SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run([require("promtool"), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def series() -> dict[str, str]:
    """Return the name of every series that is exposed, and the metric that it belongs to, as it is documented."""
    found: dict[str, str] = {}
    for family in Metrics().registry.collect():
        found |= {family.name + suffix: documented(family) for suffix in SUFFIXES[family.type]}
    return found


def labels() -> dict[str, tuple[str, ...]]:
    """Return the labels of each metric, by its documented name."""
    made: dict[Any, Any] = Metrics().registry._collector_to_names
    return {documented(family): each._labelnames for each in made for family in each.collect()}


def documented(family: Metric) -> str:
    return family.name + ("_total" if family.type == "counter" else "")


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> Iterator[str]:
    """List the dashboard's expressions, with values for its variables."""
    for panel in panels():
        for target in panel.get("targets", ()):
            yield target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")


@pytest.mark.parametrize("path", [ALERTS, DASHBOARD, OPERATIONS], ids=lambda path: path.name)
def test_every_metric_that_is_named_exists(path: Path) -> None:
    named = set(re.findall(r"notifier_[a-z_]+[a-z]", path.read_text()))
    assert named
    known = set(series()) | set(series().values())
    assert named <= known, named - known


def test_every_metric_is_documented_with_its_labels() -> None:
    """The table has a line for each, and no other."""
    listed = dict(re.findall(r"^\| `(notifier_[a-z_]+)(\{[a-z,]+\})?` \|", OPERATIONS.read_text(), re.MULTILINE))
    assert {name: tuple(filter(None, text.strip("{}").split(","))) for name, text in listed.items()} == labels()


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {series()[name] for text in expressions() for name in re.findall(r"notifier_[a-z_]+[a-z]", text)}
    assert shown == set(series().values())


def test_labels_of_expressions_exist() -> None:
    """A label that no metric has would match nothing, silently."""
    known = {"instance", "job", "le"}.union(*labels().values())
    texts = [*expressions(), *(rule["expr"] for rule in rules())]
    used = {
        name.strip()
        for text in texts
        for group in re.findall(r"(?:by|on) \(([^)]*)\)", text)
        for name in group.split(",")
    } | {name for text in texts for name in re.findall(r"[{,]\s*([a-z]+)\s*(?:=~|!=|=)", text)}
    assert used <= known, used - known


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(ALERTS.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def test_every_alert_is_explained() -> None:
    text = OPERATIONS.read_text()
    listed = re.findall(r"^\| `(Notifier\w+)` \|", text, re.MULTILINE)
    assert sorted(listed) == sorted(rule["alert"] for rule in rules())
    assert all({"summary", "action"} == rule["annotations"].keys() for rule in rules())


def test_the_log_table_names_events_that_exist() -> None:
    """The names that follow from a kind of trouble are made up while it runs, as is that of lost lines."""
    made_up = {*(f"source.{kind}" for kind in KINDS), "log.lines_lost", "endpoint.disabled"}
    named = {name for names in called().values() for name in names}
    assert len(listed()) > 20
    assert listed() <= named | made_up, listed() - named - made_up


def test_the_log_table_has_every_event_that_is_logged() -> None:
    """Those whose name is constant, which is all but a few."""
    calls = called()
    logged = {name for level in LEVELS for name in calls.get(level, ())}
    assert len(logged) > 20
    assert logged <= listed(), logged - listed()


LEVELS = ("debug", "info", "warning", "error", "exception", "critical")


def listed() -> set[str]:
    """List the events of the table."""
    table = OPERATIONS.read_text().partition("\n## The log\n")[2].partition("\n## ")[0]
    firsts = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {name for first in firsts for name in re.findall(r"`([a-z_.]+)`", first)}


def called() -> dict[str, set[str]]:
    """List the constant first arguments of the code's calls, by the method's name."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "notifier").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(attr=method), args=[ast.Constant(value=str(name)), *_]):
                    found.setdefault(method, set()).add(name)
    return found


def test_the_dashboard_is_whole() -> None:
    """Ids are unique, panels lie beside each other on a grid of 24 columns, and each says what it shows."""
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard["schemaVersion"] >= 39
    assert len({panel["id"] for panel in panels()}) == len(panels())
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        grid = panel["gridPos"]
        cells = {(grid["x"] + x, grid["y"] + y) for x in range(grid["w"]) for y in range(grid["h"])}
        assert max(x for x, _ in cells) < 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or panel["description"]


def test_promtool_accepts_the_rules() -> None:
    assert "SUCCESS" in promtool("check", "rules", "--lint=all", "--lint-fatal", ALERTS)


def test_promtool_accepts_the_dashboards_expressions(tmp_path: Path) -> None:
    """Each as a recording rule, which has the same language."""
    written = [{"record": f"panel:{index}", "expr": expr} for index, expr in enumerate(expressions())]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": written}]}))
    assert f"{len(written)} rules found" in promtool("check", "rules", path)


STORIES: list[tuple[str, dict[str, str], str, int]] = [
    # alert, series by the minute (promtool's notation: start+step x times), when, how many of it fire
    ("NotifierDown", {'up{job="notifier"}': "1 1 0x10"}, "3m", 0),
    ("NotifierDown", {'up{job="notifier"}': "1 1 0x10"}, "5m", 1),
    ("NotifierNotReady", {"notifier_ready": "1 0x10", "notifier_store_available": "1x10"}, "2m", 0),
    ("NotifierNotReady", {"notifier_ready": "1 0x10", "notifier_store_available": "1x10"}, "5m", 1),
    ("NotifierNotReady", {"notifier_ready": "1 0x10", "notifier_store_available": "1 0x10"}, "5m", 0),
    ("NotifierNodeMissing", {'notifier_nodes{instance="a",state="alive"}': "3x20 2x90"}, "24m", 0),
    ("NotifierNodeMissing", {'notifier_nodes{instance="a",state="alive"}': "3x20 2x90"}, "40m", 1),
    ("NotifierNodeMissing", {'notifier_nodes{instance="a",state="alive"}': "3x20 2x90"}, "100m", 0),  # as it is now
    ("NotifierStoreUnavailable", {"notifier_store_available": "1x10"}, "9m", 0),
    ("NotifierStoreUnavailable", {"notifier_store_available": "1 1 0x10"}, "4m", 1),
    (
        "NotifierStoreSlow",
        {
            'notifier_store_commit_seconds_bucket{le="0.1"}': "0x40",
            'notifier_store_commit_seconds_bucket{le="5"}': "0+60x40",
            'notifier_store_commit_seconds_bucket{le="+Inf"}': "0+60x40",
        },
        "20m",
        1,
    ),
    ("NotifierEndpointFailing", {'notifier_endpoint_state{endpoint="a",state="failing"}': "0x3 1x30"}, "12m", 0),
    ("NotifierEndpointFailing", {'notifier_endpoint_state{endpoint="a",state="failing"}': "0x3 1x30"}, "16m", 1),
    ("NotifierEndpointDisabled", {'notifier_endpoint_state{endpoint="a",state="disabled"}': "0x3 1x9"}, "3m", 0),
    ("NotifierEndpointDisabled", {'notifier_endpoint_state{endpoint="a",state="disabled"}': "0x3 1x9"}, "6m", 1),
    ("NotifierBacklog", {'notifier_delivery_oldest_seconds{endpoint="a"}': "0+60x40"}, "18m", 0),
    ("NotifierBacklog", {'notifier_delivery_oldest_seconds{endpoint="a"}': "0+60x40"}, "22m", 1),
    (  # of a disabled endpoint another alert tells
        "NotifierBacklog",
        {
            'notifier_delivery_oldest_seconds{endpoint="a"}': "0+60x40",
            'notifier_endpoint_state{endpoint="a",state="disabled"}': "1x40",
        },
        "30m",
        0,
    ),
    ("NotifierDeadDeliveries", {'notifier_deliveries_dead{endpoint="a"}': "3x60 4x60"}, "59m", 0),
    ("NotifierDeadDeliveries", {'notifier_deliveries_dead{endpoint="a"}': "3x60 4x60"}, "70m", 1),
    ("NotifierDeadDeliveries", {'notifier_deliveries_dead{endpoint="a"}': "4x60 0x60"}, "70m", 0),  # retried
    (
        "NotifierStreamFailures",
        {
            'notifier_stream_connects_total{source="s",outcome="refused"}': "0+3x60",
            'notifier_stream_connects_total{source="s",outcome="unavailable"}': "0+3x60",
            'notifier_stream_connects_total{source="s",outcome="open"}': "0+1x60",
        },
        "30m",
        1,
    ),
    (  # new tasks may be unknown for a moment
        "NotifierStreamFailures",
        {
            'notifier_stream_connects_total{source="s",outcome="not_found"}': "0+9x60",
            'notifier_stream_connects_total{source="s",outcome="open"}': "0+1x60",
        },
        "30m",
        0,
    ),
    ("NotifierReloadFailed", {"notifier_reload_success": "1x5 0x20"}, "9m", 0),
    ("NotifierReloadFailed", {"notifier_reload_success": "1x5 0x20"}, "15m", 1),
    (
        "NotifierSilence",
        {
            'notifier_watches{source="s",phase="running"}': "3x60",
            'notifier_observations_total{source="s"}': "0+5x10 50x60",
        },
        "32m",
        1,
    ),
    (
        "NotifierSilence",
        {
            'notifier_watches{source="s",phase="running"}': "3x60",
            'notifier_observations_total{source="s"}': "0+5x60",
        },
        "32m",
        0,
    ),
    (  # of two nodes one follows the only watch; both tell of it
        "NotifierSilence",
        {
            'notifier_watches{instance="a",source="s",phase="running"}': "1x60",
            'notifier_watches{instance="b",source="s",phase="running"}': "1x60",
            'notifier_observations_total{instance="a",source="s"}': "0+5x60",
        },
        "32m",
        0,
    ),
    (
        "NotifierSilence",
        {
            'notifier_watches{source="s",phase="succeeded"}': "3x60",
            'notifier_observations_total{source="s"}': "50x60",
        },
        "32m",
        0,
    ),
    ("NotifierQueueRefused", {'notifier_queue_messages_total{queue="q",outcome="refused"}': "0x9 1x9"}, "8m", 0),
    ("NotifierQueueRefused", {'notifier_queue_messages_total{queue="q",outcome="refused"}': "0x9 1x9"}, "12m", 1),
]


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    """And do not when they should not: by the series that Prometheus keeps of alerts."""
    tests = [
        {
            "name": f"{alert} at {at}",
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in given.items()],
            "promql_expr_test": [
                {
                    "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)',
                    "eval_time": at,
                    "exp_samples": [{"labels": "{}", "value": fires}],
                }
            ],
        }
        for alert, given, at, fires in STORIES
    ]
    path = tmp_path / "stories.yml"
    path.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests}))
    promtool("test", "rules", path)


def test_every_alert_has_a_story() -> None:
    assert {alert for alert, _, _, fires in STORIES if fires} == {rule["alert"] for rule in rules()}

"""The shipped dashboard and alert rules name only metrics and labels that the code has."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from openledger_node.api.bootstrap_metrics import BOOTSTRAP_METRICS
from openledger_node.api.exposition import PREFIX
from openledger_node.api.metrics import NODE_METRICS

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "docs" / "monitoring"
RULES = yaml.safe_load((MONITORING / "prometheus-rules.yaml").read_text(encoding="utf-8"))
BOARD = json.loads((MONITORING / "grafana-dashboard.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]

FUNCTIONS = {
    "and", "by", "changes", "histogram_quantile", "increase", "label_values", "on", "rate", "resets", "sum",
}  # fmt: skip
SCRAPE_LABELS = {"instance", "job", "le"}
WORD = re.compile(r"[A-Za-z_:][\w:]*")


def labels_by_metric() -> dict[str, set[str]]:
    """Each series that the node and the bootstrap node serve, with its labels."""
    found: dict[str, set[str]] = {"up": set()}
    for table, prefix in ((NODE_METRICS, PREFIX), (BOOTSTRAP_METRICS, f"{PREFIX}bootstrap_")):
        for family in table.families:
            name = f"{prefix}{family.name}"
            for series in (
                (f"{name}_bucket", f"{name}_sum", f"{name}_count") if family.kind == "histogram" else (name,)
            ):
                found[series] = set(family.labels)
    return found


SERIES = labels_by_metric()


def problems(expression: str) -> Iterator[str]:
    """Errors of an expression: brackets that do not close, and words that are no series, label or function."""
    opened = {"(": 0, "[": 0, "{": 0}
    for closing, opening in zip(")]}", "([{", strict=True):
        opened[opening] = expression.count(opening) - expression.count(closing)
    if any(opened.values()):
        yield f"brackets do not close: {expression}"
    named = {word for word in WORD.findall(expression) if word in SERIES or word.startswith(PREFIX)}
    yield from (f"no such series: {word}" for word in named - SERIES.keys())
    labels = SCRAPE_LABELS.union(*(SERIES.get(word, set()) for word in named))
    bare = re.sub(r'"[^"]*"|\[[^\]]*\]', "", expression)
    known = FUNCTIONS | labels | named
    yield from (f"neither series, label nor function: {word}" for word in WORD.findall(bare) if word not in known)


RULE_EXPRESSIONS = {rule["alert"]: rule["expr"] for group in RULES["groups"] for rule in group["rules"]}
BOARD_EXPRESSIONS = {
    f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]
}


def test_each_expression_names_what_the_code_has() -> None:
    expressions = {**RULE_EXPRESSIONS, **BOARD_EXPRESSIONS}
    assert {name: found for name in expressions if (found := list(problems(expressions[name])))} == {}


def test_every_rule_says_what_to_do_and_is_on_the_page() -> None:
    page = (ROOT / "docs" / "how-to" / "monitor.md").read_text(encoding="utf-8")
    rules: list[dict[str, Any]] = [rule for group in RULES["groups"] for rule in group["rules"]]
    assert len(RULE_EXPRESSIONS) == len(rules)
    for rule in rules:
        assert rule["annotations"].keys() == {"summary", "description"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert f"| `{rule['alert']}` |" in page

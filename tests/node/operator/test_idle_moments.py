"""The state of a node in one word: idle only if nothing runs and nothing waits."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from openledger_node.factory.runs import Runs
from openledger_node.home import Home
from openledger_node.operator.status import StatusReport


@pytest.fixture
def parts(tmp_path: Path) -> Any:
    return SimpleNamespace(
        home=Home(tmp_path),
        ledger=None,
        config=SimpleNamespace(inference=SimpleNamespace(queue_max=8), node=SimpleNamespace(serve=True)),
        engine=SimpleNamespace(state="ready", failure=None, profile=object()),
        serving=SimpleNamespace(is_draining=False, num_live=0),
        router=SimpleNamespace(num_live=0),
    )


@pytest.mark.parametrize(
    ("part", "field", "value", "state"),
    [
        ("serving", "num_live", 1, "serving"),
        ("router", "num_live", 1, "serving"),
        ("serving", "is_draining", True, "draining"),
    ],
)
def test_a_node_that_answers_or_buys_is_not_idle(
    parts: Any, part: str, field: str, value: object, state: str
) -> None:
    report = StatusReport(parts, SimpleNamespace(current=None), SimpleNamespace())  # type: ignore[arg-type]
    assert report.state() == "idle"
    setattr(getattr(parts, part), field, value)
    assert report.state() == state


@pytest.mark.parametrize(("serves", "state"), [(True, "starting"), (False, "idle")])
def test_a_node_whose_pause_is_over_is_starting_until_its_engine_loads_again(
    parts: Any, serves: bool, state: str
) -> None:
    parts.engine.state, parts.config.node.serve = "paused", serves
    pauses = SimpleNamespace(current="until 18:00")
    report = StatusReport(parts, pauses, SimpleNamespace())  # type: ignore[arg-type]
    assert report.state() == "paused"
    pauses.current = None
    assert report.state() == state


def test_a_node_that_trains_is_not_idle(parts: Any) -> None:
    report = StatusReport(parts, SimpleNamespace(current=None), SimpleNamespace())  # type: ignore[arg-type]
    with Runs(parts.home).hold(None):
        assert report.state() == "training"
    assert report.state() == "idle"

"""Moments at which the node may start again by itself, since that would interrupt nobody."""

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


@pytest.mark.parametrize("pause", [None, "until 18:00"])
@pytest.mark.parametrize(
    ("part", "field", "value"),
    [("serving", "num_live", 1), ("router", "num_live", 1), ("serving", "is_draining", True)],
)
def test_a_node_that_answers_or_buys_is_not_idle_paused_or_not(
    parts: Any, pause: str | None, part: str, field: str, value: object
) -> None:
    report = StatusReport(parts, SimpleNamespace(current=pause), SimpleNamespace())  # type: ignore[arg-type]
    assert report.is_idle()
    setattr(getattr(parts, part), field, value)
    assert not report.is_idle()


@pytest.mark.parametrize(("serves", "state"), [(True, "starting"), (False, "idle")])
def test_a_node_whose_pause_is_over_is_starting_until_its_engine_loads_again(
    parts: Any, serves: bool, state: str
) -> None:
    parts.engine.state, parts.config.node.serve = "paused", serves
    pauses = SimpleNamespace(current="until 18:00")
    report = StatusReport(parts, pauses, SimpleNamespace())  # type: ignore[arg-type]
    assert report.state() == "paused"
    pauses.current = None
    assert (report.state(), report.is_idle()) == (state, not serves)


@pytest.mark.parametrize("pause", [None, "until 18:00"])
def test_a_node_that_trains_is_not_idle_paused_or_not(parts: Any, pause: str | None) -> None:
    report = StatusReport(parts, SimpleNamespace(current=pause), SimpleNamespace())  # type: ignore[arg-type]
    with Runs(parts.home).hold(None):
        assert not report.is_idle()
    assert report.is_idle()

"""The state of a node in one word, idle only if nothing runs and nothing waits, and the training that runs."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from openledger_node.datanets.version import VersionLabel
from openledger_node.factory.job import TrainingJob
from openledger_node.factory.runs import Runs
from openledger_node.factory.trainer import TrainingProgress
from openledger_node.factory.training_run import TrainingRun
from openledger_node.home import Home
from openledger_node.operator.status import StatusReport, TrainingNow, training_to_plain
from openledger_protocol.primitives import ZERO_DIGEST


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
def test_a_node_that_serves_is_not_idle(parts: Any, part: str, field: str, value: object, state: str) -> None:
    report = StatusReport(parts, SimpleNamespace(current=None), SimpleNamespace())  # type: ignore[arg-type]
    assert report.state() == "idle"
    setattr(getattr(parts, part), field, value)
    assert report.state() == state


@pytest.mark.parametrize(("serves", "state"), [(True, "starting"), (False, "idle")])
def test_a_resumed_node_is_starting_until_its_engine_is_loaded(parts: Any, serves: bool, state: str) -> None:
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


# ---- the training that runs, as `status` and Home name it


RUN = TrainingRun(
    number=1,
    state="training",
    job=TrainingJob(name="harbour"),
    trainer="fake",
    base="fake",
    datanet=VersionLabel(id="sample", version=1, rows_root=ZERO_DIGEST),
    num_rows=10,
    num_held_out=1,
    num_dropped=0,
    evaluated_rows=1,
    started_ns=0,
    changed_ns=0,
)
HALF = TrainingProgress(step=40, steps=80, loss=1.0, held_out_loss=None, time_left_s=180.0)


def test_the_sentence_names_the_training_its_progress_and_whether_requests_are_answered() -> None:
    assert training_to_plain(RUN, answers=True)["says"] == "training harbour; requests are answered meanwhile"
    half = training_to_plain(replace(RUN, progress=HALF), answers=False)["says"]
    assert half == "training harbour, step 40 of 80 (50 %), about 3 min left; no request is answered meanwhile"


def test_a_node_that_trains_nothing_says_nothing(home: Home) -> None:
    assert TrainingNow(home).read(answers=True) is None

"""The training that runs, as `status` and Home name it."""

from dataclasses import replace

import pytest

from openledger_node.datanets.version import VersionLabel
from openledger_node.factory.job import TrainingJob
from openledger_node.factory.trainer import TrainingProgress
from openledger_node.factory.training_run import TrainingRun
from openledger_node.home import Home
from openledger_node.operator.status import TrainingNow, training_to_plain
from openledger_protocol.primitives import ZERO_DIGEST

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


@pytest.mark.parametrize(
    ("run", "answers", "says"),
    [
        (RUN, True, "training harbour; requests are answered meanwhile"),
        (
            replace(RUN, progress=replace(HALF, time_left_s=40.4)),
            False,
            "training harbour, step 40 of 80 (50 %), about 40 s left; no request is answered meanwhile",
        ),
        (
            replace(RUN, state="evaluating", progress=HALF),
            True,
            "evaluating harbour; requests are answered meanwhile",
        ),
    ],
)
def test_the_sentence_names_the_training_its_progress_and_whether_requests_are_answered(
    run: TrainingRun, answers: bool, says: str
) -> None:
    assert training_to_plain(run, answers=answers)["says"] == says


def test_a_node_that_trains_nothing_says_nothing(home: Home) -> None:
    assert TrainingNow(home).read(answers=True) is None

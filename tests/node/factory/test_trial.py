"""Numbers of a batch that a model measures, by the fake trainer in its process."""

import pytest
from support.contributors import CONTRIBUTED

from openledger_node.errors import ModelError
from openledger_node.factory.child import ChildTrainer
from openledger_node.factory.runs import Runs
from openledger_node.factory.trainer import Report, TrainingInput, TrainingResult
from openledger_node.factory.trial import BASE_ROWS, TrialBase, measure_base, measure_trial
from openledger_node.home import Home, is_training
from openledger_node.models.bases import find_base
from openledger_protocol.datanet import Row

pytestmark = pytest.mark.process

LONG = Row(prompt="What?", completion="word " * 3_000, contributor="ada")


@pytest.fixture
def trial(home: Home) -> TrialBase:
    return TrialBase(base=find_base(home, "fake"), trainer="fake", home=home)


def test_the_base_is_measured_on_a_sample_before_any_step(trial: TrialBase) -> None:
    number = measure_base(trial, CONTRIBUTED * 40)
    assert (number.value, number.verdict, number.note) == (4.0, "ok", f"over {BASE_ROWS} rows")


def test_a_trial_compares_the_loss_on_held_out_rows_with_that_of_the_base(trial: TrialBase) -> None:
    number = measure_trial(trial, CONTRIBUTED)
    assert (number.value, number.high, number.verdict) == (0.5, 4.0, "ok")
    assert number.note.startswith("of 1 held-out rows")


def test_rows_that_are_too_long_are_not_measured(trial: TrialBase) -> None:
    number = measure_base(trial, [LONG])
    assert (number.value, number.verdict) == (None, "unmeasured")
    assert "no row has at most 1024 tokens" in number.note
    with pytest.raises(ModelError, match="needs 2 rows of at most 1024 tokens, not 1"):
        measure_trial(trial, [*CONTRIBUTED[:1], LONG])


def test_a_trial_waits_for_a_training_to_end_and_no_training_starts_beside_it(
    home: Home, trial: TrialBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both may not fit into memory."""
    with Runs(home).hold():
        for measure in (measure_base, measure_trial):
            says = r"a training or another trial is running, .*: try again when it has ended, or pause a training"
            with pytest.raises(ModelError, match=says):
                measure(trial, CONTRIBUTED)
    seen: list[bool] = []
    learn = ChildTrainer.train

    def look(trainer: ChildTrainer, given: TrainingInput, report: Report) -> TrainingResult:
        seen.append(is_training(home))
        return learn(trainer, given, report)

    monkeypatch.setattr(ChildTrainer, "train", look)
    measure_trial(trial, CONTRIBUTED)
    assert seen == [True]
    assert not is_training(home)

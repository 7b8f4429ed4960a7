"""Carrying a training out: to its end, to a pause, and on from wherever it was cut off."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openledger_node.errors import ConfigError, ModelError
from openledger_node.factory.child import DiedError
from openledger_node.factory.job import TrainingJob
from openledger_node.factory.runner import Runner, TrainingParts, check_free, may_go_on
from openledger_node.factory.runs import KEPT_MAX, OwnerWish, Runs
from openledger_node.factory.trainer import Report, TrainingInput, TrainingProgress, TrainingResult, Wish
from openledger_node.factory.trainers.fake import FakeTrainer
from openledger_node.factory.training_run import TrainingRun
from openledger_node.home import Home
from openledger_node.models.bases import FAKE_BASE
from openledger_node.models.library import list_adapters
from openledger_protocol.adapter import public_probes

from .conftest import DATANET, ROWS, STARTED_NS

JOB = TrainingJob(name="numbers", epochs=10)  # 30 steps, a checkpoint each three
Begin = Callable[..., TrainingRun]


class WishingTrainer(FakeTrainer):
    """An owner who wants something when a step is reached."""

    def __init__(self, runs: Runs, step: int, wish: OwnerWish) -> None:
        self._runs, self._step, self._wish = runs, step, wish

    def train(self, given: TrainingInput, report: Report) -> TrainingResult:
        def listen(progress: TrainingProgress) -> Wish | None:
            if progress.step == self._step:
                self._runs.wish(1, self._wish)
            return report(progress)

        return super().train(given, listen)


class MortalTrainer(FakeTrainer):
    """Its process dies at these steps, once each."""

    def __init__(self, *deaths: int) -> None:
        self._deaths = list(deaths)

    def train(self, given: TrainingInput, report: Report) -> TrainingResult:
        def die(progress: TrainingProgress) -> Wish | None:
            if self._deaths and progress.step == self._deaths[0]:
                self._deaths.pop(0)
                raise DiedError("training was killed by signal 9")
            return report(progress)

        return super().train(given, die)


class BlindTrainer(FakeTrainer):
    def evaluate(self, *_: Any) -> Any:
        raise ModelError("no memory for it")


@pytest.fixture
def runs(home: Home) -> Runs:
    return Runs(home)


@pytest.fixture
def begin(runs: Runs) -> Begin:
    def run(number: int = 1, **changes: Any) -> TrainingRun:
        fields: dict[str, Any] = {"number": number, "state": "waiting", "job": JOB, "trainer": "fake", "base": "fake"}
        fields |= {"datanet": DATANET, "num_rows": len(ROWS), "num_held_out": 2, "num_dropped": 0}
        fields |= {"evaluated_rows": 2, "started_ns": STARTED_NS, "changed_ns": STARTED_NS, **changes}
        made = TrainingRun(**fields)
        runs.begin(made, ROWS, ROWS[:2])
        return made

    return run


def carry_out(home: Home, trainer: FakeTrainer, number: int = 1) -> TrainingRun:
    return Runner(home, number, TrainingParts(base=FAKE_BASE, trainer=trainer, now_ns=lambda: STARTED_NS)).carry_out()


def test_a_training_ends_with_its_adapter_on_the_shelf_and_its_figures(home: Home, runs: Runs, begin: Begin) -> None:
    begin()
    run = carry_out(home, FakeTrainer())
    [adapter] = list_adapters(home)
    assert (run.state, run.adapter, run.adapter_id) == ("done", adapter.full_name, adapter.id)
    assert run.evaluation is not None
    assert run.evaluation["exact"] == {"base": 0.0, "adapter": 0.5}
    assert adapter.manifest.evaluation is not None
    assert adapter.manifest.evaluation["figures"] == run.evaluation
    probes = public_probes(adapter.manifest)
    assert [probe.prompt for probe in probes] == [row.prompt for row in ROWS[:2]]
    assert all(probe.answer for probe in probes), "anybody can attribute them"
    assert runs.find(1) == run, "what is on the disk is what was returned"
    assert {file.name for file in runs.folder(1).iterdir()} == {"run.json", "held_out.json"}


def test_an_evaluation_that_fails_costs_no_adapter(home: Home, begin: Begin) -> None:
    begin()
    run = carry_out(home, BlindTrainer())
    assert run.state == "done"
    assert run.evaluation == {"error": "no memory for it"}
    assert list_adapters(home)[0].full_name == run.adapter


def test_a_pause_keeps_what_was_learned_and_the_rest_follows_it(home: Home, runs: Runs, begin: Begin) -> None:
    begin()
    paused = carry_out(home, WishingTrainer(runs, 10, "pause"))
    assert paused.state == "paused"
    assert runs.wished(1) is None
    seen: list[int] = []

    class Listening(FakeTrainer):
        def train(self, given: TrainingInput, report: Report) -> TrainingResult:
            def listen(progress: TrainingProgress) -> Wish | None:
                seen.append(progress.step)
                return report(progress)

            return super().train(given, listen)

    run = carry_out(home, Listening())
    assert run.state == "done"
    assert seen == list(range(10, 31))
    assert [point.step for point in run.history] == list(range(31))
    assert run.restarts == (), "a pause is none"


def test_stopping_keeps_nothing_and_keeping_keeps_what_there_is(home: Home, runs: Runs, begin: Begin) -> None:
    begin()
    assert carry_out(home, WishingTrainer(runs, 10, "stop")).state == "stopped"
    assert list_adapters(home) == []
    assert {file.name for file in runs.folder(1).iterdir()} == {"run.json", "held_out.json"}
    begin(2)
    runs.wish(2, "keep")
    run = carry_out(home, FakeTrainer(), 2)
    assert run.state == "done"
    training = list_adapters(home)[0].manifest.training
    assert training is not None
    assert training["steps"] == 0 < 30, "the manifest says how far it came"


@pytest.mark.parametrize("deaths", [(4,), (5, 10, 20), (1,)])
def test_a_trainer_whose_process_dies_is_followed_by_one_that_goes_on(
    home: Home, begin: Begin, deaths: tuple[int, ...]
) -> None:
    begin()
    run = carry_out(home, MortalTrainer(*deaths))
    assert run.state == "done"
    checkpoints = [death - 1 - (death - 1) % 3 for death in deaths]
    assert [restart.step for restart in run.restarts] == checkpoints
    assert all("signal 9" in restart.why for restart in run.restarts)
    assert [point.step for point in run.history] == list(range(31))


def test_a_trainer_that_dies_at_the_same_place_twice_is_given_up(home: Home, begin: Begin) -> None:
    begin()
    run = carry_out(home, MortalTrainer(5, 5, 5))
    assert (run.state, run.error) == ("failed", "training was killed by signal 9")
    assert [restart.step for restart in run.restarts] == [3, 3], "the second one got no further than the first"


@pytest.mark.parametrize(("began_at", "expected"), [([0], True), ([0, 0], False), ([0, 3], True), ([0, 3, 3], False)])
def test_it_goes_on_as_long_as_it_gets_further(began_at: list[int], expected: bool) -> None:
    assert may_go_on(began_at) is expected


def test_what_a_killed_node_left_is_gone_on_with_and_says_so(home: Home, runs: Runs, begin: Begin) -> None:
    begin(state="training")
    (runs.folder(1) / "checkpoint.pt").write_text("12")
    run = carry_out(home, FakeTrainer())
    assert run.state == "done"
    assert [(each.step, each.why) for each in run.restarts] == [(12, "the process that trained it had ended")]


def test_a_node_that_ends_leaves_the_training_to_the_next_one(home: Home, runs: Runs, begin: Begin) -> None:
    begin()
    assert carry_out(home, WishingTrainer(runs, 10, "yield")).state == "training"
    run = carry_out(home, FakeTrainer())
    assert (run.state, run.restarts[0].step) == ("done", 10)


def test_what_was_learned_before_a_kill_is_not_learned_again(home: Home, runs: Runs, begin: Begin) -> None:
    class Forgetful(BlindTrainer):
        def evaluate(self, *_: Any) -> Any:
            raise KeyboardInterrupt

    class Asleep(FakeTrainer):
        def train(self, *_: Any) -> Any:
            raise AssertionError

    begin()
    with pytest.raises(KeyboardInterrupt):
        carry_out(home, Forgetful())
    assert runs.find(1).state == "evaluating"
    assert carry_out(home, Asleep()).state == "done"


def test_an_adapter_is_evaluated_again_and_its_manifest_stays(home: Home, runs: Runs, begin: Begin) -> None:
    begin()
    before = carry_out(home, FakeTrainer())
    runs.order_evaluation(before, 1, now_ns=STARTED_NS)
    after = carry_out(home, FakeTrainer())
    assert (after.state, after.adapter_id) == ("done", before.adapter_id)
    assert after.evaluation is not None
    assert after.evaluation["rows"] == 1


def test_an_adapter_that_was_removed_is_not_evaluated(home: Home, runs: Runs, begin: Begin) -> None:
    begin(adapter="numbers@00000000", state="done")
    runs.order_evaluation(runs.find(1), 1, now_ns=STARTED_NS)
    run = carry_out(home, FakeTrainer())
    assert run.state == "done"
    assert run.evaluation is not None
    assert "no adapter 'numbers@00000000' here" in run.evaluation["error"]


def test_a_failure_is_written_down(home: Home, runs: Runs, begin: Begin) -> None:
    class Broken(FakeTrainer):
        def train(self, *_: Any) -> Any:
            raise ModelError("out of memory")

    begin()
    assert carry_out(home, Broken()).error == "out of memory"
    assert runs.find(1).state == "failed"


def test_one_training_at_a_time(home: Home, runs: Runs, begin: Begin) -> None:
    begin()
    with pytest.raises(ConfigError, match="training 1 \\(numbers\\) is waiting: one runs at a time"):
        check_free(runs, is_worked_on=False)
    with pytest.raises(ConfigError, match=r"`openledger-node factory stop` ends it$"):
        check_free(runs, is_worked_on=True)
    with runs.hold(), pytest.raises(ConfigError, match="another training is running"):
        carry_out(home, FakeTrainer())
    carry_out(home, FakeTrainer())
    check_free(runs, is_worked_on=False)


def test_old_trainings_are_forgotten_and_torn_ones_hide_only_themselves(runs: Runs, begin: Begin) -> None:
    for number in range(1, KEPT_MAX + 4):
        begin(number, state="done")
    assert [runs.all()[0].number, runs.all()[-1].number] == [KEPT_MAX + 3, 4]
    Path(runs.folder(7) / "run.json").write_text("{")
    assert 7 not in [run.number for run in runs.all()]
    assert runs.next_number() == KEPT_MAX + 4

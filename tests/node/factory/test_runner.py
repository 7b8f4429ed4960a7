"""Carrying a training out: to its end, to a pause, and on from wherever it was cut off."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from openledger_node.attribution.index import build_index
from openledger_node.datanets.near import distinct_rows
from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_node.errors import ConfigError, ModelError
from openledger_node.factory import runner
from openledger_node.factory.child import DiedError
from openledger_node.factory.job import TrainingJob
from openledger_node.factory.runner import Runner, TrainingParts, check_free
from openledger_node.factory.runs import OwnerWish, Runs
from openledger_node.factory.signal_pass import PassEndedError
from openledger_node.factory.trainer import (
    EvaluationInput,
    EvaluationResult,
    Report,
    ReportEvaluation,
    TrainingInput,
    TrainingProgress,
    TrainingResult,
    Wish,
)
from openledger_node.factory.trainers.fake import FakeTrainer
from openledger_node.factory.training_run import HISTORY_MAX, LossPoint, Stage, TrainingRun, progressed, with_point
from openledger_node.home import Home
from openledger_node.models.bases import FAKE_BASE
from openledger_node.models.library import list_adapters
from openledger_protocol.datanet import Row
from openledger_protocol.primitives import Digest

from .conftest import DATANET, ROWS, STARTED_NS, waiting_run

JOB = TrainingJob(name="numbers", epochs=10)  # 30 steps, a checkpoint each three
Begin = Callable[..., TrainingRun]


class WatchedTrainer(FakeTrainer):
    """Calls `look` at each step before it is reported."""

    def __init__(self, look: Callable[[int], None]) -> None:
        self._look = look

    def train(self, given: TrainingInput, report: Report) -> TrainingResult:
        def listen(progress: TrainingProgress) -> Wish | None:
            self._look(progress.step)
            return report(progress)

        return super().train(given, listen)


def wishing_trainer(runs: Runs, at: int, wish: OwnerWish) -> WatchedTrainer:
    """An owner who wants something when a step is reached."""
    return WatchedTrainer(lambda step: runs.wish(1, wish) if step == at else None)


def mortal_trainer(*deaths: int) -> WatchedTrainer:
    """Its process dies at these steps, once each."""
    left = list(deaths)

    def die(step: int) -> None:
        if left and step == left[0]:
            left.pop(0)
            raise DiedError("training was killed by signal 9")

    return WatchedTrainer(die)


class BlindTrainer(FakeTrainer):
    def evaluate(self, *_: Any) -> Any:
        raise ModelError("no memory for it")


@pytest.fixture
def runs(home: Home) -> Runs:
    return Runs(home)


@pytest.fixture
def begin(runs: Runs) -> Begin:
    def run(number: int = 1, **changes: Any) -> TrainingRun:
        made = waiting_run(number=number, **{"job": JOB, **changes})
        runs.begin(made, ROWS, ROWS[:2])
        return made

    return run


def carry_out(home: Home, trainer: FakeTrainer, number: int = 1, **parts: Any) -> TrainingRun:
    given = TrainingParts(base=FAKE_BASE, trainer=trainer, now_ns=lambda: STARTED_NS, **parts)
    return Runner(home, number, given).carry_out()


def test_a_training_ends_with_its_adapter_on_the_shelf_and_its_figures(home: Home, runs: Runs, begin: Begin) -> None:
    begin()
    run = carry_out(home, FakeTrainer())
    [adapter] = list_adapters(home)
    assert (run.state, run.adapter, run.adapter_id) == ("done", adapter.full_name, adapter.id)
    assert run.evaluation["exact"] == {"base": 0.0, "adapter": 0.5}
    answers = [(each["base"], each["adapter"]) for each in run.evaluation["samples"]]
    assert answers == [("I do not know.", "A number."), ("I do not know.", "I do not know.")]
    assert {**adapter.manifest.evaluation["figures"], "samples": run.evaluation["samples"]} == run.evaluation
    probes = adapter.manifest.evaluation["probes"]
    assert [probe["prompt"] for probe in probes] == [row.prompt for row in ROWS[:2]]
    assert all(probe["answer"] for probe in probes), "anybody can attribute them"
    assert runs.find(1) == run, "what is on the disk is what was returned"
    assert {file.name for file in runs.folder(1).iterdir()} == {"run.json", "held_out.json"}


def test_a_pause_keeps_what_was_learned_and_the_rest_follows_it(home: Home, runs: Runs, begin: Begin) -> None:
    begin()
    paused = carry_out(home, wishing_trainer(runs, 10, "pause"))
    assert paused.state == "paused"
    assert runs.wished(1) is None
    seen: list[int] = []
    run = carry_out(home, FakeTrainer(), report=lambda progress: seen.append(progress.step))
    assert run.state == "done"
    assert seen == list(range(10, 31))
    assert [point.step for point in run.history] == list(range(31))
    assert run.restarts == (), "a pause is none"


def test_stopping_keeps_nothing_and_keeping_keeps_what_there_is(home: Home, runs: Runs, begin: Begin) -> None:
    begin()
    assert carry_out(home, wishing_trainer(runs, 10, "stop")).state == "stopped"
    assert list_adapters(home) == []
    assert {file.name for file in runs.folder(1).iterdir()} == {"run.json", "held_out.json"}
    begin(2)
    runs.wish(2, "keep")
    run = carry_out(home, FakeTrainer(), 2)
    assert run.state == "done"
    training = list_adapters(home)[0].manifest.training
    assert training["steps"] == 0 < 30, "the manifest says how far it came"


@pytest.mark.parametrize("deaths", [(1,), (5, 10, 20)])
def test_a_trainer_whose_process_dies_is_followed_by_one_that_goes_on(
    home: Home, begin: Begin, deaths: tuple[int, ...]
) -> None:
    begin()
    run = carry_out(home, mortal_trainer(*deaths))
    assert run.state == "done"
    checkpoints = [death - 1 - (death - 1) % 3 for death in deaths]
    assert [restart.step for restart in run.restarts] == checkpoints
    assert all("signal 9" in restart.why for restart in run.restarts)
    assert [point.step for point in run.history] == list(range(31))


def test_a_trainer_that_dies_at_the_same_place_three_times_is_given_up(home: Home, begin: Begin) -> None:
    begin()
    run = carry_out(home, mortal_trainer(5, 5, 5, 5))
    assert (run.state, run.error) == ("failed", "training was killed by signal 9")
    assert [restart.step for restart in run.restarts] == [3, 3, 3], "none got further than the one before"


def test_what_a_killed_node_left_is_gone_on_with_and_says_so(home: Home, runs: Runs, begin: Begin) -> None:
    begin(state="training")
    (runs.folder(1) / "checkpoint.pt").write_text("12")
    run = carry_out(home, FakeTrainer())
    assert run.state == "done"
    assert [(each.step, each.why) for each in run.restarts] == [(12, "the process that trained it had ended")]


class Killed(BaseException):
    """The end of the process: nothing after it runs."""


def write_index(folder: Path, rows: tuple[Row, ...]) -> Digest:
    datanet = (DATANET, distinct_rows(rows))
    return build_index(folder, [datanet], ByteTokenizer(), None)


@dataclass
class Assassin:
    """Kills the process at its nth chance after the last step, and never again."""

    at: int
    seen: int = 0

    def strike(self) -> None:
        self.seen += 1
        if self.seen == self.at:
            raise Killed

    def build_index(self, folder: Path, rows: tuple[Row, ...]) -> Digest:
        self.strike()
        root = write_index(folder, rows)
        (folder / "half").write_text("of a file")
        self.strike()
        (folder / "half").unlink()
        return root

    def before_and_after(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*given: Any, **named: Any) -> Any:
            self.strike()
            done = work(*given, **named)
            self.strike()
            return done

        return watched


CHANCES = 14


@pytest.mark.parametrize("at", range(1, CHANCES + 1))
def test_a_process_that_is_killed_after_the_last_step_leaves_the_same_adapter(
    home: Home, runs: Runs, begin: Begin, at: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begin()
    whole = carry_out(home, FakeTrainer(), build_index=write_index)
    other = Home(tmp_path / "other")
    shutil.copytree(runs.folder(1), other.training / "runs" / "1")
    cut = Runs(other)
    shutil.rmtree(cut.folder(1))
    cut.begin(replace(whole, state="waiting", adapter=None, adapter_id=None, evaluation=None), ROWS, ROWS[:2])
    assassin = Assassin(at)
    for name in ("keep_learned", "keep_evaluated", "clear_work"):
        monkeypatch.setattr(Runs, name, assassin.before_and_after(getattr(Runs, name)))
    monkeypatch.setattr(runner, "add_to_library", assassin.before_and_after(runner.add_to_library))
    monkeypatch.setattr(FakeTrainer, "evaluate", assassin.before_and_after(FakeTrainer.evaluate))
    monkeypatch.setattr(FakeTrainer, "train", assassin.before_and_after(FakeTrainer.train))
    with pytest.raises(Killed):
        carry_out(other, FakeTrainer(), build_index=assassin.build_index)
    if cut.find(1).is_live:
        carry_out(other, FakeTrainer(), build_index=assassin.build_index)
    run = cut.find(1)
    assert (run.state, run.adapter_id, run.evaluation) == ("done", whole.adapter_id, whole.evaluation)
    assert [adapter.id for adapter in list_adapters(other)] == [whole.adapter_id]
    cut.begin(replace(run, number=2, state="waiting", adapter=None, adapter_id=None), ROWS, ROWS[:2])
    assert {file.name for file in cut.folder(1).iterdir()} == {"run.json", "held_out.json"}, "no checkpoint stays"


def test_a_trainer_that_dies_while_it_evaluates_is_followed_by_one_that_does_it(home: Home, begin: Begin) -> None:
    class Fainting(FakeTrainer):
        deaths = 1

        def evaluate(self, given: EvaluationInput, report: ReportEvaluation) -> EvaluationResult:
            if self.deaths:
                self.deaths -= 1
                raise DiedError("training was killed by signal 9")
            return super().evaluate(given, report)

    begin()
    run = carry_out(home, Fainting())
    assert run.evaluation["rows"] == 2
    begin(2)
    Fainting.deaths = 2
    again = carry_out(home, Fainting(), 2)
    assert (again.state, again.evaluation) == ("done", {"error": "training was killed by signal 9"})


def test_progress_is_told_to_the_end(home: Home, runs: Runs, begin: Begin) -> None:
    stages: list[Stage] = []
    stored: list[Stage | None] = []

    def note(stage: Stage) -> None:
        stages.append(stage)
        stored.append(runs.find(1).stage)

    begin()
    run = carry_out(home, FakeTrainer(), report_stage=note)
    assert [(each.name, each.done, each.total) for each in stages] == [
        ("answering", 0, 4), ("answering", 0, 4), ("answering", 1, 4), ("answering", 2, 4), ("answering", 3, 4),
        ("answering", 4, 4), ("indexing", 0, 1), ("adding", 0, 1),
    ]  # fmt: skip
    assert stages[5].time_left_s == 0
    assert [each.name for each in stored if each][-1] == "indexing", "another process can read it"
    assert run.stage is None


@pytest.mark.parametrize(("wish", "state"), [("stop", "stopped"), ("yield", "evaluating")])
def test_an_evaluation_is_left_at_once_and_so_is_the_writing_of_an_index(
    home: Home, runs: Runs, begin: Begin, wish: OwnerWish, state: str
) -> None:
    class Interrupted(FakeTrainer):
        def evaluate(self, given: EvaluationInput, report: ReportEvaluation) -> EvaluationResult:
            runs.wish(1, wish)
            result = super().evaluate(given, report)
            raise AssertionError(result)

    def interrupted(_: Path, __: tuple[Row, ...]) -> Digest:
        runs.wish(2, wish)
        raise PassEndedError

    begin()
    assert carry_out(home, Interrupted()).state == state
    if state == "evaluating":
        assert carry_out(home, FakeTrainer()).state == "done"
    begin(2)
    assert carry_out(home, FakeTrainer(), 2, build_index=interrupted).state == state
    if state == "evaluating":
        assert carry_out(home, FakeTrainer(), 2, build_index=write_index).state == "done"
    else:
        assert list_adapters(home) == []


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


def test_an_evaluation_that_fails_costs_no_adapter_and_can_be_had_again(home: Home, runs: Runs, begin: Begin) -> None:
    begin()
    before = carry_out(home, BlindTrainer())
    assert (before.state, before.evaluation) == ("done", {"error": "no memory for it"})
    assert list_adapters(home)[0].full_name == before.adapter
    runs.order_evaluation(before, 1, now_ns=STARTED_NS)
    after = carry_out(home, FakeTrainer())
    assert (after.state, after.adapter_id) == ("done", before.adapter_id), "its manifest stays"
    assert after.evaluation["rows"] == 1


def test_one_training_at_a_time(home: Home, runs: Runs, begin: Begin) -> None:
    begin()
    with pytest.raises(
        ConfigError, match=r"training 1 \(numbers\) is waiting: one runs.* factory resume` continues it$"
    ):
        check_free(runs, is_worked_on=False)
    with pytest.raises(ConfigError, match=r"`openledger-node factory stop` ends it$"):
        check_free(runs, is_worked_on=True)
    with runs.hold(), pytest.raises(ConfigError, match=r"another training is running in .*, or a trial"):
        carry_out(home, FakeTrainer())
    carry_out(home, FakeTrainer())
    check_free(runs, is_worked_on=False)


# ---- a training as it is written down: its curve, and that it is read as it was written

RUN = waiting_run()


def at_step(step: int, *, loss: float | None = 1.0, held_out: float | None = None) -> TrainingProgress:
    return TrainingProgress(step=step, steps=10, loss=loss, held_out_loss=held_out, time_left_s=1.0, tokens_per_s=9.0)


def test_the_last_losses_that_were_measured_stay() -> None:
    run = progressed(RUN, at_step(0, loss=None, held_out=4.0), now_ns=2)
    run = progressed(run, at_step(1, loss=3.0), now_ns=3)
    assert (run.progress.loss, run.progress.held_out_loss) == (3.0, 4.0)
    assert run.history == (LossPoint(0, None, 4.0), LossPoint(1, 3.0, None))


def test_steps_beyond_a_checkpoint_are_taken_back_when_it_is_gone_on_from() -> None:
    run = RUN
    for step in range(6):
        run = progressed(run, at_step(step), now_ns=2)
    run = progressed(run, at_step(3, loss=None), now_ns=3)
    assert [point.step for point in run.history] == [0, 1, 2, 3]
    assert run.history[-1].loss == 1.0, "what was measured at that step stays"


def test_however_long_a_training_is_its_curve_has_so_many_points() -> None:
    history: tuple[LossPoint, ...] = ()
    steps = 50_000
    for step in range(steps + 1):
        held_out = float(step) if step % 100 == 0 else None
        history = with_point(history, LossPoint(step, float(step), held_out), steps)
    assert len(history) <= HISTORY_MAX
    assert (history[0].step, history[-1].step) == (0, steps)
    assert sum(point.held_out_loss is not None for point in history) > HISTORY_MAX // 2

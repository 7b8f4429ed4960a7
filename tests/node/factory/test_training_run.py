"""A training as it is written down: its curve, and that it is read as it was written."""

from openledger_node.factory.job import TrainingJob
from openledger_node.factory.trainer import TrainingProgress
from openledger_node.factory.training_run import HISTORY_MAX, LossPoint, progressed, with_point

from .conftest import waiting_run

RUN = waiting_run(
    job=TrainingJob(name="lake"), num_rows=9, num_held_out=1, evaluated_rows=1, started_ns=1, changed_ns=1
)


def progress(step: int, *, loss: float | None = 1.0, held_out: float | None = None) -> TrainingProgress:
    return TrainingProgress(step=step, steps=10, loss=loss, held_out_loss=held_out, time_left_s=1.0, tokens_per_s=9.0)


def test_the_last_losses_that_were_measured_stay() -> None:
    run = progressed(RUN, progress(0, loss=None, held_out=4.0), now_ns=2)
    run = progressed(run, progress(1, loss=3.0), now_ns=3)
    assert (run.progress.loss, run.progress.held_out_loss) == (3.0, 4.0)
    assert run.history == (LossPoint(0, None, 4.0), LossPoint(1, 3.0, None))


def test_steps_beyond_a_checkpoint_are_taken_back_when_it_is_gone_on_from() -> None:
    run = RUN
    for step in range(6):
        run = progressed(run, progress(step), now_ns=2)
    run = progressed(run, progress(3, loss=None), now_ns=3)
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

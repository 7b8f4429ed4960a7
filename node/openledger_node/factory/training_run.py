"""One training as it is written down: what it is of, how far it is, and what came of it; every change is pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from openledger_protocol.adapter import DatanetReference

from .job import LIVE, RunEvent, RunState, TrainingJob, move
from .trainer import TrainingProgress

RUN_SCHEMA = "openledger.training_run/1"
HISTORY_MAX: Final = 400
"""Points of the loss curve that are kept: a step's stands for those around it where there are more."""


class LossPoint(NamedTuple):
    """The losses at a step, those that were measured."""

    step: int
    loss: float | None
    held_out_loss: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """The training was cut off, and went on."""

    at: str  # RFC 3339
    step: int  # that it went on from: 0 is the beginning
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """The whole of `training/runs/<number>/run.json`."""

    number: int
    state: RunState
    job: TrainingJob
    trainer: str
    base: str
    datanet: DatanetReference
    num_rows: int
    num_held_out: int
    num_dropped: int  # rows that were too long
    evaluated_rows: int  # held-out rows that base and adapter are asked before it goes onto the shelf
    started_ns: int
    changed_ns: int
    progress: TrainingProgress | None = None
    history: tuple[LossPoint, ...] = ()
    restarts: tuple[Restart, ...] = ()
    adapter: str | None = None  # its full name, once it is on the shelf
    adapter_id: str | None = None
    evaluation: dict[str, Any] | None = None
    error: str | None = None
    schema: str = RUN_SCHEMA

    @property
    def is_live(self) -> bool:
        """Whether somebody works on it, or should."""
        return self.state in LIVE


def moved(run: TrainingRun, event: RunEvent, *, now_ns: int, **changes: Any) -> TrainingRun:
    """The run after an event.

    Raises:
        ConfigError: there is no such move.
    """
    return replace(run, state=move(run.state, event), changed_ns=now_ns, **changes)


def progressed(run: TrainingRun, progress: TrainingProgress, *, now_ns: int) -> TrainingRun:
    """The run one report further: the last losses that were measured stay."""
    before = run.progress
    loss, held_out = progress.loss, progress.held_out_loss
    if before and progress.step >= before.step:
        loss = before.loss if loss is None else loss
        held_out = before.held_out_loss if held_out is None else held_out
    point = LossPoint(step=progress.step, loss=progress.loss, held_out_loss=progress.held_out_loss)
    return replace(
        run,
        progress=replace(progress, loss=loss, held_out_loss=held_out),
        history=with_point(run.history, point, progress.steps),
        changed_ns=now_ns,
    )


def with_point(history: tuple[LossPoint, ...], point: LossPoint, steps: int) -> tuple[LossPoint, ...]:
    """The curve with one more point; what a run that was cut off had made beyond it is taken back."""
    kept = history
    while kept and kept[-1].step > point.step:
        kept = kept[:-1]
    last = kept[-1] if kept else None
    if last is None or _bucket(last.step, steps) != _bucket(point.step, steps):
        return (*kept, point)
    held_out = last.held_out_loss if point.held_out_loss is None else point.held_out_loss
    loss = last.loss if point.loss is None else point.loss
    return (*kept[:-1], LossPoint(step=point.step, loss=loss, held_out_loss=held_out))


def run_from_json(fields: dict[str, Any]) -> TrainingRun:
    """Read `run.json`.

    Raises:
        TypeError, KeyError: it is none.
    """
    return TrainingRun(
        **{
            **fields,
            "job": TrainingJob(**fields["job"]),
            "datanet": DatanetReference(**fields["datanet"]),
            "progress": TrainingProgress(**fields["progress"]) if fields["progress"] else None,
            "history": tuple(LossPoint(*point) for point in fields["history"]),
            "restarts": tuple(Restart(**each) for each in fields["restarts"]),
        }
    )


def newest(runs: Sequence[TrainingRun]) -> TrainingRun | None:
    """The one that matters most: the one that is worked on or paused, else the last."""
    open_runs = [run for run in runs if run.is_live or run.state == "paused"]
    return max(open_runs or runs, key=lambda run: run.number, default=None)


def _bucket(step: int, steps: int) -> int:
    """Steps share a point where there are more of them than points; the first and the last have their own."""
    return step if steps < HISTORY_MAX else -(-step * (HISTORY_MAX - 1) // steps)

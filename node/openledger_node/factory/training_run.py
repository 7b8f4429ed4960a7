"""The record of one training: job, progress and result. Every change is a pure function."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

from ..datanets.version import VersionLabel
from .job import LIVE, RunEvent, RunState, TrainingJob, move
from .trainer import TrainingProgress

RUN_SCHEMA = "openledger.training_run/1"
HISTORY_MAX: Final = 400
"""Most points of the loss curve; with more steps, one point stands for several steps."""


class LossPoint(NamedTuple):
    """The measured losses at a step."""

    step: int
    loss: float | None
    held_out_loss: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """An interruption after which the training continued."""

    at: str  # RFC 3339
    step: int  # step it continued from; 0 is the beginning
    why: str


StageName = Literal["answering", "indexing", "adding"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Progress of the work after the last step: answers, the attribution index, the library."""

    name: StageName
    done: int = 0
    total: int = 1
    time_left_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """The content of `training/runs/<number>/run.json`."""

    number: int
    state: RunState
    job: TrainingJob
    trainer: str
    base: str
    datanet: VersionLabel
    num_rows: int
    num_held_out: int
    num_dropped: int  # rows that were too long
    evaluated_rows: int  # held-out rows that base and adapter answer at the end
    started_ns: int
    changed_ns: int
    progress: TrainingProgress | None = None
    history: tuple[LossPoint, ...] = ()
    restarts: tuple[Restart, ...] = ()
    adapter: str | None = None  # its full name, once it is in the library
    adapter_id: str | None = None
    evaluation: dict[str, Any] | None = None
    stage: Stage | None = None  # only while it is evaluating
    error: str | None = None
    format_why: str | None = None  # reason for the form of the frozen base
    has_signals: bool = False  # the index that poa-v3 needs is built at the end
    schema: str = RUN_SCHEMA

    @property
    def is_live(self) -> bool:
        """True if a process works on the training, or should."""
        return self.state in LIVE


def moved(run: TrainingRun, event: RunEvent, *, now_ns: int, **changes: Any) -> TrainingRun:
    """Return the run after an event.

    Raises:
        ConfigError: the state does not allow the event.
    """
    return replace(run, state=move(run.state, event), changed_ns=now_ns, **changes)


def progressed(run: TrainingRun, progress: TrainingProgress, *, now_ns: int) -> TrainingRun:
    """Apply a progress report to the run; losses that the report lacks keep their last value."""
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
    """Add a point to the curve; points of later steps, from before an interruption, are removed."""
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
    """Read a run from the content of `run.json`.

    Raises:
        TypeError, KeyError: the content is not a run.
    """
    return TrainingRun(
        **{
            **fields,
            "job": TrainingJob(**fields["job"]),
            "datanet": _label_from(fields["datanet"]),
            "progress": TrainingProgress(**fields["progress"]) if fields["progress"] else None,
            "history": tuple(LossPoint(*point) for point in fields["history"]),
            "stage": Stage(**fields["stage"]) if fields.get("stage") else None,
            "restarts": tuple(Restart(**each) for each in fields["restarts"]),
        }
    )


def _label_from(fields: dict[str, Any]) -> VersionLabel:
    names = {name: fields[name] for name in ("id", "version", "rows_root")}
    return VersionLabel(**names, on_chain=fields.get("on_chain"))


def newest(runs: Sequence[TrainingRun]) -> TrainingRun | None:
    """Return the run that is live or paused, or else the newest."""
    open_runs = [run for run in runs if run.is_live or run.state == "paused"]
    return max(open_runs or runs, key=lambda run: run.number, default=None)


def _bucket(step: int, steps: int) -> int:
    """Return the point of a step. With more steps than points, only the first and last step have their own."""
    return step if steps < HISTORY_MAX else -(-step * (HISTORY_MAX - 1) // steps)
